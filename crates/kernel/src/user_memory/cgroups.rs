//! Control groups of every hierarchy: their states (one for each controller), directories and files.
//!
//! Removed groups are among them as long as a reference is left: their parents list them until then.
//!
//! **Invariant:** no group is listed twice, and the root of a hierarchy is not among them.

use std::collections::{HashMap, HashSet};

use sysak_base::numbers::{half, word};
use sysak_base::{Memory, Va};
use sysak_heap::Heap;

use crate::Kernel;
use crate::list::walk_list;
use crate::read::{gather, read_string};
use crate::shape::{ArrayPlace, CgroupShape, NODE_CACHE, find_hierarchies};
use crate::slub::live_objects;

/// Hierarchies: one, and one for each controller of the old kind.
const MOST_HIERARCHIES: usize = 256;
/// No machine has more states; links of torn lists count too.
const MOST_STATES: usize = 1 << 20;
/// Directories inside each other.
const DEEPEST: usize = 256;
/// The longest name of a directory.
const LONGEST_NAME: usize = 256;

/// A control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its directory, a `struct kernfs_node`.
    pub directory: Va,
    /// Whether it was removed.
    pub removed: bool,
}

/// All control groups except the roots, and the kernel objects that belong to each.
#[derive(Clone, Debug, Default)]
pub struct Cgroups {
    /// Each of them.
    pub all: Vec<Cgroup>,
    /// From the address of a state to an index into the groups.
    pub states: HashMap<Va, usize>,
    /// From the address of a directory or file to an index into the groups.
    pub nodes: HashMap<Va, usize>,
}

impl Cgroups {
    /// Finds them; none where this kernel's types or symbols do not describe them.
    pub fn find(kernel: &Kernel<'_>, heap: &Heap) -> Cgroups {
        let mut found = Cgroups::default();
        let Some((shape, head)) =
            kernel.shape.user_memory.cgroup.as_ref().zip(find_hierarchies(kernel.symbols))
        else {
            return found;
        };
        let hierarchies = walk_list(kernel.memory, head, MOST_HIERARCHIES).seen.into_iter();
        let roots: HashSet<Va> = hierarchies
            .map(|link| Va(link.0.wrapping_sub(shape.root_link)).at(shape.root_group))
            .collect();
        found.walk(kernel.memory, shape, &roots);
        found.find_nodes(kernel, shape, heap);
        found
    }

    /// Walks down from the roots, state by state.
    fn walk(&mut self, memory: &dyn Memory, shape: &CgroupShape, roots: &HashSet<Va>) {
        let mut indexes: HashMap<Va, usize> = HashMap::new();
        let mut next: Vec<Va> = Vec::new();
        for root in roots {
            let ArrayPlace { at: first, len: many } = shape.states;
            let states = (0..many).filter_map(|nth| memory.read_u64(root.at(first + nth * 8)).ok());
            next.extend(states.filter(|state| *state != 0).map(Va));
            next.push(root.at(shape.own_state));
        }
        next.sort_unstable();
        let (mut scratch, mut left) = (Vec::new(), MOST_STATES);
        while let Some(parent) = next.pop() {
            let children = walk_list(memory, parent.at(shape.children), left).seen;
            left -= children.len();
            for link in children {
                let at = Va(link.0.wrapping_sub(shape.sibling));
                let Ok(raw) = memory.view(at, shape.state_bytes as usize, &mut scratch) else {
                    continue;
                };
                let group = Va(word(raw, shape.group));
                if roots.contains(&group) || self.states.contains_key(&at) {
                    continue;
                }
                let index = indexes.get(&group).copied().or_else(|| {
                    self.all.push(read(memory, shape, group)?);
                    indexes.insert(group, self.all.len() - 1);
                    Some(self.all.len() - 1)
                });
                if let Some(index) = index {
                    self.states.insert(at, index);
                    next.push(at);
                }
            }
        }
    }

