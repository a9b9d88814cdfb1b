//! Who holds objects that something leads to: a module's variable, an open file's process, a
//! thread, a control group, a variable of the kernel.
//!
//! Objects of one cache often hang on each other, in lists and trees: what hangs together is
//! held together, and only what points at it from outside is followed upwards. All caches
//! asked about climb at once: a step up is one search through memory.
//!
//! **Invariant:** a holder is named only where an unbroken way of references leads from it.

mod end;
mod family;
mod guide;
mod namer;
mod trail;
mod weight;

use std::collections::{HashMap, HashSet};

use sysak_analysis::climb::{Limits, Ways, climb};
use sysak_analysis::refs::{self, From, Reference};
use sysak_base::Cancel;
use sysak_base::heap::{Heap, Object, ObjectSet};
use sysak_kernel::shape::TASK_CACHE;

use crate::guess::Guesser;
use family::{Families, Family};
pub use guide::Guide;
use namer::Namer;
pub use weight::{Heavy, heaviest, weigh};

/// Objects of one cache that are asked about; of more, a sample.
const MOST_OBJECTS: u64 = 1 << 21;
/// Objects outside that are followed upwards.
const MOST_OUTSIDE: usize = 1 << 13;
/// Steps upwards.
const DEPTH: u32 = 7;

/// What a holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
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
pub struct HeldBy {
    /// From the holder to the objects.
    pub path: Vec<String>,
    /// What it is.
    pub kind: Kind,
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
    pub held_by: Vec<HeldBy>,
    /// Objects that were looked at: all that something leads to, or a sample of these.
    pub sampled: u64,
}

