//! What tells the holders of user memory apart; each part is `None` where a kernel lacks it.

use super::{CgroupShape, FileShape, GroupShape, Names, OpenShape, PoolShape, ProcessShape};

/// Layouts that only the search for holders needs.
#[derive(Clone, Debug)]
pub struct HeldShape {
    /// Files, by the pages of the page cache.
    pub file: Option<FileShape>,
    /// What processes have open.
    pub open: Option<OpenShape>,
    /// Processes and their address spaces.
    pub process: Option<ProcessShape>,
    /// Control groups.
    pub cgroup: Option<CgroupShape>,
    /// Memory cgroups.
    pub group: Option<GroupShape>,
    /// Pools of huge pages.
    pub pool: Option<PoolShape>,
}

impl HeldShape {
    pub(super) fn find(names: Names<'_>) -> HeldShape {
        HeldShape {
            file: FileShape::find(names),
            open: OpenShape::find(names),
            process: ProcessShape::find(names),
            cgroup: CgroupShape::find(names),
            group: GroupShape::find(names),
            pool: PoolShape::find(names),
        }
    }
}
