//! Two looks: what was a suspect in the first and is one in the second.
//!
//! On a live machine an object in flight looks unreachable for a moment: its
//! only pointer is in a register, or between two stores. Only what is still
//! allocated and still unreachable seconds later counts.

use sysak_base::Va;
use sysak_base::heap::{Bits, Heap, Object, Slab};

/// The unreached objects of one look: a bit for each object of the slabs that have any.
///
/// Some 24 bytes a slab and a bit an object, so that a leak of hundreds of millions of
/// objects can be confirmed on a machine that it has left short of memory.
#[derive(Debug, Default)]
pub struct Suspects {
    slabs: Vec<Slab>,
    white: Bits,
    caches: Vec<Va>,
}

impl Suspects {
    /// Takes down every unreached object.
    pub fn of(heap: &Heap) -> Suspects {
        let caches = heap.caches.iter().map(|cache| cache.va).collect();
        let mut suspects = Suspects { slabs: Vec::new(), white: Bits::default(), caches };
        for (index, slab) in heap.slabs.iter().enumerate() {
            if heap.count(index as u32).white > 0 {
                let first = suspects.white.len();
                suspects.slabs.push(Slab { first, ..*slab });
                suspects.white.grow(u64::from(slab.objects), false);
                heap.for_each_white(index as u32, |object| {
                    suspects.white.set(first + u64::from(object));
                });
            }
        }
        suspects
    }

    /// Clears the suspicion of every unreached object of `heap` that was no suspect before.
    pub fn confirm(&self, heap: &mut Heap) {
        let mut cleared = Vec::new();
        // Both rows of slabs ascend: one walk along both.
        let mut before = self.slabs.iter().peekable();
        for index in 0..heap.slabs.len() as u32 {
            let slab = heap.slabs[index as usize];
            while before.next_if(|old| old.pfn < slab.pfn).is_some() {}
            let old = before.peek().filter(|old| self.is_same(old, &slab, heap));
            cleared.clear();
            heap.for_each_white(index, |object| {
                if !old.is_some_and(|old| self.white.test(old.first + u64::from(object))) {
                    cleared.push(object);
                }
            });
            for object in &cleared {
                heap.mark(Object { slab: index, index: *object });
            }
        }
    }

    /// Whether a slab of the first look is still there, of the same cache.
    fn is_same(&self, old: &Slab, slab: &Slab, heap: &Heap) -> bool {
        let cache = heap.caches[usize::from(slab.cache)].va;
        old.pfn == slab.pfn
            && old.objects == slab.objects
            && self.caches.get(usize::from(old.cache)) == Some(&cache)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lost::tests::Ram;

    #[test]
    fn only_what_is_lost_in_both_looks_stays_lost() {
        let ram = Ram::new(16);
        let mut first = ram.heap(&[(4, 0), (6, 1)]);
        first.mark(Object { slab: 0, index: 1 });
        let suspects = Suspects::of(&first);
        let mut second = ram.heap(&[(4, 0), (5, 0), (6, 0)]);
        second.mark(Object { slab: 0, index: 2 });
        suspects.confirm(&mut second);
        let white = |slab, index| second.is_white(Object { slab, index });
        assert!(white(0, 0) && white(0, 63));
        assert!(!white(0, 1), "reached in the first look");
        assert!(!white(0, 2), "reached in the second look");
        assert!(!white(1, 0), "a slab that was not there");
        assert!(!white(2, 0), "the page belongs to another cache now");
    }
}
