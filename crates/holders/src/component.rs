//! Components: objects of one cache that are joined by references, and what points at them from
//! outside.
//!
//! A list of a million objects is held by what points at one of them, so the objects are joined
//! along the references between them (union-find). Four bytes an object are enough.
//!
//! **Invariant:** two objects are in one component only if references join them.

use std::cmp::Reverse;
use std::collections::HashMap;

use sysak_heap::references::{From, Reference};
use sysak_heap::{Heap, Object};

use crate::ReferenceKind;

/// Kinds of external references that are kept for one component.
const MOST_KINDS: usize = 8;
/// Components whose external references are kept at the same time.
const MOST_COMPONENTS: usize = 1 << 16;

/// A component from whose objects so many are expected to be searched for speaks for itself.
const LARGE: u64 = 4;
/// Of what is pointed at from a rare kind of place, so many are searched for all the same.
const LEAST_SAMPLE: u64 = 32;

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

/// The components of one cache, while references are added.
pub(crate) struct Components<'h> {
    heap: &'h Heap,
    cache: u16,
    /// Of each slab, the index of its first object.
    first_index: HashMap<u32, u32>,
    /// By index: another object of the same component; the object itself where it represents
    /// the component.
    parent: Vec<u32>,
    /// By index: whether the object is reachable and joins others. Others join nothing.
    is_member: Vec<bool>,
    /// By the index of the object that represents a component.
    external: HashMap<u32, Vec<ExternalReferences>>,
}

/// The components of one cache, complete.
#[derive(Default)]
pub(crate) struct CacheComponents {
    /// The largest first.
    pub(crate) components: Vec<Component>,
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
    /// The commonest kind of external references.
    pub(crate) fn main_kind(&self) -> Option<ReferenceKind> {
        let most = self.external.iter().map(|one| one.count).max()?;
        self.external.iter().find(|one| one.count == most).map(|one| one.kind)
    }

    /// The external references that may hold the whole component, one of each kind. Where
    /// thousands of entries of a table point at its objects, a lone pointer to one of them is no
    /// holder.
    pub(crate) fn main_references(&self) -> impl Iterator<Item = ExternalReferences> + '_ {
        let most = self.external.iter().map(|one| one.count).max().unwrap_or(0);
        self.external.iter().copied().filter(move |one| one.count >= most.div_ceil(2))
    }
}

