//! Who holds objects that are reachable: a module's variable, an open file's process, a thread, a
//! control group, a pending timer, a variable of the kernel.
//!
//! Objects of one cache often form lists and trees. Such a component is held as a whole, so only
//! references from outside of it are followed upwards. One reverse search serves all caches: each
//! of its steps reads the kernel's memory once.
//!
//! **Invariant:** a holder is named only where an unbroken path of references leads from it.

mod boot_tables;
mod component;
mod distance;
mod holder;
mod member_names;
mod named;
mod ownership;
mod ownership_rules;
pub mod place;
mod reference_kind;
mod resolver;
mod retained;
mod retention_path;
mod search;
mod share;
mod step;
mod strata;

pub use holder::{Holder, HolderKind, Holders};
pub use member_names::StructSource;
pub use reference_kind::ReferenceKind;
pub use resolver::HolderResolver;
pub use retained::{LargestHolders, largest_holders, measure_retained};
pub use search::{ObjectComponent, component_of, find_holders, owners_of};
pub use step::{Step, SymbolName};
