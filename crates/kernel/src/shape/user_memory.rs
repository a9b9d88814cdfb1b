//! What uses user memory; each part is `None` where this kernel's types do not describe it.

use super::{
    CgroupShape, FileShape, MemoryCgroupShape, Names, OpenShape, OwnerShape, PoolShape,
    ProcessShape,
};

/// Layouts that only the search for users of memory needs.
#[derive(Clone, Debug)]
pub struct UserMemoryShape {
    /// Files, by the pages of the page cache.
    pub file: Option<FileShape>,
    /// What processes have open.
    pub open: Option<OpenShape>,
    /// Processes and their address spaces.
    pub process: Option<ProcessShape>,
    /// Control groups.
    pub cgroup: Option<CgroupShape>,
    /// Memory cgroups.
    pub memory_cgroup: Option<MemoryCgroupShape>,
    /// Pools of huge pages.
    pub pool: Option<PoolShape>,
    /// What keeps kernel objects for somebody to act on.
    pub owner: Option<OwnerShape>,
}

impl UserMemoryShape {
    pub(super) fn find(names: Names<'_>) -> UserMemoryShape {
        UserMemoryShape {
            file: FileShape::find(names),
            open: OpenShape::find(names),
            process: ProcessShape::find(names),
            cgroup: CgroupShape::find(names),
            memory_cgroup: MemoryCgroupShape::find(names),
            pool: PoolShape::find(names),
            owner: OwnerShape::find(names),
        }
    }
}
