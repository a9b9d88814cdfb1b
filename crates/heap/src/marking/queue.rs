//! Which slabs wait to be scanned: a bit each.

use std::ops::Range;

use crate::bits::Change;
use crate::{Bits, Heap};

/// Slabs with marked objects that are to be scanned.
pub(super) struct Queue(Bits);

impl Queue {
    pub(super) fn new(heap: &Heap) -> Queue {
        Queue(super::no_slabs(heap))
    }

    /// Adds a slab, once an object of it is grey; 1 where it did not wait yet.
    ///
    /// Where it waits already, whoever takes it off will see that object: it looks for grey ones after that.
    #[inline(always)]
    pub(super) fn add<C: Change>(&self, slab: u32) -> i64 {
        let slab = u64::from(slab);
        i64::from(!self.0.test_now(slab) && self.0.set_as::<C>(slab))
    }

    /// The first of some slabs that waits.
    #[inline]
    pub(super) fn next(&self, slabs: Range<u32>) -> Option<u32> {
        let next = self.0.next_set_in(u64::from(slabs.start)..u64::from(slabs.end))?;
        Some(next as u32)
    }

    /// Takes a waiting slab off; false where another thread did.
    #[inline]
    pub(super) fn take<C: Change>(&self, slab: u32) -> bool {
        self.0.clear_as::<C>(u64::from(slab))
    }

    /// Regions of so many slabs that begin with one that waits, going round through memory, until few wait.
    pub(super) fn regions(
        &self,
        all: u32,
        slabs: u32,
        few: u32,
    ) -> impl Iterator<Item = Range<u32>> {
        let (mut at, mut found) = (0, u32::MAX);
        std::iter::from_fn(move || {
            let first = self.next(at..all).or_else(|| {
                let is_over = std::mem::take(&mut found) < few;
                (!is_over).then(|| self.next(0..all)).flatten()
            })?;
            found = found.saturating_add(1);
            at = all.min(first.saturating_add(slabs));
            Some(first..at)
        })
    }
}
