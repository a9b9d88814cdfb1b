//! Page tables whose pages carry no page type: the kernel's own, and the upper levels of others.
//!
//! What a `struct page` says of a table depends on the kernel: v5.10 marks the two lower
//! levels of user memory only, later ones mark more, and none marks tables of boot time or
//! those that split a large page. The others are found from the top, on x86-64 with four or
//! five levels.
//!
//! **Invariant:** a table is believed only in an address space that maps RAM where the
//! direct map is; the lowest level is claimed but never read, for it leads to no table.

mod mapped;
mod mapping;
mod proof;
mod spaces;

use std::ops::Range;

use sysak_arch::x86_64::{ADDRESS, ENTRIES, MIDDLE, Paging, UPPER};
use sysak_base::numbers::{half, word};
use sysak_base::{PAGE_SIZE, Pfn, Va};
use sysak_heap::{Heap, PageSet};

use crate::page::{Census, Owner};
use crate::shape::find_firmware_tables;
use crate::{Coverage, Kernel, Omitted, Reason};

use proof::{next_table, prove};
use spaces::{proved, spaces};

pub(crate) use mapped::each_mapped;
pub use mapping::Mapping;

/// Entries of a top-level table that are for user space.
const USER: u64 = 256;
/// Tables above the lowest level that are read: enough for 64 TiB of 4 KiB pages.
const MOST_READS: u64 = 1 << 16;
/// Address spaces that are checked for page-table isolation: all have it or none.
const MOST_ASKED: u32 = 8;

/// Gives page tables that nobody owns yet to their owner; returns how many pages.
pub fn claim(
    kernel: &Kernel<'_>,
    heap: &Heap,
    census: &mut Census,
    coverage: &mut Coverage,
) -> u64 {
    let spaces = spaces(kernel, heap);
    let Some((top, paging)) = proved(kernel, &spaces) else {
        coverage.skip(Omitted::SomePageTables, Reason::NoKernelTables);
        return 0;
    };
    if spaces.is_empty() {
        coverage.skip(Omitted::SomePageTables, Reason::NoProcessTables);
    }
    let seen = PageSet::new(kernel.end_pfn().0);
    let mut walker = Walker { kernel, census, paging, seen, claimed: 0, reads: 0, unreadable: 0 };
    if let Some(raw) = walker.read(top) {
        walker.descend(&raw, paging.levels(), USER..ENTRIES, MIDDLE);
    }
    walker.user_spaces(&spaces);
    walker.firmware(find_firmware_tables(kernel.memory, kernel.symbols, &kernel.shape));
    if walker.reads > MOST_READS {
        coverage.skip(Omitted::SomePageTables, Reason::MoreThan(MOST_READS));
    }
    if walker.unreadable > 0 {
        coverage.skip(Omitted::SomePageTables, Reason::TablesUnreadable(walker.unreadable));
    }
    walker.claimed
}

struct Walker<'a, 'k> {
    kernel: &'a Kernel<'k>,
    census: &'a mut Census,
    paging: Paging,
    /// Tables that were found already: address spaces share them.
    seen: PageSet,
    claimed: u64,
    reads: u64,
    unreadable: u64,
}

impl Walker<'_, '_> {
    fn read(&mut self, at: Va) -> Option<Vec<u8>> {
        self.reads += 1;
        if self.reads > MOST_READS {
            return None;
        }
        let mut raw = vec![0; PAGE_SIZE as usize];
        let read = self.kernel.memory.read(at, &mut raw);
        self.unreadable += u64::from(read.is_err());
        read.ok().map(|()| raw)
    }

    fn take(&mut self, pfn: Pfn) {
        self.claimed += u64::from(self.census.claim(pfn, Owner::PageTable));
    }

    /// Claims every table below some entries of one; reads those of `lowest` level and above.
    fn descend(&mut self, raw: &[u8], level: u32, entries: Range<u64>, lowest: u32) {
        let mut todo = Vec::new();
        self.below(raw, level, entries, |table| todo.push(table));
        while let Some((pfn, level)) = todo.pop() {
            if level < lowest {
                continue;
            }
            if let Some(raw) = self.read(self.kernel.page_va(pfn)) {
                self.below(&raw, level, 0..ENTRIES, |table| todo.push(table));
            }
        }
    }

