//! What a crash dump has of the kernel's pages.
//!
//! A filter rightly leaves out free pages, those of programs and page cache. A page of the kernel's own that is missing
//! is a *hole*: objects to which only that page has a pointer look lost.
//!
//! **Invariant:** a missing page counts as free, user or cache memory only if its `struct page` says so.

use sysak_base::{PageCounts, Pfn, PfnRange};
use sysak_heap::PageSet;

use super::{OWNERS, Owner};
use crate::Kernel;

pub use sysak_base::PageState;

/// Pages of RAM by what a crash dump has of them.
pub struct Dumped {
    pages: PageCounts,
    /// By owner, of those that are the kernel's.
    holes: [u64; OWNERS],
    missing: PageSet,
    has_all: bool,
}

impl Dumped {
    /// Asks the dump about every page of RAM; `None` for a running kernel.
    pub(super) fn find(kernel: &Kernel<'_>) -> Option<Dumped> {
        let dump = kernel.memory.page_states()?;
        let mut found = Dumped {
            pages: PageCounts::default(),
            holes: [0; OWNERS],
            missing: PageSet::new(kernel.end_pfn().0),
            has_all: true,
        };
        for run in &kernel.ram {
            dump.runs(*run).for_each(|(state, run)| found.add(run, state));
        }
        Some(found)
    }

    fn add(&mut self, run: PfnRange, state: PageState) {
        self.pages.add(state, run.pages());
        if !state.is_readable() {
            self.has_all = false;
            (run.start.0..run.end.0).for_each(|page| self.missing.insert(Pfn(page)));
        }
    }

    /// How many pages of RAM are in which state.
    pub fn pages(&self) -> &PageCounts {
        &self.pages
    }

    /// How many pages of an owner of the kernel's the dump has not.
    pub fn holes_of(&self, owner: Owner) -> u64 {
        self.holes[owner as usize]
    }

    /// How many pages of the kernel's the dump has not.
    pub fn holes(&self) -> u64 {
        self.holes.iter().sum()
    }

    /// Whether the dump has a page.
    pub(super) fn has(&self, pfn: Pfn) -> bool {
        !self.missing.contains(pfn)
    }

    /// Notes the owner of some pages.
    pub(super) fn assign(&mut self, start: Pfn, pages: u64, owner: Owner) {
        if owner.is_kernel() && !self.has_all {
            let missing = (start.0..start.0 + pages).filter(|page| !self.has(Pfn(*page)));
            self.holes[owner as usize] += missing.count() as u64;
        }
    }

