//! One finding at length, and the table of those that are no leak.

use super::functions;
use super::{Block, Detail, Document, Lead, Lean, Level, Paint, SHOWN};
use crate::catalogue as say;
use crate::figures::{bytes, count};
use crate::words::path;
use crate::{
    Class, ContentSymbol, EvidenceKind, Finding, FindingVerdict, Holder, HolderKind, Lang,
    ObjectType, Place, TypeReasonKind,
};

/// A type that is less likely than this is one of several.
const LIKELY: f64 = 0.5;
/// Types that are told where none is likely.
const TYPES: usize = 3;

/// All about one finding: evidence, who allocates it, what it looks like, what to do.
pub(super) fn whole(doc: &mut Document, found: &Finding, detail: Detail, lang: Lang) {
    heading(doc, found, lang);
    functions::table(doc, found, lang);
    slab_line(doc, found, lang);
    functions::last_line(doc, found, lang);
    functions::ways(doc, found, detail.stacks, lang);
    functions::possible(doc, found, lang);
    contents(doc, found, lang);
    advice(doc, found, lang);
}

pub(super) fn heading(doc: &mut Document, found: &Finding, lang: Lang) {
    let paint = if found.verdict == FindingVerdict::Held { Paint::Title } else { Paint::Bad };
    let text = title(found, lang);
    doc.blocks.push(Block::Title { level: Level::Section, paint, text });
    for evidence in &found.evidence {
        doc.sentence(Paint::Plain, Lead::Bullet, &*evidence.text);
    }
    if !found.aliases.is_empty() {
        let names = shown(&found.aliases, &say::comma(lang));
        doc.sentence(Paint::Plain, Lead::Bullet, say::merged(lang, &names));
    }
}

fn title(found: &Finding, lang: Lang) -> String {
    match (found.class, &found.cache) {
        (Class::Slab, cache) => {
            let size = found.object_size_bytes.map_or("?".to_owned(), count);
            say::cache_title(lang, cache.as_deref().unwrap_or("?"), &size)
        }
        (Class::Page, _) => say::class_page(lang),
        (Class::Vmalloc, _) => say::class_vmalloc(lang),
        (Class::Percpu, _) => say::class_percpu(lang),
        (Class::User, _) => say::class_user(lang),
    }
}

/// The cache, or what a class is called that is no cache's.
fn name(found: &Finding, lang: Lang) -> String {
    found.cache.as_ref().map_or_else(|| title(found, lang), ToString::to_string)
}

/// The first few names, and how many more there are.
pub(super) fn shown<S: AsRef<str>>(names: &[S], comma: &str) -> String {
    let mut text = names.iter().take(SHOWN).map(AsRef::as_ref).collect::<Vec<_>>().join(comma);
    if names.len() > SHOWN {
        text += &format!(" … (+{})", names.len() - SHOWN);
    }
    text
}

fn slab_line(doc: &mut Document, found: &Finding, lang: Lang) {
    if found.seen_functions().next().is_none()
        && (found.cache.is_some() || !found.advice.is_empty())
    {
        doc.gap();
    }
    let (Some(cache), Some(object)) = (&found.cache, found.sample_object) else { return };
    let similar = found.similar_objects.map_or("?".to_owned(), |similar| similar.to_string());
    doc.line(Paint::Plain, 0, say::slab_line(lang, cache, &object.to_string(), &similar));
}

/// What the objects look like and who holds them.
pub(super) fn contents(doc: &mut Document, found: &Finding, lang: Lang) {
    if let Some(guess) = &found.object_type {
        kind(doc, guess, lang);
    }
    if !found.content_symbols.is_empty() {
        doc.title(Level::Part, say::content_title(lang));
        for held in &found.content_symbols {
            doc.line(Paint::Plain, 1, content(held, lang));
        }
    }
    // One group says no more than the line above it.
    if found.groups.len() > 1 {
        doc.title(Level::Part, say::groups_title(lang));
        for group in found.groups.iter().take(SHOWN) {
            let sample = group.sample_object.map_or("?".to_owned(), |at| at.to_string());
            let (objects, lost) = (count(group.objects), count(group.unreachable));
            let line = say::group_line(lang, &objects, &lost, &sample);
            doc.line(Paint::Plain, 1, line);
        }
    }
    holders(doc, found, lang);
}

