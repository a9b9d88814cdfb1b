//! Which addresses may be read, and where those lie that must be translated first.
//!
//! Danger: the direct map, vmalloc and fixed mappings also reach device memory,
//! where a read can succeed, return nonsense and change the device.
//!
//! **Invariant:** what is read is RAM by the kernel's own resource tree: through the
//! direct map, as `struct page`, or as the kernel's image; all else is translated.

use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pa, Pfn, PfnRange, Va};

/// Addresses from here on are the kernel's.
const KERNEL_HALF: u64 = 1 << 63;

/// A page-table entry's frame, as a physical address.
const ENTRY_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const ENTRY_PRESENT: u64 = 1;
const ENTRY_LARGE: u64 = 1 << 7;

/// The parts of a kernel's address space, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Space {
    /// RAM, ascending and disjoint.
    pub ram: Vec<PfnRange>,
    /// Start of the direct map.
    pub page_offset: Option<Va>,
    /// The `struct page` of RAM: first byte and first byte after.
    pub vmemmap: Option<(Va, Va)>,
    /// Top-level page table, in the direct map.
    pub page_table: Option<Va>,
    /// Text to bss, where symbols tell.
    pub image: Option<(Va, Va)>,
}

/// How to reach a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// As it is.
    Straight,
    /// Page by page through the page tables.
    Translated,
    /// Not at all: it is no RAM.
    Forbidden,
}

impl Space {
    /// First frame after all RAM.
    pub fn end_of_ram(&self) -> Pfn {
        self.ram.last().map_or(Pfn(0), |run| run.end)
    }

    /// Whether all of `len` bytes at `at` are RAM.
    pub fn is_ram(&self, at: Pa, len: u64) -> bool {
        let Some(end) = at.0.checked_add(len.max(1) - 1) else { return false };
        let mut next = at.pfn();
        let from = self.ram.partition_point(|run| run.end <= next);
        for run in &self.ram[from..] {
            if !run.contains(next) {
                return false;
            }
            if Pa(end).pfn() < run.end {
                return true;
            }
            next = run.end;
        }
        false
    }

    /// Where a page of RAM lies in the direct map.
    pub fn direct(&self, at: Pa) -> Option<Va> {
        Some(self.page_offset?.at(at.0))
    }

    /// The way to `len` bytes at `at`.
    pub fn reach(&self, at: Va, len: u64) -> Reach {
        let Some(end) = at.checked_add(len) else { return Reach::Forbidden };
        if at.0 < KERNEL_HALF {
            return Reach::Forbidden;
        }
        if [self.image, self.vmemmap].iter().flatten().any(|&(start, past)| start <= at && end <= past) {
            return Reach::Straight;
        }
        let linear = self.page_offset.and_then(|start| at.checked_sub(start));
        match linear {
            Some(linear) if linear < self.end_of_ram().pa().0 => {
                if self.is_ram(Pa(linear), len) { Reach::Straight } else { Reach::Forbidden }
            }
            _ => Reach::Translated,
        }
    }

    /// Levels of page tables: with five the kernel's half starts lower than four can reach.
    fn levels(&self) -> u32 {
        if self.page_offset.is_some_and(|start| start.0 < 0xffff_8000_0000_0000) { 5 } else { 4 }
    }
}

/// A walk through page tables that remembers where it ended.
pub struct Walk<'a, R> {
    space: &'a Space,
    read: R,
    last: Option<(u64, Leaf)>,
}

/// What maps the 2 MiB that the walk ended in.
enum Leaf {
    /// A table of small pages.
    Table(Vec<u64>),
    /// Part of a large page; where these 2 MiB start.
    Large(Pa),
}

/// log2 of what one table of small pages maps.
const REGION_SHIFT: u32 = 21;