    /// Files in the directory of a group belong to the group.
    fn find_nodes(&mut self, kernel: &Kernel<'_>, shape: &CgroupShape, heap: &Heap) {
        let own = self.all.iter().zip(0..).map(|(group, index)| (group.directory, index));
        let directories: HashMap<Va, usize> = own.collect();
        if directories.is_empty() {
            return;
        }
        let at = live_objects(heap, NODE_CACHE);
        let parents: Vec<Va> = at.iter().map(|at| at.at(shape.node_parent)).collect();
        let mut nodes = HashMap::new();
        gather(kernel.memory, &parents, 8, |index, raw| {
            let group = directories.get(&at[index]);
            if let Some(group) = group.or_else(|| directories.get(&Va(word(raw, 0)))) {
                nodes.insert(at[index], *group);
            }
        });
        self.nodes = nodes;
    }

    /// Whether the word at an address is a link from a group to something that it does not hold: its
    /// parent, or a neighbour in the tree of its directory.
    pub fn leads_away(&self, kernel: &Kernel<'_>, at: Va) -> bool {
        kernel.shape.user_memory.cgroup.as_ref().is_some_and(|shape| self.leads_away_by(shape, at))
    }

    fn leads_away_by(&self, shape: &CgroupShape, at: Va) -> bool {
        let owner = |offset: u64| Va(at.0.wrapping_sub(offset));
        // A node that was taken out of the tree keeps its links: its neighbours may be freed since.
        let [parent, tree] = [shape.node_parent, shape.node_tree];
        let mut in_node = [parent, tree, tree + 8, tree + 16].into_iter();
        self.states.contains_key(&owner(shape.parent))
            || in_node.any(|offset| self.nodes.contains_key(&owner(offset)))
    }

    /// A group's path below the root of its hierarchy.
    pub fn path(&self, kernel: &Kernel<'_>, index: usize) -> Option<String> {
        path(kernel, self.all.get(index)?.directory)
    }
}

fn read(memory: &dyn Memory, shape: &CgroupShape, group: Va) -> Option<Cgroup> {
    let directory = Va(memory.read_u64(group.at(shape.node)).ok()?);
    let flags = group.at(shape.own_state).at(shape.flags);
    let mut raw = [0; 4];
    memory.read(flags, &mut raw).ok()?;
    Some(Cgroup { directory, removed: u64::from(half(&raw, 0)) & shape.online == 0 })
}