    /// Claims the tables that one leads to, and gives them on with their level.
    fn below(
        &mut self,
        raw: &[u8],
        level: u32,
        entries: Range<u64>,
        mut each: impl FnMut((Pfn, u32)),
    ) {
        for entry in entries {
            let next = next_table(self.kernel, self.paging, word(raw, entry * 8), level);
            if let Some(pfn) = next.filter(|pfn| !self.seen.contains(*pfn)) {
                self.seen.insert(pfn);
                self.take(pfn);
                each((pfn, level - 1));
            }
        }
    }

    /// The tables of user space: where the top-level one has no type, neither have those of
    /// the levels above the two lowest.
    fn user_spaces(&mut self, tops: &[Va]) {
        let mut asked = 0;
        for top in tops {
            let Some(pfn) = self.kernel.direct_pfn(*top) else { continue };
            let unclaimed = self.census.unclaimed.contains(pfn);
            if asked >= MOST_ASKED && !unclaimed || self.seen.contains(pfn) {
                continue;
            }
            let Some(raw) = self.read(*top) else { continue };
            // The kernel's half is the same everywhere; what is being made or freed is none.
            if prove(self.kernel, *top) != Some(self.paging) {
                continue;
            }
            self.seen.insert(pfn);
            if unclaimed {
                self.take(pfn);
                self.descend(&raw, self.paging.levels(), 0..USER, UPPER + 1);
            }
            // A copy of the kernel's own entries, of which one may be damaged.
            if asked < MOST_ASKED {
                self.descend(&raw, self.paging.levels(), USER..ENTRIES, MIDDLE);
            }
            let second = self.second(pfn, &raw);
            // What user space sees of the kernel is the same everywhere, too.
            if let Some(raw) = second.filter(|_| asked < MOST_ASKED) {
                self.descend(&raw, self.paging.levels(), USER..ENTRIES, MIDDLE);
            }
            asked += 1;
        }
    }

    /// With page-table isolation a top-level table has two pages: the second is what is in
    /// effect while user space runs. Claims it and gives its content.
    fn second(&mut self, first: Pfn, raw: &[u8]) -> Option<Vec<u8>> {
        let pfn = Pfn(first.0 + 1);
        if !first.0.is_multiple_of(2) || !self.kernel.is_ram(pfn) {
            return None;
        }
        let shape = &self.kernel.shape.page;
        let mut page = vec![0; shape.size as usize];
        self.kernel.memory.read(self.kernel.struct_page(pfn), &mut page).ok()?;
        let head = shape.head_of(self.kernel.struct_page(pfn), &page);
        // Only the first page of a block that is not a compound one counts its users.
        let is_rest = head == Some(self.kernel.struct_page(first))
            || half(&page, shape.refcount) == 0 && self.census.unclaimed.contains(pfn);
        let second = self.read(self.kernel.page_va(pfn)).filter(|_| is_rest)?;
        let address = |raw: &[u8], entry| word(raw, entry * 8) & ADDRESS;
        let is_mirror = (0..USER).all(|n| address(&second, n) == address(raw, n));
        // Off at run time, but not left out of the kernel: the second page is never used.
        let is_unused = second.iter().all(|byte| *byte == 0);
        if !is_mirror && !is_unused {
            return None;
        }
        self.seen.insert(pfn);
        self.take(pfn);
        Some(second)
    }

    /// The tables that are in effect while the firmware is called; none of them has a type.
    fn firmware(&mut self, top: Option<Va>) {
        let Some(pfn) = top.and_then(|top| self.kernel.direct_pfn(top)) else { return };
        let top = self.kernel.page_va(pfn);
        if prove(self.kernel, top) != Some(self.paging) {
            return;
        }
        let Some(raw) = self.read(top) else { return };
        self.seen.insert(pfn);
        self.take(pfn);
        self.descend(&raw, self.paging.levels(), 0..ENTRIES, MIDDLE);
        self.second(pfn, &raw);
    }
}

#[cfg(test)]
mod tests;
