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
/// Physical address in an entry, and with it the bit that marks encrypted memory.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const GIB: u64 = 1 << 30;
/// Where the direct map starts at the lowest (`__PAGE_OFFSET_BASE_L4`, `_L5`).
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
const DIRECT_MAP_5: u64 = 0xff11_0000_0000_0000;
/// Steps after which a walk over a range gives up: forged tables can map everything.
const MOST_STEPS: usize = 1 << 24;

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

/// What the tables say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A page maps it.
    Mapped(Mapping),
    /// Nothing maps it, nor this many bytes from it on.
    Hole(u64),
}

/// A page table.
#[derive(Debug)]
pub struct PageTable {
    root: u64,
    levels: u32,
    address: u64,
    last: Cell<Option<Mapping>>,
}

impl PageTable {
    /// The table whose top level lies at physical address `root`.
    pub fn new(root: u64, five_levels: bool) -> PageTable {
        let levels = if five_levels { 5 } else { 4 };
        PageTable { root: root & ADDRESS, levels, address: ADDRESS, last: Cell::new(None) }
    }

    /// With AMD's memory encryption one address bit of an entry says "encrypted"
    /// (`sme_me_mask`); `mask` is that bit, or 0.
    pub fn encrypted_with(mut self, mask: u64) -> PageTable {
        self.address = ADDRESS & !mask;
        self
    }

    /// The physical address of `va` and how many bytes from it on are mapped alike.
    pub fn translate(&self, va: u64, read: impl Fn(u64) -> Option<u64>) -> Option<(u64, u64)> {
        let known = self.last.get().filter(|last| va >= last.va && va - last.va < last.bytes);
        let mapping = match known {
            Some(mapping) => mapping,
            None => match self.walk(va, read) {
                Step::Mapped(mapping) => mapping,
                Step::Hole(_) => return None,
            },
        };
        self.last.set(Some(mapping));
        let inside = va - mapping.va;
        Some((mapping.pa.checked_add(inside)?, mapping.bytes - inside))
    }

    fn walk(&self, va: u64, read: impl Fn(u64) -> Option<u64>) -> Step {
        let bits = 12 + 9 * self.levels;
        // The processor refuses addresses whose upper bits are not all alike.
        let upper_half = u64::MAX << (bits - 1);
        if va >= 1 << (bits - 1) && va < upper_half {
            return Step::Hole(upper_half - va);
        }
        let mut table = self.root;
        for level in (0..self.levels).rev() {
            let shift = 12 + 9 * level;
            let bytes = 1u64 << shift;
            let hole = Step::Hole(bytes - (va & (bytes - 1)));
            let Some(entry) = read(table + (va >> shift & 511) * 8) else { return hole };
            if entry & PRESENT == 0 {
                return hole;
            }
            if level == 0 || (entry & LARGE != 0 && level <= 2) {
                let pa = entry & self.address & !(bytes - 1);
                return Step::Mapped(Mapping { va: va & !(bytes - 1), pa, bytes });
            }
            table = entry & self.address;
        }
        Step::Hole(PAGE_SIZE)
    }

    /// Where the direct map starts: the lowest address that maps `probe`, a physical
    /// address of RAM, at its own distance; KASLR moves it in steps of 1 GiB.
    pub fn find_direct_map(&self, probe: u64, read: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let mut base = if self.levels == 5 { DIRECT_MAP_5 } else { DIRECT_MAP };
        for _ in 0..MOST_STEPS {
            let va = base.checked_add(probe).filter(|va| *va < IMAGE_MAP)?;
            let gap = match self.walk(va, &read) {
                Step::Mapped(page) if page.pa + (va - page.va) == probe => return Some(base),
                Step::Mapped(_) => GIB,
                Step::Hole(bytes) => bytes.max(1).next_multiple_of(GIB),
            };
            base = base.checked_add(gap)?;
        }
        None
    }
}

/// Below this the direct map belongs to a kernel with five levels of page tables.
const FOUR_LEVELS_FROM: u64 = 0xffff_8000_0000_0000;