    /// Notes that a page has a more exact owner.
    pub(super) fn move_to(&mut self, pfn: Pfn, before: Owner, owner: Owner) {
        if !self.has(pfn) {
            self.holes[before as usize] -= 1;
            self.holes[owner as usize] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::ops::Range;

    use sysak_base::{Anchors, Cancel, Fault, Memory, PageStates, Quiet, Va, Why};
    use sysak_symbols::{Kallsyms, TypeInfo};

    use crate::page::{Census, Part};
    use crate::{Coverage, FreePages};

    const DIRECT: Va = Va(0xffff_8880_0000_0000);
    const MEMMAP: Va = Va(0xffff_ea00_0000_0000);
    const RAM_PAGES: u64 = 1 << 14;
    /// Pages that the dump has not. The first is the kernel's, the second free, the third has no `struct page`.
    const MISSING: [u64; 3] = [5, 7, 520];
    const FREE: u64 = MISSING[1];

    /// A dump full of zeroes, but for the type of one page.
    struct Dump {
        typed: (Va, u32),
        /// `struct page`s that it has not.
        unknown: Range<u64>,
        struct_page: u64,
        bytes_read: Cell<u64>,
    }

    impl Memory for Dump {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            self.bytes_read.set(self.bytes_read.get() + buf.len() as u64);
            buf.fill(0);
            let start = at.0.saturating_sub(MEMMAP.0) / self.struct_page;
            let end = (at.0 + buf.len() as u64).saturating_sub(MEMMAP.0).div_ceil(self.struct_page);
            if start < self.unknown.end && end > self.unknown.start {
                return Err(Fault { at, why: Why::Absent });
            }
            let place = self.typed.0.0.wrapping_sub(at.0) as usize;
            if let Some(word) = buf.get_mut(place..).and_then(|rest| rest.get_mut(..4)) {
                word.copy_from_slice(&self.typed.1.to_le_bytes());
            }
            Ok(())
        }

        fn page_states(&self) -> Option<&dyn PageStates> {
            Some(self)
        }
    }

    impl PageStates for Dump {
        fn state(&self, first: Pfn, _: Pfn) -> (PageState, Pfn) {
            let is_missing = MISSING.contains(&first.0);
            let state = if is_missing { PageState::Excluded } else { PageState::Present };
            (state, Pfn(first.0 + 1))
        }
    }

    /// Takes the census of the dump without some `struct page`s; says how many bytes were read, too.
    fn census(unknown: Range<u64>) -> (Census, Coverage, u64) {
        census_of("6.1", (FREE, !0x80), unknown)
    }

    /// The same for some kernel, with a page and its type.
    fn census_of(version: &str, typed: (u64, u32), unknown: Range<u64>) -> (Census, Coverage, u64) {
        let path = format!("{}/../../fixtures/btf-{version}", env!("CARGO_MANIFEST_DIR"));
        let types = TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap();
        let page = crate::shape::Shape::resolve(&types).unwrap().page;
        let symbols = Kallsyms::default();
        let anchors = Anchors {
            page_offset: Some(DIRECT),
            vmemmap: Some(MEMMAP),
            ram: vec![PfnRange { start: Pfn(0), end: Pfn(RAM_PAGES) }],
            ..Anchors::default()
        };
        let typed = (MEMMAP.at(typed.0 * page.size + page.page_type), typed.1);
        let dump = Dump { typed, unknown, struct_page: page.size, bytes_read: Cell::new(0) };
        let kernel = Kernel::new(&dump, &anchors, &types, &symbols).unwrap();
        let mut coverage = Coverage::default();
        let free = FreePages::find(&kernel, &mut coverage);
        let cancel = Cancel::default();
        let census = Census::take(&kernel, &free, &mut coverage, &Quiet, &cancel);
        let bytes_read = dump.bytes_read.get();
        (census, coverage, bytes_read)
    }

    #[test]
    fn a_hole_is_a_page_of_the_kernels_and_a_free_one_is_none() {
        let (mut census, _, _) = census(0..0);
        let dumped = census.dumped.as_ref().unwrap();
        assert_eq!((dumped.pages().of(PageState::Excluded), dumped.holes()), (3, 2));
        assert_eq!(dumped.holes_of(Owner::Kernel), 2);
        assert!(census.claim(Pfn(MISSING[0]), Owner::Vmalloc));
        let dumped = census.dumped.as_ref().unwrap();
        assert_eq!((dumped.holes_of(Owner::Kernel), dumped.holes_of(Owner::Vmalloc)), (1, 1));
    }

    #[test]
    fn compressed_memory_that_is_missing_is_no_hole_and_no_root() {
        const COMPRESSED: u32 = 0xf600_0000;
        let (census, _, _) = census_of("6.12", (MISSING[0], COMPRESSED), 0..0);
        assert_eq!(census.dumped.as_ref().unwrap().holes(), 2);
        assert!(!census.roots.contains(Pfn(MISSING[0])));
        assert_eq!(census.part(Part::Compressed), 1);
        let (census, _, _) = census_of("6.12", (MISSING[0] + 1, COMPRESSED), 0..0);
        assert_eq!(census.dumped.as_ref().unwrap().holes(), 3);
        assert!(census.roots.contains(Pfn(MISSING[0] + 1)), "a dump that has it is searched");
    }

    #[test]
    fn a_page_of_which_nothing_is_known_is_a_root_and_a_hole_where_it_is_missing() {
        let (census, coverage, _) = census(512..576);
        // The last one before them is read together with its neighbour.
        assert_eq!(coverage.books.page.unjudged_pages, 65);
        assert!((511..576).all(|page| census.roots.contains(Pfn(page))));
        assert_eq!(census.pages(Owner::Untouchable), 0);
        assert_eq!(census.dumped.as_ref().unwrap().holes(), 2);
        assert!(!census.unclaimed.contains(Pfn(530)), "it must not be part of a block");
    }

    #[test]
    fn struct_pages_that_are_all_missing_are_not_read_again_and_again() {
        let (whole, _, usual) = census(0..0);
        let (census, _, bytes_read) = census(0..RAM_PAGES);
        assert_eq!(census.roots.len(), RAM_PAGES);
        assert_eq!(whole.roots.len(), RAM_PAGES - 1);
        assert!(bytes_read < 4 * usual, "{bytes_read} bytes instead of {usual}");
    }
}
