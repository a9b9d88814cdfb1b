//! Memory cgroups, including those that were removed and still hold memory. Removed ones have no
//! directory any more, but their parents list them until the last page that is charged to them is
//! gone.

use std::collections::HashMap;

use sysak_base::Va;
use sysak_base::numbers::{half, word};

use super::cgroups;
use crate::list::walk_list;
use crate::page::Charged;
use crate::shape::{MemoryCgroupShape, find_root_memory_cgroup};
use crate::{Coverage, Kernel, Omitted, Reason};

/// More groups than the kernel can number, including dying ones.
const MOST_GROUPS: usize = 1 << 18;
/// Groups inside each other.
const DEEPEST: usize = 256;

/// One memory cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryCgroup {
    /// Its `struct mem_cgroup`.
    pub at: Va,
    /// Pages that are charged to it and to no group below it.
    pub pages: u64,
    /// Whether it was removed.
    pub dying: bool,
    /// Where its parent stands; its own place for the root.
    pub parent: usize,
}

/// All memory cgroups, parents before their children, the root first. `charged` has the user pages
/// that are charged to each.
pub(super) fn find(
    kernel: &Kernel<'_>,
    charged: &HashMap<Va, Charged>,
    coverage: &mut Coverage,
) -> Vec<MemoryCgroup> {
    let Some(shape) = &kernel.shape.user_memory.memory_cgroup else { return Vec::new() };
    let known = charged.keys().copied().min();
    let symbol =
        || Some(Va(kernel.memory.read_u64(find_root_memory_cgroup(kernel.symbols)?).ok()?));
    let root = known.and_then(|known| top(kernel, shape, known)).or_else(symbol);
    let mut groups: Vec<MemoryCgroup> =
        root.and_then(|at| read(kernel, shape, at, 0)).into_iter().collect();
    let mut next = 0;
    while next < groups.len() {
        let head = groups[next].at.at(shape.children);
        let walk = walk_list(kernel.memory, head, MOST_GROUPS - groups.len());
        if let Some(stop) = walk.stopped {
            coverage.skip(Omitted::SomeCgroups, Reason::Stopped(stop));
        }
        for link in walk.seen {
            let at = Va(link.0.wrapping_sub(shape.sibling));
            groups.extend(read(kernel, shape, at, next));
        }
        next += 1;
    }
    once_each(&mut groups, charged);
    groups
}

/// Counts each page only in the group that it is charged to: the counter of a group includes the
/// groups below it.
///
/// Slab objects of a group that was removed were handed to its parent, but its own counter has
/// them still (Linux commit 9855609bde03 ("mm: memcg/slab: use a single set of kmem_caches for
/// all accounted allocations") and later): what holds such a group are user pages.
fn once_each(groups: &mut [MemoryCgroup], charged: &HashMap<Va, Charged>) {
    let mut whole: Vec<u64> = groups.iter().map(|group| group.pages).collect();
    let mut below = vec![0u64; groups.len()];
    for index in (0..groups.len()).rev() {
        let group = &mut groups[index];
        if group.dying {
            let user = charged.get(&group.at).copied().unwrap_or_default();
            whole[index] = user.pages().saturating_add(below[index]);
        }
        group.pages = whole[index].saturating_sub(below[index]);
        if index != group.parent {
            below[group.parent] = below[group.parent].saturating_add(whole[index]);
        }
    }
}

/// The group that all others are below.
fn top(kernel: &Kernel<'_>, shape: &MemoryCgroupShape, known: Va) -> Option<Va> {
    let mut at = known;
    for _ in 0..DEEPEST {
        let parent = kernel.memory.read_u64(at.at(shape.parent)).ok()?;
        if parent == 0 {
            return Some(at);
        }
        at = Va(parent.wrapping_sub(shape.state));
    }
    None
}

fn read(
    kernel: &Kernel<'_>,
    shape: &MemoryCgroupShape,
    at: Va,
    parent: usize,
) -> Option<MemoryCgroup> {
    let mut scratch = Vec::new();
    let raw = kernel.memory.view(at, shape.bytes as usize, &mut scratch).ok()?;
    let dying = u64::from(half(raw, shape.flags)) & shape.online == 0;
    Some(MemoryCgroup { at, pages: word(raw, shape.usage), dying, parent })
}

/// The name of a group: its path below the root of the hierarchy.
pub(super) fn path(kernel: &Kernel<'_>, group: &MemoryCgroup) -> Option<String> {
    let (group_shape, shape) = kernel
        .shape
        .user_memory
        .memory_cgroup
        .as_ref()
        .zip(kernel.shape.user_memory.cgroup.as_ref())?;
    let read = |at: Va| kernel.memory.read_u64(at).ok().map(Va);
    cgroups::path(kernel, read(read(group.at.at(group_shape.cgroup))?.at(shape.node))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_counts_in_the_group_that_it_is_charged_to() {
        let group = |at, pages, dying, parent| MemoryCgroup { at: Va(at), pages, dying, parent };
        let mut groups = [
            group(1, 1000, false, 0),
            group(2, 700, false, 0),
            group(3, 500, true, 1),
            group(4, 150, false, 1),
        ];
        let user = Charged { anon: 1, file: 30, shared: 9 };
        once_each(&mut groups, &HashMap::from([(Va(3), user)]));
        assert_eq!(groups.map(|group| group.pages), [300, 700 - 40 - 150, 40, 150]);
    }
}
