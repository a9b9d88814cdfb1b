//! `sysak inspect`: what an address is, what an object contains, what holds it, all about a slab cache, and what a
//! crash dump is.

mod address;
mod crash_dump;
mod object;
mod question;
mod references;
mod wording;

use sysak_kernel::Kernel;
use sysak_memleak::diagnose::Diagnosis;
use sysak_memleak::to_report;
use sysak_report as report;
use sysak_snapshot::Snapshot;
use sysak_snapshot::to_report::{rounded, tool};

pub use address::spot;
pub use crash_dump::{Opened, crash_dump, reader};
pub use object::dump;
pub use question::{InspectError, Question, answer};
pub use references::refs;

/// The document, without the total time.
fn document(
    target: report::Target,
    seen: &Snapshot,
    subject: report::Subject,
) -> report::Inspection {
    report::Inspection {
        tool: tool(),
        target,
        interrupted: seen.interrupted,
        subject,
        timings: report::Timings {
            census_s: Some(rounded(seen.times.census)),
            walk_s: Some(rounded(seen.times.walk)),
            reach_s: Some(rounded(seen.times.reach)),
            ..report::Timings::default()
        },
        ..report::Inspection::default()
    }
}

/// The cache that was asked for.
fn cache(kernel: &Kernel<'_>, diagnosis: &Diagnosis<'_>) -> report::InspectedCache {
    let Some(case) = diagnosis.cases.first() else { return report::InspectedCache::default() };
    let slabs = &diagnosis.observed.snapshot.heap.slabs;
    report::InspectedCache {
        slabs: slabs.iter().filter(|slab| slab.cache == case.cache).count() as u64,
        finding: to_report::finding(kernel, diagnosis, case),
    }
}
