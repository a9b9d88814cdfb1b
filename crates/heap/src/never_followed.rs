//! Objects that always count as reachable, and whose contents are never followed.
//!
//! The kernel's own descriptions of other memory (which address range is a vmalloc area, which pages it has) name
//! everything and prove nothing; and the buffers that we read the kernel through hold copies of what we read.
//!
//! **Invariant:** ascending, and each object once.

use crate::Object;

/// A few objects of a heap, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct NeverFollowed(Vec<Object>);

impl NeverFollowed {
    /// Adds some objects.
    pub(crate) fn extend(&mut self, objects: impl IntoIterator<Item = Object>) {
        self.0.extend(objects);
        self.0.sort_unstable();
        self.0.dedup();
    }

    /// These.
    pub(crate) fn from_iter(objects: impl IntoIterator<Item = Object>) -> NeverFollowed {
        let mut all = NeverFollowed::default();
        all.extend(objects);
        all
    }

    /// Those of one slab.
    pub(crate) fn of_slab(&self, slab: u32) -> &[Object] {
        let from = self.0.partition_point(|object| object.slab < slab);
        let rest = &self.0[from..];
        &rest[..rest.partition_point(|object| object.slab == slab)]
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Object] {
        &self.0
    }

    pub(crate) fn footprint_bytes(&self) -> u64 {
        (self.0.capacity() * size_of::<Object>()) as u64
    }
}

/// Whether an object is one of some; most slabs have none.
pub(crate) fn has(objects: &[Object], object: Object) -> bool {
    !objects.is_empty() && objects.binary_search(&object).is_ok()
}
