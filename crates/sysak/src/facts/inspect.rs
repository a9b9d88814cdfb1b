//! What `sysak inspect` shows, out of a look.

mod dump;
mod refs;
mod spot;

use sysak::diagnose::Diagnosis;
use sysak::look::Look;
use sysak::ways::{self, Holders, Kind};
use sysak_base::heap::Heap;
use sysak_kernel::Kernel;
use sysak_report as report;
use sysak_report::Place;
use sysak_target::Identity;

pub use dump::dump;
pub use refs::refs;
pub use spot::spot;

/// Holders of a cache that are told.
const MOST_HOLDERS: usize = 50;

/// The document, but for how long it all took.
pub fn document(identity: &Identity, seen: &Look, subject: report::Subject) -> report::Inspection {
    report::Inspection {
        tool: report::Tool { name: "sysak".into(), version: env!("CARGO_PKG_VERSION").into() },
        target: super::target(identity),
        interrupted: seen.interrupted.map(Into::into),
        subject,
        timings: report::Timings {
            census_s: Some(super::rounded(seen.times.census)),
            walk_s: Some(super::rounded(seen.times.walk)),
            reach_s: Some(super::rounded(seen.times.reach)),
            ..report::Timings::default()
        },
        ..report::Inspection::default()
    }
}

/// The cache that was asked for.
pub fn cache(kernel: &Kernel<'_>, diagnosis: &Diagnosis<'_>) -> report::InspectedCache {
    let Some(case) = diagnosis.cases.first() else { return report::InspectedCache::default() };
    let slabs = &diagnosis.look.heap.slabs;
    report::InspectedCache {
        slabs: slabs.iter().filter(|slab| slab.cache == case.cache).count() as u64,
        finding: super::finding(kernel, diagnosis, case),
    }
}

/// Who holds the objects of a cache.
pub fn holders(heap: &Heap, cache: u16, held: &Holders) -> Vec<report::Holder> {
    let size = u64::from(heap.caches[usize::from(cache)].object_size);
    let holder = |one: &ways::HeldBy| {
        let path = path(one);
        report::Holder {
            kind: kind(one.kind, path.first()),
            path,
            objects: one.objects,
            bytes: one.objects * size,
            retained_bytes: one.retained_bytes,
        }
    };
    held.held_by.iter().take(MOST_HOLDERS).map(holder).collect()
}

fn kind(kind: Kind, holder: Option<&Place>) -> report::HolderKind {
    match (kind, holder) {
        (_, Some(Place::Timer(_) | Place::DelayedWork(_))) => report::HolderKind::Timer,
        (Kind::Process, _) => report::HolderKind::Process,
        (Kind::Module, _) => report::HolderKind::Module,
        (Kind::Cgroup, _) => report::HolderKind::Cgroup,
        (Kind::Symbol, _) => report::HolderKind::Symbol,
        (Kind::Kernel, _) => report::HolderKind::Unknown,
    }
}

/// The way from a holder to the objects.
fn path(one: &ways::HeldBy) -> Vec<Place> {
    let mut steps = one.path.iter();
    let holder = steps.next().map(|name| place(one.kind, name));
    holder.into_iter().chain(steps.map(|name| Place::kernel(name))).collect()
}

/// A holder by its kind and its name.
fn place(kind: Kind, name: &str) -> Place {
    match kind {
        Kind::Symbol | Kind::Module | Kind::Kernel => Place::kernel(name),
        Kind::Process => Place::parse(name),
        Kind::Cgroup => match Place::parse(name) {
            found @ (Place::Cgroup { .. } | Place::Cgroups { .. }) => found,
            _ => Place::Cgroup { path: name.to_owned(), removed: false },
        },
    }
}
