//! Components: objects of one cache that are joined by references, and what points at them from
//! outside.
//!
//! A list of a million objects is held by what points at one of them, so the objects are joined
//! along the references between them (union-find). Four bytes an object are enough.
//!
//! **Invariant:** two objects are in one component only if references join them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::rc::Rc;

use sysak_heap::references::{From, Reference};
use sysak_heap::{Bits, Heap, Object, Slab};

use crate::ReferenceKind;
use crate::strata::Strata;

/// Kinds of external references that are kept for one component.
const MOST_KINDS: usize = 8;
/// Components whose external references are kept at the same time.
const MOST_COMPONENTS: usize = 1 << 16;

/// No stratum has this number.
const UNSEEN: u32 = u32::MAX;
/// The bit that tells a component's number of objects from an index. There are fewer of either.
const REPRESENTS: u32 = 1 << 31;
/// The slab's objects are not among those of the components.
const NOT_AMONG: u32 = u32::MAX;

/// External references of one kind: from one field of objects of one cache, from one variable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExternalReferences {
    /// What they have in common.
    pub(crate) kind: ReferenceKind,
    /// How many.
    pub(crate) count: u32,
    /// The first one that was found.
    pub(crate) example: Reference,
}

/// By slab: the index of its first object among those of its cache. All caches share it.
#[derive(Clone)]
pub(crate) struct FirstIndices(Rc<[u32]>);

impl FirstIndices {
    /// Those of some caches; of a huge one only those of one in `every` slabs.
    pub(crate) fn of(heap: &Heap, caches: &[(u16, usize)]) -> FirstIndices {
        // Of each cache: how many slabs to pass over, how many were, and how many objects came before.
        let mut known: Vec<Option<(usize, usize, u32)>> = vec![None; heap.caches.len()];
        for (cache, every) in caches {
            known[usize::from(*cache)] = Some(((*every).max(1), 0, 0));
        }
        let mut first = |slab: &Slab| {
            let (every, passed, objects) = known[usize::from(slab.cache)].as_mut()?;
            let index = passed.is_multiple_of(*every).then_some(*objects);
            *passed += 1;
            *objects += index.map_or(0, |_| u32::from(slab.objects));
            index
        };
        FirstIndices(heap.slabs.iter().map(|slab| first(slab).unwrap_or(NOT_AMONG)).collect())
    }

    fn get(&self, slab: u32) -> Option<u32> {
        Some(self.0[slab as usize]).filter(|first| *first != NOT_AMONG)
    }
}

/// The components of one cache, while references are added.
pub(crate) struct Components<'h> {
    heap: &'h Heap,
    cache: u16,
    first_indices: FirstIndices,
    /// The slabs of the cache that are sampled.
    slabs: Vec<u32>,
    /// By index: another object of the same component; of the one that represents the component, how many objects
    /// that has, and [`REPRESENTS`].
    parent: Vec<u32>,
    /// By index: whether the object is reachable and joins others. Others join nothing.
    is_member: Bits,
    /// By the index of the object that represents a component.
    external: HashMap<u32, Vec<ExternalReferences>>,
}

/// The components of one cache, complete.
#[derive(Default)]
pub(crate) struct CacheComponents {
    /// The components that have a sample, and one component of each stratum without any; the largest first.
    pub(crate) components: Vec<Component>,
    /// How many objects there are in the components of each stratum.
    pub(crate) strata: Vec<u64>,
    /// How many objects are searched for, in the samples of all components.
    pub(crate) sampled: u64,
}

/// Objects that are joined by references.
pub(crate) struct Component {
    /// How many objects.
    pub(crate) objects: u64,
    /// What points at them from outside.
    pub(crate) external: Vec<ExternalReferences>,
    /// Components of one number are counted together.
    pub(crate) stratum: usize,
    /// Those of them that are searched for, each by itself.
    pub(crate) sample: Vec<Object>,
    /// One of them.
    pub(crate) any: Object,
}

impl Component {
    /// The external references that may hold the whole component, one of each kind. Where
    /// thousands of entries of a table point at its objects, a lone pointer to one of them is no
    /// holder.
    pub(crate) fn main_references(&self) -> impl Iterator<Item = ExternalReferences> + '_ {
        let most = self.external.iter().map(|one| one.count).max().unwrap_or(0);
        self.external.iter().copied().filter(move |one| one.count >= most.div_ceil(2))
    }
}

