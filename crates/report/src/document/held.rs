//! The findings that are no leak: a table, and what explains the growth of some.

use super::finding::name;
use super::{Document, Lead, Lean, Level, Paint};
use crate::catalogue as say;
use crate::figures::{bytes, count, percent};
use crate::{ContentSymbol, EvidenceKind, Finding, Holder, HolderKind, Lang, Place};

/// A holder of less than this part of the objects does not speak for the cache.
const MUCH: u64 = 4;
/// Steps of a path from a process whose end is as good as its own; its kind of open file is one.
const NEAR: usize = 4;

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
            contents_or_holder(found, lang),
        ]
    });
    let right = Lean::Right;
    doc.table(&[right, right, right, Lean::Left, Lean::Left, Lean::Left], head, rows.collect());
}

/// Why what no pointer leads to is no leak: a cache each.
pub(super) fn hidden(doc: &mut Document, held: &[&Finding], lang: Lang) {
    for found in held {
        let said = found.evidence.iter().filter(|one| one.kind == EvidenceKind::Hidden);
        let said: Vec<&str> = said.map(|one| one.text.as_str()).collect();
        if !said.is_empty() {
            let said = said.join(&say::space(lang));
            doc.sentence(Paint::Plain, Lead::Bullet, say::about(lang, &name(found, lang), &said));
        }
    }
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

/// What a cache's objects are or who holds them, in one cell: a holder of much of them, else what the
/// cache's name says, else where their pointers lead.
fn contents_or_holder(found: &Finding, lang: Lang) -> String {
    hidden_holder(found, lang)
        .or_else(|| holder(found, lang))
        .or_else(|| well_known(found, lang))
        .or_else(|| leads_to(found, lang))
        .or_else(|| far_holder(found, lang))
        .unwrap_or_default()
}

/// Whoever holds the most, where nothing else is known: far away, or of few objects.
fn far_holder(found: &Finding, lang: Lang) -> Option<String> {
    let known = found.holders.iter().find(|holder| holder.kind != HolderKind::Unknown)?;
    share(found, known, lang)
}

/// A holder, and its share of all objects that are held.
fn share(found: &Finding, holder: &Holder, lang: Lang) -> Option<String> {
    let all = found.allocated_objects.unwrap_or(0);
    let first = holder.path.first()?.name(lang);
    // From far away much can be reached that is not the holder's own: the way is shown.
    let name = match holder.path.last().filter(|_| holder.path.len() > NEAR) {
        Some(last) => format!("{first} → … → {}", last.name(lang)),
        None => first,
    };
    Some(held_by(&name, holder.objects, all, lang))
}

fn held_by(name: &str, objects: u64, all: u64, lang: Lang) -> String {
    let share = objects as f64 * 100.0 / all.max(1) as f64;
    let part = if share >= 1.0 { format!("{share:.0} %") } else { "< 1 %".to_owned() };
    match objects >= all {
        true => say::held_by(lang, name),
        false => say::share_held_by(lang, &part, name),
    }
}

/// Whoever holds much of them, though not by pointers.
fn hidden_holder(found: &Finding, lang: Lang) -> Option<String> {
    let all = found.allocated_objects.unwrap_or(0);
    let most = found.hidden_references.iter().flatten().max_by_key(|one| one.objects)?;
    let is_much = most.objects >= all.div_ceil(MUCH);
    is_much.then(|| held_by(&most.holder.name(lang), most.objects, all, lang))
}

fn holder(found: &Finding, lang: Lang) -> Option<String> {
    let all = found.allocated_objects.unwrap_or(0);
    let is_owner = |holder: &&Holder| {
        let is_near = match holder.kind {
            HolderKind::Module => true,
            // From a process or a control group much can be reached that is not its own.
            HolderKind::Process | HolderKind::Cgroup => holder.path.len() <= NEAR,
            // A module's timer is the module's.
            HolderKind::Timer => holder.path.first().is_some_and(Place::is_of_module),
            // A file system, a mount, a pin: whoever reads this can act on it.
            HolderKind::File => true,
            HolderKind::Symbol | HolderKind::Unknown => false,
        };
        is_near && holder.objects >= all.div_ceil(MUCH)
    };
    share(found, found.holders.iter().take(2).find(is_owner)?, lang)
}

/// What the objects of a well-known cache are; of others as well where caches were merged into it.
fn well_known(found: &Finding, lang: Lang) -> Option<String> {
    let contents = say::cache_contents(lang, found.cache.as_deref()?)?;
    Some(match found.aliases.is_empty() {
        true => contents.to_owned(),
        false => say::merged_contents(lang, contents),
    })
}

/// The symbol that the objects lead to, and how many of them: one of a module, else one that most
/// of the objects lead to.
fn leads_to(found: &Finding, lang: Lang) -> Option<String> {
    let is_of_module = |held: &&ContentSymbol| held.symbol.ends_with(']');
    // A cache of its own says what its objects are: what they point to leads to others (every inode
    // to its disk's timer).
    let steps = usize::from(found.cache.as_ref().is_some_and(|name| name.contains("kmalloc-")));
    let leads = |held: &&ContentSymbol| {
        held.path.len() <= steps && sampled(found, held).is_some_and(|all| held.objects > all / 2)
    };
    let symbols = || found.content_symbols.iter();
    let first = symbols().find(is_of_module).or_else(|| symbols().find(leads))?;
    Some(match sampled(found, first) {
        Some(all) => say::share_leads_to(lang, &percent(first.objects, all), &first.symbol),
        None => first.symbol.to_string(),
    })
}

/// How many objects were looked at for what they lead to.
fn sampled(found: &Finding, held: &ContentSymbol) -> Option<u64> {
    held.objects_sampled.or(found.allocated_objects).filter(|all| *all > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(name: &str) -> Finding {
        Finding { cache: Some(name.into()), allocated_objects: Some(5000), ..Finding::default() }
    }

    fn symbol(symbol: &str, objects: u64) -> ContentSymbol {
        let objects_sampled = Some(1000);
        ContentSymbol {
            symbol: symbol.into(),
            objects,
            objects_sampled,
            ..ContentSymbol::default()
        }
    }

    fn cell(found: &Finding) -> String {
        contents_or_holder(found, Lang::En)
    }

    #[test]
    fn a_well_known_cache_is_described_whatever_it_points_to() {
        let mut found = cache("filp");
        found.content_symbols = vec![symbol("socket_file_ops", 990)];
        assert_eq!(cell(&found), "open files");
        found.aliases = vec!["other".into()];
        assert_eq!(cell(&found), "open files and others (merged)");
    }

    #[test]
    fn an_unknown_cache_shows_a_modules_symbol_before_the_kernels() {
        let mut found = cache("kmalloc-64");
        found.content_symbols = vec![symbol("device_ktype", 990), symbol("flow_ops [bonding]", 30)];
        assert_eq!(cell(&found), "3.0 % lead to flow_ops [bonding]");
    }

    #[test]
    fn a_symbol_of_the_kernel_is_shown_only_where_most_objects_lead_to_it() {
        let mut found = cache("kmalloc-64");
        found.content_symbols = vec![symbol("device_ktype", 500), symbol("dl_task_timer", 940)];
        assert_eq!(cell(&found), "94 % lead to dl_task_timer");
        found.content_symbols.pop();
        assert_eq!(cell(&found), "");
    }

    #[test]
    fn a_holder_of_many_objects_comes_before_what_they_are() {
        let mut found = cache("filp");
        found.holders = vec![Holder {
            path: vec![Place::parse("eventfd-hoard (4711)")],
            objects: 4500,
            kind: HolderKind::Process,
            ..Holder::default()
        }];
        assert_eq!(cell(&found), "90 % held by eventfd-hoard (4711)");
        found.holders[0].objects = 50;
        assert_eq!(cell(&found), "open files");
    }

    #[test]
    fn a_holder_of_few_objects_or_far_away_is_shown_where_nothing_else_is_known() {
        let mut found = cache("kmalloc-64");
        let path = ["server (7)", "a.b", "c.d", "e.f", "g.h"].map(Place::parse).to_vec();
        let kind = HolderKind::Process;
        found.holders = vec![Holder { path, objects: 40, kind, ..Holder::default() }];
        assert_eq!(cell(&found), "< 1 % held by server (7) → … → g.h");
        found.holders[0].path.truncate(2);
        assert_eq!(cell(&found), "< 1 % held by server (7)");
        found.holders[0].kind = HolderKind::Unknown;
        assert_eq!(cell(&found), "");
    }

    #[test]
    fn who_holds_most_by_physical_address_comes_before_who_holds_a_few_by_pointers() {
        let finding = |objects| {
            let holder = Place::Kernel("ring [nic]".into());
            let hidden =
                crate::HiddenReference { objects, holder, ..crate::HiddenReference::default() };
            let few = Holder {
                path: vec![Place::Module("other".into())],
                objects: 30,
                kind: HolderKind::Module,
                ..Holder::default()
            };
            Finding {
                allocated_objects: Some(100),
                hidden_references: Some(vec![hidden]),
                holders: vec![few],
                ..Finding::default()
            }
        };
        assert_eq!(contents_or_holder(&finding(70), Lang::En), "70 % held by ring [nic]");
        assert!(contents_or_holder(&finding(24), Lang::En).starts_with("30 % held by "));
    }
}
