//! Page tables: what an entry says, and the walk from the top-level table to a page.
//!
//! Danger: entries come from the target. A walk takes one step a level, so it ends; an address
//! that it yields is only ever used to read the target again.
//!
//! **Invariant:** this is the only place that decodes entries of page tables.

use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pa, Va};

use super::space::{is_canonical, levels_of, upper_half};
use super::{DIRECT_MAP_ALIGNMENT, IMAGE_MAP, LOWEST_DIRECT_MAPS};

const PRESENT: u64 = 1;
/// The entry maps a large page and leads to no table.
pub const LARGE: u64 = 1 << 7;
/// The physical address in an entry, and with it the bit that marks encrypted memory.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Entries of a table.
pub const ENTRIES: u64 = 512;
/// Levels are counted from the bottom: the entries of this one map 4 KiB each.
pub const LEAF: u32 = 1;
/// Its entries map 2 MiB each.
pub const MIDDLE: u32 = 2;
/// Its entries map 1 GiB each; above it there are no large pages.
pub const UPPER: u32 = 3;
/// Steps after which a search gives up: forged tables can map everything.
pub(super) const MOST_STEPS: usize = 1 << 24;

/// A page that the tables map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its first virtual address.
    pub va: Va,
    /// Its first physical address.
    pub pa: Pa,
    /// Its size: 4 KiB, 2 MiB or 1 GiB.
    pub bytes: u64,
}

impl Mapping {
    /// The physical address of `va`, and how many bytes of the page lie from there on; `None`
    /// where the page does not hold it.
    pub fn locate(&self, va: Va) -> Option<(Pa, u64)> {
        let inside = va.checked_sub(self.va).filter(|inside| *inside < self.bytes)?;
        Some((Pa(self.pa.0.checked_add(inside)?), self.bytes - inside))
    }
}

/// What the tables say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A page maps it.
    Mapped(Mapping),
    /// Nothing maps it, nor this many bytes from it on.
    Hole(u64),
}

impl Step {
    /// The page, where there is one.
    pub fn mapping(self) -> Option<Mapping> {
        match self {
            Step::Mapped(mapping) => Some(mapping),
            Step::Hole(_) => None,
        }
    }
}

/// What one entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Not present, or no sound entry.
    Absent,
    /// A page starts at this physical address.
    Page(Pa),
    /// The table of the next level lies at this physical address.
    Table(Pa),
}

/// How page tables of one machine are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    levels: u32,
    /// Bits of an entry that are an address.
    address: u64,
    /// The bit beyond them that marks encrypted memory (`sme_me_mask` of AMD); 0 where there is
    /// none. An entry with another bit between is not sound.
    encryption: u64,
}

impl Paging {
    /// Tables of four or five levels whose addresses may have any bit.
    pub fn new(levels: u32) -> Paging {
        Paging { levels, address: ADDRESS, encryption: 0 }
    }

    /// With AMD's memory encryption one address bit of an entry says "encrypted"
    /// (`sme_me_mask`); `mask` is that bit, or 0.
    pub fn encrypted_with(self, mask: u64) -> Paging {
        Paging { address: ADDRESS & !mask, encryption: ADDRESS & mask, ..self }
    }

    /// Page tables in RAM that ends at `ram_end`. `entry` is one valid entry: an address bit above the RAM that it
    /// has set is the encryption bit. `None` if it has more than one.
    pub fn of_ram(levels: u32, ram_end: Pa, entry: u64) -> Option<Paging> {
        let address = ram_end.0.checked_next_power_of_two()?.wrapping_sub(1) & ADDRESS;
        let encryption = entry & ADDRESS & !address;
        let one_bit_at_most = encryption & encryption.wrapping_sub(1) == 0;
        one_bit_at_most.then_some(Paging { levels, address, encryption })
    }

    /// Four or five.
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// What an entry of a table of some level says.
    pub fn decode(&self, entry: u64, level: u32) -> Entry {
        let beyond = entry & ADDRESS & !self.address;
        if entry & PRESENT == 0 || (beyond != 0 && beyond != self.encryption) {
            return Entry::Absent;
        }
        let address = entry & self.address;
        if level == LEAF || (entry & LARGE != 0 && level <= UPPER) {
            // Below the address, an entry of a large page has other bits.
            return Entry::Page(Pa(address & !(page_bytes(level) - 1)));
        }
        Entry::Table(Pa(address))
    }

    /// Finds the page that maps `va`, from the top-level table down.
    ///
    /// `T` is an address by which the caller reads tables. `find` turns the physical address of
    /// a table into one, or refuses it; `read` reads the word at an offset in a table.
    pub fn walk<T: Copy>(
        &self,
        top: T,
        va: Va,
        find: impl Fn(Pa) -> Option<T>,
        mut read: impl FnMut(T, u64) -> Option<u64>,
    ) -> Step {
        if !is_canonical(va, self.levels) {
            return Step::Hole(upper_half(self.levels) - va.0);
        }
        let mut table = top;
        for level in (LEAF..=self.levels).rev() {
            let bytes = page_bytes(level);
            let hole = Step::Hole(bytes - (va.0 & (bytes - 1)));
            let Some(entry) = read(table, index(va, level) * 8) else { return hole };
            match self.decode(entry, level) {
                Entry::Absent => return hole,
                Entry::Page(pa) => {
                    let va = Va(va.0 & !(bytes - 1));
                    return Step::Mapped(Mapping { va, pa, bytes });
                }
                Entry::Table(pa) => match find(pa) {
                    Some(next) => table = next,
                    None => return hole,
                },
            }
        }
        Step::Hole(PAGE_SIZE)
    }

    /// Where the direct map starts: the lowest address that maps `probe`, a physical address of
    /// RAM, at its own distance. KASLR moves it in steps of [`DIRECT_MAP_ALIGNMENT`].
    ///
    /// `read` reads the word at a physical address; the top-level table lies at `top`.
    pub fn find_direct_map(
        &self,
        top: Pa,
        probe: Pa,
        read: impl Fn(Pa) -> Option<u64>,
    ) -> Option<Va> {
        const STEP: u64 = DIRECT_MAP_ALIGNMENT;
        let lowest = LOWEST_DIRECT_MAPS.map(Va);
        let mut base = lowest.into_iter().find(|start| levels_of(*start) == self.levels)?;
        for _ in 0..MOST_STEPS {
            let va = base.checked_add(probe.0).filter(|va| va.0 < IMAGE_MAP)?;
            let gap = match self.walk(top, va, Some, |table, offset| read(Pa(table.0 + offset))) {
                Step::Mapped(page) if page.locate(va).is_some_and(|(pa, _)| pa == probe) => {
                    return Some(base);
                }
                Step::Mapped(_) => STEP,
                Step::Hole(bytes) => bytes.max(1).next_multiple_of(STEP),
            };
            base = base.checked_add(gap)?;
        }
        None
    }
}

/// Bytes that an entry of a level maps.
fn page_bytes(level: u32) -> u64 {
    1 << shift(level)
}

/// Address bits below those that a level's entries choose by.
fn shift(level: u32) -> u32 {
    PAGE_SHIFT + 9 * (level - LEAF)
}

/// Which entry of a level's table an address takes.
pub fn index(at: Va, level: u32) -> u64 {
    at.0 >> shift(level) & (ENTRIES - 1)
}

#[cfg(test)]
mod tests;
