//! The census: every page of RAM into exactly one owner.
//!
//! What is called free is left out of the roots, and what is called user memory
//! too; a wrong "free" or "user" hides references and accuses the innocent.
//!
//! **Invariant:** doubt means kernel memory, which is a root.

mod counter;
mod single;
mod user;

use std::collections::HashMap;

use sysak_base::{Cancel, Pfn, PfnRange, Progress, Stage};
use sysak_heap::{Block, PageSet};

use crate::{Coverage, FreePages, Kernel};
use counter::Counter;
pub use single::owner_of;
pub use user::{Charged, FilePages, UserPages};

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

/// What is known of pages of [`Owner::Kernel`] and [`Owner::Untouchable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Given back to the hypervisor, or taken offline.
    Balloon,
    /// Broken RAM that is not used any more.
    Poisoned,
    /// Compressed memory of zram and zswap.
    Compressed,
    /// A pool for packets that a network device receives.
    PagePool,
}

/// How many parts there are.
const PARTS: usize = Part::PagePool as usize + 1;
/// The buddy allocator's largest block has 2¹⁰ pages.
const LARGEST_BLOCK: u64 = 1 << 10;
/// Of a compound page so many `struct page`s tell of it: hugetlb keeps most there, in the first
/// five. The others keep what they held in an earlier life.
const TELLING_PAGES: u64 = 5;
/// How many owners there are.
const OWNERS: usize = Owner::Own as usize + 1;

/// Every page of RAM, told apart.
pub struct Census {
    pages: [u64; OWNERS],
    parts: [u64; PARTS],
    /// Pages whose words are references: in use, and neither slab, user nor free.
    pub roots: PageSet,
    /// Pages in use by anybody whose `struct page`s hold references too (buffer heads, the vectors
    /// of memory cgroups, inodes): of a compound page the first ones.
    pub in_use: PageSet,
    /// First pages of slabs.
    pub slabs: PageSet,
    /// Pages of [`Owner::Kernel`], so that who knows more can [`Census::claim`] them.
    pub(crate) unclaimed: PageSet,
    /// Pages of [`Owner::Reserved`], likewise.
    reserved: PageSet,
    /// First pages of blocks that somebody allocated and only references tell whose they are.
    heads: PageSet,
    /// Pages of blocks that were split up: in use each by itself, but never on a list of
    /// free pages, so that they came with the block before them.
    split: PageSet,
    /// Those blocks that say themselves how long they are.
    sized: Vec<Block>,
    /// User memory by file and by memory cgroup.
    pub user: UserPages,
    /// Present pages, as the nodes say; `None` where they were not found.
    pub present_pages: Option<u64>,
    /// Slabs that cannot be given back and large kmallocs, as the nodes count them.
    pub unreclaimable_pages: Option<u64>,
    /// Page tables of virtual machines and IOMMUs, likewise; they are pages of
    /// [`Owner::Kernel`].
    pub secondary_table_pages: Option<u64>,
    /// Whether it was ended early.
    pub interrupted: bool,
}

impl Census {
    /// How many pages an owner has.
    pub fn pages(&self, owner: Owner) -> u64 {
        self.pages[owner as usize]
    }

    /// How many pages of [`Owner::Kernel`] and [`Owner::Untouchable`] are known to be this.
    pub fn part(&self, part: Part) -> u64 {
        self.parts[part as usize]
    }

    /// Pages of RAM that were told apart.
    pub fn counted_pages(&self) -> u64 {
        self.pages.iter().sum()
    }

    /// No page told apart yet, of those below `end`.
    fn none(end: u64) -> Census {
        Census {
            pages: [0; OWNERS],
            parts: [0; PARTS],
            roots: PageSet::new(end),
            in_use: PageSet::new(end),
            slabs: PageSet::new(end),
            unclaimed: PageSet::new(end),
            reserved: PageSet::new(end),
            heads: PageSet::new(end),
            split: PageSet::new(end),
            sized: Vec::new(),
            user: UserPages::default(),
            present_pages: None,
            unreclaimable_pages: None,
            secondary_table_pages: None,
            interrupted: false,
        }
    }

    /// Gives a page of [`Owner::Kernel`] or [`Owner::Reserved`] to an owner that the
    /// `struct page` does not show; it stays a root. A page of any other owner keeps it,
    /// and the answer is false.
    pub fn claim(&mut self, pfn: Pfn, owner: Owner) -> bool {
        let before = match () {
            () if self.unclaimed.contains(pfn) => Owner::Kernel,
            () if self.reserved.contains(pfn) => Owner::Reserved,
            () => return false,
        };
        self.unclaimed.remove(pfn);
        self.reserved.remove(pfn);
        self.pages[before as usize] -= 1;
        self.pages[owner as usize] += 1;
        true
    }

    /// The page's words, and those of its `struct page`, are references no longer, but only
    /// where something leads to the page.
    pub fn uproot(&mut self, pfn: Pfn) {
        self.roots.remove(pfn);
        self.in_use.remove(pfn);
    }

