//! Every page that the kernel's own tables map where vmalloc and its kin map pages.
//!
//! The lists of areas say what should be there; the tables say what is.

use std::collections::HashSet;

use sysak_arch::x86_64::{ENTRIES, Entry, IMAGE_MAP, IMAGE_MAP_END, Paging};
use sysak_base::numbers::word;
use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pfn, Va};
use sysak_heap::Heap;

use super::proof::{next_table, prove};
use super::spaces::{proved, spaces};
use super::{MOST_ASKED, MOST_READS, USER};
use crate::Kernel;

/// The image is mapped by pages of 2 MiB.
const LARGE_PAGE: u64 = 2 << 20;

/// Gives each page of RAM that is mapped outside of the direct map, the array of `struct page` and the image, with
/// the address that it is mapped at. False where no table of the kernel is known, or one cannot be read.
pub(crate) fn each_mapped(kernel: &Kernel<'_>, heap: &Heap, mut each: impl FnMut(Va, Pfn)) -> bool {
    let spaces = spaces(kernel, heap);
    let Some((top, paging)) = proved(kernel, &spaces) else { return false };
    let mut walker = Walker { kernel, paging, seen: HashSet::new(), is_whole: true };
    // Every process has a copy of the entries that lead to the kernel's tables: one may be damaged.
    let others = spaces.into_iter().filter(|other| prove(kernel, *other) == Some(paging));
    let tops = std::iter::once(top).chain(others.take(MOST_ASKED as usize));
    let mut todo: Vec<_> = tops.map(|top| (top, paging.levels(), Va(0))).collect();
    while let Some((table, level, start)) = todo.pop() {
        if walker.seen.insert(table) {
            walker.entries(table, level, start, &mut todo, &mut each);
        }
    }
    walker.is_whole
}

struct Walker<'a, 'k> {
    kernel: &'a Kernel<'k>,
    paging: Paging,
    /// Tables that were read.
    seen: HashSet<Va>,
    is_whole: bool,
}

impl Walker<'_, '_> {
    /// The entries of one table, whose first stands for the addresses from `start` on.
    fn entries(
        &mut self,
        table: Va,
        level: u32,
        start: Va,
        todo: &mut Vec<(Va, u32, Va)>,
        each: &mut impl FnMut(Va, Pfn),
    ) {
        let mut raw = vec![0; PAGE_SIZE as usize];
        let is_too_much = self.seen.len() as u64 > MOST_READS;
        if is_too_much || self.kernel.memory.read(table, &mut raw).is_err() {
            self.is_whole = false;
            return;
        }
        let is_top = level == self.paging.levels();
        let shift = PAGE_SHIFT + 9 * (level - 1);
        let sign = if is_top { !0 << (shift + 9) } else { 0 };
        for entry in if is_top { USER } else { 0 }..ENTRIES {
            let at = Va(start.0 | entry << shift | sign);
            if self.is_described(at, at.0 + ((1 << shift) - 1)) {
                continue;
            }
            let entry = word(&raw, entry * 8);
            match self.paging.decode(entry, level) {
                Entry::Page(page) => {
                    for frame in 0..1 << (shift - PAGE_SHIFT) {
                        let (at, pfn) = (at.at(frame << PAGE_SHIFT), Pfn(page.pfn().0 + frame));
                        if self.kernel.is_ram(pfn) && !self.is_described(at, at.0) {
                            each(at, pfn);
                        }
                    }
                }
                Entry::Table(_) => {
                    let next = next_table(self.kernel, self.paging, entry, level);
                    todo.extend(next.map(|pfn| (self.kernel.page_va(pfn), level - 1, at)));
                }
                Entry::Absent => {}
            }
        }
    }

    /// Whether all addresses from `first` to `last` lie in a part of the address space that is laid out otherwise.
    fn is_described(&self, first: Va, last: u64) -> bool {
        let direct = self.kernel.page_offset();
        let direct_end = direct.at(self.kernel.end_pfn().0 << PAGE_SHIFT);
        let (memmap, memmap_end) = self.kernel.memmap_range();
        let image = self.kernel.image_virtual.unwrap_or((Va(IMAGE_MAP), Va(IMAGE_MAP_END)));
        let image = (Va(IMAGE_MAP), Va(image.1.0.next_multiple_of(LARGE_PAGE)));
        let parts = [(direct, direct_end), (memmap, memmap_end), image];
        parts.iter().any(|(start, end)| *start <= first && last < end.0)
    }
}
