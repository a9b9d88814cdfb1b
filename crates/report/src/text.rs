//! The report for a person who knows nothing of memory management: the verdict in one
//! sentence, the figures behind it, what to do, and where the memory is.

use std::io::{self, Write};

use crate::{Class, FindingVerdict, Lang, Report, Verdict};

mod census;
mod finding;
mod foot;
mod functions;
mod graph;
mod holders;
mod inspect;
mod page;
mod watch;

pub use graph::graph_text;
pub use inspect::inspect_text;
use page::{Page, Paint};

/// How the text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to use colours.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
    /// Whether to show the whole stack of every function.
    pub stacks: bool,
}

/// Writes the report for a person. Sentences that [`Report::render_sentences`] did not
/// make in this language yet are made here.
pub fn text(report: &Report, lang: Lang, style: Style, out: &mut impl Write) -> io::Result<()> {
    if report.lang != Some(lang) {
        let mut rendered = report.clone();
        rendered.render_sentences(lang);
        return text(&rendered, lang, style, out);
    }
    let page = &mut Page::new(out, style);
    let paint = match report.verdict {
        Verdict::Leak => Paint::Bad,
        Verdict::Suspected | Verdict::Undetermined => Paint::Doubt,
        Verdict::NoLeak => Paint::Good,
    };
    page.sentence(paint, "", &report.summary)?;
    page.gap()?;
    foot::machine(page, &report.target, lang)?;
    foot::looks(page, report, lang)?;
    watch::trend(page, report, lang)?;
    let accused = |verdict| verdict != FindingVerdict::Held;
    for found in report.findings.iter().filter(|found| accused(found.verdict)) {
        page.gap()?;
        finding::whole(page, found, lang)?;
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
            page.gap()?;
            finding::whole(page, found, lang)?;
        }
        held => {
            page.gap()?;
            finding::held(page, held, lang)?;
            // Beside a leak these would only be taken for guilty.
            if report.verdict == Verdict::NoLeak {
                functions::stayed(page, report, held, lang)?;
            }
            finding::explained(page, held, lang)?;
        }
    }
    for found in user {
        holders::user_memory(page, found, lang)?;
    }
    census::census(page, &report.census, lang)?;
    if !report.caches.is_empty() {
        page.gap()?;
        census::all_caches(page, &report.caches, lang)?;
    }
    page.gap()?;
    foot::coverage(page, &report.coverage, lang)?;
    watch::trace(page, report, lang)?;
    foot::timings(page, &report.timings, lang)?;
    page.sentence(Paint::Dim, "", &report.notice)
}