/// Who holds the objects of some caches; `None` for threads, which hold themselves. The `guesser`
/// tells what the objects are that the ways lead through, those of kmalloc only `closely`.
pub fn held_by<'w>(
    guide: &Guide<'w, '_>,
    guesser: &mut Guesser<'w>,
    caches: &[u16],
    closely: bool,
    cancel: &Cancel,
) -> Vec<Option<Holders>> {
    let (kernel, look) = (guide.kernel, guide.look);
    let mut families: Vec<Option<Families<'_>>> = caches
        .iter()
        .map(|cache| {
            let slabs = look.heap.slabs.iter().filter(|slab| slab.cache == *cache);
            let objects: u64 = slabs.map(|slab| u64::from(slab.objects)).sum();
            let every = objects.div_ceil(MOST_OBJECTS) as usize;
            // Threads are nobody's but their own.
            let is_asked = !look.heap.caches[usize::from(*cache)].has_name(TASK_CACHE);
            let is_own = |object| guide.cgroup(object).is_some();
            is_asked.then(|| Families::of(&look.heap, *cache, every, &is_own))
        })
        .collect();
    let place: HashMap<u16, usize> = (0..).zip(caches).map(|(at, cache)| (*cache, at)).collect();
    let kind = |one: &Reference| guide.kind(one);
    look.with_roots(kernel, &mut |roots| {
        let of = |object: Object| place.get(&look.heap.slabs[object.slab as usize].cache).copied();
        let wanted = objects_of(&look.heap, caches);
        let mut take = |one: Reference| {
            if let Some(families) = of(one.to).and_then(|at| families[at].as_mut()) {
                families.add(guide.whose(one), &kind);
            }
        };
        refs::find(guide.space(), roots, &wanted, false, cancel, &mut take);
    });
    let found = families.into_iter().map(|one| {
        let mut families = one?;
        Some((std::mem::take(&mut families.own), families.all()))
    });
    let (own, families) = found.map(Option::unzip).unzip();
    let families: Vec<Option<Vec<Family>>> = families;
    let own: Vec<Option<Vec<Object>>> = own;
    let outside = outside(guide, &families);
    let targets: Vec<Object> = outside.iter().copied().collect();
    let ends = |object: Object| guide.is_end(object);
    let mut with = |each: &mut dyn FnMut(refs::Roots<'_>)| look.with_roots(kernel, each);
    let limits = Limits { depth: DEPTH };
    let found = climb(guide.space(), &mut with, &targets, &ends, limits, cancel)
        .ways(&|one| guide.rank(one));
    let mut namer = Namer::new(&look.heap, guesser, closely);
    let mut holders = |(own, families): (Vec<Object>, Vec<Family>)| {
        namer.start();
        holders(guide, (&own, &families), (&outside, &found), &mut namer)
    };
    own.into_iter()
        .zip(families)
        .map(|(own, families)| own.zip(families).map(&mut holders))
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
pub fn relatives(guide: &Guide<'_, '_>, object: Object, cancel: &Cancel) -> Option<Relatives> {
    let (kernel, heap) = (guide.kernel, &guide.look.heap);
    let cache = heap.slabs[object.slab as usize].cache;
    let slabs = heap.slabs.iter().filter(|slab| slab.cache == cache);
    if slabs.map(|slab| u64::from(slab.objects)).sum::<u64>() > 2 * MOST_OBJECTS {
        return None;
    }
    let mut families = Families::of(heap, cache, 1, &|_| false);
    let kind = |one: &Reference| guide.kind(one);
    guide.look.with_roots(kernel, &mut |roots| {
        let wanted = objects_of(heap, &[cache]);
        let mut take = |one: Reference| families.add(guide.whose(one), &kind);
        refs::find(guide.space(), roots, &wanted, false, cancel, &mut take);
    });
    let family = families.with(object)?;
    Some(Relatives {
        objects: family.objects,
        outside: family.main().map(|outside| outside.one).collect(),
    })
}

/// The objects outside that are followed upwards: of each cache its share, those that lead to the
/// most objects first.
fn outside(guide: &Guide<'_, '_>, families: &[Option<Vec<Family>>]) -> HashSet<Object> {
    let mut chosen = HashSet::new();
    let share = MOST_OUTSIDE / families.len().max(1);
    for families in families.iter().flatten() {
        let mut worth: HashMap<Object, u64> = HashMap::new();
        for family in families {
            for one in family.main() {
                if let From::Object(object) = one.one.from
                    && !guide.is_end(object)
                {
                    *worth.entry(object).or_insert(0) += family.objects;
                }
            }
        }
        let mut best: Vec<(Object, u64)> = worth.into_iter().collect();
        best.sort_unstable_by_key(|(one, worth)| (std::cmp::Reverse(*worth), one.slab, one.index));
        chosen.extend(best.into_iter().take(share).map(|(object, _)| object));
    }
    chosen
}

/// Merges the ways to all families of a cache, and to those of its objects that are holders
/// themselves.
fn holders(
    guide: &Guide<'_, '_>,
    (own, families): (&[Object], &[Family]),
    (outside, found): (&HashSet<Object>, &Ways),
    namer: &mut Namer<'_, '_>,
) -> Holders {
    let mut sampled = own.len() as u64;
    let own = own.iter().filter_map(|object| guide.own_trail(*object));
    let trails = families.iter().filter_map(|family| {
        let followed = |one: &Reference| match one.from {
            From::Object(object) => guide.is_end(object) || outside.contains(&object),
            From::Root | From::Register => true,
        };
        if !family.main().all(|outside| followed(&outside.one)) {
            return None;
        }
        sampled += family.objects;
        let worth = |one: &Reference| match (guide.rank(one), one.from) {
            (Some(rank), _) => Some(rank),
            (None, From::Object(from)) => found.worth(from),
            (None, _) => None,
        };
        let ends = family.main().filter_map(|outside| Some((worth(&outside.one)?, outside)));
        let (_, outside) = ends.min_by_key(|(worth, outside)| (*worth, outside.one.at))?;
        let best = outside.one;
        let mut way = vec![best];
        if let From::Object(from) = best.from
            && guide.rank(&best).is_none()
        {
            way.extend(found.way(from).into_iter().flatten());
        }
        guide.trail(&way, outside.many, family.objects)
    });
    let held_by = trail::merge(&guide.look.heap, own.chain(trails), namer);
    Holders { held_by, sampled }
}
