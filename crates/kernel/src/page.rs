//! The census: gives every page of RAM exactly one owner.
//!
//! Free pages and user memory are no roots. A page that is wrongly called free or user memory hides
//! references, and then objects in use look lost.
//!
//! **Invariant:** doubt means kernel memory, which is a root.

mod classifier;
mod dumped;
mod single;
mod unmapped;
mod user;

use sysak_base::{Cancel, Memory, Pfn, PfnRange, Progress, Va};
use sysak_heap::{Block, PageSet};

use crate::shape::PageKind;
use crate::{Book, Counters, Coverage, FreePages, Kernel, Omitted, Reason};

use classifier::{Classifier, Window};

pub use dumped::{Dumped, PageState};
pub use single::owner_of;
pub use unmapped::Unmapped;
pub use user::{Charged, FilePages, UserPages};

/// The owner of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Free.
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
    /// A kmalloc too large for a slab, where its pages have a type of their own.
    LargeKmalloc,
    /// An area of the vmalloc address space.
    Vmalloc,
    /// A thread's stack, where stacks are vmalloc areas.
    Stack,
    /// Per-CPU memory, including that of boot time.
    PerCpu,
    /// Any other memory of the kernel.
    Kernel,
    /// Logically offline or poisoned: must not be read. Besides, compressed memory that a dump lacks: zram and zswap
    /// refer to all that it refers to (`zs_handle`).
    Untouchable,
    /// Part of our own BPF maps.
    Own,
}

impl Owner {
    /// Whether pages of this owner are the kernel's, and can be read: they are in every dump that has all of it.
    pub fn is_kernel(self) -> bool {
        match self {
            Owner::Free | Owner::Anon | Owner::File | Owner::Shmem | Owner::Hugetlb => false,
            Owner::Untouchable | Owner::Own => false,
            Owner::Slab | Owner::PageTable | Owner::Image | Owner::Reserved | Owner::Memmap => true,
            Owner::LargeKmalloc | Owner::Vmalloc | Owner::Stack | Owner::PerCpu => true,
            Owner::Kernel => true,
        }
    }
}

/// A known use of pages of [`Owner::Kernel`] and [`Owner::Untouchable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Given back to the hypervisor, or taken offline.
    Balloon,
    /// Broken RAM that is no longer used.
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
/// The `struct page`s at the start of a compound page that describe it: hugetlb uses most, the first
/// five. The others keep old words from before the page became part of the compound page.
const DESCRIBING_PAGES: u64 = 5;
/// A kmalloc of more than two pages comes from no slab.
const LEAST_LARGE_KMALLOC: u64 = 4;
/// How many owners there are.
const OWNERS: usize = Owner::Own as usize + 1;

/// How kmallocs that are too large for a slab are identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeKmallocs {
    /// They have a page type (since v6.14), and are pages of [`Owner::LargeKmalloc`].
    Typed,
    /// They are among the compound pages of [`Owner::Kernel`].
    Among {
        /// How many pages these have.
        compound_pages: u64,
    },
}

/// Every page of RAM by its owner.
pub struct Census {
    pages: [u64; OWNERS],
    parts: [u64; PARTS],
    /// Roots: pages whose words are references although nothing leads to them. They are in use, and
    /// neither slabs nor user memory.
    pub roots: PageSet,
    /// Pages in use whose `struct page`s hold references too (buffer heads, the vectors of memory
    /// cgroups, inodes). Only the first pages of a compound page are among them.
    pub in_use: PageSet,
    /// First pages of slabs.
    pub slabs: PageSet,
    /// Page tables that are among the roots: their words look like physical addresses.
    pub tables: PageSet,
    /// Pages of [`Owner::Kernel`] that a later step can [`Census::claim`] for a more exact owner.
    pub(crate) unclaimed: PageSet,
    /// Pages of [`Owner::Reserved`] that can be claimed in the same way.
    reserved: PageSet,
    /// First pages of allocated blocks of the buddy allocator; no `struct page` names their owner.
    heads: PageSet,
    /// Pages of blocks that were split up. Each is in use by itself, but was never on a list of free
    /// pages: it was allocated together with the block before it.
    split: PageSet,
    /// Blocks whose `struct page` has their length.
    sized: Vec<Block>,
    /// What a crash dump has of these pages; `None` for a running kernel, which has all.
    pub dumped: Option<Dumped>,
    /// User memory by file and by memory cgroup.
    pub user: UserPages,
    /// Anonymous memory that no process has.
    pub unmapped: Unmapped,
    /// Present pages, by the counters of the nodes; `None` where the nodes were not found.
    pub present_pages: Option<u64>,
    /// What the nodes count. Page tables of virtual machines and IOMMUs are pages of [`Owner::Kernel`].
    pub counters: Counters,
    /// How large kmallocs are identified.
    pub large_kmallocs: LargeKmallocs,
    /// Pages of a crash dump whose `struct page`s contradict each other.
    pub(crate) doubtful_pages: u64,
    /// Whether it was interrupted.
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

