//! Which struct an object is, from the kernel's own type information alone (BTF).
//!
//! Every struct that could be in a slot of the object's size is laid out word by word and compared
//! with the object's words. What its pointers lead to, and what points to it, decides.
//!
//! **Danger:** what is inferred is likely, never certain; nothing here may decide a verdict.
//!
//! **Invariant:** type information is untrusted: depth, steps and lengths are bounded.

mod catalog;
pub mod content;
pub mod fingerprint;
mod infer;
mod known;
mod layout;
mod member;
mod names;
pub mod object_types;
mod score;
mod world;

pub use catalog::{Handling, Types};
pub use infer::{Candidate, Inference};
pub use known::{Hint, Known, Typed};
pub use names::of_cache;
pub use object_types::{InferredType, TypeInferrer, kernel_types};
pub use score::{Mark, Sample, What};
pub use world::{Word, World, code_of};
