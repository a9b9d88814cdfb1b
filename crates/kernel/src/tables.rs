//! Page tables that do not say that they are: who points to them is the processor.
//!
//! Those of the kernel itself carry no type before v6.16, and those of programs only on the
//! lowest two levels on older kernels. Entries are physical addresses: without this walk the
//! tables would look lost.
//!
//! **Invariant:** only pages of RAM are read, each once, and only pages that nobody owns
//! change their owner.

use std::collections::HashSet;
use std::ops::Range;

use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pfn, Va};

use crate::Kernel;
use crate::list::{walk_list, word};
use crate::page::{Census, Owner};
use crate::shape::{find_firmware_tables, find_program_tables};

/// Entries of a table.
const ENTRIES: u64 = 512;
/// The first entry of the top level that is the kernel's.
const KERNEL_FROM: u64 = ENTRIES / 2;
/// Below this the direct map starts with five levels only.
const FOUR_LEVELS_FROM: Va = Va(0xffff_8000_0000_0000);
/// Levels of tables that lead to tables: the last one of all, and the one above those that
/// carry a type in every program.
const LAST: u32 = 2;
const UPPER: u32 = 4;
/// Bits of an entry: there is something, and it is a huge page instead of a table.
const PRESENT: u64 = 1;
const HUGE: u64 = 1 << 7;
/// Enough for a direct map of 64 TiB in pages of 2 MiB, or for 200,000 programs.
const MOST_TABLES: usize = 1 << 19;

/// Gives page tables their owner; returns how many there were without one.
pub fn claim(kernel: &Kernel<'_>, census: &mut Census) -> u64 {
    let Some(top) = kernel.page_table else { return 0 };
    let levels = if kernel.page_offset() < FOUR_LEVELS_FROM { 5 } else { 4 };
    let mut walk = Walk { kernel, census, known: HashSet::new(), claimed: 0 };
    // Under page-table isolation the next page is what programs run with.
    for top in [top, top.at(PAGE_SIZE)] {
        walk.table(top, levels, LAST, KERNEL_FROM..ENTRIES);
    }
    if let Some(top) = find_firmware_tables(kernel.memory, kernel.symbols, &kernel.shape) {
        walk.table(top, levels, LAST, 0..ENTRIES);
    }
    for top in programs(kernel) {
        walk.table(top, levels, UPPER, 0..KERNEL_FROM);
    }
    walk.claimed
}

/// The top table of every program: their pages are on a list.
fn programs(kernel: &Kernel<'_>) -> Vec<Va> {
    let Some(head) = find_program_tables(kernel.symbols) else { return Vec::new() };
    let links = walk_list(kernel.memory, head, MOST_TABLES).seen;
    let page = |link: Va| kernel.page_of(Va(link.0.wrapping_sub(kernel.shape.page.lru)));
    links.into_iter().filter_map(page).map(|pfn| kernel.page_va(pfn)).collect()
}

struct Walk<'a, 'k> {
    kernel: &'a Kernel<'k>,
    census: &'a mut Census,
    known: HashSet<Pfn>,
    claimed: u64,
}

impl Walk<'_, '_> {
    /// Claims the tables that some entries of a table lead to, and goes on below them as long
    /// as their level is no lower than `until`.
    fn table(&mut self, at: Va, level: u32, until: u32, range: Range<u64>) {
        let mut entries = [0; PAGE_SIZE as usize];
        if self.kernel.memory.read(at, &mut entries).is_err() {
            return;
        }
        for entry in range.map(|index| word(&entries, index * 8)) {
            // The processor's encryption bit lies above all RAM.
            let mask = self.kernel.end_pfn().0.next_power_of_two() - 1;
            let pfn = Pfn(entry >> PAGE_SHIFT & mask);
            let is_table = entry & PRESENT != 0 && (entry & HUGE == 0 || level > 3);
            if !is_table || !self.kernel.is_ram(pfn) || self.known.len() >= MOST_TABLES {
                continue;
            }
            if !self.known.insert(pfn) {
                continue;
            }
            if self.census.is_unclaimed(pfn) {
                self.census.claim(pfn, Owner::PageTable);
                self.claimed += 1;
            }
            if level > until {
                self.table(self.kernel.page_va(pfn), level - 1, until, 0..ENTRIES);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::{Anchors, Fault, Memory, PfnRange, Why};
    use sysak_symbols::{Kallsyms, TypeInfo};

    const DIRECT: Va = Va(0xffff_8880_0000_0000);

    struct Ram(Vec<u64>);

    impl Memory for Ram {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            let fault = Fault { at, why: Why::Unmapped };
            let first = at.checked_sub(DIRECT).ok_or(fault)? as usize / 8;
            for (bytes, index) in buf.chunks_mut(8).zip(first..) {
                bytes.copy_from_slice(&self.0.get(index).ok_or(fault)?.to_le_bytes());
            }
            Ok(())
        }
    }

    #[test]
    fn tables_of_every_level_are_claimed_and_what_they_map_is_not() {
        // Page 1 is the top, 3 and 4 the next levels, 5 a last one, 6 mapped by it.
        let mut ram = Ram(vec![0; 16 * 512]);
        let mut put = |page: usize, index: usize, to: u64, bits: u64| {
            ram.0[page * 512 + index] = to << PAGE_SHIFT | bits;
        };
        put(1, 0, 9, 0x67);
        put(1, 300, 3, 0x67);
        put(3, 0, 4, 0x67);
        put(3, 1, 8, 0xe3);
        put(4, 7, 5, 0x67);
        put(4, 8, 10, 0xe3);
        put(4, 9, 11, 0x66);
        put(5, 0, 6, 0x163);
        // A circle ends.
        put(4, 10, 3, 0x67);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/btf-6.1");
        let types = TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap();
        let symbols = Kallsyms::parse_proc(b"ffffffff81000000 T _stext\n").unwrap();
        let anchors = Anchors {
            page_offset: Some(DIRECT),
            vmemmap: Some(Va(0xffff_ea00_0000_0000)),
            page_table: Some(DIRECT.at(PAGE_SIZE)),
            ram: vec![PfnRange { start: Pfn(0), end: Pfn(16) }],
            ..Anchors::default()
        };
        let kernel = Kernel::new(&ram, &anchors, &types, &symbols).unwrap();
        let mut census = Census::of_kernel_pages((2..16).map(Pfn));
        assert_eq!(claim(&kernel, &mut census), 3);
        assert_eq!(census.pages(Owner::PageTable), 3);
        assert!([3, 4, 5].iter().all(|page| !census.is_unclaimed(Pfn(*page))));
        assert!([6, 8, 9, 10, 11].iter().all(|page| census.is_unclaimed(Pfn(*page))));
    }
}
