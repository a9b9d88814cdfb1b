//! The kernel's allocators, and which of their arguments say what is allocated.
//!
//! Names and arguments as they were from 5.10 to 6.18 (include/linux/slab.h, mm/slub.c,
//! mm/util.c); a kernel has those of its time.

use iced_x86::Register;

/// An allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// The register that holds the cache.
    pub(crate) cache: Option<Register>,
    /// The register that holds the size.
    pub(crate) size: Option<Register>,
}

const fn by_cache(name: &'static str) -> Entry {
    Entry { name, cache: Some(Register::RDI), size: None }
}

const fn by_size(name: &'static str, size: Register) -> Entry {
    Entry { name, cache: None, size: Some(size) }
}

/// The size is not among the arguments, or something is added to it.
const fn of_any_size(name: &'static str) -> Entry {
    Entry { name, cache: None, size: None }
}

/// A kmalloc of constant size: the compiler has chosen the cache already.
const fn by_both(name: &'static str, size: Register) -> Entry {
    Entry { name, cache: Some(Register::RDI), size: Some(size) }
}

/// Every allocator that is looked for.
pub(crate) const ENTRIES: [Entry; 50] = [
    by_cache("kmem_cache_alloc"),
    by_cache("kmem_cache_alloc_noprof"),
    by_cache("kmem_cache_alloc_lru"),
    by_cache("kmem_cache_alloc_lru_noprof"),
    by_cache("kmem_cache_alloc_node"),
    by_cache("kmem_cache_alloc_node_noprof"),
    by_cache("kmem_cache_alloc_bulk"),
    by_cache("kmem_cache_alloc_bulk_noprof"),
    // Until 5.19.
    by_both("kmem_cache_alloc_trace", Register::RDX),
    by_both("kmem_cache_alloc_node_trace", Register::RCX),
    // 6.1 to 6.9.
    by_both("kmalloc_trace", Register::RDX),
    by_both("kmalloc_node_trace", Register::RCX),
    // From 6.10.
    by_both("__kmalloc_cache_noprof", Register::RDX),
    by_both("__kmalloc_cache_node_noprof", Register::RCX),
    by_size("__kmalloc", Register::RDI),
    by_size("__kmalloc_noprof", Register::RDI),
    by_size("__kmalloc_node", Register::RDI),
    by_size("__kmalloc_node_noprof", Register::RDI),
    by_size("__kmalloc_track_caller", Register::RDI),
    by_size("__kmalloc_node_track_caller", Register::RDI),
    by_size("__kmalloc_node_track_caller_noprof", Register::RDI),
    by_size("kmalloc_node_track_caller_noprof", Register::RDI),
    by_size("kmalloc_order", Register::RDI),
    by_size("kmalloc_order_trace", Register::RDI),
    by_size("kmalloc_large", Register::RDI),
    by_size("kmalloc_large_node", Register::RDI),
    by_size("__kmalloc_large_noprof", Register::RDI),
    by_size("__kmalloc_large_node_noprof", Register::RDI),
    by_size("kvmalloc_node", Register::RDI),
    by_size("__kvmalloc_node_noprof", Register::RDI),
    by_size("kvmalloc_node_noprof", Register::RDI),
    by_size("kmemdup", Register::RSI),
    by_size("kmemdup_noprof", Register::RSI),
    of_any_size("kmemdup_nul"),
    of_any_size("kmemdup_array"),
    by_size("memdup_user", Register::RSI),
    by_size("krealloc", Register::RSI),
    by_size("krealloc_noprof", Register::RSI),
    by_size("krealloc_node_align_noprof", Register::RSI),
    by_size("sock_kmalloc", Register::RSI),
    by_size("mempool_kmalloc", Register::RSI),
    of_any_size("__devres_alloc_node"),
    of_any_size("devm_kmalloc"),
    by_size("memdup_user_nul", Register::RSI),
    of_any_size("kstrdup_const"),
    of_any_size("kvasprintf_const"),
    of_any_size("kstrdup"),
    of_any_size("kstrdup_noprof"),
    of_any_size("kasprintf"),
    of_any_size("kvasprintf"),
];