/// The page frames that a range of kernel addresses is mapped to, ascending and joined.
///
/// `top` is the virtual address of the top-level table; all others are reached through
/// the direct map at `page_offset`. `encryption` is `sme_me_mask`.
pub fn frames(
    memory: &dyn Memory,
    top: Va,
    page_offset: Va,
    encryption: u64,
    range: (Va, Va),
) -> Vec<PfnRange> {
    // No table lies in the first page, so its addresses can stand for the top level.
    let read = |pa: u64| {
        let at = if pa < PAGE_SIZE { top.at(pa) } else { page_offset.at(pa) };
        memory.read_u64(at).ok()
    };
    let five_levels = page_offset.0 < FOUR_LEVELS_FROM;
    let table = PageTable::new(0, five_levels).encrypted_with(encryption);
    let mut frames: Vec<PfnRange> = Vec::new();
    let mut va = range.0.0 & !(PAGE_SIZE - 1);
    for _ in 0..MOST_STEPS {
        let Some(rest) = range.1.0.checked_sub(va).filter(|rest| *rest > 0) else { break };
        let gap = match table.walk(va, read) {
            Step::Hole(bytes) => bytes,
            Step::Mapped(page) => {
                let pa = page.pa + (va - page.va);
                let bytes = (page.va + (page.bytes - 1) - va + 1).min(rest);
                let run =
                    PfnRange { start: Pa(pa).pfn(), end: Pa(pa + bytes + PAGE_SIZE - 1).pfn() };
                match frames.last_mut().filter(|last| last.end == run.start) {
                    Some(last) => last.end = run.end,
                    None => frames.push(run),
                }
                bytes
            }
        };
        let Some(next) = va.checked_add(gap.max(1)) else { break };
        va = next;
    }
    join(&mut frames);
    frames
}

/// Sorts runs and makes one of those that touch or overlap.
pub(crate) fn join(runs: &mut Vec<PfnRange>) {
    runs.sort_by_key(|run| run.start);
    runs.dedup_by(|next, run| {
        let joined = next.start <= run.end;
        if joined {
            run.end = run.end.max(next.end);
        }
        joined
    });
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

    #[test]
    fn addresses_that_the_processor_refuses_are_not_mapped() {
        let table = PageTable::new(0x1000, false);
        assert_eq!(table.translate(0x7fff_ffff_8000_5123, read), None);
        assert_eq!(table.translate(0x0000_ffff_8000_5123, read), None);
        assert_eq!(table.walk(0x8000_0000_0000, read), Step::Hole(0xffff_0000_0000_0000));
    }

    #[test]
    fn five_levels_are_walked() {
        let deep = |at| match at {
            0x9ff8 => Some(0x1003),
            _ => read(at),
        };
        let at = |va| PageTable::new(0x9000, true).translate(va, deep);
        assert_eq!(at(0xffff_ffff_8000_5123), Some((0x7123, 0xedd)));
        assert_eq!(at(0xff11_0000_0000_0000), None);
    }

    #[test]
    fn the_encryption_bit_is_no_address() {
        const BIT: u64 = 1 << 47;
        let marked = |at| read(at).map(|entry| entry | BIT);
        let plain = PageTable::new(0x1000, false);
        assert_eq!(plain.translate(0xffff_ffff_8020_1000, marked), None);
        let table = PageTable::new(0x1000, false).encrypted_with(BIT);
        let found = table.translate(0xffff_ffff_8020_1000, marked);
        assert_eq!(found, Some((0x60_1000, 0x1f_f000)));
    }

    /// Maps the first 2 GiB at 0xffff_9cec_8000_0000 by pages of 1 GiB.
    fn direct(at: u64) -> Option<u64> {
        let base = 0xffff_9cec_8000_0000u64;
        Some(match at {
            at if at == 0x1000 + (base >> 39 & 511) * 8 => 0x2003,
            at if at == 0x2000 + (base >> 30 & 511) * 8 => PRESENT | LARGE,
            at if at == 0x2008 + (base >> 30 & 511) * 8 => GIB | PRESENT | LARGE,
            _ => 0,
        })
    }

    #[test]
    fn the_direct_map_is_found_wherever_kaslr_put_it() {
        let table = PageTable::new(0x1000, false);
        assert_eq!(table.find_direct_map(1 << 20, direct), Some(0xffff_9cec_8000_0000));
        assert_eq!(table.find_direct_map(GIB + 4096, direct), Some(0xffff_9cec_8000_0000));
        assert_eq!(table.find_direct_map(3 * GIB, direct), None);
    }

    /// Every table is this one and every entry leads to it: all of the kernel's half is mapped.
    struct Mirror;

    impl Memory for Mirror {
        fn read(&self, _: Va, buf: &mut [u8]) -> Result<(), sysak_base::Fault> {
            buf.fill(0);
            buf[..8].copy_from_slice(&(0x1000 | PRESENT | LARGE).to_le_bytes());
            Ok(())
        }
    }

    #[test]
    fn a_range_of_forged_length_ends() {
        let range = (Va(0xffff_8000_0000_0000), Va(u64::MAX));
        let found = frames(&Mirror, Va(0), Va(DIRECT_MAP), 0, range);
        assert_eq!(found, [PfnRange { start: sysak_base::Pfn(0), end: sysak_base::Pfn(1 << 18) }]);
    }
}
