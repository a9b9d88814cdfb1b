//! Page tables that carry no page type: the kernel's own, and others' upper levels.
//!
//! What a `struct page` says of a table depends on the kernel: v5.10 marks the two lower
//! levels of user memory only, later ones mark more, and none marks tables of boot time or
//! those that split a large page. The others are found from the top, on x86-64 with four or
//! five levels.
//!
//! **Invariant:** a table is believed only in an address space that maps RAM where the
//! direct map is; the lowest level is claimed but never read, for it leads to no table.

mod entry;

use std::ops::Range;

use sysak_base::heap::{Heap, Object, PageSet};
use sysak_base::{PAGE_SIZE, Pfn, Va};

use crate::list::{half, walk_list, word};
use crate::page::{Census, Owner};
use crate::shape::{SPACE_CACHE, find_firmware_tables, find_program_tables};
use crate::{Coverage, Kernel, Omitted, Reason};
use entry::{ADDRESS, Bits, ENTRIES, MIDDLE, UPPER};

/// Entries of a top-level table that are for user space.
const USER: u64 = 256;
/// Tables above the lowest level that are read: enough for 64 TiB of 4 KiB pages.
const MOST_READS: u64 = 1 << 16;

/// A list that changes under the walk may lead anywhere; few machines have more processes.
const MOST_LISTED: usize = 1 << 16;
/// How many address spaces are asked whether there is page-table isolation.
const MOST_ASKED: u32 = 8;

/// Gives page tables that nobody owns yet to their owner; returns how many pages.
pub fn claim(
    kernel: &Kernel<'_>,
    heap: &Heap,
    census: &mut Census,
    coverage: &mut Coverage,
) -> u64 {
    let spaces = spaces(kernel, heap);
    let Some((top, bits)) = proved(kernel, &spaces) else {
        coverage.skip(Omitted::SomePageTables, Reason::NoKernelTables);
        return 0;
    };
    if spaces.is_empty() {
        coverage.skip(Omitted::SomePageTables, Reason::NoProcessTables);
    }
    let seen = PageSet::new(kernel.end_pfn().0);
    let mut walker = Walker { kernel, census, bits, seen, claimed: 0, reads: 0, unreadable: 0 };
    if let Some(raw) = walker.read(top) {
        walker.descend(&raw, bits.levels, USER..ENTRIES, MIDDLE);
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

/// The top-level tables of all processes.
fn spaces(kernel: &Kernel<'_>, heap: &Heap) -> Vec<Va> {
    let spaces = address_spaces(kernel, heap);
    if spaces.is_empty() { listed(kernel) } else { spaces }
}

/// A top-level table that maps the kernel, and what its entries look like.
fn proved(kernel: &Kernel<'_>, spaces: &[Va]) -> Option<(Va, Bits)> {
    let mut tops = kernel.page_table.into_iter().chain(spaces.iter().copied());
    tops.find_map(|top| Some((top, Bits::prove(kernel, top)?)))
}

/// Finds the pages behind addresses that no array of pages describes.
pub(crate) struct Mapping<'a, 'k> {
    kernel: &'a Kernel<'k>,
    top: Va,
    bits: Bits,
    /// The tables that were read last, by level from the top: neighbours share them.
    read: Vec<(Va, Vec<u8>)>,
}

impl<'a, 'k> Mapping<'a, 'k> {
    /// `None` where no page table of the kernel is known.
    pub(crate) fn new(kernel: &'a Kernel<'k>, heap: &Heap) -> Option<Mapping<'a, 'k>> {
        let (top, bits) = match kernel.page_table {
            Some(top) => Some((top, Bits::prove(kernel, top)?)),
            None => proved(kernel, &spaces(kernel, heap)),
        }?;
        Some(Mapping { kernel, top, bits, read: Vec::new() })
    }

    /// The page of RAM that an address is mapped to.
    pub(crate) fn page(&mut self, at: Va) -> Option<Pfn> {
        let (kernel, read) = (self.kernel, &mut self.read);
        let mut level = 0;
        let mut entry = |at: Va| {
            let table = Va(at.0 & !(PAGE_SIZE - 1));
            if read.get(level).is_none_or(|known| known.0 != table) {
                let mut raw = vec![0; PAGE_SIZE as usize];
                kernel.memory.read(table, &mut raw).ok()?;
                read.truncate(level);
                read.push((table, raw));
            }
            let known = read.get(level)?;
            level += 1;
            Some(word(&known.1, at.0 % PAGE_SIZE))
        };
        let pa = self.bits.translate(kernel, self.top, at, &mut entry)?;
        Some(Pfn(pa / PAGE_SIZE)).filter(|pfn| kernel.is_ram(*pfn))
    }
}

/// The top-level tables on the kernel's list, which goes through their `struct page`s; any
/// of them is on it.
fn listed(kernel: &Kernel<'_>) -> Vec<Va> {
    let lru = kernel.shape.page.lru;
    let known = kernel.page_table.and_then(|top| kernel.direct_pfn(top));
    let head = find_program_tables(kernel.symbols)
        .or_else(|| known.map(|pfn| kernel.struct_page(pfn).at(lru)));
    let Some(head) = head else { return Vec::new() };
    let links = walk_list(kernel.memory, head, MOST_LISTED).seen;
    let of_link = |link: Va| kernel.page_of(Va(link.0.wrapping_sub(lru)));
    links.into_iter().filter_map(of_link).chain(known).map(|pfn| kernel.page_va(pfn)).collect()
}

/// The top-level tables of the address spaces among the slabs' objects.
fn address_spaces(kernel: &Kernel<'_>, heap: &Heap) -> Vec<Va> {
    let mut tops = Vec::new();
    let Some(place) = kernel.shape.top_table else { return tops };
    for (slab, _) in heap.slabs_of(SPACE_CACHE) {
        heap.for_each_live(slab, |index| {
            let space = heap.object_va(Object { slab, index });
            let top = kernel.memory.read_u64(space.at(place)).unwrap_or(0);
            if top.is_multiple_of(PAGE_SIZE) && kernel.direct_pfn(Va(top)).is_some() {
                tops.push(Va(top));
            }
        });
    }
    tops
}

struct Walker<'a, 'k> {
    kernel: &'a Kernel<'k>,
    census: &'a mut Census,
    bits: Bits,
    /// Tables that were met: address spaces share them.
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
            let next = self.bits.next(self.kernel, word(raw, entry * 8), level);
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
            if Bits::prove(self.kernel, *top) != Some(self.bits) {
                continue;
            }
            self.seen.insert(pfn);
            if unclaimed {
                self.take(pfn);
                self.descend(&raw, self.bits.levels, 0..USER, UPPER + 1);
            }
            let second = self.second(pfn, &raw);
            // What user space sees of the kernel is the same everywhere, too.
            if let Some(raw) = second.filter(|_| asked < MOST_ASKED) {
                self.descend(&raw, self.bits.levels, USER..ENTRIES, MIDDLE);
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
        let head = self.kernel.struct_page(first).0 | 1;
        // Only the first page of a block that is not a compound one counts its users.
        let is_rest = word(&page, shape.compound_head) == head
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
        if Bits::prove(self.kernel, top) != Some(self.bits) {
            return;
        }
        let Some(raw) = self.read(top) else { return };
        self.seen.insert(pfn);
        self.take(pfn);
        self.descend(&raw, self.bits.levels, 0..ENTRIES, MIDDLE);
        self.second(pfn, &raw);
    }
}

#[cfg(test)]
mod tests;
