//! What the BPF reader and the tracer share: loading programs, memory shared with them, and the
//! page frames of our own memory.
//!
//! **Invariant:** nothing is pinned; when the file descriptors and mappings of
//! this process go, whatever the reason, programs and maps go too.

mod error;
mod mapping;
mod pagemap;

pub use error::{LoadError, preflight};
pub use mapping::{Aligned, Mapping, open};
pub use pagemap::Pagemap;