impl<'h> Components<'h> {
    /// The reachable objects of a cache, each a component of its own; of a huge cache those in
    /// one of `every` slabs.
    pub(crate) fn new(heap: &'h Heap, cache: u16, every: usize) -> Components<'h> {
        let mut first_index = HashMap::new();
        let mut is_member = Vec::new();
        let slabs = (0..).zip(&heap.slabs).filter(|(_, slab)| slab.cache == cache);
        for (index, slab) in slabs.step_by(every.max(1)) {
            let start = is_member.len();
            first_index.insert(index, start as u32);
            is_member.resize(start + usize::from(slab.objects), false);
            heap.for_each_live(index, |object| {
                let at = start + usize::from(object);
                is_member[at] = !heap.is_white(Object { slab: index, index: object });
            });
        }
        let parent = (0..is_member.len() as u32).collect();
        let external = HashMap::new();
        Components { heap, cache, first_index, parent, is_member, external }
    }

    /// The index of an object that may be in a component.
    fn index_of(&self, object: Object) -> Option<u32> {
        let index = self.first_index.get(&object.slab)? + u32::from(object.index);
        self.is_member.get(index as usize).copied()?.then_some(index)
    }

    /// The object that represents a component; each search shortens the chain to it.
    fn representative(&mut self, mut at: u32) -> u32 {
        while self.parent[at as usize] != at {
            let over = self.parent[at as usize];
            self.parent[at as usize] = self.parent[over as usize];
            at = over;
        }
        at
    }

    /// Adds a reference: it joins two components, or it is an external one.
    pub(crate) fn add(&mut self, one: Reference, kind: &dyn Fn(&Reference) -> ReferenceKind) {
        let Some(to) = self.index_of(one.to) else { return };
        let to = self.representative(to);
        let from = match one.from {
            From::Object(from) => {
                // A neighbour in a slab outside of the sample is no external reference.
                let in_cache = self.heap.slabs[from.slab as usize].cache == self.cache;
                if in_cache && !self.first_index.contains_key(&from.slab) {
                    return;
                }
                self.index_of(from)
            }
            From::Root | From::Register => None,
        };
        let more = match from {
            Some(from) => {
                let from = self.representative(from);
                if from == to {
                    return;
                }
                self.parent[from as usize] = to;
                self.external.remove(&from).unwrap_or_default()
            }
            None => vec![ExternalReferences { kind: kind(&one), count: 1, example: one }],
        };
        let is_full = self.external.len() >= MOST_COMPONENTS && !self.external.contains_key(&to);
        if !more.is_empty() && !is_full {
            merge(self.external.entry(to).or_default(), more);
        }
    }

    /// The component of one object.
    pub(crate) fn component_of(mut self, object: Object) -> Option<Component> {
        let index = self.index_of(object)?;
        let wanted = self.representative(index);
        let mut objects = 0;
        for at in 0..self.parent.len() as u32 {
            objects += u64::from(self.is_member[at as usize] && self.representative(at) == wanted);
        }
        let external = self.external.remove(&wanted).unwrap_or_default();
        Some(Component { objects, external, stratum: 0, sample: vec![object], any: object })
    }

    /// Reachable objects.
    pub(crate) fn objects(&self) -> u64 {
        self.is_member.iter().filter(|member| **member).count() as u64
    }

    /// All components, with about so many objects as their samples.
    pub(crate) fn finish(mut self, most: u64) -> CacheComponents {
        let mut found: Vec<Component> = Vec::new();
        let mut position: HashMap<u32, usize> = HashMap::new();
        self.for_each_member(|components, at, any| {
            let representative = components.representative(at);
            let index = *position.entry(representative).or_insert(found.len());
            if index == found.len() {
                let external = components.external.remove(&representative).unwrap_or_default();
                found.push(Component { objects: 0, external, stratum: 0, sample: Vec::new(), any });
            }
            found[index].objects += 1;
        });
        let objects: u64 = found.iter().map(|one| one.objects).sum();
        let mut strata = strata(&mut found, objects.div_ceil(most.clamp(1, objects.max(1))));
        let least = (most / 2 / (strata.len() as u64).max(1)).min(LEAST_SAMPLE);
        for stratum in &mut strata {
            stratum.quota = share(stratum.objects, most, objects).max(least).min(stratum.objects);
        }
        self.for_each_member(|components, at, object| {
            let representative = components.representative(at);
            let component = &mut found[position[&representative]];
            if strata[component.stratum].takes_next() {
                component.sample.push(object);
            }
        });
        let sampled = strata.iter().map(|one| one.quota).sum();
        found.sort_unstable_by_key(|one| (Reverse(one.objects), one.any.slab, one.any.index));
        CacheComponents { components: found, sampled }
    }

    /// Gives `each` the index and the object of every member, slab after slab.
    fn for_each_member(&mut self, mut each: impl FnMut(&mut Self, u32, Object)) {
        let mut slabs: Vec<(u32, u32)> =
            self.first_index.iter().map(|(slab, first)| (*first, *slab)).collect();
        slabs.sort_unstable();
        for (first, slab) in slabs {
            for index in 0..self.heap.slabs[slab as usize].objects {
                let at = first + u32::from(index);
                if self.is_member[at as usize] {
                    each(self, at, Object { slab, index });
                }
            }
        }
    }
}

/// Objects whose sample speaks for all of them: those of a large component, or of the small ones that are
/// pointed at from the same kind of place.
struct Stratum {
    objects: u64,
    /// How many of them are searched for.
    quota: u64,
    seen: u64,
}

impl Stratum {
    /// Whether the next object is part of the sample, which is spread evenly over all.
    fn takes_next(&mut self) -> bool {
        let before = share(self.seen, self.quota, self.objects);
        self.seen += 1;
        share(self.seen, self.quota, self.objects) > before
    }
}

/// Gives each component its stratum, where one in `spacing` objects is searched for.
fn strata(found: &mut [Component], spacing: u64) -> Vec<Stratum> {
    let mut of_kind: HashMap<Option<ReferenceKind>, usize> = HashMap::new();
    let mut strata: Vec<Stratum> = Vec::new();
    for component in found {
        component.stratum = match component.objects >= LARGE * spacing {
            true => strata.len(),
            false => *of_kind.entry(component.main_kind()).or_insert(strata.len()),
        };
        if component.stratum == strata.len() {
            strata.push(Stratum { objects: 0, quota: 0, seen: 0 });
        }
        strata[component.stratum].objects += component.objects;
    }
    strata
}

/// Of the first `seen` of all objects, how many are among the at most `most` that are chosen.
pub(crate) fn share(seen: u64, most: u64, all: u64) -> u64 {
    (u128::from(seen) * u128::from(most.min(all)) / u128::from(all.max(1))) as u64
}

/// Counts references of the same kinds together.
fn merge(all: &mut Vec<ExternalReferences>, more: Vec<ExternalReferences>) {
    for other in more {
        match all.iter_mut().find(|one| one.kind == other.kind) {
            Some(one) => one.count = one.count.saturating_add(other.count),
            None => all.push(other),
        }
    }
    if all.len() > 2 * MOST_KINDS {
        all.sort_by_key(|one| Reverse(one.count));
        all.truncate(MOST_KINDS);
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
        let mut components = Components::new(&heap, 0, 1);
        let object = |number: u32| Object { slab: number / 64, index: (number % 64) as u16 };
        components.add(reference(From::Root, object(5)), &|_| at_offset(7));
        for number in 0..99 {
            let from = From::Object(object(number + 1));
            components.add(reference(from, object(number)), &|_| at_offset(7));
        }
        components.add(reference(From::Root, Object { slab: 1, index: 63 }), &|_| at_offset(7));
        let all = components.finish(99).components;
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
        let mut components = Components::new(&heap, 0, 1);
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
        let mut components = Components::new(&heap, 0, 2);
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
        let components = Components::new(&heap, 0, 1);
        let found = components.finish(32);
        let sample: Vec<Object> =
            found.components.iter().flat_map(|component| &component.sample).copied().collect();
        assert_eq!((found.sampled, sample.len()), (32, 32));
        assert_eq!(sample.iter().filter(|object| object.slab == 0).count(), 16);
        assert_eq!(
            Components::new(&heap, 0, 1).finish(999).sampled,
            128,
            "all, where there is room"
        );
    }

    #[test]
    fn a_few_objects_that_are_pointed_at_from_elsewhere_are_all_in_the_sample() {
        let heap = heap(&[]);
        let mut components = Components::new(&heap, 0, 1);
        let object = |number: u32| Object { slab: number / 64, index: (number % 64) as u16 };
        for number in 0..128 {
            let offset = if number % 43 == 7 { 2 } else { 1 };
            components.add(reference(From::Root, object(number)), &|_| at_offset(offset));
        }
        let found = components.finish(32);
        let rare = found.components.iter().filter(|one| one.main_kind() == Some(at_offset(2)));
        assert_eq!(rare.map(|one| one.sample.len()).sum::<usize>(), 3, "7, 50 and 93");
        assert_eq!(found.sampled, 3 + 31);
    }
}
