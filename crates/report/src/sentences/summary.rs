//! The verdict in one sentence.

use super::hidden;
use crate::catalogue as say;
use crate::document::page_owner;
use crate::figures::{bytes, count};
use crate::progress::stage_name;
use crate::words::{counted, more_every, rate, span, things};
use crate::{Class, Finding, FindingVerdict, Lang, PageOwner, Report, Scope, TargetKind, Verdict};

/// Names listed in a sentence.
const NAMED: usize = 3;

pub(super) fn summary(report: &Report, lang: Lang) -> String {
    let known = match report.verdict {
        Verdict::Leak => leak(report, lang),
        Verdict::Suspected => suspected(report, lang),
        Verdict::NoLeak => match &report.scope {
            Some(scope) => no_leak_in(scope, lang) + &grew_explained(report, lang),
            None => no_leak(report, lang),
        },
        Verdict::Undetermined => match report.interrupted {
            Some(stage) => return say::stopped_undetermined(lang, &stage_name(lang, stage)),
            None => {
                let unknown = say::reason_unknown(lang);
                return say::undetermined(lang, report.reason.as_deref().unwrap_or(&unknown));
            }
        },
    };
    let known = known + &elsewhere(report, lang);
    match report.interrupted {
        Some(stage) => say::stopped_known(lang, &stage_name(lang, stage)) + &known,
        None => known,
    }
}

/// Of what was asked for alone.
fn no_leak_in(scope: &Scope, lang: Lang) -> String {
    let (objects, lost) = (count(scope.objects), scope.objects_unreachable.unwrap_or(0));
    let lost = (lost > 0).then(|| count(lost));
    match (&scope.cache, &lost) {
        (Some(cache), _) if scope.objects == 0 => say::no_leak_in_empty(lang, cache),
        (Some(cache), Some(lost)) => say::no_leak_in(lang, cache, lost, &objects),
        (Some(cache), None) => say::no_leak_in_at_all(lang, cache, &objects),
        (None, _) if scope.objects == 0 => {
            say::no_leak_of_empty(lang, &class_of(scope.class, lang))
        }
        (None, Some(lost)) => say::no_leak_of(lang, &class_of(scope.class, lang), lost, &objects),
        (None, None) => say::no_leak_of_at_all(lang, &class_of(scope.class, lang), &objects),
    }
}

/// What was seen beside what was asked for; nothing where nothing was.
fn elsewhere(report: &Report, lang: Lang) -> String {
    let Some(scope) = report.scope.as_ref().filter(|scope| !scope.elsewhere.is_empty()) else {
        return String::new();
    };
    let told = scope.elsewhere.iter().map(|one| {
        let finding = Finding { class: one.class, cache: one.cache.clone(), ..Finding::default() };
        let number = count(one.unreachable_objects);
        say::with_size(
            lang,
            &counted_things(&finding, &number, lang),
            &bytes(one.unreachable_bytes),
        )
    });
    let told: Vec<String> = told.collect();
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    let option = if scope.cache.is_some() { "-n" } else { "-t" };
    say::elsewhere(lang, &list(&told, lang), option)
}

/// `blocks of pages`
fn class_of(class: Class, lang: Lang) -> String {
    match class {
        Class::Slab => say::slab_objects(lang),
        class => things(&Finding { class, ..Finding::default() }, lang),
    }
}

fn machine(report: &Report, lang: Lang) -> String {
    match report.target.kind {
        TargetKind::Live => say::this_machine(lang),
        TargetKind::Vmcore => say::dumped_machine(lang),
    }
}

fn leak(report: &Report, lang: Lang) -> String {
    let machine = machine(report, lang);
    let mut leaks = report.findings.iter().filter(|f| f.verdict == FindingVerdict::Leak);
    let Some(first) = leaks.next() else { return String::new() };
    let lost = count(first.unreachable_objects.unwrap_or(0));
    let size = bytes(first.unreachable_bytes.unwrap_or(0));
    let others: Vec<&Finding> = leaks.collect();
    let mut sentence = match first.leaking_function() {
        Some(function) => {
            let function = function.title(lang);
            let goes_on = match &report.trend {
                // The rate is of all that is lost: it is this function's only if no other leaks.
                Some(trend) if others.is_empty() => more_every(trend.leak_bytes_per_s, lang),
                _ => None,
            };
            say::leak_by(lang, &machine, &function, &things(first, lang), &lost, &size)
                + &goes_on.map_or(String::new(), |rate| say::leak_goes_on(lang, &rate))
                + &say::full_stop(lang)
        }
        None => say::leak(lang, &machine, &counted_things(first, &lost, lang), &size),
    };
    if !others.is_empty() {
        sentence += &say::leak_too(lang, &all_things(&others, lang));
    }
    sentence
}

