//! What was found of references in another shape than a pointer.

use crate::catalogue as say;
use crate::figures::count;
use crate::words::path;
use crate::{Finding, FindingVerdict, GivenAway, HiddenReference, HiddenShape, Lang, Outside};

/// Holders that are told.
const TOLD: usize = 3;

/// What speaks for or against a leak.
pub(super) fn evidence(finding: &Finding, lang: Lang) -> Vec<String> {
    let moved = finding.moved_suspects.map(|many| say::moved(lang, &count(many)));
    let Some(hidden) = &finding.hidden_references else { return Vec::from_iter(moved) };
    let leaks = finding.verdict == FindingVerdict::Leak;
    let told = hidden.iter().take(TOLD).map(|one| {
        let (number, shape, holder) = words(one, lang);
        match leaks {
            true => say::hidden_too_few(lang, &number, &shape, &holder),
            false => say::held_hidden(lang, &number, &shape, &holder),
        }
    });
    let mut told: Vec<String> = moved.into_iter().chain(told).collect();
    match (leaks, hidden.is_empty()) {
        (true, true) => told.insert(0, say::hidden_not_found(lang)),
        (true, false) => told.insert(0, say::hidden_few_found(lang)),
        (false, false) => told.push(say::hidden_is_no_proof(lang)),
        (false, true) => {}
    }
    told
}

/// References that cannot be seen: whether a module of a leak gives addresses to a device or a hypervisor.
pub(super) fn outside(finding: &Finding, lang: Lang) -> Vec<String> {
    let told = finding.given_away.iter().take(TOLD).map(|one| {
        let GivenAway { to, module, function, calls } = one;
        match to {
            Outside::Device => say::given_to_device(lang, module, function, calls),
            Outside::Hypervisor => say::given_to_hypervisor(lang, module, function, calls),
        }
    });
    told.collect()
}

/// The same in the summary, of the first cache that is no leak for such a reason.
pub(super) fn summary(findings: &[Finding], lang: Lang) -> String {
    let held = findings.iter().filter(|finding| finding.verdict != FindingVerdict::Leak);
    let first =
        held.filter_map(|finding| Some((finding, finding.hidden_references.as_ref()?.first()?)));
    let Some((finding, one)) = first.into_iter().next() else { return String::new() };
    let (number, shape, holder) = words(one, lang);
    let name = super::summary::memory_of(finding, lang);
    say::held_hidden_of(lang, name.trim(), &number, &shape, &holder)
}

/// How many, as what, and in whose memory.
fn words(one: &HiddenReference, lang: Lang) -> (String, String, String) {
    let shape = match one.shape {
        HiddenShape::PhysicalAddress => say::as_physical_addresses(lang),
        HiddenShape::PageAndOffset => say::as_pages(lang),
        HiddenShape::Unaligned => say::as_unaligned(lang),
        HiddenShape::Encoded => say::as_encoded(lang),
        HiddenShape::Offset32 => say::as_distances(lang),
    };
    (count(one.objects), shape, path(std::slice::from_ref(&one.holder), lang))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Place, Report, Verdict};

    fn finding(verdict: FindingVerdict, hidden: Option<Vec<HiddenReference>>) -> Finding {
        let cache = Some("kmalloc-1k".into());
        Finding { verdict, cache, hidden_references: hidden, ..Finding::default() }
    }

    fn ring() -> HiddenReference {
        let holder = Place::Kernel("ring [r8169]".into());
        HiddenReference { objects: 2048, holder, ..HiddenReference::default() }
    }

    #[test]
    fn what_is_held_so_is_told_in_the_summary_and_beside_the_cache() {
        let findings = vec![finding(FindingVerdict::Held, Some(vec![ring()]))];
        let mut report = Report { verdict: Verdict::NoLeak, findings, ..Report::default() };
        report.make_sentences(Lang::En);
        let said = "2,048 objects of slab cache kmalloc-1k: they are held only as physical addresses, in memory of \
                    ring [r8169].";
        assert!(report.summary.ends_with(said), "{}", report.summary);
        assert_eq!(evidence(&report.findings[0], Lang::En).len(), 2);
    }

    #[test]
    fn a_module_that_gives_addresses_to_a_device_is_named_with_its_call() {
        let one = GivenAway {
            module: "r8169".into(),
            function: "rtl_open".into(),
            calls: "dma_alloc_attrs".into(),
            ..GivenAway::default()
        };
        let mut leak = finding(FindingVerdict::Leak, Some(Vec::new()));
        assert_eq!(outside(&leak, Lang::En), [] as [String; 0]);
        leak.given_away = vec![one];
        let said = outside(&leak, Lang::En);
        assert!(said[0].contains("r8169") && said[0].contains("rtl_open calls dma_alloc_attrs"));
    }

    #[test]
    fn of_a_leak_it_is_said_that_it_was_looked_for() {
        let say = |hidden| evidence(&finding(FindingVerdict::Leak, hidden), Lang::En);
        assert_eq!(say(None), [] as [String; 0]);
        assert!(say(Some(Vec::new()))[0].ends_with("Other encodings cannot be excluded."));
        assert!(say(Some(vec![ring()]))[1].ends_with("too few to clear the others."));
    }
}
