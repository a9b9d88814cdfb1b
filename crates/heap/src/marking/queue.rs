//! Which slabs wait to be scanned: a bit each.

use std::ops::Range;

use crate::{Bits, Heap};

/// Slabs with marked objects that are to be scanned.
pub(super) struct Queue {
    slabs: Bits,
    waiting: u64,
}

impl Queue {
    pub(super) fn new(heap: &Heap) -> Queue {
        let mut slabs = Bits::default();
        slabs.grow(heap.slabs.len() as u64, false);
        Queue { slabs, waiting: 0 }
    }

    #[inline]
    pub(super) fn add(&mut self, slab: u32) {
        let slab = u64::from(slab);
        self.waiting += u64::from(!self.slabs.test(slab));
        self.slabs.set(slab);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// The first of some slabs that waits.
    pub(super) fn next(&self, slabs: Range<u32>) -> Option<u32> {
        let next = self.slabs.next_set(u64::from(slabs.start))?;
        (next < u64::from(slabs.end)).then_some(next as u32)
    }

    /// Takes a waiting slab off.
    pub(super) fn take(&mut self, slab: u32) {
        self.slabs.clear(u64::from(slab));
        self.waiting -= 1;
    }
}
