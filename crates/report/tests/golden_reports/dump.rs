//! Handmade reports of filtered crash dumps; every figure is invented.

use sysak_report::{
    Book, Class, DumpPages, Hole, HoleOwner, Reader, Report, Target, TargetKind, Verdict,
};

use super::{MIB, frame};

/// A dump that a filter took nothing from but what nobody needs.
pub fn filtered() -> Report {
    let mut report = frame();
    report.target = Target { kind: TargetKind::Vmcore, reader: Reader::Kdump, ..report.target };
    report.verdict = Verdict::NoLeak;
    report.coverage.pages = Some(DumpPages {
        present_bytes: 240 * MIB,
        zero_bytes: 60 * MIB,
        excluded_bytes: 1748 * MIB,
        ..DumpPages::default()
    });
    report
}

/// A dump of which the filter took memory of the kernel's, too.
pub fn holes() -> Report {
    let filtered = filtered();
    let pages = filtered.coverage.pages.clone().unwrap_or_default();
    let mut report = Report { verdict: Verdict::Undetermined, ..filtered };
    report.coverage.pages = Some(DumpPages {
        holes_bytes: 3 * MIB,
        holes: vec![
            Hole { owner: HoleOwner::Slab, bytes: 2 * MIB },
            Hole { owner: HoleOwner::KernelStack, bytes: MIB },
        ],
        ..pages
    });
    report.coverage.books = vec![Book {
        class: Class::Slab,
        found: true,
        total_bytes: 100 * MIB,
        unjudged_bytes: 60 * MIB,
        closed: false,
    }];
    report
}
