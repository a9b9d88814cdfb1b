//! How a heap comes into being: slabs first, then what is no slab, then marking.
//!
//! Each step takes what the one before gave and gives something else, so that none can be left out, made twice or
//! made too late: [`HeapBuilder`] → [`UnmarkedHeap`] → [`Marking`](crate::marking::Marking) → [`Heap`].

use std::ops::Deref;

use sysak_base::{PAGE_SHIFT, Pfn, PfnRange, Va};

use crate::never_followed::NeverFollowed;
use crate::non_slab_index::Lookup;
use crate::page_index::PageIndex;
use crate::state_bits::StateBits;
use crate::{Cache, Heap, NonSlab, Object, Slab};

/// A slab that does not lie behind the one before, or one too many: the walk is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slab at page {0} is out of order")]
pub struct OutOfOrder(pub Pfn);

/// Takes in slabs and their free objects.
#[derive(Debug)]
pub struct HeapBuilder {
    heap: Heap,
    free: Vec<Va>,
}

impl HeapBuilder {
    /// No slab yet, over a direct map of `pages` page frames.
    pub fn new(page_offset: Va, pages: u64, caches: Vec<Cache>) -> HeapBuilder {
        let heap = Heap {
            caches,
            slabs: Vec::new(),
            page_offset,
            span: pages << PAGE_SHIFT,
            pages: PageIndex::new(pages),
            states: StateBits::default(),
            non_slab: Lookup::of_slabs(page_offset, pages),
            never_followed: NeverFollowed::default(),
        };
        HeapBuilder { heap, free: Vec::new() }
    }

    /// Adds a cache that only its slabs lead to.
    pub fn add_cache(&mut self, cache: Cache) {
        self.heap.caches.push(cache);
    }

    /// Adds a slab, all of its objects live; returns its index.
    pub fn push(
        &mut self,
        pfn: Pfn,
        order: u8,
        cache: u16,
        objects: u16,
    ) -> Result<u32, OutOfOrder> {
        let heap = &mut self.heap;
        let end = pfn.0 + (1 << order);
        let in_order = heap.slabs.last().is_none_or(|slab| slab.end() <= pfn);
        if !in_order || end > heap.span >> PAGE_SHIFT || heap.slabs.len() >= u32::MAX as usize {
            return Err(OutOfOrder(pfn));
        }
        heap.add(pfn, 1 << order, cache, objects);
        heap.pages.add(PfnRange { start: pfn, end: Pfn(end) });
        Ok(heap.slabs.len() as u32 - 1)
    }

    /// Takes an object that is on a freelist out of the live ones.
    pub fn set_free(&mut self, object: Object) {
        self.heap.set_free(object);
    }

    /// Takes the object at an address out of the live ones, whichever slab it turns out to be in.
    pub fn set_free_at(&mut self, address: Va) {
        self.free.push(address);
    }

    /// Ends the filling: objects can be looked up from now on, and all live ones are white.
    pub fn seal(self) -> UnmarkedHeap {
        let HeapBuilder { mut heap, free } = self;
        heap.pages.number();
        for address in free {
            if let Some(object) = heap.find_object(address.0) {
                heap.set_free(object);
            }
        }
        UnmarkedHeap(heap)
    }
}

/// A heap before marking: nothing is known to be reachable, and it can be looked up in.
#[derive(Debug)]
pub struct UnmarkedHeap(Heap);

impl UnmarkedHeap {
    /// Adds what is no slab; addresses of all of it can be looked up from then on.
    pub fn adopt(mut self, non_slab: NonSlab) -> UnmarkedHeap {
        self.0.add_non_slab(non_slab);
        self
    }

    /// The heap, where marking is not made: nothing is known to be reachable.
    pub fn never_marked(self) -> Heap {
        self.0
    }
}

impl Deref for UnmarkedHeap {
    type Target = Heap;

    fn deref(&self) -> &Heap {
        &self.0
    }
}

impl Heap {
    pub(crate) fn add(&mut self, pfn: Pfn, pages: u32, cache: u16, objects: u16) {
        let first = self.states.len();
        self.slabs.push(Slab { pfn, first, pages, cache, objects });
        self.states.grow(u64::from(objects));
    }

    fn set_free(&mut self, object: Object) {
        self.states.set(self.bit(object), false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slabs::tests::builder;

    #[test]
    fn slabs_out_of_order_are_refused() {
        let mut heap = builder();
        assert_eq!(heap.push(Pfn(72), 0, 0, 42), Err(OutOfOrder(Pfn(72))));
        assert_eq!(heap.push(Pfn(999), 1, 0, 42), Err(OutOfOrder(Pfn(999))));
    }

    #[test]
    fn an_object_is_set_free_by_its_place_and_by_its_address() {
        let mut heap = builder();
        let address = Va(0xffff_8880_0000_0000 + (64 << 12) + 8192 + 5);
        heap.set_free_at(address);
        heap.set_free_at(Va(17));
        heap.set_free(Object { slab: 0, index: 7 });
        let heap = heap.seal();
        let is_live = |slab, index| heap.is_live(Object { slab, index });
        assert!(!is_live(1, 1) && !is_live(0, 7));
        let live: u64 = (0..3).map(|slab| heap.count(slab).live).sum();
        assert_eq!(live, heap.objects() - 2);
    }
}