/// The path of a directory below the root of its hierarchy.
pub(super) fn path(kernel: &Kernel<'_>, directory: Va) -> Option<String> {
    let shape = kernel.shape.user_memory.cgroup.as_ref()?;
    let read = |at: Va| kernel.memory.read_u64(at).ok().map(Va);
    let mut node = directory;
    let mut names = Vec::new();
    for _ in 0..DEEPEST {
        let parent = read(node.at(shape.node_parent))?;
        if parent == Va(0) {
            break;
        }
        let name = read(node.at(shape.node_name))?;
        names.push(read_string(kernel.memory, name, LONGEST_NAME)?);
        node = parent;
    }
    let path: String = names.iter().rev().flat_map(|name| ["/", name]).collect();
    Some(if path.is_empty() { "/".to_owned() } else { path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use sysak_base::{Fault, Memory, Why};

    const SHAPE: CgroupShape = CgroupShape {
        root_link: 0x100,
        root_group: 0x10,
        own_state: 0,
        states: ArrayPlace { at: 0x80, len: 2 },
        node: 0x70,
        state_bytes: 0x40,
        group: 0,
        parent: 8,
        children: 0x10,
        sibling: 0x20,
        flags: 0x30,
        online: 2,
        node_parent: 8,
        node_name: 0x10,
        node_tree: 0x20,
    };

    /// Words by address; what is not there is zero.
    #[derive(Default)]
    struct Words(BTreeMap<u64, u64>);

    impl Memory for Words {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            if at.0 >= 0x10_0000 {
                return Err(Fault { at, why: Why::Unmapped });
            }
            for (address, byte) in (at.0..).zip(buf) {
                let word = self.0.get(&(address & !7)).copied().unwrap_or(0);
                *byte = word.to_le_bytes()[(address % 8) as usize];
            }
            Ok(())
        }
    }

    impl Words {
        /// A ring of links behind a head.
        fn ring(&mut self, head: u64, links: &[u64]) {
            let all: Vec<u64> = [&[head], links].concat();
            for (index, link) in all.iter().enumerate() {
                self.0.insert(*link, all[(index + 1) % all.len()]);
                self.0.insert(link + 8, all[(index + all.len() - 1) % all.len()]);
            }
        }

        /// A state of a group; a state without children has an empty ring of them.
        fn state(&mut self, at: u64, group: u64, flags: u64) {
            self.0.insert(at + SHAPE.group, group);
            self.0.insert(at + SHAPE.flags, flags);
            self.ring(at + SHAPE.children, &[]);
        }
    }

    #[test]
    fn groups_are_found_through_all_their_states_and_once_each() {
        let mut memory = Words::default();
        // A root with one controller; below it a group with a state of that, one that was removed
        // and of which the controller's state is left, and one inside the first.
        let (root, first, gone, inner) = (0x1000, 0x2000, 0x3000, 0x4000);
        let (controller, of_first, of_gone) = (0x5000, 0x6000, 0x7000);
        for (group, flags) in [(root, 2), (first, 2), (gone, 0), (inner, 2)] {
            memory.state(group, group, flags);
            memory.0.insert(group + SHAPE.node, group + 0x800);
        }
        for (state, group) in [(controller, root), (of_first, first), (of_gone, gone)] {
            memory.state(state, group, 2);
        }
        memory.0.insert(root + SHAPE.states.at + 8, controller);
        memory.ring(root + SHAPE.children, &[first + SHAPE.sibling]);
        memory.ring(first + SHAPE.children, &[inner + SHAPE.sibling]);
        memory.ring(
            controller + SHAPE.children,
            &[of_first + SHAPE.sibling, of_gone + SHAPE.sibling],
        );
        let mut found = Cgroups::default();
        found.walk(&memory, &SHAPE, &HashSet::from([Va(root)]));
        let of = |state: u64| found.states.get(&Va(state)).map(|index| &found.all[*index]);
        let group = |at: u64, removed| Cgroup { directory: Va(at + 0x800), removed };
        assert_eq!(of(first), Some(&group(first, false)));
        assert_eq!(of(of_first), of(first));
        assert_eq!(of(inner), Some(&group(inner, false)));
        assert_eq!(of(of_gone), Some(&group(gone, true)), "its own state is in no list any more");
        assert_eq!((of(root), of(controller)), (None, None));
        assert_eq!((found.all.len(), found.states.len()), (3, 4));
    }

    #[test]
    fn a_group_does_not_hold_what_is_above_it_or_beside_it() {
        let (state, node) = (Va(0x1000), Va(0x2000));
        let (states, nodes) = (HashMap::from([(state, 0)]), HashMap::from([(node, 0)]));
        let groups = Cgroups { states, nodes, ..Cgroups::default() };
        let away = |at: Va| {
            let offsets = (0..0x40).step_by(8);
            let away = offsets.filter(|offset| groups.leads_away_by(&SHAPE, at.at(*offset)));
            away.collect::<Vec<u64>>()
        };
        assert_eq!(away(state), [SHAPE.parent]);
        assert_eq!(away(node), [SHAPE.node_parent, 0x20, 0x28, 0x30]);
    }

    #[test]
    fn lists_that_run_in_circles_end() {
        let mut memory = Words::default();
        let (root, group) = (0x1000, 0x2000);
        memory.state(root, root, 2);
        memory.state(group, group, 2);
        // The child is its own child and its own brother.
        memory.0.insert(root + SHAPE.children, group + SHAPE.sibling);
        memory.0.insert(group + SHAPE.sibling, group + SHAPE.sibling);
        memory.0.insert(group + SHAPE.sibling + 8, root + SHAPE.children);
        memory.0.insert(group + SHAPE.children, group + SHAPE.sibling);
        let mut found = Cgroups::default();
        found.walk(&memory, &SHAPE, &HashSet::from([Va(root)]));
        assert_eq!(found.states.len(), 1);
    }
}