    /// Pages that have an owner.
    pub fn counted_pages(&self) -> u64 {
        self.pages.iter().sum()
    }

    /// A census of the pages below `end` in which no page has an owner yet.
    fn none(end: u64) -> Census {
        Census {
            pages: [0; OWNERS],
            parts: [0; PARTS],
            roots: PageSet::new(end),
            in_use: PageSet::new(end),
            slabs: PageSet::new(end),
            tables: PageSet::new(end),
            unclaimed: PageSet::new(end),
            reserved: PageSet::new(end),
            heads: PageSet::new(end),
            split: PageSet::new(end),
            sized: Vec::new(),
            dumped: None,
            user: UserPages::default(),
            unmapped: Unmapped::default(),
            present_pages: None,
            counters: Counters::default(),
            large_kmallocs: LargeKmallocs::Among { compound_pages: 0 },
            doubtful_pages: 0,
            interrupted: false,
        }
    }

    /// Gives a page of [`Owner::Kernel`] or [`Owner::Reserved`] to an owner that its `struct page`
    /// does not show. The page stays a root. A page of any other owner keeps it, and the result is
    /// false.
    pub fn claim(&mut self, pfn: Pfn, owner: Owner) -> bool {
        if owner == Owner::PageTable {
            self.tables.insert(pfn);
        }
        let before = match () {
            () if self.unclaimed.contains(pfn) => Owner::Kernel,
            () if self.reserved.contains(pfn) => Owner::Reserved,
            () => return false,
        };
        self.unclaimed.remove(pfn);
        self.reserved.remove(pfn);
        self.pages[before as usize] -= 1;
        self.pages[owner as usize] += 1;
        if let Some(dumped) = &mut self.dumped {
            dumped.move_to(pfn, before, owner);
        }
        true
    }

    /// Makes a page part of an object: it is no root any more. Its words and those of its
    /// `struct page` count only if something leads to the object.
    pub fn set_object(&mut self, pfn: Pfn) {
        self.roots.remove(pfn);
        self.in_use.remove(pfn);
    }

    /// Takes a page out of the roots: none of its words is a reference.
    pub fn exclude(&mut self, pfn: Pfn) {
        self.roots.remove(pfn);
    }

    /// Gives pages of [`Owner::Kernel`] that are our own process's to [`Owner::Anon`]: the census met them while the
    /// kernel was making them ours (it joins small pages to a huge one, or moves a page). They are full of addresses
    /// of kernel objects, and as roots they would make all that is lost reachable.
    pub fn give_back(&mut self, own: impl IntoIterator<Item = Pfn>) {
        for pfn in own {
            if self.claim(pfn, Owner::Anon) {
                self.exclude(pfn);
            }
        }
    }

