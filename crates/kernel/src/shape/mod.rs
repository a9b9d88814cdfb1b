//! The layout of the kernel's structures: the only place that spells its type and field names.
//!
//! Offsets come from the kernel's own type information, and are found by the presence of a field,
//! never by version. They are resolved once, before any loop.

mod cgroup;
mod counted;
mod dangling;
mod event;
mod file;
mod image;
mod log;
mod losses;
mod module;
mod open;
mod owner;
mod page;
mod percpu;
mod pool;
mod process;
mod slab;
mod tables;
mod task;
mod timer;
mod user_memory;
mod vmalloc;
mod zone;

pub use cgroup::{
    CgroupShape, MemoryCgroupShape, NODE_CACHE, find_hierarchies, find_root_memory_cgroup,
};
pub use counted::COUNTED_STRUCTS;
pub use dangling::find_dangling;
pub use event::EventShape;
pub use file::{EntryShape, FileShape, InodeShape, MountChain, MountShape, SystemShape};
pub use image::find_constant;
pub use log::LogShape;
pub use module::{
    BtfShape, KERNEL_BTF_NAME, ModuleAreaPlace, ModuleAreaShape, ModuleShape, ModuleSymbolsShape,
    OUT_OF_TREE, find_btf_table, find_modules,
};
pub use open::{OpenShape, PipeShape, SocketShape};
pub use owner::{
    ENTRY_CACHE, FILE_CACHE, KEY_CACHE, KeyShape, MOUNT_CACHE, ObjectRules, OwnerShape, PINNING,
    SOCKET_BUFFER_CACHE, Witness, find_keyring_type, find_systems, is_inode_cache, is_parked,
};
pub use page::{
    FreeBlockShape, HeadPlace, HugetlbDtor, OrderPlace, PageFlags, PageKind, PageShape, PageTypes,
    UserPageShape, count_poisoned,
};
pub use percpu::{
    ChargeShape, GRAIN_BYTES, PerCpuShape, find_first_chunk, find_first_unit, find_reserved_chunk,
};
pub use pool::{PoolShape, find_pools};
pub use process::{CountPlace, ProcessShape};
pub use slab::{
    BarnPlace, CacheShape, CpuSlabShape, KernfsShape, NodesPlace, OWN_CACHE, SheafShape, SlabShape,
    find_caches, find_kfence_pool,
};
pub use tables::{SPACE_CACHE, find_firmware_tables, find_program_tables};
pub use task::{TASK_CACHE, TaskShape, find_cached_stacks};
pub use timer::{DelayedShape, PreciseShape, TimerShape, WHEELS, find_delayed, find_wheels};
pub use user_memory::UserMemoryShape;
pub use vmalloc::{ALLOC, AREA_CACHE, Asker, IOREMAP, NO_GUARD, VmallocShape, VmapNode};
pub use zone::{
    COUNTERS, Counter, CounterShape, ZoneShape, find_counter, find_node_table, find_only_node,
};

use sysak_symbols::TypeInfo;

/// Why the type information does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// A required type or field.
    #[error("the kernel's type information has no {0}: is it this kernel's?")]
    Type(String),
    /// The kernel's slab caches are another allocator's.
    #[error("this kernel uses the allocator {0}; only SLUB is supported (CONFIG_SLUB)")]
    OtherAllocator(&'static str),
}

/// A field of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPlace {
    /// Its offset.
    pub at: u64,
    /// Its length.
    pub bytes: u64,
}

/// An array inside a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayPlace {
    /// Its offset.
    pub at: u64,
    /// How many elements it has.
    pub len: u64,
}

/// Everything that the walkers need to know about one kernel's layout.
#[derive(Clone, Debug)]
pub struct Shape {
    /// `struct page` and its flags and types.
    pub page: PageShape,
    /// The slab's bookkeeping.
    pub slab: SlabShape,
    /// `struct kmem_cache`.
    pub cache: CacheShape,
    /// Nodes, zones and free lists; `None` where this kernel's types do not describe them.
    pub zone: Option<ZoneShape>,
    /// The vmalloc address space; `None` where this kernel's types do not describe it.
    pub vmalloc: Option<VmallocShape>,
    /// Tasks and their stacks; `None` where this kernel's types do not describe them.
    pub task: Option<TaskShape>,
    /// `mm_struct.pgd`
    pub top_table: Option<u64>,
    /// The per-CPU allocator; `None` where this kernel's types do not describe it.
    pub percpu: Option<PerCpuShape>,
    /// Pending timers; `None` where this kernel's types do not describe them.
    pub timer: Option<TimerShape>,
    /// What uses user memory: files, processes, cgroups, pools of huge pages.
    pub user_memory: UserMemoryShape,
}

impl Shape {
    /// Resolves every name against one kernel's types.
    pub fn resolve(types: &TypeInfo) -> Result<Shape, Missing> {
        let names = Names(types);
        if let Some(other) = slab::other_allocator(names) {
            return Err(Missing::OtherAllocator(other));
        }
        Ok(Shape {
            page: PageShape::resolve(names)?,
            slab: SlabShape::resolve(names)?,
            cache: CacheShape::resolve(names)?,
            zone: ZoneShape::find(names),
            vmalloc: VmallocShape::find(names),
            task: TaskShape::find(names),
            top_table: names.find("mm_struct", "pgd"),
            percpu: PerCpuShape::find(names),
            timer: TimerShape::find(names),
            user_memory: UserMemoryShape::find(names),
        })
    }
}

/// The types of a kernel, cut down to what tests need.
#[cfg(test)]
fn fixture(version: &str) -> TypeInfo {
    TypeInfo::parse(&fixture_bytes(version)).unwrap()
}

#[cfg(test)]
fn fixture_bytes(version: &str) -> Vec<u8> {
    let path = format!("{}/../../fixtures/btf-{version}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

/// Looks names up; `need` complains, `find` does not.
#[derive(Clone, Copy)]
struct Names<'a>(&'a TypeInfo);

impl Names<'_> {
    fn find(self, owner: &str, path: &str) -> Option<u64> {
        Some(self.0.find_field(owner, path)?.offset_bytes)
    }

    fn need(self, owner: &str, path: &str) -> Result<u64, Missing> {
        self.find(owner, path).ok_or_else(|| Missing::Type(format!("struct {owner}.{path}")))
    }

    fn find_size(self, owner: &str) -> Option<u64> {
        self.0.find_size(owner)
    }

    fn need_size(self, owner: &str) -> Result<u64, Missing> {
        self.find_size(owner).ok_or_else(|| Missing::Type(format!("struct {owner}")))
    }

    fn find_value(self, enumerator: &str) -> Option<u64> {
        self.0.find_enumerator(enumerator).and_then(|value| u64::try_from(value).ok())
    }

    fn find_array(self, owner: &str, path: &str) -> Option<ArrayPlace> {
        Some(ArrayPlace { at: self.find(owner, path)?, len: self.find_len(owner, path)? })
    }

    fn find_len(self, owner: &str, path: &str) -> Option<u64> {
        self.0.find_array_len(owner, path)
    }
}
