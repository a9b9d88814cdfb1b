//! How big the caches are, by the counters that the kernel keeps: cheap enough to ask every second.

use sysak_base::Va;
use sysak_heap::Cache;

use crate::Kernel;

/// Objects that the slabs of each cache have room for, in the order of `caches`; `None`
/// where this kernel does not count them (CONFIG_SLUB_DEBUG).
pub fn object_totals(kernel: &Kernel<'_>, caches: &[Cache]) -> Option<Vec<u64>> {
    let shape = &kernel.shape.cache;
    let total = shape.node_total?;
    // The cache of caches is made for as many nodes as there are.
    let own = caches.iter().find(|cache| cache.name == "kmem_cache");
    let array = own.map_or(8, |own| u64::from(own.object_size).saturating_sub(shape.node));
    let nodes = (array / 8).clamp(1, shape.nodes);
    let count = |cache: &Cache| {
        let nodes = (0..nodes).map(|node| cache.va.at(shape.node + node * 8));
        let pointers = nodes.filter_map(|at| kernel.memory.read_u64(at).ok().map(Va));
        let known = pointers.filter(|at| kernel.direct_pfn(*at).is_some());
        known.filter_map(|at| kernel.memory.read_u64(at.at(total)).ok()).sum()
    };
    Some(caches.iter().map(count).collect())
}
