//! What was looked at, and what was left out.
//!
//! **Invariant:** what is left out is a value: others make the sentences.

use sysak_base::Va;

use crate::Stop;

/// What was looked at, and what was not.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Slabs found.
    pub slabs_total: u64,
    /// Slabs whose objects are known.
    pub slabs_walked: u64,
    /// Objects in them, free ones included.
    pub objects_walked: u64,
    /// Bytes that marking read.
    pub bytes_scanned: u64,
    /// What was left out.
    pub skipped: Vec<Omission>,
    /// How much of each kind of memory could be judged.
    pub books: Books,
}

/// Memory of one kind: how much there is, and how much of it could not be judged.
///
/// What could not be judged was taken as in use and searched for pointers, so it accuses nobody. But a leak may be
/// among it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// Pages of this kind.
    pub pages: u64,
    /// Pages of which nobody can say what in them is allocated, or by whom.
    pub unjudged_pages: u64,
    /// Whether this kind of memory was not found at all.
    pub is_missing: bool,
}

impl Book {
    /// Whether so much could be judged that an answer for all of it can be given.
    pub fn is_closed(&self) -> bool {
        !self.is_missing && self.unjudged_pages * MOST_UNJUDGED <= self.pages
    }
}

/// One part in so many may be unjudged: less than that is no leak that anybody looks for.
const MOST_UNJUDGED: u64 = 100;

/// The books of all kinds of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Slabs.
    pub slab: Book,
    /// Blocks of pages.
    pub page: Book,
    /// vmalloc areas.
    pub vmalloc: Book,
    /// Per-CPU memory.
    pub percpu: Book,
}

impl Coverage {
    /// Notes something that was left out.
    pub fn skip(&mut self, what: Omitted, why: Reason) {
        self.skipped.push(Omission { what, why });
    }
}

/// Something that was left out, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Omission {
    /// What.
    pub what: Omitted,
    /// And why.
    pub why: Reason,
}

/// What was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omitted {
    /// So many slabs.
    Slabs(u64),
    /// Some of the slab caches.
    SomeCaches,
    /// The slab cache at an address.
    Cache(Va),
    /// Objects that the CPUs keep for their next allocations: they are taken for live.
    PerCpuFreeObjects,
    /// Pages that the CPUs keep for their next allocations: they are taken for in use.
    PerCpuFreePages,
    /// One of the lists of these.
    PerCpuPageList,
    /// So many slabs whose cache is not known.
    UnknownSlabs(u64),
    /// So many caches that only their slabs lead to.
    UnlistedCaches(u64),
    /// So many pages of vmalloc areas that are on no list.
    StrayPages(u64),
    /// So many pages of RAM.
    Pages(u64),
    /// All vmalloc areas.
    VmallocAreas,
    /// Some of them.
    SomeVmallocAreas,
    /// Per-CPU memory.
    PerCpuMemory,
    /// Per-CPU memory that was set aside at boot.
    BootPerCpuMemory,
    /// Some of the allocations in so many chunks of per-CPU memory.
    PerCpuAllocations(u64),
    /// Some of the page tables.
    SomePageTables,
    /// Open files of all processes.
    OpenFiles,
    /// Open files of so many processes.
    OpenFilesOf(u64),
    /// Some of the memory cgroups.
    SomeCgroups,
    /// Which slab objects are free: all of them count as in use.
    SlabObjects,
    /// Blocks of pages that nobody claims: all of them count as in use.
    PageBlocks,
    /// User memory, or some of it: it counts as the kernel's.
    UserPages,
    /// Dead parts of stacks: they count as live.
    IdleStacks,
    /// Timers, or some of them.
    Timers,
    /// Names of files, or where they are mounted or mapped.
    FileNames,
    /// What is in pipes or sockets.
    SomeOpenFiles,
    /// Processes.
    Processes,
    /// Pools of huge pages.
    HugePages,
    /// Names, kinds or counters of slab caches.
    SlabDetails,
    /// So many pieces of memory that were to be searched for pointers.
    Memory(u64),
}

/// Why something was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The type information does not tell where it is.
    NoTypeInfo,
    /// It was not found; its pages are among those of no other owner.
    NotFound,
    /// The per-CPU areas were not found.
    NoPerCpuAreas,
    /// The memory nodes were not found.
    NoNodes,
    /// The first chunk of per-CPU memory was not found; it is among the reserved pages.
    NoFirstChunk,
    /// The kernel's own page tables were not found.
    NoKernelTables,
    /// No process's page tables were found.
    NoProcessTables,
    /// It changed while it was read.
    Changed,
    /// It changed while it was read, or is damaged.
    ChangedOrDamaged,
    /// It is damaged.
    Damaged,
    /// It is on no list of the kernel's.
    OnNoList,
    /// It was given back meanwhile.
    GivenBack,
    /// Its contents contradict each other.
    Implausible,
    /// They are KFENCE's.
    Foreign,
    /// It cannot be read.
    Unreadable,
    /// Its `struct page` cannot be read.
    NoStructPage,
    /// So many of the page tables that lead to others cannot be read.
    TablesUnreadable(u64),
    /// There are too many.
    TooMany,
    /// Somebody ended the search.
    Interrupted,
    /// There are more than so many.
    MoreThan(u64),
    /// A list ended before its end.
    Stopped(Stop),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundredth_may_be_unjudged_and_no_page_more() {
        let book = |unjudged_pages| Book { pages: 1000, unjudged_pages, is_missing: false };
        assert!(book(10).is_closed() && !book(11).is_closed());
        assert!(Book::default().is_closed(), "a kind that the machine does not use");
        assert!(!Book { is_missing: true, ..book(0) }.is_closed());
    }
}