impl<'h> Components<'h> {
    /// The reachable objects of a cache, each a component of its own.
    pub(crate) fn new(heap: &'h Heap, cache: u16, first_indices: FirstIndices) -> Components<'h> {
        let mut slabs = Vec::new();
        let mut is_member = Bits::default();
        for (index, slab) in (0..).zip(&heap.slabs).filter(|(_, slab)| slab.cache == cache) {
            let Some(start) = first_indices.get(index) else { continue };
            let start = u64::from(start);
            slabs.push(index);
            is_member.grow(start + u64::from(slab.objects) - is_member.len(), false);
            heap.for_each_live(index, |object| {
                if !heap.is_white(Object { slab: index, index: object }) {
                    is_member.set(start + u64::from(object));
                }
            });
        }
        let alone = |index| REPRESENTS | u32::from(is_member.test(index));
        let parent = (0..is_member.len()).map(alone).collect();
        let external = HashMap::new();
        Components { heap, cache, first_indices, slabs, parent, is_member, external }
    }

    /// The index of an object that may be in a component.
    fn index_of(&self, object: Object) -> Option<u32> {
        if self.heap.slabs[object.slab as usize].cache != self.cache {
            return None;
        }
        let index = self.first_indices.get(object.slab)? + u32::from(object.index);
        self.is_member(index).then_some(index)
    }

    fn is_member(&self, index: u32) -> bool {
        self.is_member.test(index.into())
    }

    /// The object that represents a component; each search shortens the chain to it.
    fn representative(&mut self, mut at: u32) -> u32 {
        while self.parent[at as usize] & REPRESENTS == 0 {
            let over = self.parent[at as usize];
            let above = self.parent[over as usize];
            if above & REPRESENTS == 0 {
                self.parent[at as usize] = above;
            }
            at = over;
        }
        at
    }

    /// How many objects the component has that an object represents.
    fn size(&self, representative: u32) -> u32 {
        self.parent[representative as usize] & !REPRESENTS
    }

    /// Adds a reference: it joins two components, or it is an external one.
    pub(crate) fn add(&mut self, one: Reference, kind: &dyn Fn(&Reference) -> ReferenceKind) {
        let Some(to) = self.index_of(one.to) else { return };
        let to = self.representative(to);
        let from = match one.from {
            From::Object(from) => {
                // A neighbour in a slab outside of the sample is no external reference.
                let in_cache = self.heap.slabs[from.slab as usize].cache == self.cache;
                if in_cache && self.first_indices.get(from.slab).is_none() {
                    return;
                }
                self.index_of(from)
            }
            From::Root | From::Register => None,
        };
        let Some(from) = from else {
            let one = ExternalReferences { kind: kind(&one), count: 1, example: one };
            return self.add_external(to, |all| count(all, one));
        };
        let from = self.representative(from);
        if from == to {
            return;
        }
        self.parent[to as usize] += self.size(from);
        self.parent[from as usize] = to;
        if let Some(more) = self.external.remove(&from) {
            self.add_external(to, |all| more.into_iter().for_each(|one| count(all, one)));
        }
    }

    /// Adds to the external references of a component, if there is room for those of one more.
    fn add_external(
        &mut self,
        representative: u32,
        add: impl FnOnce(&mut Vec<ExternalReferences>),
    ) {
        let has_room = self.external.len() < MOST_COMPONENTS;
        let all = match self.external.entry(representative) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) if has_room => place.insert(Vec::new()),
            Entry::Vacant(_) => return,
        };
        add(all);
        if all.len() > 2 * MOST_KINDS {
            all.sort_by_key(|one| Reverse(one.count));
            all.truncate(MOST_KINDS);
        }
    }

    /// The component of one object.
    pub(crate) fn component_of(mut self, object: Object) -> Option<Component> {
        let index = self.index_of(object)?;
        let wanted = self.representative(index);
        let objects = self.size(wanted).into();
        let external = self.external.remove(&wanted).unwrap_or_default();
        Some(Component { objects, external, stratum: 0, sample: vec![object], any: object })
    }

    /// Reachable objects.
    pub(crate) fn objects(&self) -> u64 {
        self.is_member.count()
    }

    /// The components that say something of the others, with about `most` objects as their samples.
    pub(crate) fn finish(mut self, most: u64) -> CacheComponents {
        let objects = self.objects();
        let mut strata = Strata::new(objects.div_ceil(most.clamp(1, objects.max(1))));
        let mut stratum_of = vec![UNSEEN; self.parent.len()];
        self.for_each_member(|components, at, any| {
            let representative = components.representative(at);
            let stratum = &mut stratum_of[representative as usize];
            if *stratum == UNSEEN {
                let external = components.external.get(&representative);
                let size = components.size(representative);
                *stratum = strata.add(size, external.and_then(|all| main_kind(all)), any);
            }
        });
        strata.share_out(most, objects);
        let mut samples: BTreeMap<u32, (Object, Vec<Object>)> = BTreeMap::new();
        self.for_each_member(|components, at, object| {
            let representative = components.representative(at);
            let stratum = strata.get(stratum_of[representative as usize]);
            let takes_next = stratum.takes_next();
            if takes_next || stratum.is_spoken_for_by(object) {
                let (_, sample) =
                    samples.entry(representative).or_insert_with(|| (object, Vec::new()));
                sample.extend(takes_next.then_some(object));
            }
        });
        let component = |(representative, (any, sample)): (u32, (Object, Vec<Object>))| Component {
            objects: self.size(representative).into(),
            external: self.external.remove(&representative).unwrap_or_default(),
            stratum: stratum_of[representative as usize] as usize,
            sample,
            any,
        };
        let mut components: Vec<Component> = samples.into_iter().map(component).collect();
        components.sort_unstable_by_key(|one| (Reverse(one.objects), one.any.slab, one.any.index));
        let (strata, sampled) = strata.objects_and_sampled();
        CacheComponents { components, strata, sampled }
    }

    /// Gives `each` the index and the object of every member, slab after slab.
    fn for_each_member(&mut self, mut each: impl FnMut(&mut Self, u32, Object)) {
        let slabs = std::mem::take(&mut self.slabs);
        for slab in slabs.iter().copied() {
            let Some(first) = self.first_indices.get(slab) else { continue };
            for index in 0..self.heap.slabs[slab as usize].objects {
                let at = first + u32::from(index);
                if self.is_member(at) {
                    each(self, at, Object { slab, index });
                }
            }
        }
        self.slabs = slabs;
    }
}

