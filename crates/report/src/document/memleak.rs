//! The report for a person who knows nothing of memory management: the verdict in one
//! sentence, the figures behind it, what to do, and where the memory is.

use super::{
    Detail, Document, Lead, Paint, census, finding, foot, functions, held, holders, watch,
};
use crate::{Class, FindingVerdict, Lang, Report, Verdict};

/// The report for a person; its sentences are there already.
pub(crate) fn document(report: &Report, lang: Lang, detail: Detail) -> Document {
    let mut document = Document::default();
    let doc = &mut document;
    let paint = match report.verdict {
        Verdict::Leak => Paint::Bad,
        Verdict::Suspected | Verdict::Undetermined => Paint::Doubt,
        Verdict::NoLeak if report.scope.as_ref().is_some_and(|s| !s.elsewhere.is_empty()) => {
            Paint::Doubt
        }
        Verdict::NoLeak => Paint::Good,
    };
    doc.sentence(paint, Lead::Flush, &*report.summary);
    doc.gap();
    foot::machine(doc, &report.target, lang);
    foot::looks(doc, report, lang);
    watch::trend(doc, report, lang);
    census::counters(doc, &report.counters, lang);
    census::ownerless(doc, report.ownerless, lang);
    findings(doc, report, lang, detail);
    census::census(doc, &report.census, lang);
    if !report.caches.is_empty() {
        doc.gap();
        census::all_caches(doc, &report.caches, lang);
    }
    doc.gap();
    foot::coverage(doc, &report.coverage, lang);
    watch::trace(doc, report, lang);
    foot::timings(doc, &report.timings, lang);
    doc.sentence(Paint::Dim, Lead::Flush, &*report.notice);
    document
}

/// Those that are accused one by one, the others in tables.
fn findings(doc: &mut Document, report: &Report, lang: Lang, detail: Detail) {
    let accused = |verdict| verdict != FindingVerdict::Held;
    for found in report.findings.iter().filter(|found| accused(found.verdict)) {
        doc.gap();
        finding::whole(doc, found, detail, lang);
    }
    let one = report.method.only_cache.is_some();
    let (user, held): (Vec<_>, Vec<_>) = report
        .findings
        .iter()
        .filter(|found| !accused(found.verdict))
        .partition(|found| found.class == Class::User);
    match held.as_slice() {
        [] => {}
        [found] if one => {
            doc.gap();
            finding::whole(doc, found, detail, lang);
        }
        held => {
            doc.gap();
            held::held(doc, held, lang);
            // Beside a leak these would only be taken for guilty.
            if report.verdict == Verdict::NoLeak {
                functions::stayed(doc, report, held, lang);
            }
            held::hidden(doc, held, lang);
            held::explained(doc, held, lang);
        }
    }
    for found in user {
        holders::user_memory(doc, found, lang);
    }
}
