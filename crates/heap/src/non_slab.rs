//! Blocks of pages, vmalloc areas and per-CPU allocations as objects of the heap.
//!
//! A `struct page` of a slab leads to no object: it does not say which. A page of an area does not lead to the
//! area either: code that frees an area must know its address.

use sysak_base::{PAGE_SHIFT, Pfn, PfnRange, Va, VaRange};

use crate::cache::{Cache, Class};
use crate::non_slab_index::{Block, Lookup, NonSlab, PER_CPU_OBJECTS, PerCpuObject};
use crate::object::Object;
use crate::page_set::PageSet;
use crate::slabs::Heap;

/// Above every page number of the address space: slabs of per-CPU allocations have no pages.
const NO_PAGES: u64 = 1 << 60;
impl Heap {
    pub(crate) fn add_non_slab(&mut self, non_slab: NonSlab) {
        let NonSlab { blocks, areas, per_cpu, memmap, struct_page_bytes, cpus } = non_slab;
        let frames = self.span >> PAGE_SHIFT;
        let cache = self.caches.len() as u16;
        self.caches.extend([Class::Page, Class::Vmalloc, Class::PerCpu].map(Cache::of_class));
        let pages = self.add_blocks(&blocks, cache);
        self.slabs.sort_unstable_by_key(|slab| slab.pfn);
        let mut lookup = Lookup {
            memmap: VaRange::new(memmap, frames.saturating_mul(struct_page_bytes)),
            struct_page_bytes: struct_page_bytes.max(1),
            cpus,
            first_area: self.slabs.len() as u32,
            pages,
            ..Lookup::default()
        };
        for area in areas.iter().filter(|area| lookup.add_area(area)) {
            self.add(Pfn(area.address.0 >> PAGE_SHIFT), area.pages.len() as u32, cache + 1, 1);
        }
        lookup.first_per_cpu = self.slabs.len() as u32;
        for (index, objects) in per_cpu.chunks(PER_CPU_OBJECTS).enumerate() {
            self.add(Pfn(NO_PAGES + index as u64), 0, cache + 2, objects.len() as u16);
        }
        lookup.per_cpu = per_cpu;
        lookup.set_address_filter(VaRange::new(self.page_offset, self.span));
        self.non_slab = lookup;
        self.pages.number();
    }

    /// Adds those blocks that overlap neither a slab nor each other; returns their pages.
    fn add_blocks(&mut self, blocks: &[Block], cache: u16) -> PageSet {
        let frames = self.span >> PAGE_SHIFT;
        let mut added = PageSet::new(frames);
        for Block { pfn, pages } in blocks {
            let own = pfn.0..pfn.0.saturating_add(u64::from(*pages));
            if own.end > frames || own.clone().any(|page| self.is_slab_page(Pfn(page))) {
                continue;
            }
            self.pages.add(PfnRange { start: *pfn, end: Pfn(own.end) });
            own.for_each(|page| added.insert(Pfn(page)));
            self.add(*pfn, *pages, cache, 1);
        }
        added
    }

    /// The non-slab object at an address outside of the direct map, of a `struct page`, or of a per-CPU pointer.
    #[inline]
    pub(crate) fn find_non_slab(&self, address: u64) -> Option<Object> {
        if self.may_be_non_slab(address) { self.non_slab_at(address) } else { None }
    }

    /// The same, where [`Heap::may_be_non_slab`] was asked already.
    pub(crate) fn non_slab_at(&self, address: u64) -> Option<Object> {
        let lookup = &self.non_slab;
        if lookup.memmap.contains(Va(address)) {
            return self.block_of(Pfn(lookup.page_of(address - lookup.memmap.start().0)));
        }
        // Since Linux v6.15 per-CPU pointers look like addresses of the kernel's image, with
        // areas on both sides.
        lookup.area_at(Va(address)).or_else(|| lookup.per_cpu_at(address))
    }

    /// Whether a word outside of the direct map may lead to a non-slab object, without a branch. Most
    /// `struct page`s are of programs' and files' pages, and lead nowhere.
    #[inline]
    pub(crate) fn may_be_non_slab(&self, word: u64) -> bool {
        let lookup = &self.non_slab;
        let is_memmap = lookup.memmap.contains(Va(word));
        let offset = if is_memmap { word.wrapping_sub(lookup.memmap.start().0) } else { 0 };
        let page = Pfn(lookup.page_of(offset));
        lookup.address_filter.contains(word) & (!is_memmap | lookup.pages.contains(page))
    }

