//! Where the kernel keeps what: the only place that spells its type and field names.
//!
//! Everything comes from the kernel's own type information and is tested by
//! presence, never by version. Resolved once, before any loop.

mod cgroup;
mod dangling;
mod event;
mod file;
mod module;
mod open;
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
pub use dangling::find_dangling;
pub use event::EventShape;
pub use file::{EntryShape, FileShape, InodeShape, MountChain, MountShape, SystemShape};
pub use module::{
    BtfShape, KERNEL_BTF_NAME, ModuleAreaShape, ModuleShape, ModuleSymbolsShape, find_btf_table,
    find_modules,
};
pub use open::{OpenShape, PipeShape, SocketShape};
pub use page::{OrderPlace, PageFlags, PageKind, PageShape, PageTypes};
pub use percpu::{
    ChargeShape, GRAIN_BYTES, PerCpuShape, find_first_chunk, find_first_unit, find_reserved_chunk,
};
pub use pool::{PoolShape, find_pools};
pub use process::{CountPlace, ProcessShape};
pub use slab::{CacheShape, CpuSlabShape, KernfsShape, SheafShape, SlabShape, find_caches};
pub use tables::{SPACE_CACHE, find_firmware_tables, find_program_tables};
pub use task::{TASK_CACHE, TaskShape};
pub use timer::{DelayedShape, PreciseShape, TimerShape, WHEELS, find_delayed, find_wheels};
pub use user_memory::UserMemoryShape;
pub use vmalloc::{ALLOC, AREA_CACHE, Asker, IOREMAP, NO_GUARD, VmallocShape};
pub use zone::{CounterShape, ZoneShape, find_node_table, find_only_node};

use sysak_symbols::TypeInfo;

/// A type or field that this kernel does not have and the walk cannot do without.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's type information has no {0}: is this its BTF, and does it use SLUB?")]
pub struct Missing(pub String);

/// Everything that the walkers need to know about one kernel's layout.
#[derive(Clone, Debug)]
pub struct Shape {
    /// `struct page` and its flags and types.
    pub page: PageShape,
    /// The slab's bookkeeping.
    pub slab: SlabShape,
    /// `struct kmem_cache`.
    pub cache: CacheShape,
    /// Nodes, zones and free lists.
    pub zone: ZoneShape,
    /// The vmalloc address space; `None` where its areas cannot be told.
    pub vmalloc: Option<VmallocShape>,
    /// Tasks and their stacks; `None` where they cannot be told.
    pub task: Option<TaskShape>,
    /// `mm_struct.pgd`
    pub top_table: Option<u64>,
    /// The per-CPU allocator; `None` where its chunks cannot be told.
    pub percpu: Option<PerCpuShape>,
    /// Pending timers; `None` where they cannot be told.
    pub timer: Option<TimerShape>,
    /// What uses user memory: files, processes, cgroups, pools of huge pages.
    pub user_memory: UserMemoryShape,
}

impl Shape {
    /// Resolves every name against one kernel's types.
    pub fn resolve(types: &TypeInfo) -> Result<Shape, Missing> {
        let names = Names(types);
        Ok(Shape {
            page: PageShape::resolve(names)?,
            slab: SlabShape::resolve(names)?,
            cache: CacheShape::resolve(names)?,
            zone: ZoneShape::resolve(names)?,
            vmalloc: VmallocShape::find(names),
            task: TaskShape::find(names),
            top_table: names.find("mm_struct", "pgd"),
            percpu: PerCpuShape::find(names),
            timer: TimerShape::find(names),
            user_memory: UserMemoryShape::find(names),
        })
    }
}

/// Looks names up; `need` complains, `find` does not.
#[derive(Clone, Copy)]
struct Names<'a>(&'a TypeInfo);

impl Names<'_> {
    fn find(self, owner: &str, path: &str) -> Option<u64> {
        Some(self.0.find_field(owner, path)?.offset_bytes)
    }

    fn need(self, owner: &str, path: &str) -> Result<u64, Missing> {
        self.find(owner, path).ok_or_else(|| Missing(format!("struct {owner}.{path}")))
    }

    fn find_size(self, owner: &str) -> Option<u64> {
        self.0.find_size(owner)
    }

    fn need_size(self, owner: &str) -> Result<u64, Missing> {
        self.find_size(owner).ok_or_else(|| Missing(format!("struct {owner}")))
    }

    fn find_value(self, enumerator: &str) -> Option<u64> {
        self.0.find_enumerator(enumerator).and_then(|value| u64::try_from(value).ok())
    }

    fn find_len(self, owner: &str, path: &str) -> Option<u64> {
        self.0.find_array_len(owner, path)
    }
}
