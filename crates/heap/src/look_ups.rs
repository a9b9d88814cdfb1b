//! Looks up the objects of many addresses at once.
//!
//! A look-up goes through several tables, and most of them are not in the CPU's caches. Independent loads can be under
//! way at the same time, so each table is read for all addresses before the next one is (as in [`crate::Hits`]).
//!
//! **Invariant:** finds the same objects as looking up each address alone.

use sysak_base::{PAGE_SHIFT, Pfn};

use crate::{Class, Heap};

/// Where in an object an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectPlace {
    /// The object's cache, as an index into [`Heap::caches`].
    pub cache: u16,
    /// How far the address is behind the object's start, modulo 2^64. Of blocks, areas and per-CPU memory 0: they have
    /// all sizes.
    pub offset: u64,
}

impl Heap {
    /// Where an address leads.
    pub fn place_of(&self, address: u64) -> Option<ObjectPlace> {
        let object = self.find_object(address)?;
        let (cache, class) = (self.slabs[object.slab as usize].cache, self.cache_of(object).class);
        let offset = match class {
            Class::Slab => address.wrapping_sub(self.object_va(object).0),
            Class::Page | Class::Vmalloc | Class::PerCpu => 0,
        };
        Some(ObjectPlace { cache, offset })
    }

    /// Where each of some addresses leads, in their order.
    pub fn places_of(&self, addresses: &[u64], places: &mut Vec<Option<ObjectPlace>>) {
        let start = places.len();
        let linear = |address: u64| address.wrapping_sub(self.page_offset.0);
        // A slab's number stands where its cache will.
        let number = |address: &u64| {
            let (is_used, slab) = self.pages.look_up(Pfn(linear(*address) >> PAGE_SHIFT));
            let is_slab = is_used & (linear(*address) < self.span);
            is_slab.then_some(ObjectPlace { cache: 0, offset: u64::from(slab) })
        };
        places.extend(addresses.iter().map(number));
        for (address, place) in addresses.iter().zip(&mut places[start..]) {
            *place = match place {
                Some(ObjectPlace { offset: slab, .. }) => self.place_in(*slab as usize, *address),
                None if linear(*address) < self.span => None,
                None => self.place_of(*address),
            };
        }
    }

    #[inline]
    fn place_in(&self, slab: usize, address: u64) -> Option<ObjectPlace> {
        let slab = self.slabs.get(slab)?;
        let cache = &self.caches[usize::from(slab.cache)];
        let at = address.wrapping_sub(self.page_offset.0).wrapping_sub(slab.pfn.0 << PAGE_SHIFT);
        let index = cache.index_of(at);
        let offset = match cache.class {
            Class::Slab => {
                let start = index * u64::from(cache.stride) + u64::from(cache.left_pad);
                at.wrapping_sub(start)
            }
            Class::Page | Class::Vmalloc | Class::PerCpu => 0,
        };
        (index < u64::from(slab.objects)).then_some(ObjectPlace { cache: slab.cache, offset })
    }
}
