//! One finding at length.

use super::functions;
use super::{Block, Detail, Document, Lead, Lean, Level, Paint, SHOWN};
use crate::catalogue as say;
use crate::figures::{bytes, count};
use crate::words::path;
use crate::{Class, ContentSymbol, Finding, FindingVerdict, Lang, ObjectType, TypeReasonKind};

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
pub(super) fn name(found: &Finding, lang: Lang) -> String {
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
