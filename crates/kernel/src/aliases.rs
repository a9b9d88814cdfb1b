//! The names of merged caches: links in the caches' directory of sysfs.
//!
//! The kernel itself forgets under which names a merged cache was asked for;
//! only `/sys/kernel/slab` still lists them, so its tree is read from memory.

use std::collections::{BTreeMap, HashMap};

use sysak_base::Va;
use sysak_base::numbers::{half, word};
use sysak_heap::Cache;

use crate::Kernel;
use crate::list::walk_tree;
use crate::read::read_string;
use crate::shape::KernfsShape;

/// `KERNFS_LINK`
const LINK: u64 = 4;
/// More entries than the directory ever has.
const MOST_ENTRIES: usize = 1 << 15;

/// Fills in each cache's aliases; leaves them empty where sysfs cannot be read.
pub(crate) fn add(kernel: &Kernel<'_>, caches: &mut [Cache]) {
    let Some(shape) = &kernel.shape.cache.kernfs else { return };
    let directory = |cache: &Cache| kernel.memory.read_u64(cache.va.at(shape.directory)).ok();
    let owners: HashMap<u64, usize> = caches
        .iter()
        .enumerate()
        .filter_map(|(index, cache)| Some((directory(cache).filter(|d| *d != 0)?, index)))
        .collect();
    let mut parents = BTreeMap::<u64, usize>::new();
    for directory in owners.keys() {
        if let Ok(parent @ 1..) = kernel.memory.read_u64(Va(*directory).at(shape.parent)) {
            *parents.entry(parent).or_default() += 1;
        }
    }
    // All have one; a damaged directory has another.
    let Some((parent, _)) = parents.into_iter().max_by_key(|(_, many)| *many) else { return };
    let Ok(root) = kernel.memory.read_u64(Va(parent).at(shape.children)) else { return };
    // The tree's links point at the node inside each entry.
    let walk = walk_tree(kernel.memory, Va(root), shape.sides, MOST_ENTRIES);
    for link in walk.seen {
        let node = Va(link.0.wrapping_sub(shape.rb));
        if let Some((name, target)) = read_link(kernel, shape, node)
            && let Some(index) = owners.get(&target)
            && caches[*index].name != name
        {
            caches[*index].aliases.push(name);
        }
    }
    for cache in caches {
        cache.aliases.sort();
    }
}

/// The name and target of a symbolic link in sysfs.
fn read_link(kernel: &Kernel<'_>, shape: &KernfsShape, node: Va) -> Option<(String, u64)> {
    let mut bytes = [0; 128];
    kernel.memory.read(node, &mut bytes).ok()?;
    let flags = match shape.flags.bytes {
        2 => u64::from(half(&bytes, shape.flags.at) & 0xffff),
        _ => u64::from(half(&bytes, shape.flags.at)),
    };
    if flags & 0xf != LINK {
        return None;
    }
    let name = read_string(kernel.memory, Va(word(&bytes, shape.name)), 256)?;
    Some((name, word(&bytes, shape.target)))
}
