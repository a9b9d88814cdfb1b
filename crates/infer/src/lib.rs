//! Which struct an object is, from the kernel's own type information alone (BTF).
//!
//! Every struct that fits a slot of the object's size is laid out word by word and compared with
//! the object's words. Its pointers, and the typed pointers to it, weigh most.
//!
//! **Danger:** an inferred type is likely, never certain; no verdict may depend on it.
//!
//! **Invariant:** type information is untrusted: depth, steps and lengths are bounded.

mod blocks;
mod building_blocks;
pub mod content;
mod counted;
mod evidence;
pub mod fingerprint;
mod inference;
mod kernel_view;
mod known;
mod layout;
mod names;
pub mod object_types;
mod pointers;
mod score;
mod signatures;
mod types;

pub use counted::counted_kind;
pub use evidence::{Evidence, EvidenceKind, Sample};
pub use inference::{Candidate, Inference};
pub use kernel_view::{KernelView, Word, code_of};
pub use known::{KnownType, KnownTypes, TypedPointer};
pub use names::of_cache;
pub use object_types::{InferredType, TypeInferrer, kernel_types};
pub use signatures::Handling;
pub use types::Types;