/// The commonest kind of external references.
fn main_kind(external: &[ExternalReferences]) -> Option<ReferenceKind> {
    let most = external.iter().map(|one| one.count).max()?;
    external.iter().find(|one| one.count == most).map(|one| one.kind)
}

/// Counts references of the same kind together.
fn count(all: &mut Vec<ExternalReferences>, more: ExternalReferences) {
    match all.iter_mut().find(|one| one.kind == more.kind) {
        Some(one) => one.count = one.count.saturating_add(more.count),
        None => {
            // Most objects have one: room is made for one more, not for four.
            all.reserve_exact(1);
            all.push(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::{Pfn, Va};
    use sysak_heap::{Cache, HeapBuilder};

    /// Two slabs of objects that are all in use and reached, but for free ones.
    fn heap(free: &[Object]) -> Heap {
        let cache = Cache::new(Va(1), "kmalloc-64".to_owned(), 64, 64).unwrap();
        let mut heap = HeapBuilder::new(Va(0xffff_8880_0000_0000), 64, vec![cache]);
        for pfn in [4, 8] {
            heap.push(Pfn(pfn), 0, 0, 64).unwrap();
        }
        free.iter().for_each(|object| heap.set_free(*object));
        let mut heap = heap.seal().never_marked();
        let all = (0..2).flat_map(|slab| (0..64).map(move |index| Object { slab, index }));
        all.for_each(|object| heap.clear_suspicion(object));
        heap
    }

    /// The objects of one in `every` slabs.
    fn alone(heap: &Heap, every: usize) -> Components<'_> {
        Components::new(heap, 0, FirstIndices::of(heap, &[(0, every)]))
    }

    /// The kind of references from one offset.
    fn at_offset(offset: u64) -> ReferenceKind {
        ReferenceKind::Field { cache: 9, in_cgroup: false, offset }
    }

    fn reference(from: From, to: Object) -> Reference {
        Reference { from, at: Va(0), word: 0, to }
    }

    #[test]
    fn a_list_over_two_slabs_is_one_component_with_one_external_reference() {
        let heap = heap(&[Object { slab: 1, index: 63 }]);
        let mut components = alone(&heap, 1);
        let object = |number: u32| Object { slab: number / 64, index: (number % 64) as u16 };
        components.add(reference(From::Root, object(5)), &|_| at_offset(7));
        for number in 0..99 {
            let from = From::Object(object(number + 1));
            components.add(reference(from, object(number)), &|_| at_offset(7));
        }
        components.add(reference(From::Root, Object { slab: 1, index: 63 }), &|_| at_offset(7));
        let all = components.finish(999).components;
        assert_eq!((all[0].objects, all[0].external.len()), (100, 1));
        assert_eq!(all.len(), 1 + 27, "the others are alone");
        assert!(
            all[1..]
                .iter()
                .all(|component| component.objects == 1 && component.external.is_empty())
        );
    }

    #[test]
    fn references_of_one_kind_are_counted_and_the_frequent_kinds_kept() {
        let heap = heap(&[]);
        let mut components = alone(&heap, 1);
        let to = Object { slab: 0, index: 7 };
        for other in 1..100 {
            components.add(reference(From::Root, to), &|_| at_offset(other));
            components.add(reference(From::Register, to), &|_| at_offset(0));
        }
        let all = components.finish(99).components;
        let found =
            all.iter().flat_map(|component| &component.external).max_by_key(|one| one.count);
        assert_eq!(found.map(|one| (one.kind, one.count)), Some((at_offset(0), 99)));
    }

    #[test]
    fn a_neighbour_outside_of_the_sample_is_no_external_reference() {
        let heap = heap(&[]);
        let mut components = alone(&heap, 2);
        let object = |slab: u32| Object { slab, index: 3 };
        components.add(reference(From::Object(object(1)), object(0)), &|_| at_offset(1));
        components.add(reference(From::Root, object(1)), &|_| at_offset(2));
        components.add(reference(From::Root, object(0)), &|_| at_offset(3));
        let all = components.finish(99).components;
        assert_eq!(all.len(), 64, "one slab of two");
        let kinds = all.iter().flat_map(|component| &component.external).map(|one| one.kind);
        assert_eq!(kinds.collect::<Vec<_>>(), [at_offset(3)]);
    }

    #[test]
    fn a_sample_is_spread_evenly_over_all_objects() {
        let heap = heap(&[]);
        let components = alone(&heap, 1);
        let found = components.finish(32);
        let sample: Vec<Object> =
            found.components.iter().flat_map(|component| &component.sample).copied().collect();
        assert_eq!((found.sampled, sample.len()), (32, 32));
        assert_eq!(
            (found.components.len(), found.strata),
            (32, vec![128]),
            "others are only counted"
        );
        assert_eq!(sample.iter().filter(|object| object.slab == 0).count(), 16);
        assert_eq!(alone(&heap, 1).finish(999).sampled, 128, "all, where there is room");
    }

    #[test]
    fn a_few_objects_that_are_pointed_at_from_elsewhere_are_all_in_the_sample() {
        let heap = heap(&[]);
        let mut components = alone(&heap, 1);
        let object = |number: u32| Object { slab: number / 64, index: (number % 64) as u16 };
        for number in 0..128 {
            let offset = if number % 43 == 7 { 2 } else { 1 };
            components.add(reference(From::Root, object(number)), &|_| at_offset(offset));
        }
        let found = components.finish(32);
        let rare =
            found.components.iter().filter(|one| main_kind(&one.external) == Some(at_offset(2)));
        assert_eq!(rare.map(|one| one.sample.len()).sum::<usize>(), 3, "7, 50 and 93");
        assert_eq!(found.sampled, 3 + 31);
    }
}
