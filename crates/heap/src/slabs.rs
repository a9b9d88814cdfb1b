//! The slabs of a kernel and their objects.
//!
//! **Invariant:** slabs ascend by page and never overlap.

use sysak_base::{PAGE_SHIFT, Pfn, Va};

use crate::address_filter::AddressFilter;
use crate::cache::Cache;
use crate::never_followed::NeverFollowed;
use crate::non_slab_index::Lookup;
use crate::object::Object;
use crate::page_index::PageIndex;
use crate::state_bits::StateBits;

/// One slab: a run of pages cut into objects of one cache.
#[derive(Clone, Copy, Debug)]
pub struct Slab {
    /// Its first page; of a vmalloc area, the number of the page in the address space.
    pub pfn: Pfn,
    /// Index of its first object in the heap's bitmaps.
    pub first: u64,
    /// Pages of it.
    pub pages: u32,
    /// Index into [`Heap::caches`].
    pub cache: u16,
    /// How many objects it is cut into.
    pub objects: u16,
}

impl Slab {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages) << PAGE_SHIFT
    }

    /// The page behind its last one.
    pub fn end(&self) -> Pfn {
        Pfn(self.pfn.0 + u64::from(self.pages))
    }
}

/// The object graph: every object of a kernel and its state.
///
/// An object is free, live and not reached (white), reached but its words not
/// followed yet (grey), or done (black): two bits tell the four apart.
///
/// It is made by a [`HeapBuilder`](crate::HeapBuilder), and which objects are reachable is found by
/// [`Marking`](crate::marking::Marking). Then only [`Heap::clear_suspicion`] changes what is white.
#[derive(Debug)]
pub struct Heap {
    /// The caches that [`Slab::cache`] indexes.
    pub caches: Vec<Cache>,
    /// The slabs, in ascending page order.
    pub slabs: Vec<Slab>,
    pub(crate) page_offset: Va,
    pub(crate) span: u64,
    pub(crate) pages: PageIndex,
    pub(crate) states: StateBits,
    pub(crate) non_slab: Lookup,
    pub(crate) never_followed: NeverFollowed,
}

impl Heap {
    /// The address of a slab's first byte.
    pub fn slab_va(&self, slab: &Slab) -> Va {
        match slab.pfn.0 < self.span >> PAGE_SHIFT {
            true => self.page_offset.at(slab.pfn.0 << PAGE_SHIFT),
            false => Va(slab.pfn.0 << PAGE_SHIFT),
        }
    }

    /// Where an object starts, past any red zone; of a per-CPU allocation, its pointer.
    pub fn object_va(&self, object: Object) -> Va {
        if let Some(found) = self.per_cpu_object(object) {
            return Va(found.pointer);
        }
        let slab = &self.slabs[object.slab as usize];
        let cache = &self.caches[slab.cache as usize];
        let offset = u64::from(object.index) * u64::from(cache.stride) + u64::from(cache.left_pad);
        self.slab_va(slab).at(offset)
    }

    /// The cache that an object belongs to.
    pub fn cache_of(&self, object: Object) -> &Cache {
        &self.caches[self.slabs[object.slab as usize].cache as usize]
    }

    /// The object, free or live, that the address lies in (interior addresses count); what
    /// is no slab is found by its `struct page` and its per-CPU pointer too.
    #[inline]
    pub fn find_object(&self, address: u64) -> Option<Object> {
        let linear = address.wrapping_sub(self.page_offset.0);
        if linear >= self.span {
            return self.find_non_slab(address);
        }
        let pfn = Pfn(linear >> PAGE_SHIFT);
        let slab_index = self.pages.slab_of(pfn)?;
        let slab = self.slabs.get(slab_index as usize)?;
        let cache = &self.caches[slab.cache as usize];
        let index = cache.index_of(linear - (slab.pfn.0 << PAGE_SHIFT));
        (index < u64::from(slab.objects))
            .then_some(Object { slab: slab_index, index: index as u16 })
    }

    /// Tells quickly which words may be addresses of objects.
    #[inline]
    pub fn address_filter(&self) -> &AddressFilter {
        &self.non_slab.address_filter
    }

    /// Where the direct map starts.
    pub fn page_offset(&self) -> Va {
        self.page_offset
    }

    /// Whether the page belongs to any slab or block.
    pub fn is_slab_page(&self, pfn: Pfn) -> bool {
        self.pages.contains(pfn)
    }

    /// The slabs of a cache, and of those that it was merged into.
    pub fn slabs_of(&self, cache: &str) -> impl Iterator<Item = (u32, &Slab)> {
        let named: Vec<bool> = self.caches.iter().map(|one| one.has_name(cache)).collect();
        (0..).zip(&self.slabs).filter(move |(_, slab)| named[usize::from(slab.cache)])
    }

    /// How many objects there are, free ones included.
    pub fn objects(&self) -> u64 {
        self.states.len()
    }

    /// Bytes that this structure occupies.
    pub fn footprint_bytes(&self) -> u64 {
        self.states.bytes()
            + self.pages.bytes()
            + (self.slabs.capacity() * size_of::<Slab>()) as u64
            + self.non_slab.footprint_bytes()
            + self.never_followed.footprint_bytes()
    }

    #[inline]
    pub(crate) fn bit(&self, object: Object) -> u64 {
        self.slabs[object.slab as usize].first + u64::from(object.index)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::HeapBuilder;

    const BASE: Va = Va(0xffff_8880_0000_0000);

    pub(crate) fn builder() -> HeapBuilder {
        let small = Cache::new(Va(1), "kmalloc-96".into(), 96, 96).unwrap();
        let large = Cache::new(Va(2), "kmalloc-8k".into(), 8192, 8192).unwrap();
        let mut heap = HeapBuilder::new(BASE, 1000, vec![small, large]);
        heap.push(Pfn(3), 0, 0, 42).unwrap();
        heap.push(Pfn(64), 3, 1, 4).unwrap();
        heap.push(Pfn(72), 0, 0, 42).unwrap();
        heap
    }

    fn heap() -> Heap {
        builder().seal().never_marked()
    }

    #[test]
    fn interior_addresses_find_their_object() {
        let heap = heap();
        let at = |pfn: u64, offset: u64| heap.find_object(BASE.0 + (pfn << 12) + offset);
        assert_eq!(at(3, 95), Some(Object { slab: 0, index: 0 }));
        assert_eq!(at(3, 96), Some(Object { slab: 0, index: 1 }));
        assert_eq!(at(71, 0xfff), Some(Object { slab: 1, index: 3 }));
        assert_eq!(at(72, 96 * 41), Some(Object { slab: 2, index: 41 }));
    }

    #[test]
    fn the_waste_behind_the_last_object_is_no_object() {
        assert_eq!(heap().find_object(BASE.0 + (3 << 12) + 96 * 42), None);
    }

    #[test]
    fn pages_of_no_slab_and_addresses_outside_are_no_objects() {
        let heap = heap();
        for address in [BASE.0, BASE.0 + (63 << 12), BASE.0 + (1000 << 12), 0, u64::MAX] {
            assert_eq!(heap.find_object(address), None, "{address:#x}");
        }
    }
}
