//! The kernel's functions that only allocate for their callers.

use super::plain;

/// Whether a function of the kernel itself only allocates for its caller.
pub fn is_wrapper(name: &str) -> bool {
    let name = plain(name);
    KERNEL.contains(&name)
}

/// Whether a module's function only allocates for its caller.
pub(super) fn is_wrapper_of(_module: &str, _name: &str) -> bool {
    false
}

const KERNEL: &[&str] = &["kmemdup", "kstrdup", "__alloc_skb", "kmalloc_reserve", "__d_alloc"];
