//! What a heap has besides slabs, and how it is found by its addresses.
//!
//! A block is found from its direct-map address and from its `struct page`, an area from its own
//! addresses, a per-CPU allocation from its per-CPU pointer.

use sysak_base::{PAGE_SHIFT, Pfn, Va};

use crate::address_filter::AddressFilter;
use crate::object::Object;
use crate::page_set::PageSet;

/// A block of pages straight from the buddy allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its first page.
    pub pfn: Pfn,
    /// How many it has.
    pub pages: u32,
}

/// A vmalloc area and the pages that it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AreaPages {
    /// Its first byte.
    pub address: Va,
    /// The pages, in the order of their addresses.
    pub pages: Vec<Pfn>,
}

/// A per-CPU allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerCpuObject {
    /// The pointer that its owner keeps, of no CPU.
    pub pointer: u64,
    /// Bytes of each CPU's copy.
    pub bytes: u32,
}

/// Everything that a heap has besides slabs; each list ascends.
#[derive(Clone, Debug, Default)]
pub struct NonSlab {
    /// Blocks of pages.
    pub blocks: Vec<Block>,
    /// vmalloc areas.
    pub areas: Vec<AreaPages>,
    /// Per-CPU allocations.
    pub per_cpu: Vec<PerCpuObject>,
    /// Where the array of `struct page` starts.
    pub memmap: Va,
    /// Bytes of a `struct page`.
    pub struct_page_bytes: u64,
    /// CPUs that have a copy of each per-CPU allocation.
    pub cpus: u64,
}

/// Where the kernel's image and its modules are mapped, at the end of the address space.
const IMAGE_FROM: u64 = 0xffff_ffff_8000_0000;
/// Objects of a slab that stands for per-CPU allocations.
pub(crate) const PER_CPU_OBJECTS: usize = 1 << 15;

/// Finds what is no slab by its addresses.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    pub(crate) memmap: u64,
    pub(crate) memmap_bytes: u64,
    pub(crate) struct_page_bytes: u64,
    /// Start and end of each area, and where its pages begin in `area_frames`.
    pub(crate) areas: Vec<(u64, u64, u32)>,
    pub(crate) first_area: u32,
    /// Pages of blocks.
    pub(crate) pages: PageSet,
    pub(crate) area_frames: Vec<Pfn>,
    pub(crate) per_cpu: Vec<PerCpuObject>,
    pub(crate) cpus: u64,
    pub(crate) first_per_cpu: u32,
    /// Addresses of the direct map, most areas and the array of `struct page` lie in the first
    /// of these windows, modules in the second, per-CPU pointers in the others; start and bytes.
    /// The kernel's own text, to which much points, is in none.
    pub(crate) address_filter: AddressFilter,
}

impl Lookup {
    /// None of them: slabs alone have addresses.
    pub(crate) fn of_slabs(page_offset: Va, frames: u64) -> Lookup {
        let kernel = (page_offset.0, frames << PAGE_SHIFT);
        let filter = AddressFilter::new([kernel, (0, 0), (0, 0), (0, 0)]);
        Lookup { address_filter: filter, ..Lookup::default() }
    }

    pub(crate) fn add_area(&mut self, area: &AreaPages) -> bool {
        let bytes = (area.pages.len() as u64) << PAGE_SHIFT;
        let after = self.areas.last().is_none_or(|(_, end, _)| *end <= area.address.0);
        let end = area.address.0.checked_add(bytes);
        let (true, Some(end)) = (after && bytes > 0, end) else { return false };
        self.areas.push((area.address.0, end, self.area_frames.len() as u32));
        self.area_frames.extend(&area.pages);
        true
    }

    pub(crate) fn frames_of(&self, slab: u32) -> &[Pfn] {
        let index = slab.checked_sub(self.first_area).map(|index| index as usize);
        let Some(area) = index.and_then(|index| self.areas.get(index)) else { return &[] };
        let next = index.and_then(|index| self.areas.get(index + 1));
        let end = next.map_or(self.area_frames.len(), |next| next.2 as usize);
        &self.area_frames[area.2 as usize..end]
    }

    /// The page whose `struct page` has a byte at this offset. They are 64 bytes on most
    /// kernels, and this is asked for every page on a list: a shift is ten divisions' worth.
    #[inline]
    pub(crate) fn page_of(&self, offset: u64) -> u64 {
        match self.struct_page_bytes {
            64 => offset >> 6,
            bytes => offset / bytes.max(1),
        }
    }

    #[inline]
    pub(crate) fn area_at(&self, address: u64) -> Option<Object> {
        let index = self.areas.partition_point(|(start, _, _)| *start <= address).checked_sub(1)?;
        let found = address < self.areas[index].1;
        found.then_some(Object { slab: self.first_area + index as u32, index: 0 })
    }

    #[inline]
    pub(crate) fn per_cpu_at(&self, address: u64) -> Option<Object> {
        let [_, _, near, far] = *self.address_filter.all();
        let may_be = address.wrapping_sub(near.0) < near.1 || address.wrapping_sub(far.0) < far.1;
        if !may_be {
            return None;
        }
        let after = self.per_cpu.partition_point(|object| object.pointer <= address);
        let index = after.checked_sub(1)?;
        let object = &self.per_cpu[index];
        let place = (index / PER_CPU_OBJECTS, index % PER_CPU_OBJECTS);
        (address - object.pointer < u64::from(object.bytes))
            .then_some(Object { slab: self.first_per_cpu + place.0 as u32, index: place.1 as u16 })
    }

    pub(crate) fn address_bounds(&self, page_offset: u64, span: u64) -> [(u64, u64); 4] {
        let modules = self.areas.partition_point(|area| area.0 < IMAGE_FROM);
        let (areas, modules) = self.areas.split_at(modules);
        let ends = |areas: &[(u64, u64, u32)]| Some((areas.first()?.0, areas.last()?.1));
        let (areas, modules) = (ends(areas), ends(modules).unwrap_or((0, 0)));
        let memmap = (self.memmap_bytes > 0)
            .then(|| (self.memmap, self.memmap.saturating_add(self.memmap_bytes)));
        let all = [Some((page_offset, page_offset.saturating_add(span))), areas, memmap];
        let all = || all.iter().flatten();
        let low = all().map(|(start, _)| *start).min().unwrap_or(0);
        let high = all().map(|(_, end)| *end).max().unwrap_or(0);
        // The first chunk's pointers lie far from the others': cut at the widest gap.
        let gap = |index: &usize| self.per_cpu[*index].pointer - self.per_cpu[index - 1].pointer;
        let cut = (1..self.per_cpu.len()).max_by_key(gap).unwrap_or(self.per_cpu.len());
        let window = |objects: &[PerCpuObject]| match (objects.first(), objects.last()) {
            (Some(first), Some(last)) => {
                let end = last.pointer.saturating_add(last.bytes.into());
                (first.pointer, end - first.pointer)
            }
            _ => (0, 0),
        };
        let (near, far) = self.per_cpu.split_at(cut);
        [(low, high - low), (modules.0, modules.1 - modules.0), window(near), window(far)]
    }

    pub(crate) fn footprint_bytes(&self) -> u64 {
        let tables = self.area_frames.len() * 8 + self.areas.len() * 24;
        (tables + self.per_cpu.len() * size_of::<PerCpuObject>()) as u64 + self.pages.bytes()
    }
}
