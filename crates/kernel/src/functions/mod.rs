//! Functions of the kernel by name: what allocates, what only allocates for its caller, and where call chains begin.
//!
//! The tables are knowledge about kernels, 5.10 to 6.18; what they mean for a diagnosis is decided elsewhere.

pub mod allocators;
pub mod counted;
mod entry;
mod kernel_wrappers;
mod module_wrappers;
mod name_table;
pub mod outside;
mod wrappers;

pub use entry::is_entry;
pub use wrappers::{is_wrapper, is_wrapper_of};

/// A name without what the compiler and the allocators' own accounting add to it.
pub fn plain(name: &str) -> &str {
    // `kmemdup_noprof.constprop.0`: no C name has a dot of its own.
    let name = name.split_once('.').map_or(name, |(plain, _)| plain);
    // Since Linux commit 7bd230a26648 ("mm/slab: enable slab allocation tagging for
    // kmalloc and friends") (v6.10).
    name.strip_suffix("_noprof").unwrap_or(name)
}
