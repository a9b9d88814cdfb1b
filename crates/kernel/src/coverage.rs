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
    /// It was given back meanwhile.
    GivenBack,
    /// Its contents contradict each other.
    Implausible,
    /// It is not cut up as SLUB does: KFENCE's.
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
