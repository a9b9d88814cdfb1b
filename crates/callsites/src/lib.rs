//! Call sites: which code of the kernel may allocate an object, without tracing or debuginfo.
//!
//! The text of the kernel and of its modules is searched for calls of the allocators. Values are
//! followed through the registers around each call, so that the cache, the size and what is
//! stored into the new object are known. This works for leaks that have stopped and for crash
//! dumps.
//!
//! **Danger:** a call site need not be reached. It may allocate the objects; nothing here says that
//! it leaks them.
//!
//! **Invariant:** text is untrusted: whatever its bytes are, a function is decoded once, forwards.

mod decoder;
mod find;
mod flow;
mod link;
mod matching;
mod module_calls;
mod text;
mod wrapper;
mod x86_64;

pub use find::{CallSites, find};
pub use link::{Link, LinkedSite, Traits, linked_sites};
pub use matching::{Matching, Subject, matching};
pub use module_calls::{ModuleCall, find_module_calls};

use sysak_base::Va;

/// A call of an allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSite {
    /// Where the call stands.
    pub at: Va,
    /// First instruction of the function that it lies in.
    pub function: Va,
    /// The allocator that is called, or a wrapper around one.
    pub allocator: Va,
    /// The cache (`struct kmem_cache`), where it is loaded from a variable.
    pub cache: Option<Va>,
    /// Whether the allocator has an argument for the cache.
    pub takes_cache: bool,
    /// The bytes asked for, where that is a constant.
    pub size: Option<u64>,
    /// Constants that are stored into the new object: offset and value.
    pub stores: Vec<(u64, u64)>,
    /// Constants that wrappers between the function and the allocator store into it.
    pub inherited: Vec<(u64, u64)>,
    /// Whether the function only allocates for its callers, which have call sites of their own.
    pub is_wrapper: bool,
}