impl<'a, R: FnMut(Va, &mut [u8]) -> Option<()>> Walk<'a, R> {
    /// A walk that reads the tables with `read`, given direct-map addresses of RAM only.
    pub fn new(space: &'a Space, read: R) -> Walk<'a, R> {
        Walk { space, read, last: None }
    }

    /// The physical address behind a virtual one; `None` where nothing is mapped.
    pub fn translate(&mut self, at: Va) -> Option<Pa> {
        let region = at.0 >> REGION_SHIFT;
        if self.last.as_ref().is_none_or(|(known, _)| *known != region) {
            self.last = Some((region, self.find_leaf(at)?));
        }
        match &self.last.as_ref()?.1 {
            Leaf::Large(start) => Some(Pa(start.0 | at.0 & ((1 << REGION_SHIFT) - 1))),
            Leaf::Table(table) => {
                let entry = *table.get(index(at, PAGE_SHIFT))?;
                let present = entry & ENTRY_PRESENT != 0;
                present.then_some(Pa(entry & ENTRY_ADDRESS | at.0 & (PAGE_SIZE - 1)))
            }
        }
    }

    fn find_leaf(&mut self, at: Va) -> Option<Leaf> {
        let mut table = self.space.page_table?;
        for level in (2..=self.space.levels()).rev() {
            let shift = PAGE_SHIFT + 9 * (level - 1);
            let mut entry = [0; 8];
            (self.read)(table.at(8 * index(at, shift) as u64), &mut entry)?;
            let entry = u64::from_le_bytes(entry);
            if entry & ENTRY_PRESENT == 0 {
                return None;
            }
            let next = Pa(entry & ENTRY_ADDRESS);
            if entry & ENTRY_LARGE != 0 && level <= 3 {
                // Bit 12 of a large entry is a caching attribute.
                let start = next.0 >> shift << shift;
                let region = at.0 & ((1 << shift) - 1) & !((1 << REGION_SHIFT) - 1);
                return Some(Leaf::Large(Pa(start | region)));
            }
            if !self.space.is_ram(next, PAGE_SIZE) {
                return None;
            }
            table = self.space.direct(next)?;
        }
        let mut bytes = vec![0; PAGE_SIZE as usize];
        (self.read)(table, &mut bytes)?;
        let (words, _) = bytes.as_chunks::<8>();
        Some(Leaf::Table(words.iter().map(|word| u64::from_le_bytes(*word)).collect()))
    }
}

fn index(at: Va, shift: u32) -> usize {
    (at.0 >> shift & 511) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        let run = |start, end| PfnRange { start: Pfn(start), end: Pfn(end) };
        Space {
            ram: vec![run(1, 0x9f), run(0x100, 0x200), run(0x200, 0x300)],
            page_offset: Some(Va(0xffff_8880_0000_0000)),
            vmemmap: Some((Va(0xffff_ea00_0000_0000), Va(0xffff_ea00_0000_c000))),
            page_table: Some(Va(0xffff_8880_0010_0000)),
            image: None,
        }
    }

    #[test]
    fn the_direct_map_is_read_where_it_is_ram_only() {
        let at = |linear| Va(0xffff_8880_0000_0000 + linear);
        assert_eq!(space().reach(at(0x1000), 0x9e000), Reach::Straight);
        assert_eq!(space().reach(at(0x9e000), 0x1001), Reach::Forbidden, "runs out of RAM");
        assert_eq!(space().reach(at(0xa0000), 8), Reach::Forbidden, "the VGA hole");
        assert_eq!(space().reach(at(0x1f_f000), 0x2000), Reach::Straight, "two runs that touch");
        assert_eq!(space().reach(at(0x2ff_fff), 2), Reach::Forbidden);
    }

    #[test]
    fn what_is_neither_direct_map_nor_struct_page_nor_image_is_translated() {
        assert_eq!(space().reach(Va(0xffff_c900_0000_0000), 8), Reach::Translated);
        assert_eq!(space().reach(Va(0xffff_ea00_0000_bff8), 8), Reach::Straight);
        assert_eq!(space().reach(Va(0xffff_ea00_0000_bff8), 16), Reach::Translated);
    }

    #[test]
    fn user_addresses_and_ends_beyond_the_address_space_are_forbidden() {
        assert_eq!(space().reach(Va(0x7fff_0000_0000), 8), Reach::Forbidden);
        assert_eq!(space().reach(Va(u64::MAX - 3), 8), Reach::Forbidden);
    }

    /// Tables in pages 0x100.. of a tiny RAM, each entry as (table, index, value).
    fn walk(entries: &[(u64, usize, u64)], at: Va) -> Option<Pa> {
        let space = space();
        let read = |from: Va, buf: &mut [u8]| {
            let from = from.0 - 0xffff_8880_0000_0000;
            for (word, out) in buf.chunks_mut(8).enumerate() {
                let here = from + 8 * word as u64;
                let entry = entries.iter().find(|e| (e.0 << 12) + 8 * e.1 as u64 == here);
                out.copy_from_slice(&entry.map_or(0, |e| e.2).to_le_bytes());
            }
            Some(())
        };
        Walk::new(&space, read).translate(at)
    }

    #[test]
    fn small_and_large_pages_are_found() {
        let at = Va(0xffff_c900_0020_3456);
        let top = index(at, 39);
        let small =
            [(0x100, top, 0x10_1063), (0x101, 0, 0x10_2063), (0x102, 1, 0x10_3063), (0x103, 3, 0x8000_0000_0015_5163)];
        assert_eq!(walk(&small, at), Some(Pa(0x15_5456)));
        let large = [(0x100, top, 0x10_1063), (0x101, 0, 0x10_2063), (0x102, 1, 0x20_01e3)];
        assert_eq!(walk(&large, at), Some(Pa(0x20_3456)));
    }

    #[test]
    fn a_table_outside_of_ram_ends_the_walk() {
        let at = Va(0xffff_c900_0020_3456);
        assert_eq!(walk(&[(0x100, index(at, 39), 0xfee0_0063)], at), None);
        assert_eq!(walk(&[], at), None);
    }
}