/// `30,000 objects of slab cache kmalloc-32`
fn counted_things(finding: &Finding, count: &str, lang: Lang) -> String {
    match (&finding.cache, finding.class) {
        (Some(cache), _) => say::n_objects_of(lang, count, cache),
        (None, Class::Vmalloc) => say::n_areas(lang, count),
        (None, Class::Percpu) => say::n_percpu(lang, count),
        (None, _) => say::n_blocks(lang, count),
    }
}

/// `objects of a and b, vmalloc areas and blocks of pages`
fn all_things(findings: &[&Finding], lang: Lang) -> String {
    let caches: Vec<&str> = findings.iter().filter_map(|f| f.cache.as_deref()).collect();
    let objects = (!caches.is_empty()).then(|| say::objects_of(lang, &list(&caches, lang)));
    let others = findings.iter().filter(|f| f.cache.is_none()).map(|f| things(f, lang));
    let parts: Vec<String> = objects.into_iter().chain(others).collect();
    list(&parts.iter().map(String::as_str).collect::<Vec<_>>(), lang)
}

/// `a, b and c`; the rest as a number.
fn list(names: &[&str], lang: Lang) -> String {
    let (shown, rest) = names.split_at(names.len().min(NAMED));
    let mut parts: Vec<String> = shown.iter().map(|name| (*name).to_owned()).collect();
    if !rest.is_empty() {
        parts.push(format!("… (+{})", rest.len()));
    }
    match parts.split_last() {
        Some((last, before)) if !before.is_empty() => {
            before.join(&say::comma(lang)) + &say::and(lang) + last
        }
        _ => parts.concat(),
    }
}

fn suspected(report: &Report, lang: Lang) -> String {
    let machine = machine(report, lang);
    let suspect = report.findings.iter().find(|f| f.verdict == FindingVerdict::Suspected);
    let what = suspect.map_or_else(|| "?".to_owned(), |finding| memory_of(finding, lang));
    let size = bytes(suspect.and_then(size_of).unwrap_or(0));
    let grew = suspect.and_then(|finding| rate(finding.growth_bytes_per_s, lang));
    let mut sentence = match (grew, &report.trend) {
        (Some(rate), Some(trend)) => {
            let span = span(trend.watched_s, lang);
            say::suspected_grew(lang, &machine, what.trim(), &size, &rate, &span)
        }
        _ => say::suspected(lang, &machine, what.trim(), &size),
    };
    if let Some(function) = suspect.and_then(|finding| finding.seen_functions().next()) {
        sentence += &say::suspected_by(lang, &function.title(lang));
    }
    sentence
}

fn no_leak(report: &Report, lang: Lang) -> String {
    let objects = count(report.coverage.objects_walked);
    let sentence = match report.coverage.objects_unreachable {
        Some(0) => say::no_leak_at_all(lang, &objects),
        Some(lost) => say::no_leak(lang, &count(lost), &objects),
        None => say::no_leak_walked(lang, &objects),
    };
    let ending = match biggest(report, lang) {
        Some((what, size)) => say::biggest(lang, &what, &bytes(size)),
        None => say::full_stop(lang),
    };
    sentence + &ending + &grew_explained(report, lang) + &hidden::summary(&report.findings, lang)
}

/// What grew, and why that is no leak.
fn grew_explained(report: &Report, lang: Lang) -> String {
    let explained = report.findings.iter().find_map(|finding| {
        let why = finding.explained_by.as_ref()?;
        Some(say::grew_explained(lang, &memory_of(finding, lang), &counted(why.count, lang)))
    });
    explained.unwrap_or_default()
}

/// `slab cache kmalloc-64`, `vmalloc areas`
pub(super) fn memory_of(finding: &Finding, lang: Lang) -> String {
    match (&finding.cache, finding.class) {
        (Some(cache), _) => say::the_cache(lang, cache),
        (None, Class::Vmalloc) => say::the_vmalloc_areas(lang),
        (None, Class::Percpu) => say::the_percpu_memory(lang),
        (None, _) => say::the_pages(lang),
    }
}

