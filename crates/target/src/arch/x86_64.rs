//! Page tables of x86-64, with four or five levels.
//!
//! A walk takes one step a level and cannot loop; entries come from the target,
//! so an address that they yield is only ever used to read the target again.

use std::cell::Cell;

use sysak_base::{Memory, PAGE_SIZE, Pa, PfnRange, Va};

/// Kernel text, data and bss are mapped from here on (`__START_KERNEL_map`).
pub const IMAGE_MAP: u64 = 0xffff_ffff_8000_0000;
/// The image ends here at the latest: modules follow (`MODULES_VADDR` with KASLR).
pub const IMAGE_MAP_END: u64 = 0xffff_ffff_c000_0000;

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
/// Physical address in an entry; memory encryption bits lie above it or are masked by it.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Where an address lies, and how far around it the same entry maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First virtual address of the mapped page.
    pub va: u64,
    /// Its physical address.
    pub pa: u64,
    /// Its size: 4 KiB, 2 MiB or 1 GiB.
    pub bytes: u64,
}

/// A page table.
#[derive(Debug)]
pub struct PageTable {
    root: u64,
    levels: u32,
    last: Cell<Option<Mapping>>,
}

impl PageTable {
    /// The table whose top level lies at physical address `root`.
    pub fn new(root: u64, five_levels: bool) -> PageTable {
        let levels = if five_levels { 5 } else { 4 };
        PageTable { root: root & ADDRESS, levels, last: Cell::new(None) }
    }

    /// The physical address of `va` and how many bytes from it on are mapped alike.
    pub fn translate(&self, va: u64, read: impl Fn(u64) -> Option<u64>) -> Option<(u64, u64)> {
        let known = self.last.get().filter(|last| va >= last.va && va - last.va < last.bytes);
        let mapping = match known {
            Some(mapping) => mapping,
            None => self.walk(va, read)?,
        };
        self.last.set(Some(mapping));
        let inside = va - mapping.va;
        Some((mapping.pa.checked_add(inside)?, mapping.bytes - inside))
    }

    fn walk(&self, va: u64, read: impl Fn(u64) -> Option<u64>) -> Option<Mapping> {
        let mut table = self.root;
        for level in (0..self.levels).rev() {
            let shift = 12 + 9 * level;
            let entry = read(table + (va >> shift & 511) * 8)?;
            if entry & PRESENT == 0 {
                return None;
            }
            let bytes = 1u64 << shift;
            if level == 0 || (entry & LARGE != 0 && level <= 2) {
                let pa = entry & ADDRESS & !(bytes - 1);
                return Some(Mapping { va: va & !(bytes - 1), pa, bytes });
            }
            table = entry & ADDRESS;
        }
        None
    }
}

/// Below this the direct map belongs to a kernel with five levels of page tables.
const FOUR_LEVELS_FROM: u64 = 0xffff_8000_0000_0000;

/// The page frames that a range of kernel addresses is mapped to, ascending and joined.
///
/// `top` is the virtual address of the top-level table; all others are reached through
/// the direct map at `page_offset`.
pub fn frames(memory: &dyn Memory, top: Va, page_offset: Va, range: (Va, Va)) -> Vec<PfnRange> {
    // No table lies in the first page, so its addresses can stand for the top level.
    let read = |pa: u64| {
        let at = if pa < PAGE_SIZE { top.at(pa) } else { page_offset.at(pa) };
        memory.read_u64(at).ok()
    };
    let table = PageTable::new(0, page_offset.0 < FOUR_LEVELS_FROM);
    let mut frames = Vec::new();
    let mut va = range.0.0 & !(PAGE_SIZE - 1);
    while va < range.1.0 {
        let (pa, alike) = table.translate(va, read).unwrap_or((0, 0));
        let bytes = alike.min(range.1.0.saturating_sub(va).next_multiple_of(PAGE_SIZE));
        if bytes > 0 {
            frames.push(PfnRange { start: Pa(pa).pfn(), end: Pa(pa + bytes).pfn() });
        }
        va = match va.checked_add(bytes.max(PAGE_SIZE)) {
            Some(next) => next,
            None => break,
        };
    }
    frames.sort_by_key(|run| run.start);
    frames.dedup_by(|next, run| {
        let joined = next.start <= run.end;
        if joined {
            run.end = run.end.max(next.end);
        }
        joined
    });
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables at 0x1000 (top), 0x2000, 0x3000, 0x4000.
    fn read(at: u64) -> Option<u64> {
        Some(match at {
            0x1ff8 => 0x2003,
            0x2ff0 => 0x3003,
            0x2ff8 => 0x4000_0000 | PRESENT | LARGE,
            0x3000 => 0x4003,
            0x3008 => 0x60_0000 | PRESENT | LARGE,
            0x4028 => 0x7000 | PRESENT,
            0x4030 => 0x7000,
            _ => return None,
        })
    }

    #[test]
    fn pages_of_every_size_are_found_and_absent_ones_are_not() {
        let table = PageTable::new(0x1000, false);
        let at = |va| table.translate(va, read);
        assert_eq!(at(0xffff_ffff_8000_5123), Some((0x7123, 0xedd)));
        assert_eq!(at(0xffff_ffff_8020_1000), Some((0x60_1000, 0x1f_f000)));
        assert_eq!(at(0xffff_ffff_c123_4567), Some((0x4123_4567, 0x3edc_ba99)));
        assert_eq!(at(0xffff_ffff_8000_6000), None, "not present");
    }
}
