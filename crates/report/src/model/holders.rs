//! Who holds user memory.
//!
//! **Invariant:** each list is the biggest first; a name may hold anything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Plain};

/// Who holds user memory; each list is the biggest first, and cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserHolders {
    /// Processes by private memory.
    pub processes: ProcessHolders,
    /// Processes whose pipes and sockets hold data that nobody reads.
    pub unread: Vec<UnreadData>,
    /// All such data, of all processes: it is kernel memory.
    pub unread_bytes: u64,
    /// Processes with memory that is locked in RAM.
    pub locked: Vec<LockedMemory>,
    /// Mounted tmpfs file systems.
    pub tmpfs: Vec<TmpfsMount>,
    /// Shared memory that no file system shows: memfd, System V segments, `MAP_SHARED`.
    pub shared: Vec<SharedMemory>,
    /// Files by their pages in the page cache.
    pub cached_files: Vec<CachedFile>,
    /// Pools of huge pages that are not empty.
    pub huge_pools: Vec<HugePool>,
    /// Files that were deleted and are open still.
    pub deleted_files: Vec<DeletedFile>,
    /// Memory cgroups by the memory that is charged to themselves.
    pub cgroups: Vec<CgroupMemory>,
    /// Memory cgroups that were removed and still hold memory; `None` where the kernel does
    /// not tell.
    pub dying_cgroups: Option<u64>,
    /// What holds these; `None` where there are none.
    pub dying: Option<DyingCgroups>,
}

/// Processes by private memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessHolders {
    /// Processes that were looked at and have memory of their own.
    pub count: u64,
    /// The private memory of all of these. Pages shared since a fork count for each.
    pub anon_bytes: u64,
    /// The biggest.
    pub top: Vec<ProcessMemory>,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessMemory {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its anonymous memory in RAM.
    pub anon_bytes: u64,
    /// Its memory that was swapped out.
    pub swap_bytes: u64,
    /// Its huge pages (hugetlb).
    pub hugetlb_bytes: u64,
}

/// What waits unread in the pipes and sockets of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnreadData {
    /// The process that could read it.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Memory of all of it; kernel memory, slab or pages.
    pub bytes: u64,
    /// Pipes that hold data.
    pub pipes: u64,
    /// Memory of these.
    pub pipe_bytes: u64,
    /// Sockets that hold data, arrived or on its way out.
    pub sockets: u64,
    /// Memory of these.
    pub socket_bytes: u64,
}

/// Memory of a process that is locked in RAM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockedMemory {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Address space that is locked (`mlock`) or pinned (RDMA, io_uring).
    pub bytes: u64,
}

/// A piece of shared memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SharedMemory {
    /// What kind.
    pub kind: SharedKind,
    /// Its name or key; empty where it has none.
    pub name: String,
    /// Its bytes in RAM.
    pub bytes: u64,
    /// A process that has it open or mapped; `None` where nobody was found.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: String,
}

/// What a piece of shared memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SharedKind {
    /// `memfd_create`
    Memfd,
    /// System V: `shmget`
    Sysv,
    /// `mmap` with `MAP_SHARED` and no file.
    #[default]
    Anonymous,
    /// Of a file system in memory that is mounted nowhere: graphics buffers and the like.
    Unmounted,
}

/// A file by its pages in the page cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CachedFile {
    /// Which one.
    pub path: Place,
    /// The file system.
    pub system: Plain,
    /// What it lies on.
    pub device: String,
    /// Its bytes in RAM.
    pub bytes: u64,
}

/// Memory cgroups that were removed and still hold memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DyingCgroups {
    /// User memory that is charged to them.
    pub bytes: u64,
    /// Of it anonymous memory.
    pub anon_bytes: u64,
    /// Of it page cache.
    pub file_bytes: u64,
    /// Of it shared memory and tmpfs.
    pub shmem_bytes: u64,
    /// Files with the most pages of these.
    pub files: Vec<CachedFile>,
}

/// One mounted tmpfs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TmpfsMount {
    /// Where it is mounted.
    pub mount: String,
    /// Bytes of its files, in RAM or swap.
    pub used_bytes: u64,
    /// How big it may get; `None` where it has no limit.
    pub limit_bytes: Option<u64>,
    /// The process that has the most of it open or mapped; `None` where nobody has.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: String,
    /// The bytes that it has open or mapped.
    pub open_bytes: u64,
}

/// One pool of huge pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CgroupMemory {
    /// Its path below the root of the hierarchy.
    pub path: String,
    /// What is charged to it and to no group below it.
    pub bytes: u64,
    /// Of this, page cache; `None` where there are groups below it.
    pub file_bytes: Option<u64>,
}
