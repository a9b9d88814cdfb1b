//! What could not be judged, where that is why there is no verdict.

use std::cmp::Reverse;

use crate::catalogue as say;
use crate::document::hole_owners;
use crate::figures::{bytes, count, percent};
use crate::{
    Book, Class, DumpPages, Finding, Lang, Omitted, Reader, Reason, Report, Skipped, TargetKind,
    Verdict,
};

/// Caches that one sentence names.
const NAMED_CACHES: usize = 3;

/// What is missing for a verdict, in one sentence; `None` where all was judged, or something else is the reason.
pub(super) fn reason(report: &Report, lang: Lang) -> Option<String> {
    if report.verdict != Verdict::Undetermined || report.interrupted.is_some() {
        return None;
    }
    let open = report.coverage.books.iter().filter(|book| !book.closed);
    let open = open.filter(|book| !book.found || book.unjudged_bytes > 0);
    let books = open.map(|book| missing(report, book, lang));
    let torn = report.target.torn.then(|| looks_lost(report, lang));
    // What is missing comes first: it is why the rest could not be judged.
    let parts = unread(report, lang).into_iter().chain(books).chain(stood_still(report, lang));
    let parts: Vec<String> = parts.chain(torn).collect();
    (!parts.is_empty()).then(|| parts.join(&say::semicolon(lang)))
}

/// What could not be read, and may hold what looks lost.
fn unread(report: &Report, lang: Lang) -> Option<String> {
    if let Some(pages) = holes(report) {
        let (size, parts) = (bytes(pages.holes_bytes), hole_owners(pages, lang));
        return Some(match report.target.reader {
            _ if pages.lost_bytes > 0 => say::holes_lost(lang, &size, &parts),
            Reader::Elf => say::holes_in_elf(lang, &size, &parts),
            Reader::Raw | Reader::Vmware => say::holes_in_image(lang, &size, &parts),
            _ => say::holes_in_dump(lang, &size, &parts),
        });
    }
    let pieces = |one: &Skipped| match one {
        Skipped { what: Omitted::Memory { count }, why: Reason::Unreadable } => Some(*count),
        _ => None,
    };
    let pieces = count(report.coverage.skipped.iter().find_map(pieces)?);
    Some(match report.target.kind {
        TargetKind::Live => say::memory_unread(lang, &pieces),
        TargetKind::Vmcore => say::memory_not_in_dump(lang, &pieces),
    })
}

/// Caches of which much stood still, while the rest came and went.
fn stood_still(report: &Report, lang: Lang) -> impl Iterator<Item = String> {
    let moved = report.findings.iter().filter(|finding| finding.moved_suspects.is_some());
    moved.filter_map(move |finding| {
        let still = finding.unreachable_objects.filter(|still| *still > 0)?;
        Some(say::objects_stood_still(lang, &count(still), finding.cache.as_deref()?))
    })
}

/// What looks lost in an image that was written while the machine ran: the caches with most of it.
fn looks_lost(report: &Report, lang: Lang) -> String {
    let lost = |finding: &Finding| {
        let many = finding.unreachable_objects.filter(|many| *many > 0)?;
        let size = finding.unreachable_bytes.unwrap_or(0);
        let said =
            say::sized_objects_of(lang, &count(many), finding.cache.as_deref()?, &bytes(size));
        Some((Reverse(size), said))
    };
    let mut lost: Vec<_> = report.findings.iter().filter_map(lost).collect();
    if lost.is_empty() {
        return say::memory_torn(lang);
    }
    lost.sort_by_key(|(size, _)| *size);
    let caches: Vec<String> = lost.into_iter().take(NAMED_CACHES).map(|(_, said)| said).collect();
    say::caches_torn(lang, &caches.join(&say::comma(lang)))
}

/// The dump's pages, where some of the kernel's are missing.
fn holes(report: &Report) -> Option<&DumpPages> {
    report.coverage.pages.as_ref().filter(|pages| pages.holes_bytes > 0)
}

fn missing(report: &Report, book: &Book, lang: Lang) -> String {
    let what = class(book.class, lang);
    let has_holes = holes(report).is_some();
    if !book.found {
        return match has_holes {
            true => say::class_not_found_in_dump(lang, &what),
            false => say::class_not_found(lang, &what),
        };
    }
    let share = percent(book.unjudged_bytes, book.total_bytes);
    let size = bytes(book.unjudged_bytes);
    match report.target.kind {
        TargetKind::Live => say::class_changed(lang, &share, &what, &size),
        TargetKind::Vmcore if has_holes => say::class_not_in_dump(lang, &share, &what, &size),
        TargetKind::Vmcore => say::class_damaged(lang, &share, &what, &size),
    }
}

