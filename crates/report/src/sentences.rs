//! The verdict, the evidence and the advice, made from the figures.
//!
//! **Invariant:** a sentence says only what a field of the report says too.

use sysak_base::Stage;

use crate::catalogue as say;
use crate::figures::{bytes, count, percent};
use crate::{
    Class, Evidence, EvidenceKind, Finding, FindingVerdict, Lang, Report, TargetKind, Verdict,
};

/// Names listed in a sentence.
const NAMED: usize = 3;

impl Report {
    /// Fills `summary`, `notice`, the evidence and the advice from the figures.
    pub fn render_sentences(&mut self, lang: Lang) {
        self.lang = Some(lang);
        self.summary = summary(self, lang);
        self.notice = if self.redacted { say::notice_redacted(lang) } else { say::notice(lang) };
        let mut findings = std::mem::take(&mut self.findings);
        for (index, finding) in findings.iter_mut().enumerate() {
            finding.evidence = evidence(self, finding, lang);
            // What holds for the machine as a whole is said once, with the worst finding.
            finding.advice = advice(finding, index == 0, lang);
        }
        self.findings = findings;
    }
}

fn summary(report: &Report, lang: Lang) -> String {
    let known = match report.verdict {
        Verdict::Leak => leak(report, lang),
        Verdict::Suspected => suspected(report, lang),
        Verdict::NoLeak => no_leak(report, lang),
        Verdict::Undetermined => match report.interrupted {
            Some(stage) => return say::stopped_undetermined(lang, &stage_name(stage, lang)),
            None => {
                let unknown = say::reason_unknown(lang);
                return say::undetermined(lang, report.reason.as_deref().unwrap_or(&unknown));
            }
        },
    };
    match report.interrupted {
        Some(stage) => say::stopped_known(lang, &stage_name(stage, lang)) + &known,
        None => known,
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
    let Some((first, cache)) = leaks.by_ref().find_map(|f| Some((f, f.cache.as_ref()?))) else {
        return say::leak_elsewhere(lang, &machine);
    };
    let objects = count(first.unreachable_objects.unwrap_or(0));
    let size = bytes(first.unreachable_bytes.unwrap_or(0));
    let mut sentence = say::leak(lang, &machine, &objects, cache, &size);
    let others: Vec<_> = leaks.filter_map(|finding| finding.cache.as_deref()).collect();
    if !others.is_empty() {
        sentence += &say::leak_too(lang, &list(&others, lang));
    }
    sentence
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
    let suspect = report.findings.iter().find(|f| f.verdict == FindingVerdict::Suspected);
    let cache = suspect.and_then(|f| f.cache.as_deref()).unwrap_or("?");
    let size = suspect.and_then(size_of).unwrap_or(0);
    say::suspected(lang, &machine(report, lang), cache, &bytes(size))
}

fn no_leak(report: &Report, lang: Lang) -> String {
    if let Some(cache) = &report.method.only_cache {
        let finding = report.findings.first();
        let live = finding.and_then(|f| f.allocated_objects).filter(|live| *live > 0);
        let lost = finding.and_then(|f| f.unreachable_objects).unwrap_or(0);
        return match live {
            Some(live) => say::no_leak_in(lang, cache, &count(lost), &count(live)),
            None => say::no_leak_in_empty(lang, cache),
        };
    }
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
    sentence + &ending
}

/// The biggest part of kernel memory whose user is known. The image and the page structs
/// are the kernel itself: they are the same on the first day and the last.
fn biggest(report: &Report, lang: Lang) -> Option<(String, u64)> {
    let kernel = &report.census.kernel;
    let caches = report.findings.iter().filter_map(|finding| {
        Some((say::the_cache(lang, finding.cache.as_ref()?), size_of(finding)?))
    });
    let leaves = [
        (say::the_page_tables(lang), kernel.page_table_bytes),
        (say::the_vmalloc_areas(lang), kernel.vmalloc_bytes),
        (say::the_percpu_memory(lang), kernel.percpu_bytes),
        (say::the_kernel_stacks(lang), kernel.kernel_stack_bytes),
    ];
    let leaves = leaves.into_iter().filter_map(|(what, size)| Some((what, size?)));
    caches.chain(leaves).max_by_key(|(_, size)| *size)
}

/// What a finding takes from the machine.
fn size_of(finding: &Finding) -> Option<u64> {
    finding.slab_bytes.or(finding.allocated_bytes)
}

pub(crate) fn stage_name(stage: Stage, lang: Lang) -> String {
    match stage {
        Stage::Open => say::stage_open(lang),
        Stage::Census => say::stage_census(lang),
        Stage::Walk => say::stage_walk(lang),
        Stage::Reach => say::stage_reach(lang),
        Stage::Alike => say::stage_alike(lang),
        Stage::Settle => say::stage_settle(lang),
        Stage::SecondLook => say::stage_second_look(lang),
    }
}

fn evidence(report: &Report, finding: &Finding, lang: Lang) -> Vec<Evidence> {
    let mut all = Vec::new();
    let mut add = |kind, text| all.push(Evidence { kind, text });
    let leaks = finding.verdict == FindingVerdict::Leak;
    let lost = finding.unreachable_objects.unwrap_or(0);
    let lost_bytes = finding.unreachable_bytes.unwrap_or(0);
    if leaks && lost > 0 {
        let live = count(finding.allocated_objects.unwrap_or(lost));
        let text = say::lost_of(lang, &count(lost), &live, &bytes(lost_bytes));
        add(EvidenceKind::Unreachable, text);
        if let (2.., Some(seconds)) = (report.method.looks, report.method.settle_s) {
            add(EvidenceKind::Unreachable, say::confirmed(lang, &seconds.to_string()));
        }
        if let Some(cache) = &finding.lost_through {
            add(EvidenceKind::Unreachable, say::lost_by(lang, cache));
        }
    } else if lost > 0 {
        add(EvidenceKind::Unreachable, say::few_lost(lang, &count(lost)));
    }
    if let Some(similar @ 2..) = finding.similar_objects {
        let percent = report.method.similarity_percent.to_string();
        add(EvidenceKind::Similar, say::alike(lang, &count(similar), &percent));
    }
    if let Some(rate) = finding.growth_bytes_per_s.filter(|rate| *rate >= 1.0) {
        add(EvidenceKind::Growth, say::grows(lang, &bytes(rate as u64)));
    }
    for function in finding.functions.iter().take(1) {
        if let Some(outstanding @ 1..) = function.outstanding {
            let text = say::outstanding(lang, &count(outstanding), &function.name);
            add(EvidenceKind::Traced, text);
        }
    }
    if let Some(total @ 1..) = report.census.total_bytes {
        if leaks {
            let share = percent(lost_bytes, total);
            add(EvidenceKind::Size, say::share(lang, &bytes(lost_bytes), &share));
        } else if let Some(size) = size_of(finding) {
            add(EvidenceKind::Size, say::takes(lang, &bytes(size), &percent(size, total)));
        }
    }
    all
}

fn advice(finding: &Finding, worst: bool, lang: Lang) -> Vec<String> {
    match finding.verdict {
        FindingVerdict::Leak | FindingVerdict::Suspected => {
            let mut advice = Vec::new();
            if let Some(cache) = &finding.lost_through {
                advice.push(say::mend_first(lang, cache));
            }
            advice.extend(culprit(finding, lang));
            if worst {
                advice.push(say::keep_report(lang));
            }
            if worst && finding.verdict == FindingVerdict::Leak {
                advice.push(say::reboot(lang));
            }
            advice
        }
        FindingVerdict::Held if finding.reclaimable == Some(true) => {
            vec![say::nothing_to_do(lang)]
        }
        FindingVerdict::Held if is_mostly_room(finding) => vec![say::mostly_room(lang)],
        FindingVerdict::Held => vec![say::compare_later(lang)],
    }
}

/// Whose code to look at.
fn culprit(finding: &Finding, lang: Lang) -> Option<String> {
    if let Some(function) = finding.functions.first() {
        return Some(say::see_function(lang, &function.name));
    }
    let named = || finding.content_symbols.iter().map(|held| split_module(&held.symbol));
    if let Some((symbol, Some(module))) = named().find(|(_, module)| module.is_some()) {
        return Some(say::see_module(lang, module, symbol));
    }
    named().next().map(|(symbol, _)| say::see_symbol(lang, symbol))
}

/// `ops [module]` → `ops` and `module`.
fn split_module(symbol: &str) -> (&str, Option<&str>) {
    match symbol.strip_suffix(']').and_then(|s| s.rsplit_once(" [")) {
        Some((symbol, module)) => (symbol, Some(module)),
        None => (symbol, None),
    }
}

fn is_mostly_room(finding: &Finding) -> bool {
    finding.class == Class::Slab
        && matches!((finding.allocated_objects, finding.total_objects),
            (Some(live), Some(total)) if live < total / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_short() {
        assert_eq!(list(&["a"], Lang::En), "a");
        assert_eq!(list(&["a", "b"], Lang::En), "a and b");
        assert_eq!(list(&["a", "b", "c", "d", "e"], Lang::En), "a, b, c and … (+2)");
    }

    #[test]
    fn a_symbol_of_a_module_blames_the_module() {
        assert_eq!(split_module("ops [bonding]"), ("ops", Some("bonding")));
        assert_eq!(split_module("inotify_fsnotify_ops"), ("inotify_fsnotify_ops", None));
    }

    #[test]
    fn an_interrupted_look_says_so_first() {
        let mut report = Report { interrupted: Some(Stage::Reach), ..Report::default() };
        report.render_sentences(Lang::En);
        assert!(report.summary.starts_with("Stopped before the end, while following pointers"));
        report.verdict = Verdict::Leak;
        report.render_sentences(Lang::Zh);
        assert!(report.summary.starts_with("提前终止（当时正在沿指针查找对象）。目前已知：本机"));
    }
}
