//! The search for holders: components, one reverse search for all of them, and the best path to
//! each.
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

use crate::component::{CacheComponents, Component, Components, ExternalReferences};
use crate::member_names::{MemberNames, StructSource};
use crate::retention_path::{self, RetentionPath};
use crate::{HolderResolver, Holders};

/// Objects of one cache that are searched; of more, a sample.
const MOST_OBJECTS: u64 = 1 << 21;
/// Objects outside of components that are followed upwards.
const MOST_FOLLOWED: usize = 1 << 13;
/// Steps upwards.
const DEPTH: u32 = 7;

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
    let followed = followed_objects(resolver, &components);
    let paths = best_paths(resolver, &followed, cancel);
    let found = FoundPaths { resolver, followed, paths };
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
    let mut components: Vec<Option<Components<'_>>> =
        caches.iter().map(|cache| start_components(resolver, *cache)).collect();
    let position: HashMap<u16, usize> = (0..).zip(caches).map(|(at, cache)| (*cache, at)).collect();
    let kind = |one: &Reference| resolver.kind(one);
    add_references(resolver, caches, cancel, &mut |one| {
        let at = position.get(&heap.slabs[one.to.slab as usize].cache);
        if let Some(components) = at.and_then(|at| components[*at].as_mut()) {
            components.add(one, &kind);
        }
    });
    components.into_iter().map(|one| one.map(Components::finish)).collect()
}

fn start_components<'r>(
    resolver: &'r HolderResolver<'_, '_>,
    cache: u16,
) -> Option<Components<'r>> {
    let heap = &resolver.snapshot.heap;
    if heap.caches[usize::from(cache)].has_name(TASK_CACHE) {
        return None;
    }
    let every = object_count(heap, cache).div_ceil(MOST_OBJECTS) as usize;
    let in_cgroup = |object| resolver.cgroup(object).is_some();
    Some(Components::new(heap, cache, every, &in_cgroup))
}

fn object_count(heap: &Heap, cache: u16) -> u64 {
    let slabs = heap.slabs.iter().filter(|slab| slab.cache == cache);
    slabs.map(|slab| u64::from(slab.objects)).sum()
}

/// Gives `add` every reference to the objects of some caches.
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
        let mut each = |one: Reference| add(resolver.timer_link_as_root(one));
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
    let mut components = Components::new(heap, cache, 1, &|_| false);
    let kind = |one: &Reference| resolver.kind(one);
    add_references(resolver, &[cache], cancel, &mut |one| components.add(one, &kind));
    let component = components.component_of(object)?;
    let external = component.main_references().map(|one| one.example).collect();
    Some(ObjectComponent { objects: component.objects, external })
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
        for component in &found.components {
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
    let ends = |object: Object| resolver.has_owner(object);
    let mut with = |each: &mut dyn FnMut(Roots<'_>)| snapshot.with_roots(kernel, each);
    let limits = Limits { depth: DEPTH };
    search(resolver.space(), &mut with, &targets, &ends, limits, cancel)
        .best_paths(&|one| resolver.owner_distance(one))
}

/// What the reverse search found.
struct FoundPaths<'r, 'a, 'k> {
    resolver: &'r HolderResolver<'a, 'k>,
    /// The objects that were followed upwards.
    followed: HashSet<Object>,
    /// The best paths to them.
    paths: BestPaths,
}

impl FoundPaths<'_, '_, '_> {
    /// The holders of a cache's components, and of its objects that are parts of holders.
    fn holders(&self, found: &CacheComponents, names: &mut MemberNames<'_, '_>) -> Holders {
        let mut sampled = found.holder_parts.len() as u64;
        let parts =
            found.holder_parts.iter().filter_map(|object| self.resolver.path_in_cgroup(*object));
        let known = found.components.iter().filter(|component| self.is_known(component));
        let paths = known.filter_map(|component| {
            sampled += component.objects;
            self.path_to(component)
        });
        let paths = parts.chain(paths);
        let held_by = retention_path::merge(&self.resolver.snapshot.heap, paths, names);
        Holders { held_by, sampled }
    }

    /// Whether all main references to a component were followed: of others the best path may be
    /// unknown.
    fn is_known(&self, component: &Component) -> bool {
        component.main_references().all(|one| match one.example.from {
            From::Object(object) => {
                self.resolver.has_owner(object) || self.followed.contains(&object)
            }
            From::Root | From::Register => true,
        })
    }

    /// How far the owner behind a reference is.
    fn distance(&self, one: &Reference) -> Option<u32> {
        let end = self.resolver.owner_distance(one);
        end.or_else(|| match one.from {
            From::Object(from) => self.paths.distance(from),
            From::Root | From::Register => None,
        })
    }

    /// The best path to a component.
    fn path_to(&self, component: &Component) -> Option<RetentionPath> {
        let distance =
            |one: ExternalReferences| Some((self.distance(&one.example)?, one.example.at, one));
        let best = component.main_references().filter_map(distance);
        let (_, _, best) = best.min_by_key(|(distance, at, _)| (*distance, *at))?;
        let mut path = vec![best.example];
        if let From::Object(from) = best.example.from
            && self.resolver.owner_distance(&best.example).is_none()
        {
            path.extend(self.paths.path(from).into_iter().flatten());
        }
        self.resolver.retention_path(&path, best.count, component.objects)
    }
}
