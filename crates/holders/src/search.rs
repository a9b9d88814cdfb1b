//! The search for holders: components, one reverse search for all of them, and the best path to
//! each object.
//!
//! **Danger:** each step of the reverse search reads all of the kernel's memory that may hold
//! references. What is followed is bounded, and of huge caches only a sample is searched.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use sysak_base::Cancel;
use sysak_heap::marking::Roots;
use sysak_heap::references::{self, From, Reference};
use sysak_heap::reverse::{BestPaths, Limits, search};
use sysak_heap::{Heap, Object, ObjectSet};
use sysak_infer::TypeInferrer;
use sysak_kernel::shape::TASK_CACHE;

use crate::component::{CacheComponents, Components, FirstIndices};
use crate::distance::PROCESS;
use crate::member_names::{MemberNames, StructSource};
use crate::share::FoundPaths;
use crate::{HolderKind, HolderResolver, Holders, Step};

/// Objects of one cache that are joined; of more, those of a sample of its slabs.
const MOST_OBJECTS: u64 = 1 << 21;
/// Objects that are searched for, of all caches together.
const MOST_SEARCHED: u64 = 1 << 14;
/// The same of one cache that was asked for.
const MOST_OF_ONE: u64 = 1 << 15;
/// Objects outside of components that are followed upwards besides.
const MOST_FOLLOWED: usize = 1 << 12;
/// Steps upwards.
const DEPTH: u32 = 8;

/// Finds who holds the objects of some caches; `None` for threads, which hold themselves. The
/// `inferrer` tells the structs that the paths lead through.
pub fn find_holders<'w>(
    resolver: &HolderResolver<'w, '_>,
    inferrer: &mut TypeInferrer<'w>,
    caches: &[u16],
    structs: StructSource,
    cancel: &Cancel,
) -> Vec<Option<Holders>> {
    let components = find_components(resolver, caches, cancel);
    if cancel.is_set() {
        // A reference that was not read may be the one that holds them.
        return caches.iter().map(|_| None).collect();
    }
    let samples = components.iter().flatten().flat_map(|one| &one.components);
    // What is part of its holder needs no search.
    let is_open = |object: &Object| resolver.own_distance(*object).is_none_or(|own| own > PROCESS);
    let samples = samples.flat_map(|one| &one.sample).copied();
    let mut followed: HashSet<Object> = samples.filter(is_open).collect();
    followed.extend(followed_objects(resolver, &components));
    let paths = best_paths(resolver, &followed, cancel);
    let found = FoundPaths { resolver, paths };
    let mut names = MemberNames::new(&resolver.snapshot.heap, inferrer, structs);
    let mut holders = |components: CacheComponents| {
        names.start_cache();
        found.holders(&components, &mut names)
    };
    components.into_iter().map(|components| components.map(&mut holders)).collect()
}

/// The components of some caches; `None` for threads.
fn find_components(
    resolver: &HolderResolver<'_, '_>,
    caches: &[u16],
    cancel: &Cancel,
) -> Vec<Option<CacheComponents>> {
    let heap = &resolver.snapshot.heap;
    let every = |cache: u16| object_count(heap, cache).div_ceil(MOST_OBJECTS) as usize;
    let sampled: Vec<(u16, usize)> = caches.iter().map(|cache| (*cache, every(*cache))).collect();
    let first_indices = FirstIndices::of(heap, &sampled);
    let is_thread = |cache: u16| heap.caches[usize::from(cache)].has_name(TASK_CACHE);
    let start = |cache: &u16| {
        (!is_thread(*cache)).then(|| Components::new(heap, *cache, first_indices.clone()))
    };
    let mut components: Vec<Option<Components<'_>>> = caches.iter().map(start).collect();
    let mut position = vec![None; heap.caches.len()];
    (0..).zip(caches).for_each(|(at, cache)| position[usize::from(*cache)] = Some(at));
    let kind = |one: &Reference| resolver.kind(one);
    add_references(resolver, caches, cancel, &mut |one| {
        let at: Option<usize> = position[usize::from(heap.slabs[one.to.slab as usize].cache)];
        if let Some(components) = at.and_then(|at| components[at].as_mut()) {
            components.add(one, &kind);
        }
    });
    let objects = components.iter().flatten().map(Components::objects).collect();
    let searched = if caches.len() == 1 { MOST_OF_ONE } else { MOST_SEARCHED };
    let most = fair_share(objects, searched);
    components.into_iter().map(|one| one.map(|one| one.finish(most))).collect()
}

/// How many objects of each cache are searched for, so that all together are at most `most`: small
/// caches leave their part to the big ones.
fn fair_share(mut objects: Vec<u64>, most: u64) -> u64 {
    objects.sort_unstable();
    let (mut left, mut caches) = (most, objects.len() as u64);
    for objects in objects {
        if objects > left / caches {
            return left / caches;
        }
        (left, caches) = (left - objects, caches - 1);
    }
    most
}