/// The biggest part of kernel memory, by its use. The image is left out: it is the kernel itself.
fn biggest(report: &Report, lang: Lang) -> Option<(String, u64)> {
    let census = &report.census;
    let kernel = &census.kernel;
    let caches = report.findings.iter().filter_map(|finding| {
        Some((say::the_cache(lang, finding.cache.as_ref()?), size_of(finding)?))
    });
    let named = census.page_alloc_owners.iter().map(|part| part.bytes).fold(0, u64::saturating_add);
    let leaves = [
        (say::the_page_tables(lang), kernel.page_table_bytes),
        (say::the_vmalloc_areas(lang), kernel.vmalloc_bytes),
        (say::the_percpu_memory(lang), kernel.percpu_bytes),
        (say::the_kernel_stacks(lang), kernel.kernel_stack_bytes),
        (say::the_vmemmap(lang), kernel.vmemmap_bytes),
        (say::the_other_pages(lang), kernel.page_alloc_bytes.map(|all| all.saturating_sub(named))),
    ];
    let leaves = leaves.into_iter().filter_map(|(what, size)| Some((what, size?)));
    let parts = census.page_alloc_owners.iter().filter_map(|part| {
        let name = match part.owner {
            PageOwner::Balloon => say::the_balloon(lang),
            // Not the machine's: gone when the report is printed.
            PageOwner::Sysak => return None,
            owner => page_owner(owner, lang),
        };
        Some((name, part.bytes))
    });
    caches.chain(leaves).chain(parts).max_by_key(|(_, size)| *size)
}

/// What a finding takes from the machine.
pub(super) fn size_of(finding: &Finding) -> Option<u64> {
    finding.slab_bytes.or(finding.allocated_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Elsewhere, PageAllocOwner, Stage};

    #[test]
    fn lists_are_short() {
        assert_eq!(list(&["a"], Lang::En), "a");
        assert_eq!(list(&["a", "b"], Lang::En), "a and b");
        assert_eq!(list(&["a", "b", "c", "d", "e"], Lang::En), "a, b, c and … (+2)");
    }

    #[test]
    fn an_interrupted_look_says_so_first() {
        let mut report = Report { interrupted: Some(Stage::Reach), ..Report::default() };
        report.make_sentences(Lang::En);
        assert!(report.summary.starts_with("Stopped before the end, while following pointers"));
        report.verdict = Verdict::Leak;
        report.findings = vec![Finding { verdict: FindingVerdict::Leak, ..Finding::default() }];
        report.make_sentences(Lang::Zh);
        assert!(report.summary.starts_with("提前终止（当时正在沿指针查找对象）。目前已知：本机"));
    }

    /// A healthy machine with a cache of 41 MiB.
    fn healthy() -> Report {
        let cache = Finding {
            cache: Some("ext4_inode_cache".into()),
            slab_bytes: Some(41 << 20),
            ..Finding::default()
        };
        Report { verdict: Verdict::NoLeak, findings: vec![cache], ..Report::default() }
    }

    #[test]
    fn the_biggest_use_is_the_biggest_of_all_that_the_report_shows() {
        let said = |report: &Report| summary(report, Lang::En);
        let mut report = healthy();
        assert!(said(&report).contains("is slab cache ext4_inode_cache (41.0 MiB)"));
        report.census.kernel.page_alloc_bytes = Some(240 << 20);
        let owner = |owner, mib: u64| PageAllocOwner { owner, bytes: mib << 20 };
        report.census.page_alloc_owners =
            vec![owner(PageOwner::Balloon, 196), owner(PageOwner::Sysak, 1)];
        assert!(said(&report).contains("(balloon) or offline (196.0 MiB)"), "{}", said(&report));
        report.census.page_alloc_owners.remove(0);
        assert!(
            said(&report).contains("pages allocated directly, by drivers and the like (239.0 MiB)")
        );
        report.census.kernel.vmemmap_bytes = Some(384 << 20);
        assert!(
            said(&report).contains("the page structures (vmemmap) (384.0 MiB)"),
            "{}",
            said(&report)
        );
    }

    #[test]
    fn a_verdict_about_one_class_says_so_and_what_it_is_not_about() {
        let scope = Scope {
            class: Class::Page,
            objects: 700,
            objects_unreachable: Some(0),
            ..Scope::default()
        };
        let mut report = Report { scope: Some(scope), ..healthy() };
        let said = summary(&report, Lang::En);
        assert!(
            said.starts_with("No leak of blocks of pages found, and nothing else was judged"),
            "{said}"
        );
        assert!(!said.contains("kernel memory leak") && !said.contains("largest"), "{said}");
        let seen = Elsewhere {
            class: Class::Slab,
            cache: Some("kmalloc-32".into()),
            unreachable_objects: 2000,
            unreachable_bytes: 64_000,
        };
        report.scope.iter_mut().for_each(|scope| scope.elsewhere = vec![seen.clone()]);
        for (lang, end) in
            [(Lang::En, "Run without -t to have that judged."), (Lang::Zh, "即可判断。")]
        {
            let said = summary(&report, lang);
            assert!(
                said.contains("kmalloc-32") && said.contains("2,000") && said.ends_with(end),
                "{said}"
            );
        }
    }
}
