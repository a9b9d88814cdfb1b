//! Non-slab objects, and how they are found by address.
//!
//! A block is found from its direct-map address and from its `struct page`, an area from its own addresses, a
//! per-CPU allocation from its per-CPU pointer.

use sysak_arch::x86_64::IMAGE_MAP;
use sysak_base::{PAGE_SHIFT, Pfn, Va, VaRange};

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

/// All non-slab objects; each list ascends.
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

/// Objects of a slab that stands for per-CPU allocations.
pub(crate) const PER_CPU_OBJECTS: usize = 1 << 15;
/// Areas have no more pages together: 16 TiB.
const MOST_PAGES: usize = u32::MAX as usize;

/// What finds non-slab objects.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    /// The array of `struct page`.
    pub(crate) memmap: VaRange,
    pub(crate) struct_page_bytes: u64,
    pub(crate) areas: Vec<Area>,
    pub(crate) first_area: u32,
    /// Pages of blocks.
    pub(crate) pages: PageSet,
    pub(crate) area_frames: Vec<Pfn>,
    pub(crate) per_cpu: Vec<PerCpuObject>,
    pub(crate) cpus: u64,
    pub(crate) first_per_cpu: u32,
    /// The direct map, most areas and the array of `struct page` lie in the first range of the filter,
    /// modules in the second, per-CPU pointers in the others. The kernel's own text, to which much points,
    /// is in none.
    pub(crate) address_filter: AddressFilter,
}

/// A vmalloc area.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    range: VaRange,
    /// Where its pages begin in `area_frames`.
    first_frame: u32,
}

impl Lookup {
    /// No non-slab object at all: slabs alone have addresses.
    pub(crate) fn of_slabs(page_offset: Va, frames: u64) -> Lookup {
        let mut lookup = Lookup::default();
        lookup.set_address_filter(VaRange::new(page_offset, frames << PAGE_SHIFT));
        lookup
    }

    /// Takes an area in; false where it is empty, out of order or beyond the address space.
    pub(crate) fn add_area(&mut self, area: &AreaPages) -> bool {
        let bytes = (area.pages.len() as u64) << PAGE_SHIFT;
        let range = VaRange::new(area.address, bytes);
        let is_after = self.areas.last().is_none_or(|last| last.range.end() <= range.start());
        let is_whole = bytes > 0 && range.bytes() == bytes;
        let fits = self.area_frames.len() + area.pages.len() < MOST_PAGES;
        let is_added = is_after && is_whole && fits;
        if is_added {
            self.areas.push(Area { range, first_frame: self.area_frames.len() as u32 });
            self.area_frames.extend(&area.pages);
        }
        is_added
    }

    /// The pages of an area; none of another slab.
    pub(crate) fn frames_of(&self, slab: u32) -> &[Pfn] {
        let index = slab.checked_sub(self.first_area).map(|index| index as usize);
        let Some((index, area)) = index.and_then(|at| Some((at, self.areas.get(at)?))) else {
            return &[];
        };
        let next = self.areas.get(index + 1);
        let end = next.map_or(self.area_frames.len(), |next| next.first_frame as usize);
        &self.area_frames[area.first_frame as usize..end]
    }

    /// The page whose `struct page` has a byte at this offset. They are 64 bytes on most
    /// kernels, and this is asked for every page on a list: a shift is ten times as fast as a division.
    #[inline]
    pub(crate) fn page_of(&self, offset: u64) -> u64 {
        match self.struct_page_bytes {
            64 => offset >> 6,
            bytes => offset / bytes.max(1),
        }
    }

    pub(crate) fn area_at(&self, address: Va) -> Option<Object> {
        let after = self.areas.partition_point(|area| area.range.start() <= address);
        let index = after.checked_sub(1)?;
        let found = self.areas[index].range.contains(address);
        found.then_some(Object { slab: self.first_area + index as u32, index: 0 })
    }

    pub(crate) fn per_cpu_at(&self, address: u64) -> Option<Object> {
        let [_, _, near, far] = self.address_filter.all();
        if !near.contains(Va(address)) && !far.contains(Va(address)) {
            return None;
        }
        let after = self.per_cpu.partition_point(|object| object.pointer <= address);
        let index = after.checked_sub(1)?;
        let object = &self.per_cpu[index];
        let chunk = self.first_per_cpu + (index / PER_CPU_OBJECTS) as u32;
        let is_inside = address - object.pointer < u64::from(object.bytes);
        is_inside.then_some(Object { slab: chunk, index: (index % PER_CPU_OBJECTS) as u16 })
    }

    /// Ends the filling.
    pub(crate) fn set_address_filter(&mut self, direct_map: VaRange) {
        let modules = self.areas.partition_point(|area| area.range.start().0 < IMAGE_MAP);
        let (areas, modules) = self.areas.split_at(modules);
        let over = |areas: &[Area]| match (areas.first(), areas.last()) {
            (Some(first), Some(last)) => VaRange::between(first.range.start(), last.range.end()),
            _ => VaRange::default(),
        };
        let all = [direct_map, over(areas), self.memmap];
        let used = || all.iter().filter(|range| !range.is_empty());
        let low = used().map(|range| range.start()).min().unwrap_or_default();
        let high = used().map(|range| range.end()).max().unwrap_or_default();
        let (near, far) = self.per_cpu.split_at(self.widest_gap());
        let pointers = |objects: &[PerCpuObject]| match (objects.first(), objects.last()) {
            (Some(first), Some(last)) => {
                let end = last.pointer.saturating_add(last.bytes.into());
                VaRange::between(Va(first.pointer), Va(end))
            }
            _ => VaRange::default(),
        };
        let kernel = VaRange::between(low, high);
        let ranges = [kernel, over(modules), pointers(near), pointers(far)];
        self.address_filter = AddressFilter::new(ranges);
    }

    /// The first chunk's pointers lie far from the others': the first one behind the widest gap.
    fn widest_gap(&self) -> usize {
        let gap = |index: &usize| self.per_cpu[*index].pointer - self.per_cpu[index - 1].pointer;
        (1..self.per_cpu.len()).max_by_key(gap).unwrap_or(self.per_cpu.len())
    }

    pub(crate) fn footprint_bytes(&self) -> u64 {
        let tables =
            self.area_frames.len() * size_of::<Pfn>() + self.areas.len() * size_of::<Area>();
        (tables + self.per_cpu.len() * size_of::<PerCpuObject>()) as u64 + self.pages.bytes()
    }
}
