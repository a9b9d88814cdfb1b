//! Who holds the objects, in the report's terms.

use sysak_heap::Heap;
use sysak_holders::{Holder, HolderKind, Holders};
use sysak_report as report;
use sysak_report::Place;

/// Holders of a cache that are reported.
const MOST_HOLDERS: usize = 50;

/// Who holds the objects of a cache.
pub fn holders(heap: &Heap, cache: u16, held: &Holders) -> Vec<report::Holder> {
    let size = u64::from(heap.caches[usize::from(cache)].object_size);
    let holder = |one: &Holder| {
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

fn kind(kind: HolderKind, holder: Option<&Place>) -> report::HolderKind {
    match (kind, holder) {
        (_, Some(Place::Timer(_) | Place::DelayedWork(_))) => report::HolderKind::Timer,
        (HolderKind::Process, _) => report::HolderKind::Process,
        (HolderKind::Module, _) => report::HolderKind::Module,
        (HolderKind::Cgroup, _) => report::HolderKind::Cgroup,
        (HolderKind::Symbol, _) => report::HolderKind::Symbol,
        (HolderKind::Kernel, _) => report::HolderKind::Unknown,
    }
}

/// The way from a holder to the objects.
fn path(one: &Holder) -> Vec<Place> {
    let mut steps = one.path.iter();
    let holder = steps.next().map(|name| place(one.kind, name));
    holder.into_iter().chain(steps.map(|name| Place::kernel(name))).collect()
}

/// A holder by its kind and its name.
pub fn place(kind: HolderKind, name: &str) -> Place {
    match kind {
        HolderKind::Symbol | HolderKind::Module | HolderKind::Kernel => Place::kernel(name),
        HolderKind::Process => Place::parse(name),
        HolderKind::Cgroup => match Place::parse(name) {
            found @ (Place::Cgroup { .. } | Place::Cgroups { .. }) => found,
            _ => Place::Cgroup { path: name.to_owned(), removed: false },
        },
    }
}