/// Who holds them, and how many each.
fn holders(doc: &mut Document, found: &Finding, lang: Lang) {
    if found.holders.is_empty() {
        return;
    }
    doc.title(Level::Part, say::holders_title(lang));
    let weighed = found.holders.iter().any(|holder| holder.retained_bytes.is_some());
    let weight = |cell: String| weighed.then_some(cell);
    let row = |objects, memory, frees, holder| {
        [Some(objects), Some(memory), weight(frees), Some(holder)].into_iter().flatten().collect()
    };
    let head: Vec<String> = row(
        say::head_objects(lang),
        say::head_memory(lang),
        say::head_frees(lang),
        say::head_holder(lang),
    );
    let rows = found.holders.iter().take(SHOWN).map(|holder| {
        let frees = holder.retained_bytes.map_or(String::new(), bytes);
        row(count(holder.objects), bytes(holder.bytes), frees, path(&holder.path, lang))
    });
    let mut leans = vec![Lean::Right; head.len() - 1];
    leans.push(Lean::Left);
    doc.table(&leans, head, rows.collect());
    if weighed {
        doc.sentence(Paint::Dim, Lead::Indent, say::frees_means(lang));
    }
    let held =
        found.allocated_objects.map(|all| all - found.unreachable_objects.unwrap_or(0).min(all));
    if let (Some(sampled), Some(held)) = (found.holders_sampled, held)
        && sampled < held
    {
        let said = say::holders_sampled(lang, &count(sampled), &count(held));
        doc.sentence(Paint::Dim, Lead::Indent, said);
    }
}

/// The type that fits best and why, and the others that fit where it is not sure.
pub(super) fn kind(doc: &mut Document, guess: &ObjectType, lang: Lang) {
    let percent = |share: f64| format!("{:.0} %", share.clamp(0.0, 1.0) * 100.0);
    let module = guess.module.as_ref().map_or(String::new(), |module| format!(" [{module}]"));
    let name = format!("{}{module}", guess.name);
    let line = match guess.confidence >= LIKELY {
        true => say::type_line(lang, &name, &percent(guess.confidence)),
        false => say::type_unsure(lang),
    };
    doc.line(Paint::Plain, 0, line);
    if guess.confidence < LIKELY {
        let others = guess.candidates.iter().zip(&guess.confidences).take(TYPES);
        let others: Vec<_> =
            others.map(|(name, share)| format!("{name} ({})", percent(*share))).collect();
        {
            doc.sentence(Paint::Plain, Lead::Indent, others.join(&say::comma(lang)));
            return;
        }
    }
    for reason in &guess.reasons {
        let place = format!("{:#x} {}", reason.offset, reason.field);
        let leads = reason.leads_to.as_deref().unwrap_or("?");
        let said = match reason.kind {
            TypeReasonKind::Object | TypeReasonKind::Symbol => format!("{place} → {leads}"),
            TypeReasonKind::Linked => say::type_linked(lang, &place),
            TypeReasonKind::Unlinked => say::type_unlinked(lang, &place),
            TypeReasonKind::Page => say::type_page(lang, &place),
        };
        doc.line(Paint::Plain, 1, said);
    }
}

/// `offset 0x0 → kmalloc-256+0x8 → inotify_fsnotify_ops, in 30,000 of 30,000 objects`
fn content(held: &ContentSymbol, lang: Lang) -> String {
    let objects = match held.objects_sampled {
        Some(sampled) => say::of_n_objects(lang, &count(held.objects), &count(sampled)),
        None => say::n_objects(lang, &count(held.objects)),
    };
    say::content_line(lang, &format!("{:#x} → {}", held.offset, way(held)), &objects)
}

fn way(held: &ContentSymbol) -> String {
    let steps: Vec<&str> = held.path.iter().chain([&held.symbol]).map(|step| &**step).collect();
    steps.join(" → ")
}

