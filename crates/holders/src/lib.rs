//! Who holds objects that something leads to: a module's variable, an open file's process, a
//! thread, a control group, a variable of the kernel.
//!
//! Objects of one cache often hang on each other, in lists and trees: what hangs together is
//! held together, and only what points at it from outside is followed upwards. All caches
//! asked about climb at once: a step up is one search through memory.
//!
//! **Invariant:** a holder is named only where an unbroken way of references leads from it.

mod component;
mod member_names;
mod owner;
pub mod place;
mod resolver;
mod retention_path;
mod weight;

use std::collections::{HashMap, HashSet};

use sysak_base::Cancel;
use sysak_heap::references::{self, From, Reference};
use sysak_heap::reverse::{BestPaths, Limits, search};
use sysak_heap::{Heap, Object, ObjectSet};
use sysak_kernel::shape::TASK_CACHE;

use component::{Component, Components};
use member_names::MemberNames;
pub use resolver::HolderResolver;
use sysak_infer::TypeInferrer;
pub use weight::{Heavy, heaviest, weigh};

/// Objects of one cache that are asked about; of more, a sample.
const MOST_OBJECTS: u64 = 1 << 21;
/// Objects outside that are followed upwards.
const MOST_OUTSIDE: usize = 1 << 13;
/// Steps upwards.
const DEPTH: u32 = 7;

/// What a holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HolderKind {
    /// A process.
    Process,
    /// A module.
    Module,
    /// A control group.
    Cgroup,
    /// A variable of the kernel.
    Symbol,
    /// The kernel, nobody knows which part of it.
    Kernel,
}

/// Who holds some of the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// From the holder to the objects.
    pub path: Vec<String>,
    /// What it is.
    pub kind: HolderKind,
    /// How many of the objects.
    pub objects: u64,
    /// One of the references that the ways from it begin with; `None` where many holders are told
    /// as one.
    pub anchor: Option<Reference>,
    /// Bytes of all memory that nothing would lead to if it let go; known of the biggest.
    pub retained_bytes: Option<u64>,
}

/// Who holds the objects of one cache.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    /// The most first.
    pub held_by: Vec<Holder>,
    /// Objects that were looked at: all that something leads to, or a sample of these.
    pub sampled: u64,
}

