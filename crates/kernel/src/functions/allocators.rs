//! The kernel's allocators, and which of their arguments say what is allocated.
//!
//! Names and arguments as they were from 5.10 to 6.18 (include/linux/slab.h, mm/slub.c,
//! mm/util.c); a kernel has those of its time.

/// Arguments, by their place.
const FIRST: usize = 0;
const SECOND: usize = 1;
const THIRD: usize = 2;
const FOURTH: usize = 3;

/// An allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocator {
    /// Its symbol.
    pub name: &'static str,
    /// Which argument is the cache, from 0.
    pub cache: Option<usize>,
    /// Which argument is the size, from 0.
    pub size: Option<usize>,
}

const fn by_cache(name: &'static str) -> Allocator {
    Allocator { name, cache: Some(FIRST), size: None }
}

const fn by_size(name: &'static str, size: usize) -> Allocator {
    Allocator { name, cache: None, size: Some(size) }
}

/// The size is not among the arguments, or something is added to it.
const fn of_any_size(name: &'static str) -> Allocator {
    Allocator { name, cache: None, size: None }
}

/// A kmalloc of constant size: the compiler has chosen the cache already.
const fn by_both(name: &'static str, size: usize) -> Allocator {
    Allocator { name, cache: Some(FIRST), size: Some(size) }
}

/// Every allocator that is looked for.
pub const ALLOCATORS: [Allocator; 50] = [
    by_cache("kmem_cache_alloc"),
    by_cache("kmem_cache_alloc_noprof"),
    by_cache("kmem_cache_alloc_lru"),
    by_cache("kmem_cache_alloc_lru_noprof"),
    by_cache("kmem_cache_alloc_node"),
    by_cache("kmem_cache_alloc_node_noprof"),
    by_cache("kmem_cache_alloc_bulk"),
    by_cache("kmem_cache_alloc_bulk_noprof"),
    // Until 5.19.
    by_both("kmem_cache_alloc_trace", THIRD),
    by_both("kmem_cache_alloc_node_trace", FOURTH),
    // 6.1 to 6.9.
    by_both("kmalloc_trace", THIRD),
    by_both("kmalloc_node_trace", FOURTH),
    // From 6.10.
    by_both("__kmalloc_cache_noprof", THIRD),
    by_both("__kmalloc_cache_node_noprof", FOURTH),
    by_size("__kmalloc", FIRST),
    by_size("__kmalloc_noprof", FIRST),
    by_size("__kmalloc_node", FIRST),
    by_size("__kmalloc_node_noprof", FIRST),
    by_size("__kmalloc_track_caller", FIRST),
    by_size("__kmalloc_node_track_caller", FIRST),
    by_size("__kmalloc_node_track_caller_noprof", FIRST),
    by_size("kmalloc_node_track_caller_noprof", FIRST),
    by_size("kmalloc_order", FIRST),
    by_size("kmalloc_order_trace", FIRST),
    by_size("kmalloc_large", FIRST),
    by_size("kmalloc_large_node", FIRST),
    by_size("__kmalloc_large_noprof", FIRST),
    by_size("__kmalloc_large_node_noprof", FIRST),
    by_size("kvmalloc_node", FIRST),
    by_size("__kvmalloc_node_noprof", FIRST),
    by_size("kvmalloc_node_noprof", FIRST),
    by_size("kmemdup", SECOND),
    by_size("kmemdup_noprof", SECOND),
    of_any_size("kmemdup_nul"),
    of_any_size("kmemdup_array"),
    by_size("memdup_user", SECOND),
    by_size("krealloc", SECOND),
    by_size("krealloc_noprof", SECOND),
    by_size("krealloc_node_align_noprof", SECOND),
    by_size("sock_kmalloc", SECOND),
    by_size("mempool_kmalloc", SECOND),
    of_any_size("__devres_alloc_node"),
    of_any_size("devm_kmalloc"),
    by_size("memdup_user_nul", SECOND),
    of_any_size("kstrdup_const"),
    of_any_size("kvasprintf_const"),
    of_any_size("kstrdup"),
    of_any_size("kstrdup_noprof"),
    of_any_size("kasprintf"),
    of_any_size("kvasprintf"),
];
