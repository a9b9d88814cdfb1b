//! The object graph of a kernel: its allocated objects, what points to what, and what is reachable.
//!
//! A walk of the kernel's slabs fills a [`HeapBuilder`]; non-slab objects are added when it is sealed.
//! [`marking`] follows every pointer from the roots and gives the marked [`Heap`]. [`references`] and [`reverse`] go
//! the other way, from an object to its holders, and [`retained`] measures what only one holder keeps.
//!
//! Made for 400 million objects on a machine that is short of memory: two bits an object, 24 bytes a slab, no array of
//! addresses and no stored edges. An object is found from an address through an index of pages.
//!
//! Non-slab objects fit in too: a block of pages and a vmalloc area are each a slab of one object, and per-CPU
//! allocations are the objects of slabs without pages. [`Class`] tells them apart; only reading and looking up differ.
//!
//! **Invariant:** nothing here knows any kernel's layout, or where memory comes from.

mod address_filter;
pub mod allocated_since;
mod bit_set;
mod bits;
mod builder;
mod cache;
pub mod hidden;
mod hits;
mod look_ups;
pub mod marking;
mod never_followed;
mod non_slab;
mod non_slab_index;
mod object;
mod object_set;
mod page_index;
mod page_set;
mod page_targets;
mod parts;
#[cfg(test)]
mod properties;
mod records;
pub mod references;
pub mod retained;
pub mod reverse;
mod slabs;
mod sparse;
mod state_bits;
mod states;
pub mod tally;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod visits;

pub use address_filter::AddressFilter;
pub use bits::Bits;
pub use builder::{HeapBuilder, OutOfOrder, UnmarkedHeap};
pub use cache::{Cache, Class};
pub use hits::Hits;
pub use look_ups::ObjectPlace;
pub use non_slab_index::{AreaPages, Block, NonSlab, PerCpuObject};
pub use object::Object;
pub use object_set::ObjectSet;
pub use page_set::PageSet;
pub use page_targets::PageTargets;
pub use slabs::{Heap, Slab};
pub use states::Count;
pub use tally::{Tally, tally};
pub use visits::LostVisits;