/// Who holds the objects of some caches; `None` for threads, which hold themselves. The `guesser`
/// tells what the objects are that the ways lead through, those of kmalloc only `closely`.
pub fn held_by<'w>(
    resolver: &HolderResolver<'w, '_>,
    guesser: &mut TypeInferrer<'w>,
    caches: &[u16],
    closely: bool,
    cancel: &Cancel,
) -> Vec<Option<Holders>> {
    let (kernel, look) = (resolver.kernel, resolver.look);
    let mut components: Vec<Option<Components<'_>>> = caches
        .iter()
        .map(|cache| {
            let slabs = look.heap.slabs.iter().filter(|slab| slab.cache == *cache);
            let objects: u64 = slabs.map(|slab| u64::from(slab.objects)).sum();
            let every = objects.div_ceil(MOST_OBJECTS) as usize;
            // Threads are nobody's but their own.
            let is_asked = !look.heap.caches[usize::from(*cache)].has_name(TASK_CACHE);
            let is_own = |object| resolver.cgroup(object).is_some();
            is_asked.then(|| Components::of(&look.heap, *cache, every, &is_own))
        })
        .collect();
    let place: HashMap<u16, usize> = (0..).zip(caches).map(|(at, cache)| (*cache, at)).collect();
    let kind = |one: &Reference| resolver.kind(one);
    look.with_roots(kernel, &mut |roots| {
        let of = |object: Object| place.get(&look.heap.slabs[object.slab as usize].cache).copied();
        let wanted = objects_of(&look.heap, caches);
        let mut take = |one: Reference| {
            if let Some(components) = of(one.to).and_then(|at| components[at].as_mut()) {
                components.add(resolver.whose(one), &kind);
            }
        };
        references::find(resolver.space(), roots, &wanted, false, cancel, &mut take);
    });
    let found = components.into_iter().map(|one| {
        let mut components = one?;
        Some((std::mem::take(&mut components.own), components.all()))
    });
    let (own, components) = found.map(Option::unzip).unzip();
    let components: Vec<Option<Vec<Component>>> = components;
    let own: Vec<Option<Vec<Object>>> = own;
    let outside = outside(resolver, &components);
    let targets: Vec<Object> = outside.iter().copied().collect();
    let ends = |object: Object| resolver.is_end(object);
    let mut with = |each: &mut dyn FnMut(references::Roots<'_>)| look.with_roots(kernel, each);
    let limits = Limits { depth: DEPTH };
    let found = search(resolver.space(), &mut with, &targets, &ends, limits, cancel)
        .best_paths(&|one| resolver.rank(one));
    let mut namer = MemberNames::new(&look.heap, guesser, closely);
    let mut holders = |(own, components): (Vec<Object>, Vec<Component>)| {
        namer.start();
        holders(resolver, (&own, &components), (&outside, &found), &mut namer)
    };
    own.into_iter()
        .zip(components)
        .map(|(own, components)| own.zip(components).map(&mut holders))
        .collect()
}

/// Every object of some caches.
fn objects_of(heap: &Heap, caches: &[u16]) -> ObjectSet {
    let slabs = (0..).zip(&heap.slabs).filter(|(_, slab)| caches.contains(&slab.cache));
    ObjectSet::of_slabs(heap, slabs.map(|(slab, _)| slab))
}

/// What an object hangs together with, in its own cache.
pub struct Relatives {
    /// How many objects, itself included.
    pub objects: u64,
    /// What points at any of them from outside: one reference of each kind.
    pub outside: Vec<Reference>,
}

/// Finds what an object hangs together with; `None` where its cache has too many objects.
pub fn relatives(
    resolver: &HolderResolver<'_, '_>,
    object: Object,
    cancel: &Cancel,
) -> Option<Relatives> {
    let (kernel, heap) = (resolver.kernel, &resolver.look.heap);
    let cache = heap.slabs[object.slab as usize].cache;
    let slabs = heap.slabs.iter().filter(|slab| slab.cache == cache);
    if slabs.map(|slab| u64::from(slab.objects)).sum::<u64>() > 2 * MOST_OBJECTS {
        return None;
    }
    let mut components = Components::of(heap, cache, 1, &|_| false);
    let kind = |one: &Reference| resolver.kind(one);
    resolver.look.with_roots(kernel, &mut |roots| {
        let wanted = objects_of(heap, &[cache]);
        let mut take = |one: Reference| components.add(resolver.whose(one), &kind);
        references::find(resolver.space(), roots, &wanted, false, cancel, &mut take);
    });
    let component = components.with(object)?;
    Some(Relatives {
        objects: component.objects,
        outside: component.main().map(|outside| outside.one).collect(),
    })
}

/// The objects outside that are followed upwards: of each cache its share, those that lead to the
/// most objects first.
fn outside(
    resolver: &HolderResolver<'_, '_>,
    components: &[Option<Vec<Component>>],
) -> HashSet<Object> {
    let mut chosen = HashSet::new();
    let share = MOST_OUTSIDE / components.len().max(1);
    for components in components.iter().flatten() {
        let mut worth: HashMap<Object, u64> = HashMap::new();
        for component in components {
            for one in component.main() {
                if let From::Object(object) = one.one.from
                    && !resolver.is_end(object)
                {
                    *worth.entry(object).or_insert(0) += component.objects;
                }
            }
        }
        let mut best: Vec<(Object, u64)> = worth.into_iter().collect();
        best.sort_unstable_by_key(|(one, worth)| (std::cmp::Reverse(*worth), one.slab, one.index));
        chosen.extend(best.into_iter().take(share).map(|(object, _)| object));
    }
    chosen
}

/// Merges the ways to all components of a cache, and to those of its objects that are holders
/// themselves.
fn holders(
    resolver: &HolderResolver<'_, '_>,
    (own, components): (&[Object], &[Component]),
    (outside, found): (&HashSet<Object>, &BestPaths),
    namer: &mut MemberNames<'_, '_>,
) -> Holders {
    let mut sampled = own.len() as u64;
    let own = own.iter().filter_map(|object| resolver.own_path(*object));
    let paths = components.iter().filter_map(|component| {
        let followed = |one: &Reference| match one.from {
            From::Object(object) => resolver.is_end(object) || outside.contains(&object),
            From::Root | From::Register => true,
        };
        if !component.main().all(|outside| followed(&outside.one)) {
            return None;
        }
        sampled += component.objects;
        let worth = |one: &Reference| match (resolver.rank(one), one.from) {
            (Some(rank), _) => Some(rank),
            (None, From::Object(from)) => found.distance(from),
            (None, _) => None,
        };
        let ends = component.main().filter_map(|outside| Some((worth(&outside.one)?, outside)));
        let (_, outside) = ends.min_by_key(|(worth, outside)| (*worth, outside.one.at))?;
        let best = outside.one;
        let mut way = vec![best];
        if let From::Object(from) = best.from
            && resolver.rank(&best).is_none()
        {
            way.extend(found.path(from).into_iter().flatten());
        }
        resolver.path(&way, outside.many, component.objects)
    });
    let held_by = retention_path::merge(&resolver.look.heap, own.chain(paths), namer);
    Holders { held_by, sampled }
}
