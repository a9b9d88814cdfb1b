//! Blocks of pages, vmalloc areas and per-CPU allocations as objects of the heap.
//!
//! A `struct page` of a slab leads to no object: it does not say which. A page of an area does not
//! lead to the area either: who is to free an area must know its address.

use sysak_base::{PAGE_SHIFT, Pfn, Va, VaRange};

use crate::address_filter::AddressFilter;
use crate::cache::{Cache, Class};
use crate::non_slab_index::{Block, Lookup, NonSlab, PER_CPU_OBJECTS, PerCpuObject};
use crate::object::Object;
use crate::page_set::PageSet;
use crate::slabs::Heap;

/// Above every page number of the address space: slabs of per-CPU allocations have no pages.
const NO_PAGES: u64 = 1 << 60;
/// Areas have no more pages together: 16 TiB.
const MOST_PAGES: usize = u32::MAX as usize;

impl Heap {
    pub(crate) fn add_non_slab(&mut self, others: NonSlab) {
        let frames = self.span >> PAGE_SHIFT;
        let cache = self.caches.len() as u16;
        self.caches.extend([Class::Page, Class::Vmalloc, Class::PerCpu].map(Cache::of_class));
        let mut others_pages = PageSet::new(frames);
        for Block { pfn, pages } in others.blocks {
            let free = (pfn.0..pfn.0 + u64::from(pages)).all(|page| !self.is_slab_page(Pfn(page)));
            if free && pfn.0 + u64::from(pages) <= frames {
                self.heads.insert(pfn);
                for page in (pfn.0..pfn.0 + u64::from(pages)).map(Pfn) {
                    self.pages.insert(page);
                    others_pages.insert(page);
                }
                self.add(pfn, pages, cache, 1);
            }
        }
        self.slabs.sort_unstable_by_key(|slab| slab.pfn);
        let mut found = Lookup {
            memmap: others.memmap.0,
            memmap_bytes: frames.saturating_mul(others.struct_page_bytes),
            struct_page_bytes: others.struct_page_bytes.max(1),
            cpus: others.cpus,
            first_area: self.slabs.len() as u32,
            pages: others_pages,
            ..Lookup::default()
        };
        for area in &others.areas {
            if found.area_frames.len() + area.pages.len() < MOST_PAGES && found.add_area(area) {
                self.add(Pfn(area.address.0 >> PAGE_SHIFT), area.pages.len() as u32, cache + 1, 1);
            }
        }
        found.first_per_cpu = self.slabs.len() as u32;
        for (index, objects) in others.per_cpu.chunks(PER_CPU_OBJECTS).enumerate() {
            self.add(Pfn(NO_PAGES + index as u64), 0, cache + 2, objects.len() as u16);
        }
        found.per_cpu = others.per_cpu;
        found.address_filter =
            AddressFilter::new(found.address_bounds(self.page_offset.0, self.span));
        self.non_slab = found;
        self.index();
    }

    /// What has this address outside of the direct map, or this `struct page`, or is this pointer.
    #[inline]
    pub(crate) fn find_non_slab(&self, address: u64) -> Option<Object> {
        if self.may_be_non_slab(address) { self.non_slab_at(address) } else { None }
    }

    /// The same, where [`Heap::may_be_non_slab`] was asked already.
    pub(crate) fn non_slab_at(&self, address: u64) -> Option<Object> {
        let others = &self.non_slab;
        let in_memmap = address.wrapping_sub(others.memmap);
        if in_memmap < others.memmap_bytes {
            return self.block_of(Pfn(others.page_of(in_memmap)));
        }
        // Since Linux v6.15 per-CPU pointers look like addresses of the kernel's image, with
        // areas on both sides.
        others.area_at(address).or_else(|| others.per_cpu_at(address))
    }

    /// Whether a word outside of the direct map may lead to any; told without a branch. Most `struct
    /// page`s are of programs' and files' pages, and lead nowhere.
    #[inline]
    pub(crate) fn may_be_non_slab(&self, word: u64) -> bool {
        let others = &self.non_slab;
        let in_memmap = word.wrapping_sub(others.memmap);
        let is_memmap = in_memmap < others.memmap_bytes;
        let page = Pfn(others.page_of(if is_memmap { in_memmap } else { 0 }));
        others.address_filter.contain(word) & (!is_memmap | others.pages.contains(page))
    }

    fn block_of(&self, pfn: Pfn) -> Option<Object> {
        let slab = self.heads.rank(&self.ranks, pfn).checked_sub(1)?;
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

    /// Where the contents of a slab's objects start that are looked at when objects are
    /// compared, and how many bytes they are: all of a slab, else the first page. Per-CPU
    /// allocations have many copies and are not compared.
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

    /// Where the `struct page`s of some pages lie.
    pub fn struct_pages(&self, pfn: Pfn, pages: u64) -> VaRange {
        let bytes = self.non_slab.struct_page_bytes;
        VaRange::new(
            Va(self.non_slab.memmap).at(pfn.0.wrapping_mul(bytes)),
            pages.saturating_mul(bytes),
        )
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
            heap.address_filter().contain(0x3_0000)
                && heap.address_filter().contain(0x607f_0000_0004)
        );
        assert!(heap.address_filter().contain(AREA.0) && !heap.address_filter().contain(0x4_0000));
    }

    #[test]
    fn what_is_no_slab_has_states_like_any_object() {
        let mut heap = heap();
        let block = heap.find_object(BASE.0 + (40 << 12)).unwrap();
        assert!(heap.is_white(block) && heap.mark(block) && !heap.mark(block));
        let mut grey = Vec::new();
        heap.take_grey(block.slab, |run| grey.extend(run));
        assert_eq!(grey, [0]);
    }
}
