//! The census: every page of RAM into exactly one owner.
//!
//! What is called free is left out of the roots, and what is called user memory
//! too; a wrong "free" or "user" hides references and accuses the innocent.
//!
//! **Invariant:** doubt means kernel memory, which is a root.

mod counter;

use std::collections::HashMap;

use sysak_base::heap::PageSet;
use sysak_base::{Cancel, Pfn, PfnRange, Progress, Stage};

use crate::{Coverage, FreePages, Kernel};
use counter::Counter;

/// Whose a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Nobody's.
    Free,
    /// A slab.
    Slab,
    /// Anonymous memory of a process.
    Anon,
    /// Page cache of a file.
    File,
    /// Shared memory and tmpfs.
    Shmem,
    /// hugetlb, in use or in its pool.
    Hugetlb,
    /// A page table.
    PageTable,
    /// The kernel's own text, data and bss.
    Image,
    /// Set aside at boot.
    Reserved,
    /// The array of `struct page`.
    Memmap,
    /// A kmalloc too large for a slab, where the kernel lets one tell.
    LargeKmalloc,
    /// An area of the vmalloc address space.
    Vmalloc,
    /// A thread's stack, where stacks are areas.
    Stack,
    /// Per-CPU memory, that of boot time included.
    PerCpu,
    /// In use by the kernel otherwise.
    Kernel,
    /// Logically offline or poisoned: must not be read.
    Untouchable,
    /// Held by our own BPF maps.
    Own,
}

/// How many owners there are.
const OWNERS: usize = Owner::Own as usize + 1;

/// Every page of RAM, told apart.
pub struct Census {
    pages: [u64; OWNERS],
    /// Pages whose words are references: in use, and neither slab, user nor free.
    pub roots: PageSet,
    /// Pages in use by anybody: their `struct page`s hold references too (buffer heads,
    /// the vectors of memory cgroups, inodes).
    pub in_use: PageSet,
    /// First pages of slabs.
    pub slabs: PageSet,
    /// Pages of [`Owner::Kernel`], so that who knows more can [`Census::claim`] them.
    pub(crate) unclaimed: PageSet,
    /// Pages of [`Owner::Reserved`], likewise.
    reserved: PageSet,
    /// Present pages, as the nodes say; `None` where they were not found.
    pub present_pages: Option<u64>,
    /// Whether it was ended early.
    pub interrupted: bool,
}

impl Census {
    /// How many pages an owner has.
    pub fn pages(&self, owner: Owner) -> u64 {
        self.pages[owner as usize]
    }

    /// Pages of RAM that were told apart.
    pub fn counted_pages(&self) -> u64 {
        self.pages.iter().sum()
    }

    /// No page told apart yet, of those below `end`.
    fn none(end: u64) -> Census {
        Census {
            pages: [0; OWNERS],
            roots: PageSet::new(end),
            in_use: PageSet::new(end),
            slabs: PageSet::new(end),
            unclaimed: PageSet::new(end),
            reserved: PageSet::new(end),
            present_pages: None,
            interrupted: false,
        }
    }

    /// Gives a page of [`Owner::Kernel`] or [`Owner::Reserved`] to an owner that the
    /// `struct page` does not show; it stays a root. A page of any other owner keeps it.
    pub fn claim(&mut self, pfn: Pfn, owner: Owner) {
        let before = match () {
            () if self.unclaimed.contains(pfn) => Owner::Kernel,
            () if self.reserved.contains(pfn) => Owner::Reserved,
            () => return,
        };
        self.unclaimed.remove(pfn);
        self.reserved.remove(pfn);
        self.pages[before as usize] -= 1;
        self.pages[owner as usize] += 1;
    }

    /// Ends the claiming.
    pub fn seal(&mut self) {
        self.unclaimed = PageSet::new(0);
        self.reserved = PageSet::new(0);
    }

    /// Counts a block of pages as its owner's.
    fn assign(&mut self, start: Pfn, pages: u64, owner: Owner) {
        self.pages[owner as usize] += pages;
        if owner != Owner::Free {
            for page in start.0..start.0 + pages {
                self.in_use.insert(Pfn(page));
            }
        }
        match owner {
            Owner::Slab => self.slabs.insert(start),
            Owner::Kernel | Owner::LargeKmalloc | Owner::Image | Owner::Reserved => {
                for page in start.0..start.0 + pages {
                    self.roots.insert(Pfn(page));
                }
            }
            _ => {}
        }
        let claimable = match owner {
            Owner::Kernel => &mut self.unclaimed,
            Owner::Reserved => &mut self.reserved,
            _ => return,
        };
        for page in start.0..start.0 + pages {
            claimable.insert(Pfn(page));
        }
    }

    /// A census of nothing but these pages of [`Owner::Kernel`].
    #[cfg(test)]
    pub(crate) fn of_kernel_pages(pages: impl IntoIterator<Item = Pfn>) -> Census {
        let mut census = Census::none(1 << 16);
        for pfn in pages {
            census.assign(pfn, 1, Owner::Kernel);
        }
        census
    }

    /// Looks at every `struct page` of RAM once.
    pub fn take(
        kernel: &Kernel<'_>,
        free: &FreePages,
        coverage: &mut Coverage,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Census {
        let end = kernel.end_pfn().0;
        let mut counter = Counter {
            kernel,
            free,
            own: kernel.own_pages.iter().copied().collect(),
            files: HashMap::new(),
            census: Census { present_pages: free.present_pages, ..Census::none(end) },
            unreadable: 0,
        };
        let total: u64 = kernel.ram.iter().map(PfnRange::pages).sum();
        let mut done = 0;
        for run in &kernel.ram {
            let mut at = run.start;
            while at < run.end {
                if cancel.is_set() {
                    counter.census.interrupted = true;
                    break;
                }
                let next = counter.window(at, run.end);
                done += next.0 - at.0;
                at = next;
                progress.tell(Stage::Census, done, total);
            }
        }
        if counter.unreadable > 0 {
            let what = format!("{} pages of RAM", counter.unreadable);
            coverage.skip(what, "their struct page cannot be read");
        }
        counter.census
    }
}
