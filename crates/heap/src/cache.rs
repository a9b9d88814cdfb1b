//! Slab caches, and what stands for them in other classes of memory.

use sysak_base::{PAGE_SIZE, Va};

/// How memory was allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Class {
    /// An object of a slab cache.
    #[default]
    Slab,
    /// A block of pages, straight from the buddy allocator.
    Page,
    /// An area of the vmalloc address space.
    Vmalloc,
    /// A per-CPU allocation: its address is a per-CPU pointer.
    PerCpu,
}

/// One slab cache (`struct kmem_cache`); or what stands for one where there is none.
#[derive(Clone, Debug)]
pub struct Cache {
    /// What its objects are.
    pub class: Class,
    /// Where its `struct kmem_cache` lies; for another class, a number that no other has.
    pub va: Va,
    /// Its name in `/proc/slabinfo`.
    pub name: String,
    /// Names of the caches that were merged into it.
    pub aliases: Vec<String>,
    /// Bytes from one object to the next.
    pub stride: u32,
    /// Bytes that a user of the object may touch.
    pub object_size: u32,
    /// Bytes of red zone before the object inside its slot.
    pub left_pad: u32,
    /// Whether reclaim can shrink it (`SLAB_RECLAIM_ACCOUNT`).
    pub reclaimable: bool,
    /// Whether its owner gave it back while objects of it were left: nobody can free these any more.
    pub destroyed: bool,
    reciprocal: u64,
}

/// Objects larger than this are no slab objects; the reciprocal is exact up to here
/// for every offset into a slab of order 10.
const MAX_STRIDE: u32 = 1 << 20;
const RECIPROCAL_SHIFT: u32 = 42;

impl Cache {
    /// A cache of objects `stride` bytes apart; `None` for a size that no slab can have.
    pub fn new(va: Va, name: String, stride: u32, object_size: u32) -> Option<Cache> {
        if !(8..=MAX_STRIDE).contains(&stride) || object_size == 0 || object_size > stride {
            return None;
        }
        let reciprocal = (1u64 << RECIPROCAL_SHIFT).div_ceil(u64::from(stride));
        Some(Cache {
            class: Class::Slab,
            va,
            name,
            aliases: Vec::new(),
            stride,
            object_size,
            left_pad: 0,
            destroyed: false,
            reclaimable: false,
            reciprocal,
        })
    }

    /// What stands for a cache where memory of a class has none. Its objects have different
    /// sizes: of each, the first page is looked at as its content.
    pub(crate) fn of_class(class: Class) -> Cache {
        let (name, size) = match class {
            Class::Slab => ("slab", 8),
            Class::Page => ("page", PAGE_SIZE as u32),
            Class::Vmalloc => ("vmalloc", PAGE_SIZE as u32),
            Class::PerCpu => ("percpu", 8),
        };
        Cache {
            class,
            va: Va(class as u64),
            name: name.to_owned(),
            aliases: Vec::new(),
            stride: size,
            object_size: size,
            left_pad: 0,
            destroyed: false,
            reclaimable: false,
            reciprocal: 0,
        }
    }

    /// Whether it is called so, or a cache of that name was merged into it.
    pub fn has_name(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// The object that byte `offset` of a slab belongs to.
    #[inline]
    pub(crate) fn index_of(&self, offset: u64) -> u64 {
        (offset * self.reciprocal) >> RECIPROCAL_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reciprocal_divides_exactly_for_every_stride() {
        for stride in (8u32..20_000).step_by(8).chain([1 << 16, MAX_STRIDE - 8, MAX_STRIDE]) {
            let cache = Cache::new(Va(0), String::new(), stride, stride).unwrap();
            let stride = u64::from(stride);
            for k in 0..(1u64 << 22) / stride {
                assert_eq!(cache.index_of(k * stride), k);
                assert_eq!(cache.index_of(k * stride + stride - 1), k);
            }
        }
    }
}
