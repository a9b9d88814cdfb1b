//! Which addresses may be read directly, which must be translated first, which not at all.
//!
//! Danger: the direct map, vmalloc and fixed mappings also reach device memory,
//! where a read can succeed, return nonsense and change the device.
//!
//! **Invariant:** only RAM is read, as the kernel's own resource tree tells it: directly in the
//! direct map, the array of `struct page` and the kernel's image, by translation elsewhere.

use std::cell::RefCell;

use sysak_arch::x86_64::{KERNEL_HALF, Paging, levels_of};
use sysak_base::{PAGE_SIZE, Pa, Pfn, PfnRange, Va};

use crate::page_table::PageTable;

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
        if [self.image, self.vmemmap]
            .iter()
            .flatten()
            .any(|&(start, past)| start <= at && end <= past)
        {
            return Reach::Straight;
        }
        let linear = self.page_offset.and_then(|start| at.checked_sub(start));
        match linear {
            Some(linear) if linear < self.end_of_ram().pa().0 => {
                if self.is_ram(Pa(linear), len) {
                    Reach::Straight
                } else {
                    Reach::Forbidden
                }
            }
            _ => Reach::Translated,
        }
    }

    /// The kernel's page table.
    pub(crate) fn table(&self) -> Option<PageTable> {
        let start = self.page_offset?;
        let root = self.page_table?.checked_sub(start)?;
        Some(PageTable::new(Pa(root), Paging::new(levels_of(start))))
    }
}

/// A small cache of page tables. Each is read whole, because its next entries are asked for next.
pub struct Tables<R> {
    read: R,
    known: RefCell<Vec<(u64, Box<[u8; PAGE_SIZE as usize]>)>>,
}

/// One table for each level, and a few for the next range.
const MAX_TABLES: usize = 8;

impl<R: Fn(Pa, &mut [u8]) -> Option<()>> Tables<R> {
    /// Reads tables with `read`, which checks that they are RAM.
    pub fn new(read: R) -> Tables<R> {
        Tables { read, known: RefCell::default() }
    }

    /// The entry at a physical address.
    pub fn entry(&self, at: u64) -> Option<u64> {
        let (page, inside) = (at & !(PAGE_SIZE - 1), (at & (PAGE_SIZE - 8)) as usize);
        let mut known = self.known.borrow_mut();
        if !known.iter().any(|(start, _)| *start == page) {
            let mut table = Box::new([0; PAGE_SIZE as usize]);
            (self.read)(Pa(page), table.as_mut_slice())?;
            if known.len() >= MAX_TABLES {
                known.remove(0);
            }
            known.push((page, table));
        }
        let (_, table) = known.iter().find(|(start, _)| *start == page)?;
        Some(u64::from_le_bytes(*table.get(inside..)?.first_chunk()?))
    }
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
        let at = |linear: u64| Va(0xffff_8880_0000_0000 + linear);
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

    #[test]
    fn tables_are_read_once_and_forgotten_in_turn() {
        let reads = RefCell::new(Vec::new());
        let tables = Tables::new(|at: Pa, buf: &mut [u8]| {
            reads.borrow_mut().push(at.0);
            buf[8..16].copy_from_slice(&(at.0 | 1).to_le_bytes());
            (at.0 < 0x10_0000).then_some(())
        });
        assert_eq!(tables.entry(0x3008), Some(0x3001));
        assert_eq!(tables.entry(0x3ff8), Some(0));
        assert_eq!(*reads.borrow(), [0x3000]);
        for page in 4..4 + MAX_TABLES as u64 {
            assert_eq!(tables.entry(page << 12 | 8), Some(page << 12 | 1));
        }
        assert_eq!(tables.entry(0x3008), Some(0x3001));
        assert_eq!(reads.borrow().iter().filter(|&&at| at == 0x3000).count(), 2);
        assert_eq!(tables.entry(0x10_0000), None, "no RAM");
    }
}