fn advice(doc: &mut Document, found: &Finding, lang: Lang) {
    if found.advice.is_empty() {
        return;
    }
    doc.title(Level::Part, say::advice_title(lang));
    for advice in &found.advice {
        doc.sentence(Paint::Plain, Lead::Bullet, &**advice);
    }
}

/// A holder of less than this part of the objects does not speak for the cache.
const MUCH: u64 = 4;
/// Names on a way from a process that is as good as its own.
const NEAR: usize = 3;

/// The biggest caches, a line each.
pub(super) fn held(doc: &mut Document, held: &[&Finding], lang: Lang) {
    doc.title(Level::Section, say::biggest_title(lang));
    let head = vec![
        say::head_memory(lang),
        say::head_used(lang),
        say::head_room(lang),
        say::head_freeable(lang),
        say::head_cache(lang),
        say::head_points(lang),
    ];
    let known = |number: Option<u64>, show: fn(u64) -> String| number.map_or("?".into(), show);
    let rows = held.iter().map(|found| {
        vec![
            known(found.slab_bytes.or(found.allocated_bytes), bytes),
            known(found.allocated_objects, count),
            known(found.total_objects, count),
            match found.reclaimable {
                Some(true) => say::yes(lang),
                Some(false) => say::no(lang),
                None => "?".to_owned(),
            },
            name(found, lang),
            told(found, lang),
        ]
    });
    let right = Lean::Right;
    doc.table(&[right, right, right, Lean::Left, Lean::Left, Lean::Left], head, rows.collect());
}

/// Why what grew is no leak: a cache each.
pub(super) fn explained(doc: &mut Document, held: &[&Finding], lang: Lang) {
    let mut advised: Vec<&str> = Vec::new();
    for found in held.iter().filter(|found| found.explained_by.is_some()) {
        let growth = found.evidence.iter().filter(|one| one.kind == EvidenceKind::Growth);
        // Two caches that grow with the same files need the advice once.
        let advice: Vec<&str> =
            found.advice.iter().map(String::as_str).filter(|one| !advised.contains(one)).collect();
        advised.extend(&advice);
        let said: Vec<&str> = growth.map(|one| one.text.as_str()).chain(advice).collect();
        let name = name(found, lang);
        let said = said.join(&say::space(lang));
        doc.sentence(Paint::Plain, Lead::Bullet, say::about(lang, &name, &said));
    }
}

/// What is known of a cache's objects, in one cell: who holds much of them, where that is known,
/// else what they point to.
fn told(found: &Finding, lang: Lang) -> String {
    let all = found.allocated_objects.unwrap_or(0);
    let is_owner = |holder: &&Holder| {
        let is_near = match holder.kind {
            HolderKind::Module => true,
            // From a process or a control group much can be reached that is not its own.
            HolderKind::Process | HolderKind::Cgroup => holder.path.len() <= NEAR,
            // A module's timer is the module's.
            HolderKind::Timer => holder.path.first().is_some_and(Place::is_of_module),
            HolderKind::Symbol | HolderKind::File | HolderKind::Unknown => false,
        };
        is_near && holder.objects >= all.div_ceil(MUCH)
    };
    let owner = found.holders.iter().take(2).find(is_owner);
    if let Some((holder, name)) = owner.and_then(|one| Some((one, one.path.first()?))) {
        let share = holder.objects as f64 * 100.0 / all.max(1) as f64;
        return match holder.objects >= all {
            true => say::held_by(lang, &name.name(lang)),
            false => say::share_held_by(lang, &format!("{share:.0} %"), &name.name(lang)),
        };
    }
    // A cache of its own says what its objects are: what they point to leads to others (every dentry
    // to its disk's timer). And the same name at three offsets says no more than once.
    let steps = usize::from(found.cache.as_ref().is_some_and(|name| name.contains("kmalloc-")));
    let tells = |held: &&ContentSymbol| held.path.len() <= steps || held.symbol.ends_with(']');
    let mut names: Vec<&str> = Vec::new();
    for held in found.content_symbols.iter().filter(tells) {
        if names.len() < 2 && !names.contains(&&*held.symbol) {
            names.push(&held.symbol);
        }
    }
    names.join(", ")
}
