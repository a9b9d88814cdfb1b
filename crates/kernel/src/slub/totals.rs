//! How big the caches are, by the counters that the kernel keeps: cheap enough to ask every second.

use sysak_base::Va;
use sysak_heap::Cache;

use crate::Kernel;
use crate::shape::OWN_CACHE;

/// Objects that the slabs of each cache have room for, in the order of `caches`; `None`
/// where this kernel does not count them (CONFIG_SLUB_DEBUG).
pub fn object_totals(kernel: &Kernel<'_>, caches: &[Cache]) -> Option<Vec<u64>> {
    let (total, place) = (kernel.shape.cache.node_total?, kernel.shape.cache.nodes?);
    let nodes = node_count(kernel, caches);
    let count = |cache: &Cache| {
        let element = |node| cache.va.at(place.at + node * place.step);
        let nodes = (0..nodes).map(|node| element(node).at(place.node));
        let pointers = nodes.filter_map(|at| kernel.memory.read_u64(at).ok().map(Va));
        let known = pointers.filter(|at| kernel.direct_pfn(*at).is_some());
        known.filter_map(|at| kernel.memory.read_u64(at.at(total)).ok()).sum()
    };
    Some(caches.iter().map(count).collect())
}

/// How many memory nodes the caches have room for: the cache of caches is made for so many.
pub(super) fn node_count(kernel: &Kernel<'_>, caches: &[Cache]) -> u64 {
    let Some(nodes) = kernel.shape.cache.nodes else { return 0 };
    let own = caches.iter().find(|cache| cache.name == OWN_CACHE);
    nodes.count(own.map_or(0, |own| u64::from(own.object_size)))
}
