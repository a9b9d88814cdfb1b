//! What a crash dump has of the kernel's pages.
//!
//! A filter rightly leaves out free pages, those of programs and page cache. A page of the kernel's own that is missing is
//! a *hole*: what only it leads to looks lost.
//!
//! **Invariant:** a page counts as rightly left out only if its `struct page` says what it is.

use sysak_base::{Pfn, PfnRange};
use sysak_heap::PageSet;

use super::{OWNERS, Owner};
use crate::Kernel;

pub use sysak_base::PageState;

/// How many states a page can be in.
const STATES: usize = PageState::Lost as usize + 1;

/// Pages of RAM by what a crash dump has of them.
pub struct Dumped {
    pages: [u64; STATES],
    /// By owner, of those that are the kernel's.
    holes: [u64; OWNERS],
    missing: PageSet,
}

impl Dumped {
    /// Asks the dump about every page of RAM; `None` for a running kernel.
    pub(super) fn find(kernel: &Kernel<'_>) -> Option<Dumped> {
        let dump = kernel.memory.page_states()?;
        let mut found = Dumped {
            pages: [0; STATES],
            holes: [0; OWNERS],
            missing: PageSet::new(kernel.end_pfn().0),
        };
        for run in &kernel.ram {
            let mut at = run.start;
            while at < run.end {
                let (state, end) = dump.state(at, run.end);
                found.add(PfnRange { start: at, end }, state);
                at = end;
            }
        }
        Some(found)
    }

    fn add(&mut self, run: PfnRange, state: PageState) {
        self.pages[state as usize] += run.pages();
        if !state.is_readable() {
            (run.start.0..run.end.0).for_each(|page| self.missing.insert(Pfn(page)));
        }
    }

    /// How many pages of RAM are in a state.
    pub fn pages(&self, state: PageState) -> u64 {
        self.pages[state as usize]
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
        if owner.is_kernel() && !self.missing.is_empty() {
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
