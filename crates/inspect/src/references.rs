//! What points at an object, and by which ways it is held.

use std::collections::{HashMap, HashSet};

use sysak_base::{Cancel, Va};
use sysak_heap::marking::Roots;
use sysak_heap::references::{From, Reference, find};
use sysak_heap::reverse::{Limits, Path, search};
use sysak_heap::{Object, ObjectSet};
use sysak_holders::{HolderResolver, relatives};
use sysak_report::{Place, RefPlace, Refs, Step};

use crate::address::of_object;
use sysak_memleak::to_report::holders::place;

/// Steps upwards.
const DEPTH: u32 = 10;
/// Ways that are shown.
const MOST_WAYS: usize = 5;
/// Kinds of places that are shown.
const MOST_PLACES: usize = 30;

/// What points at an object.
pub fn refs(resolver: &HolderResolver<'_, '_>, object: Object, at: Va, cancel: &Cancel) -> Refs {
    let places = places(resolver, object, cancel);
    Refs {
        spot: of_object(resolver, object, at),
        references: places.iter().map(|place| place.references).sum(),
        ways: ways(resolver, object, cancel),
        places: places.into_iter().take(MOST_PLACES).collect(),
    }
}

/// Every place that a reference stands in, those of one kind together.
fn places(resolver: &HolderResolver<'_, '_>, object: Object, cancel: &Cancel) -> Vec<RefPlace> {
    let (kernel, look) = (resolver.kernel(), resolver.look());
    let mut places: HashMap<(u64, bool), RefPlace> = HashMap::new();
    look.with_roots(kernel, &mut |roots| {
        let wanted = ObjectSet::new(&look.heap, [object]);
        find(resolver.space(), roots, &wanted, true, cancel, &mut |one| {
            let lost = match one.from {
                From::Object(from) => look.heap.is_white(from),
                From::Root | From::Register => false,
            };
            let place = places.entry((resolver.kind(&one), lost)).or_insert_with(|| RefPlace {
                name: step(resolver, &one),
                example: Some(one.at.into()),
                unreachable: lost,
                ..RefPlace::default()
            });
            place.references += 1;
        });
    });
    let mut places: Vec<_> = places.into_values().collect();
    places.sort_by(|a, b| (b.references, a.example).cmp(&(a.references, b.example)));
    places
}

/// The best way through each of the references from outside to the object, or to what it hangs
/// together with: a list of thousands of objects is held by what points at one of them.
fn ways(resolver: &HolderResolver<'_, '_>, object: Object, cancel: &Cancel) -> Vec<Vec<Step>> {
    let (kernel, look) = (resolver.kernel(), resolver.look());
    let Some(relatives) = relatives(resolver, object, cancel) else { return Vec::new() };
    let from = |one: &Reference| match one.from {
        From::Object(object) if resolver.rank(one).is_none() => Some(object),
        _ => None,
    };
    let targets: Vec<Object> = relatives.outside.iter().filter_map(from).collect();
    let ends = |object: Object| resolver.is_end(object);
    let mut with = |each: &mut dyn FnMut(Roots<'_>)| look.with_roots(kernel, each);
    let limits = Limits { depth: DEPTH };
    let found = search(resolver.space(), &mut with, &targets, &ends, limits, cancel);
    let best = found.best_paths(&|one| resolver.rank(one));
    let mut ways: Vec<(u32, Path)> = Vec::new();
    for one in &relatives.outside {
        let (worth, further) = match (resolver.rank(one), one.from) {
            (Some(rank), _) => (rank, Vec::new()),
            (None, From::Object(from)) => match (best.distance(from), best.path(from)) {
                (Some(worth), Some(way)) => (worth, way),
                _ => continue,
            },
            (None, _) => continue,
        };
        ways.push((worth, [vec![*one], further].concat()));
    }
    ways.sort_by_key(|(worth, _)| *worth);
    let mut told = HashSet::new();
    let name = &look.heap.cache_of(object).name;
    let among = |way: &Path| match way.first() {
        Some(first) if first.to != object => {
            let name = Place::Family { objects: relatives.objects, cache: name.as_str().into() };
            Some(Step { name, address: Some(look.heap.object_va(first.to).into()) })
        }
        _ => None,
    };
    let steps = ways.iter().map(|(_, way)| {
        let mut steps = steps(resolver, way);
        steps.extend(among(way));
        steps
    });
    let names = |way: &Vec<Step>| way.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
    steps.filter(|way| told.insert(names(way))).take(MOST_WAYS).collect()
}

/// From the holder downwards.
fn steps(resolver: &HolderResolver<'_, '_>, way: &Path) -> Vec<Step> {
    let last = way.len().saturating_sub(1);
    let name = |(index, one): (usize, &Reference)| match resolver.holder(one) {
        Some((kind, name)) if index == last => place(kind, &name),
        _ => step(resolver, one),
    };
    let steps =
        way.iter().enumerate().map(|one| Step { name: name(one), address: Some(one.1.at.into()) });
    let mut steps: Vec<Step> = steps.collect();
    steps.reverse();
    steps
}

/// What a reference stands in.
fn step(resolver: &HolderResolver<'_, '_>, one: &Reference) -> Place {
    match (one.from, resolver.holder(one)) {
        (From::Object(_), _) => Place::kernel(&resolver.step(one)),
        (_, Some((kind, name))) => place(kind, &name),
        (_, None) => Place::Unknown,
    }
}