    fn block_of(&self, pfn: Pfn) -> Option<Object> {
        let slab = self.pages.slab_of(pfn)?;
        let cache = self.slabs.get(slab as usize)?.cache;
        let is_block = self.caches[usize::from(cache)].class == Class::Page;
        is_block.then_some(Object { slab, index: 0 })
    }

    /// The pages of a slab, of a block or of an area, as runs in the direct map.
    pub fn pieces(&self, slab: u32) -> impl Iterator<Item = (Pfn, u64)> + '_ {
        let place = self.slabs[slab as usize];
        let frames = self.non_slab.frames_of(slab);
        let whole = (frames.is_empty() && place.pages > 0 && place.pfn.0 < NO_PAGES)
            .then_some((place.pfn, u64::from(place.pages)));
        let runs = frames.chunk_by(|a, b| a.0 + 1 == b.0).map(|run| (run[0], run.len() as u64));
        whole.into_iter().chain(runs)
    }

    /// Where the words of a block or an area stand: its pages, and their `struct page`s. Of a block that
    /// is the first one's; the others' words are those of an earlier life.
    pub fn words_of(&self, slab: u32) -> Vec<VaRange> {
        let is_block = self.cache_of(Object { slab, index: 0 }).class == Class::Page;
        let pieces = self.pieces(slab).flat_map(|(pfn, pages)| {
            let start = self.page_offset.at(pfn.0 << PAGE_SHIFT);
            let struct_pages = self.struct_pages(pfn, if is_block { 1 } else { pages });
            [VaRange::new(start, pages << PAGE_SHIFT), struct_pages]
        });
        pieces.collect()
    }

    /// What is read to compare the contents of a slab's objects, as start and bytes: all of a slab, of
    /// non-slab objects the first page. Per-CPU allocations have many copies and are not compared.
    pub fn contents(&self, slab: u32) -> Option<(Va, usize)> {
        let place = &self.slabs[slab as usize];
        let class = self.caches[usize::from(place.cache)].class;
        let (pfn, pages) = self.pieces(slab).next()?;
        let pages = if class == Class::Slab { pages } else { 1 };
        Some((self.page_offset.at(pfn.0 << PAGE_SHIFT), (pages << PAGE_SHIFT) as usize))
    }

    /// Where an object's contents can be read; not those of a per-CPU allocation.
    pub fn content_va(&self, object: Object) -> Option<Va> {
        match self.cache_of(object).class {
            Class::Slab => Some(self.object_va(object)),
            Class::Page | Class::Vmalloc => Some(self.contents(object.slab)?.0),
            Class::PerCpu => None,
        }
    }

    /// Bytes of memory that an object takes, of a per-CPU allocation on all CPUs together.
    pub fn object_bytes(&self, object: Object) -> u64 {
        let cache = self.cache_of(object);
        match cache.class {
            Class::Slab => u64::from(cache.object_size),
            Class::Page | Class::Vmalloc => self.slabs[object.slab as usize].bytes(),
            Class::PerCpu => {
                let bytes = self.per_cpu_object(object).map_or(0, |found| found.bytes);
                u64::from(bytes) * self.non_slab.cpus
            }
        }
    }

    /// The pages of an area, in the order of their addresses; none of another slab.
    pub(crate) fn frames_of(&self, slab: u32) -> &[Pfn] {
        self.non_slab.frames_of(slab)
    }

    /// The array of `struct page`, and bytes of each.
    pub(crate) fn memmap(&self) -> (VaRange, u64) {
        (self.non_slab.memmap, self.non_slab.struct_page_bytes.max(1))
    }

    /// Where the `struct page`s of some pages lie.
    pub fn struct_pages(&self, pfn: Pfn, pages: u64) -> VaRange {
        let bytes = self.non_slab.struct_page_bytes;
        let start = self.non_slab.memmap.start().at(pfn.0.wrapping_mul(bytes));
        VaRange::new(start, pages.saturating_mul(bytes))
    }

    /// The per-CPU allocation that an object is.
    pub(crate) fn per_cpu_object(&self, object: Object) -> Option<PerCpuObject> {
        let chunk = object.slab.checked_sub(self.non_slab.first_per_cpu)? as usize;
        self.non_slab.per_cpu.get(chunk * PER_CPU_OBJECTS + usize::from(object.index)).copied()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::HeapBuilder;
    use crate::non_slab_index::AreaPages;

    pub(crate) const BASE: Va = Va(0xffff_8880_0000_0000);
    pub(crate) const AREA: Va = Va(0xffff_c900_0010_0000);
    pub(crate) const MEMMAP: Va = Va(0xffff_ea00_0000_0000);

    /// Of each class some.
    pub(crate) fn heap() -> Heap {
        let cache = Cache::new(Va(1), "kmalloc-64".into(), 64, 64).unwrap();
        let mut heap = HeapBuilder::new(BASE, 1000, vec![cache]);
        heap.push(Pfn(20), 0, 0, 64).unwrap();
        let non_slab = NonSlab {
            blocks: vec![Block { pfn: Pfn(8), pages: 4 }, Block { pfn: Pfn(40), pages: 1 }],
            areas: vec![
                AreaPages { address: AREA, pages: vec![Pfn(61), Pfn(62), Pfn(50)] },
                AreaPages { address: AREA.at(0x4000), pages: vec![Pfn(51)] },
            ],
            per_cpu: vec![
                PerCpuObject { pointer: 0x3_0000, bytes: 16 },
                PerCpuObject { pointer: 0x607f_0000_0000, bytes: 8 },
            ],
            memmap: MEMMAP,
            struct_page_bytes: 64,
            cpus: 4,
        };
        heap.seal().adopt(non_slab).never_marked()
    }

    fn cache_at(heap: &Heap, address: u64) -> Option<(u32, Class)> {
        let object = heap.find_object(address)?;
        Some((object.slab, heap.cache_of(object).class))
    }

    #[test]
    fn blocks_are_found_by_address_and_by_struct_page() {
        let heap = heap();
        let slabs: Vec<u64> = heap.slabs.iter().map(|slab| slab.pfn.0).collect();
        assert_eq!(slabs[..3], [8, 20, 40]);
        assert_eq!(cache_at(&heap, BASE.0 + 0xbfff), Some((0, Class::Page)));
        assert_eq!(cache_at(&heap, MEMMAP.0 + 11 * 64 + 8), Some((0, Class::Page)), "a tail's lru");
        assert_eq!(cache_at(&heap, MEMMAP.0 + 12 * 64), None);
        assert_eq!(cache_at(&heap, BASE.0 + (20 << 12) + 64), Some((1, Class::Slab)));
        assert_eq!(cache_at(&heap, MEMMAP.0 + 20 * 64), None, "which object of the slab?");
    }

    #[test]
    fn areas_are_found_by_their_own_addresses_and_not_by_their_pages() {
        let heap = heap();
        for address in [AREA.0, AREA.0 + 0x2fff] {
            assert_eq!(cache_at(&heap, address), Some((3, Class::Vmalloc)), "{address:#x}");
        }
        for stale in [BASE.0 + (50 << 12), MEMMAP.0 + 61 * 64] {
            assert_eq!(cache_at(&heap, stale), None, "{stale:#x}");
        }
        assert_eq!(cache_at(&heap, AREA.0 + 0x3000), None, "the guard page");
        assert_eq!(cache_at(&heap, AREA.0 + 0x4005), Some((4, Class::Vmalloc)));
        assert_eq!(heap.pieces(3).collect::<Vec<_>>(), [(Pfn(61), 2), (Pfn(50), 1)]);
        assert_eq!(heap.contents(3), Some((BASE.at(61 << 12), 4096)));
        assert_eq!(heap.slab_va(&heap.slabs[4]), AREA.at(0x4000));
    }

    #[test]
    fn per_cpu_allocations_are_found_by_their_pointers() {
        let heap = heap();
        assert_eq!(cache_at(&heap, 0x3_000f), Some((5, Class::PerCpu)));
        assert_eq!(cache_at(&heap, 0x3_0010), None);
        let far = heap.find_object(0x607f_0000_0000).unwrap();
        assert_eq!(heap.object_bytes(far), 4 * 8, "one for each CPU");
        assert_eq!(heap.object_va(far), Va(0x607f_0000_0000));
        assert!(
            heap.address_filter().contains(0x3_0000)
                && heap.address_filter().contains(0x607f_0000_0004)
        );
        assert!(
            heap.address_filter().contains(AREA.0) && !heap.address_filter().contains(0x4_0000)
        );
    }

    #[test]
    fn what_is_no_slab_has_states_like_any_object() {
        let mut heap = heap();
        let block = heap.find_object(BASE.0 + (40 << 12)).unwrap();
        assert!(heap.is_white(block) && heap.mark(block) && !heap.mark(block));
        let mut grey = Vec::new();
        heap.take_grey::<crate::bits::Alone>(block.slab, |run| grey.extend(run));
        assert_eq!(grey, [0]);
    }
}
