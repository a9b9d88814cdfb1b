//! An object of the heap, by its slab and its place in the slab.

/// An object, by its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// Index into [`Heap::slabs`](crate::Heap::slabs).
    pub slab: u32,
    /// Which object of the slab.
    pub index: u16,
}