    /// Makes objects of the blocks that no step claimed; no page can be claimed afterwards.
    ///
    /// A block that is not a compound page has a reference count in its first page only. The pages
    /// up to the next such page belong to it, if together they are a block of the buddy allocator;
    /// if not, all of them stay roots. A block that was split up (`alloc_pages_exact`) stays a root
    /// too: its owner keeps only the address of its first page. Where `tells_blocks` is false, only
    /// blocks whose `struct page` has their length become objects.
    pub fn take_blocks(&mut self, tells_blocks: bool) -> Vec<Block> {
        let mut blocks = std::mem::take(&mut self.sized);
        let runs: Vec<_> = self.heads.runs().filter(|_| tells_blocks).collect();
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
            (pfn.0..pfn.0 + u64::from(*pages)).for_each(|page| self.set_object(Pfn(page)));
        }
        blocks.sort_unstable_by_key(|block| block.pfn);
        let sets = [&mut self.unclaimed, &mut self.reserved, &mut self.heads, &mut self.split];
        sets.into_iter().for_each(|set| *set = PageSet::default());
        blocks
    }

    /// How many pages of the kernel's a crash dump has not.
    pub fn holes(&self) -> u64 {
        self.dumped.as_ref().map_or(0, Dumped::holes)
    }

    /// Takes a page of which nothing is known. Who says that it is free? In a dump it may be searched for references;
    /// on a running machine it must not be touched.
    fn assign_unknown(&mut self, pfn: Pfn) {
        let Some(dumped) = &mut self.dumped else {
            self.assign(pfn, 1, Owner::Untouchable);
            return;
        };
        dumped.assign(pfn, 1, Owner::Kernel);
        self.pages[Owner::Kernel as usize] += 1;
        self.roots.insert(pfn);
    }

    /// Gives a block of pages to its owner.
    fn assign(&mut self, start: Pfn, pages: u64, owner: Owner) {
        self.pages[owner as usize] += pages;
        if let Some(dumped) = &mut self.dumped {
            dumped.assign(start, pages, owner);
        }
        let describing = match owner {
            Owner::Free => 0,
            Owner::Slab => 1,
            _ => pages.min(DESCRIBING_PAGES),
        };
        for page in start.0..start.0 + describing {
            self.in_use.insert(Pfn(page));
        }
        if let LargeKmallocs::Among { compound_pages } = &mut self.large_kmallocs
            && owner == Owner::Kernel
            && pages >= LEAST_LARGE_KMALLOC
        {
            *compound_pages += pages;
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
        let census = Census {
            present_pages: free.present_pages,
            counters: free.counters.clone(),
            large_kmallocs: match kernel.shape.page.types.knows(PageKind::LargeKmalloc) {
                true => LargeKmallocs::Typed,
                false => LargeKmallocs::Among { compound_pages: 0 },
            },
            dumped: Dumped::find(kernel),
            ..Census::none(end)
        };
        let mut classifier = Classifier::new(kernel, free, census);
        let total: u64 = kernel.ram.iter().map(PfnRange::pages).sum();
        let mut done = 0;
        let (array, size) = (kernel.struct_page(Pfn(0)), kernel.shape.page.size);
        // One thread alone need not copy them.
        let is_read_ahead = kernel.readers.threads() > 1;
        let read = |memory: &dyn Memory, (): &mut (), window: Window| match is_read_ahead {
            true => window.read(memory, array, size),
            false => window,
        };
        let windows = Window::all(&kernel.ram).take_while(|_| !cancel.is_set());
        kernel.readers.in_order(windows, read, |window| {
            done += classifier.window(&window);
            progress.tell(done, total);
        });
        classifier.census.interrupted |= cancel.is_set();
        classifier.census.user.flush();
        if let Some(place) = kernel.shape.page.charged_group {
            let group_of = |at: Va| kernel.memory.read_u64(at.at(place)).ok().map(Va);
            classifier.census.user.resolve_groups(group_of);
        }
        if classifier.unreadable > 0 {
            coverage.skip(Omitted::Pages(classifier.unreadable), Reason::NoStructPage);
        }
        let doubtful = classifier.census.doubtful_pages;
        if doubtful > 0 {
            coverage.skip(Omitted::Pages(doubtful), Reason::Damaged);
        }
        coverage.books.page = Book {
            pages: classifier.census.pages(Owner::Kernel),
            unjudged_pages: classifier.unreadable + doubtful,
            is_missing: !kernel.shape.tells_blocks(),
        };
        classifier.census
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(pages: std::ops::Range<u64>, heads: &[u64], split: &[u64]) -> Vec<(u64, u32)> {
        let mut census = Census::of_kernel_pages(pages.map(Pfn));
        heads.iter().for_each(|pfn| census.heads.insert(Pfn(*pfn)));
        split.iter().for_each(|pfn| census.split.insert(Pfn(*pfn)));
        let found = census.take_blocks(true);
        for block in &found {
            assert!(!census.roots.contains(block.pfn), "an object is no root");
        }
        found.into_iter().map(|block| (block.pfn.0, block.pages)).collect()
    }

    #[test]
    fn a_block_is_its_first_page_and_the_pages_behind_it_without_a_count() {
        assert_eq!(blocks(16..24, &[16, 20, 21, 22], &[]), [(16, 4), (20, 1), (21, 1), (22, 2)]);
    }

    #[test]
    fn what_is_no_block_of_the_buddy_allocator_stays_a_root() {
        assert_eq!(blocks(16..19, &[16], &[]), [], "three pages");
        assert_eq!(blocks(17..19, &[17], &[]), [], "not aligned");
        assert_eq!(blocks(16..18, &[], &[]), [], "no page has a count");
    }

    #[test]
    fn a_block_that_was_split_up_stays_a_root() {
        assert_eq!(blocks(16..24, &[16, 20], &[21, 22, 23]), [(16, 4)]);
    }

    #[test]
    fn pages_that_became_ours_are_neither_roots_nor_objects() {
        let mut census = Census::of_kernel_pages((16..24).chain([40]).map(Pfn));
        [16, 20, 40].iter().for_each(|pfn| census.heads.insert(Pfn(*pfn)));
        census.assign(Pfn(60), 1, Owner::Anon);
        census.give_back([20, 21, 22, 23, 60].map(Pfn));
        assert_eq!((census.pages(Owner::Anon), census.pages(Owner::Kernel)), (5, 5));
        let blocks: Vec<_> = census.take_blocks(true).iter().map(|block| block.pfn.0).collect();
        assert_eq!(blocks, [16, 40]);
        assert!((16..64).all(|pfn| !census.roots.contains(Pfn(pfn))));
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
