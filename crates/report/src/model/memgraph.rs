//! The report of `sysak memgraph`: whose the memory is, the kernel's and user space's.
//!
//! **Invariant:** user memory has holders here; it is never called a leak.

use serde::Serialize;
use sysak_base::Stage;

use super::{CacheTotals, Census, Coverage, SCHEMA_VERSION, Target, Timings, Tool, stage};
use crate::lang::Lang;

/// Where the memory of one machine is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemGraph {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Who made it.
    pub tool: Tool,
    /// What was looked at.
    pub target: Target,
    /// Where the memory is, in one sentence; filled by [`MemGraph::render_sentences`].
    pub summary: String,
    /// The step in which it was ended early.
    #[serde(serialize_with = "stage")]
    pub interrupted: Option<Stage>,
    /// Whose the machine's RAM is.
    pub census: Census,
    /// The biggest slab caches, biggest first.
    pub caches: Vec<CacheTotals>,
    /// Who holds user memory; `None` for a crash dump.
    pub holders: Option<UserHolders>,
    /// What was looked at and what was not.
    pub coverage: Coverage,
    /// How long the steps took.
    pub timings: Timings,
    /// Language of the sentences, once they were rendered.
    pub lang: Option<Lang>,
}

impl Default for MemGraph {
    fn default() -> MemGraph {
        MemGraph {
            schema_version: SCHEMA_VERSION,
            tool: Tool::default(),
            target: Target::default(),
            summary: String::new(),
            interrupted: None,
            census: Census::default(),
            caches: Vec::new(),
            holders: None,
            coverage: Coverage::default(),
            timings: Timings::default(),
            lang: None,
        }
    }
}

/// Who holds user memory on a live machine; each list is the biggest first, and cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UserHolders {
    /// Processes by private memory.
    pub processes: ProcessHolders,
    /// Mounted tmpfs file systems.
    pub tmpfs: Vec<TmpfsMount>,
    /// Pools of huge pages that are not empty.
    pub huge_pools: Vec<HugePool>,
    /// Files that were deleted and are open still.
    pub deleted_files: Vec<DeletedFile>,
    /// Memory cgroups by the memory that is charged to themselves.
    pub cgroups: Vec<CgroupMemory>,
    /// Memory cgroups that were removed and still hold memory; `None` where the kernel does
    /// not tell.
    pub dying_cgroups: Option<u64>,
}

/// Processes by private memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProcessHolders {
    /// Processes that were looked at and have memory of their own.
    pub count: u64,
    /// The private memory of all of these. Pages shared since a fork count for each.
    pub anon_bytes: u64,
    /// The biggest.
    pub top: Vec<ProcessMemory>,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProcessMemory {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its anonymous memory in RAM.
    pub anon_bytes: u64,
    /// Its memory that was swapped out.
    pub swap_bytes: u64,
}

/// One mounted tmpfs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TmpfsMount {
    /// Where it is mounted.
    pub mount: String,
    /// Bytes of its files, in RAM or swap.
    pub used_bytes: u64,
    /// How big it may get; `None` where it has no limit.
    pub limit_bytes: Option<u64>,
}

/// One pool of huge pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HugePool {
    /// Bytes of one page.
    pub page_bytes: u64,
    /// Pages in the pool, used or not.
    pub pages: u64,
    /// Pages that nobody uses.
    pub free_pages: u64,
    /// Free pages that are promised to somebody.
    pub reserved_pages: u64,
}

/// One deleted file that is open still.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeletedFile {
    /// What its name was.
    pub path: String,
    /// Bytes that it takes where it lies.
    pub bytes: u64,
    /// Whether it lies in memory (tmpfs, memfd, hugetlbfs) and not on a disk.
    pub in_memory: bool,
    /// The first process that has it open.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Processes that have it open.
    pub processes: u64,
}

/// One memory cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CgroupMemory {
    /// Its path below the root of the hierarchy.
    pub path: String,
    /// What is charged to it and to no group below it.
    pub bytes: u64,
    /// Of this, page cache; `None` where there are groups below it.
    pub file_bytes: Option<u64>,
}
