//! Entries of page tables on x86-64, and the proof that tables are what they seem.
//!
//! **Invariant:** an entry leads to a table only if it is present, no large page, and its
//! address one of RAM; the bit of encrypted memory is the only one that may be set above.

use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pfn, Va};

use crate::Kernel;

const PRESENT: u64 = 1;
/// The entry maps a large page and leads to no table.
pub(super) const LARGE: u64 = 1 << 7;
/// The physical address in an entry, and with it the bit that marks encrypted memory.
pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Entries of a table.
pub(super) const ENTRIES: u64 = 512;
/// Below this the direct map belongs to a kernel with five levels.
const FOUR_LEVELS_FROM: u64 = 0xffff_8000_0000_0000;
/// Levels, counted from the bottom: tables whose entries map 4 KiB, 2 MiB, 1 GiB each.
const LEAF: u32 = 1;
pub(super) const MIDDLE: u32 = 2;
pub(super) const UPPER: u32 = 3;

/// What entries look like on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    /// Four or five.
    pub levels: u32,
    /// Bits of an address that RAM needs.
    ram: u64,
    /// The bit that marks encrypted memory, above RAM; 0 where there is none.
    encrypted: u64,
}

impl Bits {
    /// Tells from a top-level table, if what it leads to maps RAM where the direct map is.
    pub(super) fn prove(kernel: &Kernel<'_>, top: Va) -> Option<Bits> {
        let levels = if kernel.page_offset().0 < FOUR_LEVELS_FROM { 5 } else { 4 };
        let end = kernel.end_pfn().0.checked_mul(PAGE_SIZE)?;
        let ram = end.checked_next_power_of_two()? - 1;
        let probe = kernel.page_va(kernel.ram.first()?.start);
        let first = kernel.memory.read_u64(top.at(index(probe, levels) * 8)).ok()?;
        let encrypted = first & ADDRESS & !ram;
        let bits = Bits { levels, ram, encrypted };
        let at_most_one = encrypted & encrypted.wrapping_sub(1) == 0;
        let proved = at_most_one && bits.maps(kernel, top, probe);
        proved.then_some(bits)
    }

    /// Whether an address of the direct map is mapped to what it stands for.
    fn maps(&self, kernel: &Kernel<'_>, top: Va, probe: Va) -> bool {
        let read = |at: Va| kernel.memory.read_u64(at).ok();
        let mapped = self.translate(kernel, top, probe, &mut { read });
        mapped.is_some() && mapped == probe.checked_sub(kernel.page_offset())
    }

    /// The physical address that an address is mapped to; `read` reads an entry.
    pub(super) fn translate(
        &self,
        kernel: &Kernel<'_>,
        top: Va,
        at: Va,
        read: &mut dyn FnMut(Va) -> Option<u64>,
    ) -> Option<u64> {
        let mut table = top;
        for level in (LEAF..=self.levels).rev() {
            let entry = read(table.at(index(at, level) * 8))?;
            if level == LEAF || level <= UPPER && entry & LARGE != 0 {
                let inside = (1 << shift(level)) - 1;
                return self.address(entry).map(|pa| pa & !inside | at.0 & inside);
            }
            table = kernel.page_va(self.next(kernel, entry, level)?);
        }
        None
    }

    /// The table that an entry of a table of some level leads to.
    pub(super) fn next(&self, kernel: &Kernel<'_>, entry: u64, level: u32) -> Option<Pfn> {
        let large = level <= UPPER && entry & LARGE != 0;
        let pfn = Pfn(self.address(entry).filter(|_| !large)? >> PAGE_SHIFT);
        kernel.is_ram(pfn).then_some(pfn)
    }

    /// The physical address in an entry, where it can be one of RAM.
    fn address(&self, entry: u64) -> Option<u64> {
        let address = entry & ADDRESS;
        let beyond = address & !self.ram;
        let sound = entry & PRESENT != 0 && (beyond == 0 || beyond == self.encrypted);
        sound.then_some(address & self.ram)
    }
}

/// Address bits below those that a level's entries choose by.
fn shift(level: u32) -> u32 {
    PAGE_SHIFT + 9 * (level - LEAF)
}

/// Which entry of a level's table an address takes.
pub(super) fn index(at: Va, level: u32) -> u64 {
    at.0 >> shift(level) & (ENTRIES - 1)
}
