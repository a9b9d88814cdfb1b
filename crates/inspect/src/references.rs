//! What points at an object, and the retention paths that hold it.
//!
//! **Danger:** each step of the search upwards reads all memory that may hold references.

use std::collections::{HashMap, HashSet};

use sysak_base::{Cancel, Va};
use sysak_heap::marking::Roots;
use sysak_heap::references::{From, Reference, find};
use sysak_heap::reverse::{BestPaths, Limits, Path, search};
use sysak_heap::{Object, ObjectSet};
use sysak_holders::{HolderResolver, ReferenceKind, component_of};
use sysak_report::{PageUse, Place, RefPlace, Refs, SpotKind, Step};

use crate::address::{of_object, spot};
use crate::wording::place;

/// Steps upwards.
const DEPTH: u32 = 10;
/// Retention paths that are shown.
const MOST_PATHS: usize = 5;
/// Kinds of places that are shown.
const MOST_PLACES: usize = 30;

/// What points at the object that an address lies in, or that it lies in a root; `None` where nothing of the kernel's
/// is.
pub fn refs(resolver: &HolderResolver<'_, '_>, at: Va, cancel: &Cancel) -> Option<Refs> {
    match resolver.snapshot().heap.find_object(at.0) {
        Some(object) => Some(of(resolver, object, at, cancel)),
        None => root(resolver, at),
    }
}

fn of(resolver: &HolderResolver<'_, '_>, object: Object, at: Va, cancel: &Cancel) -> Refs {
    let places = places(resolver, object, cancel);
    Refs {
        spot: of_object(resolver, object, at),
        references: Some(places.iter().map(|place| place.references).sum()),
        ways: retention_paths(resolver, object, cancel),
        places: places.into_iter().take(MOST_PLACES).collect(),
    }
}

/// What an address outside of all objects is, where references may lie there: memory of the kernel that is in use
/// whatever points to it. `None` where nothing of the kernel's is.
fn root(resolver: &HolderResolver<'_, '_>, at: Va) -> Option<Refs> {
    let spot = spot(resolver, at);
    let is_root = match (spot.kind, spot.page_owner) {
        (SpotKind::Unknown, _) => false,
        (SpotKind::Page, owner) => owner.is_some_and(is_kernels),
        _ => true,
    };
    is_root.then(|| Refs { spot, ..Refs::default() })
}

fn is_kernels(owner: PageUse) -> bool {
    match owner {
        PageUse::Slab
        | PageUse::PageTable
        | PageUse::Image
        | PageUse::Reserved
        | PageUse::Vmemmap
        | PageUse::Kernel => true,
        PageUse::Free
        | PageUse::Anon
        | PageUse::File
        | PageUse::Shmem
        | PageUse::Hugetlb
        | PageUse::Untouchable => false,
    }
}

/// Every place that a reference lies in, those of one kind together.
fn places(resolver: &HolderResolver<'_, '_>, object: Object, cancel: &Cancel) -> Vec<RefPlace> {
    let (kernel, snapshot) = (resolver.kernel(), resolver.snapshot());
    let mut places: HashMap<(ReferenceKind, bool), RefPlace> = HashMap::new();
    snapshot.with_roots(kernel, &mut |roots| {
        let wanted = ObjectSet::new(&snapshot.heap, [object]);
        find(resolver.space(), roots, &wanted, true, cancel, &mut |one| {
            let unreachable = match one.from {
                From::Object(from) => snapshot.heap.is_white(from),
                From::Root | From::Register => false,
            };
            let key = (resolver.kind(&one), unreachable);
            let place = places.entry(key).or_insert_with(|| RefPlace {
                name: resolver.step(&one).as_ref().map_or(Place::Unknown, place),
                example: Some(one.at.into()),
                unreachable,
                ..RefPlace::default()
            });
            place.references += 1;
        });
    });
    let mut places: Vec<_> = places.into_values().collect();
    places.sort_by(|a, b| (b.references, a.example).cmp(&(a.references, b.example)));
    places
}

/// The best path through each external reference to the object or to its component: a list of
/// thousands of objects is held by what points at one of them.
fn retention_paths(
    resolver: &HolderResolver<'_, '_>,
    object: Object,
    cancel: &Cancel,
) -> Vec<Vec<Step>> {
    let heap = &resolver.snapshot().heap;
    let Some(component) = component_of(resolver, object, cancel) else { return Vec::new() };
    let best = best_paths(resolver, &component.external, cancel);
    let through = |one: &Reference| {
        if let Some(distance) = resolver.owner_distance(one) {
            return Some((distance, vec![*one]));
        }
        let From::Object(from) = one.from else { return None };
        Some((best.distance(from)?, [vec![*one], best.path(from)?].concat()))
    };
    let mut paths: Vec<(u32, Path)> = component.external.iter().filter_map(through).collect();
    paths.sort_by_key(|(distance, _)| *distance);
    // Where a path leads to another object of the component, the component is its last step.
    let component_step = |path: &Path| {
        let first = path.first().filter(|first| first.to != object)?;
        let cache = heap.cache_of(object).name.as_str().into();
        let name = Place::Family { objects: component.objects, cache };
        Some(Step { name, address: Some(heap.object_va(first.to).into()) })
    };
    let steps = paths.iter().map(|(_, path)| {
        let mut steps = steps(resolver, path);
        steps.extend(component_step(path));
        steps
    });
    let names = |path: &Vec<Step>| path.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
    let mut shown = HashSet::new();
    steps.filter(|path| shown.insert(names(path))).take(MOST_PATHS).collect()
}

/// The best paths to the objects that external references lie in.
fn best_paths(
    resolver: &HolderResolver<'_, '_>,
    external: &[Reference],
    cancel: &Cancel,
) -> BestPaths {
    let (kernel, snapshot) = (resolver.kernel(), resolver.snapshot());
    let from = |one: &Reference| match one.from {
        From::Object(object) if resolver.owner_distance(one).is_none() => Some(object),
        _ => None,
    };
    let targets: Vec<Object> = external.iter().filter_map(from).collect();
    let mut with = |each: &mut dyn FnMut(Roots<'_>)| snapshot.with_roots(kernel, each);
    let limits = Limits { depth: DEPTH };
    search(resolver.space(), &mut with, &targets, resolver, limits, cancel)
        .best_paths(&|one| resolver.owner_distance(one))
}

/// From the holder downwards.
fn steps(resolver: &HolderResolver<'_, '_>, path: &Path) -> Vec<Step> {
    let last = path.len().saturating_sub(1);
    let step = |(index, one): (usize, &Reference)| {
        let holder = resolver.holder(one).filter(|_| index == last).map(|(_, holder)| holder);
        let step = holder.or_else(|| resolver.step(one));
        Step { name: step.as_ref().map_or(Place::Unknown, place), address: Some(one.at.into()) }
    };
    path.iter().enumerate().map(step).rev().collect()
}
