//! Who allocates an object, out of the kernel's own code: no tracing, no debuginfo.
//!
//! The text of the kernel and of its modules is searched for calls of the allocators; around each
//! call a few registers are followed, so that the cache, the size and what is stored into the
//! new object are known. So leaks that have stopped, and crash dumps, have suspects too.
//!
//! **Danger:** a call that is there need not be made. What is found here may allocate the objects;
//! nothing here says that it leaks them.
//!
//! **Invariant:** text is untrusted: whatever its bytes are, a function is decoded once, forwards.

mod find;
mod flow;
mod rank;
mod suspects;

pub use find::{Sites, find};
pub use rank::{Ranked, Suspect, rank};
pub use suspects::{Matching, Subject, matching};

use sysak_base::Va;

/// A call that allocates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Where the call stands.
    pub at: Va,
    /// First instruction of the function that it stands in.
    pub function: Va,
    /// What is called.
    pub allocator: &'static str,
    /// The cache that it allocates from (`struct kmem_cache`), where that is loaded from a variable.
    pub cache: Option<Va>,
    /// Whether the allocator is told a cache at all.
    pub names_cache: bool,
    /// The bytes asked for, where that is a constant.
    pub size: Option<u64>,
    /// What is stored into the object afterwards: offset and constant.
    pub stores: Vec<(u64, u64)>,
}
