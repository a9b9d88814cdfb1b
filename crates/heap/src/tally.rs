//! How many objects each cache has: allocated ones, and those that nothing leads to.

use crate::{Class, Heap, Object};

/// Objects of one cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Slabs.
    pub slabs: u64,
    /// Pages of those slabs.
    pub pages: u64,
    /// Objects, free ones included.
    pub total: u64,
    /// Allocated objects.
    pub live: u64,
    /// Allocated objects that nothing leads to.
    pub unreachable: u64,
    /// Bytes of the allocated objects.
    pub live_bytes: u64,
    /// Bytes of those that nothing leads to.
    pub unreachable_bytes: u64,
}

/// Counts every cache's objects.
pub fn tally(heap: &Heap) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); heap.caches.len()];
    for (slab_index, slab) in (0..).zip(&heap.slabs) {
        let count = heap.count(slab_index);
        let tally = &mut tallies[usize::from(slab.cache)];
        tally.slabs += 1;
        let cache = &heap.caches[usize::from(slab.cache)];
        tally.pages += u64::from(slab.pages);
        tally.total += u64::from(slab.objects);
        tally.live += count.live;
        tally.unreachable += count.white;
        if cache.class == Class::Slab {
            tally.live_bytes += count.live * u64::from(cache.object_size);
            tally.unreachable_bytes += count.white * u64::from(cache.object_size);
        } else {
            let bytes = |index| heap.object_bytes(Object { slab: slab_index, index });
            heap.for_each_live(slab_index, |index| tally.live_bytes += bytes(index));
            heap.for_each_white(slab_index, |index| tally.unreachable_bytes += bytes(index));
        }
    }
    tallies
}
