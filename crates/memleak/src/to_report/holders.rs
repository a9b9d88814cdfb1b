//! Who holds the objects, in the report's terms.

use sysak_heap::Heap;
use sysak_holders::{Holder, HolderKind, Holders};
use sysak_report as report;

/// Holders of a cache that are reported.
const MOST_HOLDERS: usize = 50;

/// Who holds the objects of a cache.
pub fn holders(heap: &Heap, cache: u16, held: &Holders) -> Vec<report::Holder> {
    let size = u64::from(heap.caches[usize::from(cache)].object_size);
    let holder = |one: &Holder| report::Holder {
        path: one.path.clone(),
        objects: one.objects,
        bytes: one.objects * size,
        retained_bytes: one.retained_bytes,
        kind: match one.kind {
            HolderKind::Process => report::HolderKind::Process,
            HolderKind::Module => report::HolderKind::Module,
            HolderKind::Cgroup => report::HolderKind::Cgroup,
            HolderKind::Symbol | HolderKind::Kernel => report::HolderKind::Symbol,
        },
    };
    held.held_by.iter().take(MOST_HOLDERS).map(holder).collect()
}