    /// The page's words are no references.
    pub fn leave_out(&mut self, pfn: Pfn) {
        self.roots.remove(pfn);
    }

    /// Ends the claiming: the blocks of pages that nobody claimed are roots no longer.
    ///
    /// Only the first page of a block that is not a compound one says that it is in use. What
    /// follows up to the next such page is its rest, if that makes a block of the buddy
    /// allocator; if not, all of it stays a root. So does one that was split up since, as
    /// `alloc_pages_exact` does: what it gives out only its first page leads to.
    pub fn take_blocks(&mut self) -> Vec<Block> {
        let mut blocks = std::mem::take(&mut self.sized);
        let runs: Vec<_> = self.heads.runs().collect();
        for pfn in runs.into_iter().flat_map(|(first, many)| first.0..first.0 + many) {
            let is_rest = |page: &u64| {
                self.unclaimed.contains(Pfn(*page)) && !self.heads.contains(Pfn(*page))
            };
            let rest = (pfn + 1..=pfn + LARGEST_BLOCK).take_while(is_rest).count() as u64;
            let pages = rest + 1;
            let is_split = || (pfn..pfn + pages).any(|page| self.split.contains(Pfn(page)));
            let whole = pages.is_power_of_two() && pfn.is_multiple_of(pages) && !is_split();
            if whole && self.unclaimed.contains(Pfn(pfn)) {
                blocks.push(Block { pfn: Pfn(pfn), pages: pages as u32 });
            }
        }
        for Block { pfn, pages } in &blocks {
            (pfn.0..pfn.0 + u64::from(*pages)).for_each(|page| self.uproot(Pfn(page)));
        }
        blocks.sort_unstable_by_key(|block| block.pfn);
        let sets = [&mut self.unclaimed, &mut self.reserved, &mut self.heads, &mut self.split];
        sets.into_iter().for_each(|set| *set = PageSet::default());
        blocks
    }

    /// Counts a block of pages as its owner's.
    fn assign(&mut self, start: Pfn, pages: u64, owner: Owner) {
        self.pages[owner as usize] += pages;
        let telling = match owner {
            Owner::Free => 0,
            Owner::Slab => 1,
            _ => pages.min(TELLING_PAGES),
        };
        for page in start.0..start.0 + telling {
            self.in_use.insert(Pfn(page));
        }
        match owner {
            Owner::Slab => self.slabs.insert(start),
            Owner::LargeKmalloc => {
                self.sized.push(Block { pfn: start, pages: pages as u32 });
                (start.0..start.0 + pages).for_each(|page| self.roots.insert(Pfn(page)));
            }
            Owner::Kernel | Owner::Image | Owner::Reserved => {
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
            census: Census {
                present_pages: free.present_pages,
                unreclaimable_pages: free.unreclaimable_pages,
                secondary_table_pages: free.secondary_table_pages,
                ..Census::none(end)
            },
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
        counter.census.user.flush();
        if counter.unreadable > 0 {
            let what = format!("{} pages of RAM", counter.unreadable);
            coverage.skip(what, "their struct page cannot be read");
        }
        counter.census
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(pages: std::ops::Range<u64>, heads: &[u64], split: &[u64]) -> Vec<(u64, u32)> {
        let mut census = Census::of_kernel_pages(pages.map(Pfn));
        heads.iter().for_each(|pfn| census.heads.insert(Pfn(*pfn)));
        split.iter().for_each(|pfn| census.split.insert(Pfn(*pfn)));
        let found = census.take_blocks();
        for block in &found {
            assert!(!census.roots.contains(block.pfn), "a node is no root");
        }
        found.into_iter().map(|block| (block.pfn.0, block.pages)).collect()
    }

    #[test]
    fn a_block_is_its_first_page_and_those_behind_it_that_do_not_say_they_are_in_use() {
        assert_eq!(blocks(16..24, &[16, 20, 21, 22], &[]), [(16, 4), (20, 1), (21, 1), (22, 2)]);
    }

    #[test]
    fn what_is_no_block_of_the_buddy_allocator_stays_a_root() {
        assert_eq!(blocks(16..19, &[16], &[]), [], "three pages");
        assert_eq!(blocks(17..19, &[17], &[]), [], "not aligned");
        assert_eq!(blocks(16..18, &[], &[]), [], "nobody says it is in use");
    }

    #[test]
    fn a_block_that_was_split_up_stays_a_root() {
        assert_eq!(blocks(16..24, &[16, 20], &[21, 22, 23]), [(16, 4)]);
    }

    #[test]
    fn of_a_compound_page_only_the_first_struct_pages_hold_references() {
        let mut census = Census::none(1 << 10);
        census.assign(Pfn(8), 8, Owner::Slab);
        census.assign(Pfn(16), 1, Owner::Anon);
        census.assign(Pfn(512), 512, Owner::Anon);
        census.assign(Pfn(32), 32, Owner::Free);
        let runs: Vec<_> = census.in_use.runs().map(|(pfn, pages)| (pfn.0, pages)).collect();
        assert_eq!(runs, [(8, 1), (16, 1), (512, 5)]);
    }
}
