//! The objects that hidden references are looked for.
//!
//! **Invariant:** how many there are is bounded; of more, those of some slabs stand for all.

use sysak_base::{Va, VaRange};

use super::Question;
use crate::{Class, Heap, Object, ObjectSet, PageSet};

/// Of more suspects, those of some slabs stand for all.
const MOST_SUSPECTS: u64 = 1 << 20;

/// The objects that references are looked for.
pub(super) struct Wanted {
    set: ObjectSet,
    /// Where they lie in the direct map.
    pub(super) linear: VaRange,
    /// Where they lie outside of it.
    pub(super) areas: VaRange,
    /// One in so many slabs is among them.
    pub(super) every: u64,
}

impl Wanted {
    pub(super) fn new(question: &Question<'_>) -> Wanted {
        let heap = question.heap;
        let of_caches = || {
            let slabs = (0..).zip(&heap.slabs);
            let is_wanted = |slab: &u32| heap.count(*slab).white > 0;
            slabs
                .filter(|(_, slab)| question.caches.contains(&slab.cache))
                .map(|(index, _)| index)
                .filter(is_wanted)
        };
        let all: u64 = of_caches().map(|slab| heap.count(slab).white).sum();
        let every = all.div_ceil(MOST_SUSPECTS).max(1);
        let mut wanted = Wanted {
            set: ObjectSet::new(heap, []),
            linear: VaRange::default(),
            areas: VaRange::default(),
            every,
        };
        for slab in of_caches().step_by(every as usize) {
            let place = &heap.slabs[slab as usize];
            let range = match heap.caches[usize::from(place.cache)].class {
                Class::Slab | Class::Page => &mut wanted.linear,
                Class::Vmalloc => &mut wanted.areas,
                Class::PerCpu => continue,
            };
            *range = over(*range, VaRange::new(heap.slab_va(place), place.bytes()));
            heap.for_each_white(slab, |index| wanted.set.insert(heap, Object { slab, index }));
        }
        wanted
    }

    pub(super) fn is_empty(&self) -> bool {
        self.linear.is_empty() && self.areas.is_empty()
    }

    /// The pages of the direct map that they lie on.
    pub(super) fn pages(&self) -> &PageSet {
        self.set.pages()
    }

    /// The suspect that an address lies in.
    #[inline]
    pub(super) fn find(&self, heap: &Heap, address: u64) -> Option<Object> {
        let is_near = self.linear.contains(Va(address)) || self.areas.contains(Va(address));
        if is_near { self.set.find(heap, address) } else { None }
    }
}

/// What reaches over both.
fn over(one: VaRange, other: VaRange) -> VaRange {
    if one.is_empty() {
        return other;
    }
    VaRange::between(one.start().min(other.start()), one.end().max(other.end()))
}
