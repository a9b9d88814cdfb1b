//! Control groups: the states that each controller has of them, and the directories that name them.

use sysak_base::Va;
use sysak_symbols::Kallsyms;

use super::{ArrayPlace, Names};

/// The cache whose objects the files and directories of kernfs are.
pub const NODE_CACHE: &str = "kernfs_node_cache";

/// `struct cgroup`, `struct cgroup_subsys_state` and `struct kernfs_node`.
#[derive(Clone, Debug)]
pub struct CgroupShape {
    /// `cgroup_root.root_list`
    pub root_link: u64,
    /// `cgroup_root.cgrp`
    pub root_group: u64,
    /// `cgroup.self`: the state that belongs to no controller.
    pub own_state: u64,
    /// `cgroup.subsys`: a state for each controller.
    pub states: ArrayPlace,
    /// `cgroup.kn`
    pub node: u64,
    /// Bytes of a state, as far as these walks read it.
    pub state_bytes: u64,
    /// `css.cgroup`
    pub group: u64,
    /// `css.parent`
    pub parent: u64,
    /// `css.children`
    pub children: u64,
    /// `css.sibling`
    pub sibling: u64,
    /// `css.flags`, 32 bits wide.
    pub flags: u64,
    /// The flag of a group that was not removed: `CSS_ONLINE`.
    pub online: u64,
    /// `kernfs_node.parent`
    pub node_parent: u64,
    /// `kernfs_node.name`
    pub node_name: u64,
    /// `kernfs_node.rb`
    pub node_tree: u64,
}

impl CgroupShape {
    pub(super) fn find(names: Names<'_>) -> Option<CgroupShape> {
        let root = |path| names.find("cgroup_root", path);
        let group = |path| names.find("cgroup", path);
        let state = |path| names.find("cgroup_subsys_state", path);
        let node = |path| names.find("kernfs_node", path);
        let states = names.find_array("cgroup", "subsys")?;
        Some(CgroupShape {
            root_link: root("root_list")?,
            root_group: root("cgrp")?,
            own_state: group("self")?,
            states: ArrayPlace { len: states.len.min(64), ..states },
            node: group("kn")?,
            state_bytes: names.find_size("cgroup_subsys_state")?.min(1 << 12),
            group: state("cgroup")?,
            parent: state("parent")?,
            children: state("children")?,
            sibling: state("sibling")?,
            flags: state("flags")?,
            online: names.find_value("CSS_ONLINE")?,
            node_parent: node("parent").or_else(|| node("__parent"))?,
            node_name: node("name")?,
            node_tree: node("rb")?,
        })
    }
}

/// `struct mem_cgroup` and its place in the tree.
#[derive(Clone, Debug)]
pub struct MemoryCgroupShape {
    /// Bytes of a `struct mem_cgroup`, as far as these walks read it.
    pub bytes: u64,
    /// `css.flags`, 32 bits wide.
    pub flags: u64,
    /// The flag of a group that was not removed: `CSS_ONLINE`.
    pub online: u64,
    /// `css.parent`
    pub parent: u64,
    /// `css.children`
    pub children: u64,
    /// `css.sibling`
    pub sibling: u64,
    /// `css`
    pub state: u64,
    /// `css.cgroup`
    pub cgroup: u64,
    /// `memory.usage`, in pages, with the groups below.
    pub usage: u64,
}

impl MemoryCgroupShape {
    pub(super) fn find(names: Names<'_>) -> Option<MemoryCgroupShape> {
        let group = |path| names.find("mem_cgroup", path);
        let usage = group("memory.usage")?;
        let css = ["css.flags", "css.parent", "css.children", "css.sibling", "css.cgroup"];
        let ends = css.into_iter().filter_map(group);
        Some(MemoryCgroupShape {
            bytes: ends.fold(usage, u64::max) + 16,
            flags: group("css.flags")?,
            online: names.find_value("CSS_ONLINE")?,
            parent: group("css.parent")?,
            children: group("css.children")?,
            sibling: group("css.sibling")?,
            state: group("css")?,
            cgroup: group("css.cgroup")?,
            usage,
        })
    }
}

/// The memory cgroup that all others are below; listed where KALLSYMS_ALL is set.
pub fn find_root_memory_cgroup(symbols: &Kallsyms) -> Option<Va> {
    symbols.find("root_mem_cgroup")
}

/// The list of all hierarchies; listed where KALLSYMS_ALL is set.
pub fn find_hierarchies(symbols: &Kallsyms) -> Option<Va> {
    symbols.find("cgroup_roots")
}
