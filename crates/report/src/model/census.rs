//! Whose the machine's RAM is: every byte in exactly one leaf.
//!
//! A leaf that is not told apart yet is `None`; its bytes are in `page_alloc_bytes`.
//!
//! **Invariant:** the leaves add up to `total_bytes`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The owners of all RAM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Census {
    /// Present pages of all nodes.
    pub total_bytes: Option<u64>,
    /// Nobody's.
    pub free_bytes: Option<u64>,
    /// Set aside at boot.
    pub reserved_bytes: Option<u64>,
    /// Of no owner that was found.
    pub unaccounted_bytes: Option<u64>,
    /// Processes' memory and page cache.
    pub user: UserMemory,
    /// The kernel's own memory.
    pub kernel: KernelMemory,
    /// Of `page_alloc_bytes`, what is known all the same, the most first.
    pub page_alloc_owners: Vec<PageAllocOwner>,
}

/// A part of the pages that were taken straight from the page allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PageAllocOwner {
    /// What it is.
    pub owner: PageOwner,
    /// How much.
    pub bytes: u64,
}

/// Who takes pages straight from the page allocator and can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PageOwner {
    /// Given back to the hypervisor, or taken offline.
    Balloon,
    /// Broken RAM that is not used any more.
    Poisoned,
    /// Compressed memory of zram and zswap.
    Compressed,
    /// Pools for packets that network devices receive (page_pool).
    PagePool,
    /// Page tables of virtual machines and IOMMUs.
    SecondaryPageTables,
    /// What we ourselves hold while we look: BPF maps.
    Sysak,
}

/// One of the kernel's counters that differs from the memory that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counter {
    /// Which one.
    pub name: CounterName,
    /// What it says.
    pub kernel_says_bytes: u64,
    /// What there is.
    pub found_bytes: u64,
}

/// Counters, by their names in `/proc/meminfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CounterName {
    /// Slabs that reclaim can shrink.
    SReclaimable,
    /// Slabs that stay, and kmallocs too large for a slab.
    SUnreclaim,
    /// Page tables of processes.
    PageTables,
    /// Stacks of tasks.
    KernelStack,
    /// tmpfs and shared memory.
    Shmem,
    /// Pages of vmalloc areas, stacks among them.
    VmallocUsed,
    /// Per-CPU memory.
    Percpu,
}

impl CounterName {
    /// The name in `/proc/meminfo`.
    pub fn text(self) -> &'static str {
        match self {
            CounterName::SReclaimable => "SReclaimable",
            CounterName::SUnreclaim => "SUnreclaim",
            CounterName::PageTables => "PageTables",
            CounterName::KernelStack => "KernelStack",
            CounterName::Shmem => "Shmem",
            CounterName::VmallocUsed => "VmallocUsed",
            CounterName::Percpu => "Percpu",
        }
    }
}

/// Anonymous memory that no process has mapped, and that does not wait in the swap cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ownerless {
    /// How much.
    pub bytes: u64,
    /// Of this, memory that is pinned for a device, io_uring or the like.
    pub pinned_bytes: u64,
}

/// Processes' memory and page cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserMemory {
    /// Anonymous memory of processes.
    pub anon_bytes: Option<u64>,
    /// Page cache of files.
    pub file_bytes: Option<u64>,
    /// Shared memory and tmpfs.
    pub shmem_bytes: Option<u64>,
    /// hugetlb, in use or in its pool.
    pub hugetlb_bytes: Option<u64>,
    /// What no other leaf holds and reclaim leaves alone.
    pub unevictable_bytes: Option<u64>,
}

/// The kernel's own memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelMemory {
    /// Slabs of caches that reclaim can shrink.
    pub slab_reclaimable_bytes: Option<u64>,
    /// Slabs of all other caches.
    pub slab_unreclaimable_bytes: Option<u64>,
    /// vmalloc areas.
    pub vmalloc_bytes: Option<u64>,
    /// Per-CPU memory.
    pub percpu_bytes: Option<u64>,
    /// Page tables.
    pub page_table_bytes: Option<u64>,
    /// Stacks of tasks.
    pub kernel_stack_bytes: Option<u64>,
    /// Text, data and bss.
    pub image_bytes: Option<u64>,
    /// The array of `struct page`.
    pub vmemmap_bytes: Option<u64>,
    /// Taken straight from the page allocator, of no other owner.
    pub page_alloc_bytes: Option<u64>,
}

/// Adds what is known; `None` when nothing is.
fn sum<const N: usize>(leaves: [Option<u64>; N]) -> Option<u64> {
    leaves.into_iter().flatten().reduce(u64::saturating_add)
}

impl UserMemory {
    /// All but the page cache of files.
    pub fn programs_bytes(&self) -> Option<u64> {
        sum([self.anon_bytes, self.shmem_bytes, self.hugetlb_bytes, self.unevictable_bytes])
    }

    /// All of it.
    pub fn total_bytes(&self) -> Option<u64> {
        sum([
            self.anon_bytes,
            self.file_bytes,
            self.shmem_bytes,
            self.hugetlb_bytes,
            self.unevictable_bytes,
        ])
    }
}

impl KernelMemory {
    /// All of it.
    pub fn total_bytes(&self) -> Option<u64> {
        sum([self.slab_bytes(), self.other_bytes()])
    }

    /// All slabs.
    pub fn slab_bytes(&self) -> Option<u64> {
        sum([self.slab_reclaimable_bytes, self.slab_unreclaimable_bytes])
    }

    /// All that is no slab.
    pub fn other_bytes(&self) -> Option<u64> {
        sum([
            self.vmalloc_bytes,
            self.percpu_bytes,
            self.page_table_bytes,
            self.kernel_stack_bytes,
            self.image_bytes,
            self.vmemmap_bytes,
            self.page_alloc_bytes,
        ])
    }
}

impl Census {
    /// The sum of all leaves.
    pub fn leaves_bytes(&self) -> Option<u64> {
        sum([
            self.free_bytes,
            self.reserved_bytes,
            self.unaccounted_bytes,
            self.user.total_bytes(),
            self.kernel.slab_bytes(),
            self.kernel.other_bytes(),
        ])
    }
}
