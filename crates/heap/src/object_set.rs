//! A set of objects that finds the words which lead to one of them.
//!
//! Most words lead to none, and most of these lie on a page that has none: one test in a bitmap,
//! before all that it takes to find an object.
//!
//! **Invariant:** finds the same objects as looking up each word and asking for its object.

use sysak_base::{PAGE_SHIFT, Pfn};

use crate::bit_set::BitSet;
use crate::page_targets::CacheBits;
use crate::{Class, Heap, Object, PageSet};

/// A set of objects of one heap.
#[derive(Debug)]
pub struct ObjectSet {
    objects: BitSet,
    /// Pages of the direct map that any of them lies on.
    pages: PageSet,
    /// The caches of all of them.
    caches: CacheBits,
    /// Whether any of them has addresses outside of the direct map, too.
    elsewhere: bool,
}

impl ObjectSet {
    /// The objects given.
    pub fn new(heap: &Heap, objects: impl IntoIterator<Item = Object>) -> ObjectSet {
        let mut set = ObjectSet {
            objects: BitSet::new(heap.objects()),
            pages: PageSet::new(heap.span >> PAGE_SHIFT),
            caches: CacheBits::default(),
            elsewhere: false,
        };
        objects.into_iter().for_each(|object| set.insert(heap, object));
        set
    }

    /// Adds an object.
    pub(crate) fn insert(&mut self, heap: &Heap, object: Object) {
        self.objects.add(heap.bit(object));
        self.add_pages(heap, object.slab);
    }

    /// All objects of some slabs.
    pub fn of_slabs(heap: &Heap, slabs: impl IntoIterator<Item = u32>) -> ObjectSet {
        let mut set = ObjectSet::new(heap, []);
        for slab in slabs {
            let all = 0..heap.slabs[slab as usize].objects;
            all.for_each(|index| set.objects.add(heap.bit(Object { slab, index })));
            set.add_pages(heap, slab);
        }
        set
    }

    /// The pages of the direct map that any of them lies on.
    pub(crate) fn pages(&self) -> &PageSet {
        &self.pages
    }

    /// The caches of all of them.
    pub(crate) fn caches(&self) -> CacheBits {
        self.caches
    }

    /// Whether an object is among them.
    pub(crate) fn has(&self, heap: &Heap, object: Object) -> bool {
        self.objects.has(heap.bit(object))
    }

    fn add_pages(&mut self, heap: &Heap, slab: u32) {
        let place = &heap.slabs[slab as usize];
        (place.pfn.0..place.end().0).for_each(|page| self.pages.insert(Pfn(page)));
        self.caches.add(place.cache);
        self.elsewhere |= heap.caches[usize::from(place.cache)].class != Class::Slab;
    }

    /// The object of the set that an address leads to.
    #[inline]
    pub fn find(&self, heap: &Heap, address: u64) -> Option<Object> {
        let linear = address.wrapping_sub(heap.page_offset.0);
        let may_be = match linear < heap.span {
            true => self.pages.contains(Pfn(linear >> PAGE_SHIFT)),
            false => self.elsewhere,
        };
        if !may_be {
            return None;
        }
        heap.find_object(address).filter(|object| self.has(heap, *object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::non_slab::tests::{AREA, BASE, MEMMAP, heap};

    #[test]
    fn the_same_is_found_as_by_looking_up_each_word() {
        let heap = heap();
        let memory = (BASE.0..BASE.0 + (64 << PAGE_SHIFT)).step_by(40);
        let areas = (AREA.0 - 64..AREA.0 + 0x6000).step_by(512);
        let pages = (0..1020).map(|pfn| MEMMAP.0 + 8 + pfn * 64);
        let per_cpu = (0x2_ffc0..0x3_0080).chain(0x607f_0000_0000..0x607f_0000_0010).step_by(8);
        let all: Vec<u64> = memory.chain(areas).chain(pages).chain(per_cpu).collect();
        let slabs = 0..heap.slabs.len() as u32;
        for slab in slabs.clone() {
            let object = Object { slab, index: heap.slabs[slab as usize].objects / 2 };
            let one = ObjectSet::new(&heap, [object]);
            let whole = ObjectSet::of_slabs(&heap, [slab]);
            let mut found = 0;
            for word in &all {
                let expected = heap.find_object(*word);
                let is_ours = expected.filter(|found| *found == object);
                assert_eq!(one.find(&heap, *word), is_ours, "{object:?} {word:#x}");
                let is_near = expected.filter(|found| found.slab == slab);
                assert_eq!(whole.find(&heap, *word), is_near, "{slab} {word:#x}");
                found += u32::from(is_ours.is_some());
            }
            assert!(found > 0, "{object:?}");
        }
    }
}