fn class(class: Class, lang: Lang) -> String {
    match class {
        Class::Slab => say::the_slab_memory(lang),
        Class::Vmalloc => say::the_vmalloc_memory(lang),
        Class::Percpu => say::the_percpu_memory(lang),
        Class::Page | Class::User => say::the_direct_pages(lang),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hole, HoleOwner};

    fn report(kind: TargetKind, book: Book) -> Report {
        let mut report = Report { verdict: Verdict::Undetermined, ..Report::default() };
        report.target.kind = kind;
        report.coverage.books = vec![book];
        report
    }

    #[test]
    fn the_sentence_says_how_much_of_what_could_not_be_judged_and_why() {
        let book = Book {
            class: Class::Slab,
            found: true,
            total_bytes: 100 << 20,
            unjudged_bytes: 60 << 20,
            closed: false,
        };
        let said = |kind, book| {
            let mut report = report(kind, book);
            report.make_sentences(Lang::En);
            report.summary
        };
        assert_eq!(
            said(TargetKind::Vmcore, book),
            "Could not determine whether kernel memory leaks: 60 % of slab memory (60.0 MiB) could \
             not be judged, because what describes it is damaged."
        );
        assert!(said(TargetKind::Live, book).contains("it changed while it was read"));
        let none = Book { found: false, ..book };
        assert!(said(TargetKind::Vmcore, none).ends_with("slab memory was not found."));
        let closed = Book { closed: true, ..book };
        assert!(
            said(TargetKind::Vmcore, closed).ends_with("too little of the memory could be read.")
        );
    }

    #[test]
    fn what_to_do_about_missing_pages_depends_on_the_file() {
        let said = |reader, lost_bytes| {
            let mut report = report(TargetKind::Vmcore, Book { closed: true, ..Book::default() });
            report.target.reader = reader;
            let holes = vec![Hole { owner: HoleOwner::Slab, bytes: 4096 }];
            let pages = DumpPages { holes_bytes: 4096, holes, lost_bytes, ..DumpPages::default() };
            report.coverage.pages = Some(pages);
            report.make_sentences(Lang::En);
            report.summary
        };
        assert!(said(Reader::Kdump, 0).contains("or with its option -d 1"));
        assert!(said(Reader::Elf, 0).contains("without makedumpfile's option -E"));
        assert!(said(Reader::Raw, 0).contains("with a program that leaves out nothing"));
        assert!(said(Reader::Elf, 1).contains("copy it again, or dump again"));
    }

    #[test]
    fn memory_that_is_not_in_a_dump_may_hold_what_looks_lost() {
        let said = |kind| {
            let mut report = report(kind, Book { closed: true, ..Book::default() });
            let what = Omitted::Memory { count: 1556 };
            report.coverage.skipped = vec![Skipped { what, why: Reason::Unreadable }];
            report.make_sentences(Lang::En);
            report.summary
        };
        assert!(
            said(TargetKind::Vmcore)
                .contains("1,556 pieces of the kernel's memory are not in the dump")
        );
        assert!(
            said(TargetKind::Live)
                .contains("1,556 pieces of the kernel's memory could not be read")
        );
    }

    #[test]
    fn what_stood_still_beside_what_moved_is_named() {
        let mut report = report(TargetKind::Live, Book { closed: true, ..Book::default() });
        let cache = |name: &str, moved, still| Finding {
            cache: Some(name.into()),
            moved_suspects: moved,
            unreachable_objects: Some(still),
            ..Finding::default()
        };
        report.findings = vec![
            cache("filp", None, 9),
            cache("ring", Some(70), 0),
            cache("kmalloc-256", Some(99), 1500),
        ];
        let said: Vec<String> = stood_still(&report, Lang::En).collect();
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("1,500 objects of kmalloc-256"));
    }

    #[test]
    fn what_looks_lost_in_an_image_that_is_torn_is_named_and_not_accused() {
        let mut report = report(TargetKind::Vmcore, Book { closed: true, ..Book::default() });
        report.target.torn = true;
        let said = |report: &mut Report| {
            report.make_sentences(Lang::En);
            report.summary.clone()
        };
        assert!(said(&mut report).contains("something looks lost, but it may have moved"));
        let cache = |name: &str, lost: u64| Finding {
            cache: Some(name.into()),
            unreachable_objects: Some(lost),
            unreachable_bytes: Some(lost << 10),
            ..Finding::default()
        };
        let lost = [("filp", 2), ("dentry", 0), ("kmalloc-1k", 1500), ("a", 1), ("b", 3)];
        report.findings = lost.iter().map(|(name, lost)| cache(name, *lost)).collect();
        assert_eq!(
            said(&mut report),
            "Could not determine whether kernel memory leaks: 1,500 objects of kmalloc-1k (1.5 MiB), \
             3 objects of b (3.0 KiB), 2 objects of filp (2.0 KiB) look lost, but may have moved \
             while the image was written: dump the machine while it stands still."
        );
    }

    #[test]
    fn holes_are_named_by_owner_with_the_cure_for_who_made_them() {
        let said = |lost_bytes| {
            let hole = Hole { owner: HoleOwner::Slab, bytes: 3 << 20 };
            let pages = DumpPages {
                holes_bytes: 3 << 20,
                holes: vec![hole],
                lost_bytes,
                ..DumpPages::default()
            };
            let book = Book {
                class: Class::Slab,
                found: true,
                total_bytes: 5 << 20,
                unjudged_bytes: 3 << 20,
                closed: false,
            };
            let mut report = report(TargetKind::Vmcore, book);
            let nothing = Book { class: Class::Vmalloc, found: true, ..Book::default() };
            report.coverage.books.push(nothing);
            report.coverage.pages = Some(pages);
            report.make_sentences(Lang::En);
            report.summary
        };
        let filtered = said(0);
        assert!(
            filtered.contains(
                "3.0 MiB of the kernel's own memory are not in the dump (3.0 MiB of slabs)"
            )
        );
        assert!(
            filtered.contains("with its option -d 1; 60 % of slab memory"),
            "and what could not be judged for that: {filtered}"
        );
        assert!(!filtered.contains("vmalloc"), "of which there is none: {filtered}");
        assert!(filtered.contains("-d 1") && !filtered.contains("damaged"));
        assert!(said(4096).contains("copy it again") && !said(4096).contains("-d 1"));
    }

    #[test]
    fn an_interrupted_look_has_another_reason() {
        let mut report = report(TargetKind::Live, Book::default());
        report.interrupted = Some(crate::Stage::Reach);
        assert_eq!(reason(&report, Lang::En), None);
    }
}
