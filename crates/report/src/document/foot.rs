//! Which machine, how it was looked at, what was left out, how long it took.

use super::{Document, Lead, Paint};
use crate::catalogue as say;
use crate::figures::{bytes, count, seconds};
use crate::{Coverage, DumpPages, Hole, HoleOwner, Lang, Reader, Report, Skipped, Target, Timings};

/// Things left out that are named; JSON has them all.
const SHOWN: usize = 5;

/// Which machine.
pub(super) fn machine(doc: &mut Document, target: &Target, lang: Lang) {
    let nameless = say::nameless(lang);
    let host = target.hostname.as_deref().unwrap_or(&nameless);
    let mut line = say::machine_line(lang, host, &target.kernel_release, &target.arch);
    if let Some(uptime_s) = target.uptime_s {
        line += &say::up(lang, &uptime(uptime_s, lang));
    }
    doc.sentence(Paint::Plain, Lead::Flush, line);
    if target.torn {
        doc.sentence(Paint::Plain, Lead::Flush, say::dump_torn(lang));
    }
}

/// How it was read.
pub(super) fn reader(target: &Target, lang: Lang) -> String {
    match target.reader {
        Reader::Kcore => say::read_kcore(lang),
        Reader::Bpf => say::read_bpf(lang),
        Reader::Elf => say::read_elf(lang),
        Reader::Kdump => say::read_kdump(lang),
        Reader::Raw => say::read_raw(lang),
        Reader::Vmware => say::read_vmware(lang),
    }
}

/// How it was read, and how often.
pub(super) fn looks(doc: &mut Document, report: &Report, lang: Lang) {
    let looks = match (report.method.looks, report.method.settle_s) {
        (2.., Some(seconds)) => say::two_looks(lang, &seconds.to_string()),
        _ => say::one_look(lang),
    };
    doc.sentence(Paint::Plain, Lead::Flush, reader(&report.target, lang) + &looks);
}

fn uptime(uptime_s: u64, lang: Lang) -> String {
    let (minutes, hours) = (uptime_s / 60, uptime_s / 3600);
    if hours >= 24 {
        say::days_hours(lang, &count(hours / 24), &(hours % 24).to_string())
    } else {
        say::hours_minutes(lang, &hours.to_string(), &(minutes % 60).to_string())
    }
}

/// What was looked at, and what was left out.
pub(super) fn coverage(doc: &mut Document, coverage: &Coverage, lang: Lang) {
    let total = coverage.slabs_total.map_or_else(|| say::unknown_number(lang), count);
    let objects = count(coverage.objects_walked);
    let scanned = bytes(coverage.bytes_scanned);
    let walked = count(coverage.slabs_walked);
    let looked = say::looked_at(lang, &walked, &total, &objects, &scanned);
    doc.sentence(Paint::Plain, Lead::Flush, looked);
    dump_pages(doc, coverage, lang);
    left_out(doc, coverage, lang);
}

/// What the dump has not, and whether it matters.
pub(super) fn dump_pages(doc: &mut Document, coverage: &Coverage, lang: Lang) {
    let Some(pages) = &coverage.pages else { return };
    if pages.lost_bytes > 0 {
        let said = say::dump_incomplete(lang, &bytes(pages.lost_bytes));
        doc.sentence(Paint::Doubt, Lead::Flush, said);
    }
    let filtered = pages.filtered_bytes();
    if filtered > 0 {
        doc.sentence(Paint::Plain, Lead::Flush, say::filtered(lang, &bytes(filtered)));
    }
    if pages.holes_bytes > 0 {
        let (size, parts) = (bytes(pages.holes_bytes), hole_owners(pages, lang));
        doc.sentence(Paint::Doubt, Lead::Flush, say::not_in_dump(lang, &size, &parts));
    }
}

/// The kernel's memory that a dump has not, by its owners.
pub(crate) fn hole_owners(pages: &DumpPages, lang: Lang) -> String {
    let part = |hole: &Hole| say::size_of(lang, &bytes(hole.bytes), &hole_owner(hole.owner, lang));
    let parts: Vec<String> = pages.holes.iter().map(part).collect();
    parts.join(&say::comma(lang))
}

fn hole_owner(owner: HoleOwner, lang: Lang) -> String {
    match owner {
        HoleOwner::Slab => say::hole_slab(lang),
        HoleOwner::Vmalloc => say::hole_vmalloc(lang),
        HoleOwner::Percpu => say::hole_percpu(lang),
        HoleOwner::PageTable => say::hole_page_table(lang),
        HoleOwner::KernelStack => say::hole_stack(lang),
        HoleOwner::Image => say::hole_image(lang),
        HoleOwner::Vmemmap => say::hole_vmemmap(lang),
        HoleOwner::Reserved => say::hole_reserved(lang),
        HoleOwner::PageAlloc => say::hole_page_alloc(lang),
    }
}

/// What was left out.
pub(super) fn left_out(doc: &mut Document, coverage: &Coverage, lang: Lang) {
    if coverage.skipped.is_empty() {
        return;
    }
    let item = |skipped: &Skipped| {
        say::left_out_item(lang, &skipped.what.name(lang), &skipped.why.name(lang))
    };
    let mut items: Vec<_> = coverage.skipped.iter().take(SHOWN).map(item).collect();
    if coverage.skipped.len() > SHOWN {
        items.push(format!("… (+{})", coverage.skipped.len() - SHOWN));
    }
    doc.sentence(
        Paint::Plain,
        Lead::Flush,
        say::left_out(lang, &items.join(&say::semicolon(lang))),
    );
}

/// How long the steps took.
pub(super) fn timings(doc: &mut Document, timings: &Timings, lang: Lang) {
    let Some(total) = timings.total_s else { return };
    let named = [
        (timings.census_s, say::part_census as fn(Lang, &str) -> String),
        (timings.walk_s, say::part_walk),
        (timings.reach_s, say::part_reach),
        (timings.hidden_s, say::part_hidden),
        (timings.similarity_s, say::part_similarity),
        (timings.explain_s, say::part_explain),
        (timings.trace_s, say::part_trace),
    ];
    let parts: Vec<_> =
        named.iter().filter_map(|(time, say)| Some(say(lang, &seconds((*time)?)))).collect();
    let line = match parts.is_empty() {
        true => say::took_only(lang, &seconds(total)),
        false => say::took(lang, &seconds(total), &parts.join(&say::comma(lang))),
    };
    doc.sentence(Paint::Plain, Lead::Flush, line);
}

/// That what is not for strangers was hashed.
pub(super) fn notice(doc: &mut Document, redacted: bool, lang: Lang) {
    if redacted {
        doc.sentence(Paint::Dim, Lead::Flush, say::notice_redacted(lang));
    }
}