/// Whether a reference leads from one object of a cache to another.
fn is_within_cache(heap: &Heap, one: &Reference) -> bool {
    let cache = |object: Object| heap.slabs[object.slab as usize].cache;
    matches!(one.from, From::Object(from) if cache(from) == cache(one.to))
}

fn object_count(heap: &Heap, cache: u16) -> u64 {
    let slabs = heap.slabs.iter().filter(|slab| slab.cache == cache);
    slabs.map(|slab| u64::from(slab.objects)).sum()
}

/// Gives `add` every reference to the objects of some caches, but for those between objects of one cache that do
/// not join them.
fn add_references(
    resolver: &HolderResolver<'_, '_>,
    caches: &[u16],
    cancel: &Cancel,
    add: &mut dyn FnMut(Reference),
) {
    let heap = &resolver.snapshot.heap;
    let slabs = (0..).zip(&heap.slabs).filter(|(_, slab)| caches.contains(&slab.cache));
    let wanted = ObjectSet::of_slabs(heap, slabs.map(|(slab, _)| slab));
    resolver.snapshot.with_roots(resolver.kernel, &mut |roots| {
        let mut each = |one: Reference| {
            if !is_within_cache(heap, &one) || resolver.may_join(&one) {
                add(resolver.timer_link_as_root(one));
            }
        };
        references::find(resolver.space(), roots, &wanted, false, cancel, &mut each);
    });
}

/// The component of an object, in its own cache.
pub struct ObjectComponent {
    /// How many objects, itself included.
    pub objects: u64,
    /// What points at any of them from outside: one reference of each kind.
    pub external: Vec<Reference>,
}

/// Finds the component of an object; `None` where its cache has too many objects.
pub fn component_of(
    resolver: &HolderResolver<'_, '_>,
    object: Object,
    cancel: &Cancel,
) -> Option<ObjectComponent> {
    let heap = &resolver.snapshot.heap;
    let cache = heap.slabs[object.slab as usize].cache;
    if object_count(heap, cache) > 2 * MOST_OBJECTS {
        return None;
    }
    let first_indices = FirstIndices::of(heap, &[(cache, 1)]);
    let mut components = Components::new(heap, cache, first_indices);
    let kind = |one: &Reference| resolver.kind(one);
    add_references(resolver, &[cache], cancel, &mut |one| components.add(one, &kind));
    let component = components.component_of(object)?;
    let external = component.main_references().map(|one| one.example).collect();
    Some(ObjectComponent { objects: component.objects, external })
}

/// Who holds each of some objects, by the best path to it; `None` where none is known.
pub fn owners_of(
    resolver: &HolderResolver<'_, '_>,
    objects: &[Object],
    cancel: &Cancel,
) -> Vec<Option<(HolderKind, Step)>> {
    let paths = best_paths(resolver, &objects.iter().copied().collect(), cancel);
    let owner = |object: &Object| resolver.holder(paths.path(*object)?.last()?);
    objects.iter().map(owner).collect()
}

/// The objects outside of components that are followed upwards: of each cache its share, those
/// that lead to the most objects first.
fn followed_objects(
    resolver: &HolderResolver<'_, '_>,
    components: &[Option<CacheComponents>],
) -> HashSet<Object> {
    let mut chosen = HashSet::new();
    let share = MOST_FOLLOWED / components.len().max(1);
    for found in components.iter().flatten() {
        let mut leads_to: HashMap<Object, u64> = HashMap::new();
        for component in found.components.iter().filter(|component| component.objects > 1) {
            for one in component.main_references() {
                if let From::Object(object) = one.example.from
                    && !resolver.has_owner(object)
                {
                    *leads_to.entry(object).or_insert(0) += component.objects;
                }
            }
        }
        let mut best: Vec<(Object, u64)> = leads_to.into_iter().collect();
        best.sort_unstable_by_key(|(one, objects)| (Reverse(*objects), one.slab, one.index));
        chosen.extend(best.into_iter().take(share).map(|(object, _)| object));
    }
    chosen
}

/// The best paths to some objects.
fn best_paths(
    resolver: &HolderResolver<'_, '_>,
    objects: &HashSet<Object>,
    cancel: &Cancel,
) -> BestPaths {
    let (kernel, snapshot) = (resolver.kernel, resolver.snapshot);
    let targets: Vec<Object> = objects.iter().copied().collect();
    let mut with = |each: &mut dyn FnMut(Roots<'_>)| snapshot.with_roots(kernel, each);
    let limits = Limits { depth: DEPTH };
    let found = search(resolver.space(), &mut with, &targets, resolver, limits, cancel);
    resolver.rules.forget_lists();
    found.best_paths(&|one| resolver.owner_distance(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_caches_leave_their_part_to_the_big_ones() {
        assert_eq!(fair_share(vec![10, 1000, 20, 2000], 430), 200);
        assert_eq!(fair_share(vec![10, 80], 100), 100, "all are searched for");
        assert_eq!(fair_share(Vec::new(), 100), 100);
    }
}
