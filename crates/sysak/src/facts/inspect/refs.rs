//! What points at an object, and by which ways it is held.

use std::collections::{HashMap, HashSet};

use sysak::ways::{Guide, relatives};
use sysak_analysis::climb::{Limits, Way, climb};
use sysak_analysis::refs::{From, Reference, Roots, find};
use sysak_base::heap::{Object, ObjectSet};
use sysak_base::{Cancel, Va};
use sysak_report::{Place, RefPlace, Refs, Step};

use super::place;
use super::spot::of_object;

/// Steps upwards.
const DEPTH: u32 = 10;
/// Ways that are shown.
const MOST_WAYS: usize = 5;
/// Kinds of places that are shown.
const MOST_PLACES: usize = 30;

/// What points at an object.
pub fn refs(guide: &Guide<'_, '_>, object: Object, at: Va, cancel: &Cancel) -> Refs {
    let places = places(guide, object, cancel);
    Refs {
        spot: of_object(guide, object, at),
        references: places.iter().map(|place| place.references).sum(),
        ways: ways(guide, object, cancel),
        places: places.into_iter().take(MOST_PLACES).collect(),
    }
}

/// Every place that a reference stands in, those of one kind together.
fn places(guide: &Guide<'_, '_>, object: Object, cancel: &Cancel) -> Vec<RefPlace> {
    let (kernel, look) = (guide.kernel(), guide.look());
    let mut places: HashMap<(u64, bool), RefPlace> = HashMap::new();
    look.with_roots(kernel, &mut |roots| {
        let wanted = ObjectSet::new(&look.heap, [object]);
        find(guide.space(), roots, &wanted, true, cancel, &mut |one| {
            let lost = match one.from {
                From::Object(from) => look.heap.is_white(from),
                From::Root | From::Register => false,
            };
            let place = places.entry((guide.kind(&one), lost)).or_insert_with(|| RefPlace {
                name: step(guide, &one),
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
fn ways(guide: &Guide<'_, '_>, object: Object, cancel: &Cancel) -> Vec<Vec<Step>> {
    let (kernel, look) = (guide.kernel(), guide.look());
    let Some(relatives) = relatives(guide, object, cancel) else { return Vec::new() };
    let from = |one: &Reference| match one.from {
        From::Object(object) if guide.rank(one).is_none() => Some(object),
        _ => None,
    };
    let targets: Vec<Object> = relatives.outside.iter().filter_map(from).collect();
    let ends = |object: Object| guide.is_end(object);
    let mut with = |each: &mut dyn FnMut(Roots<'_>)| look.with_roots(kernel, each);
    let limits = Limits { depth: DEPTH };
    let found = climb(guide.space(), &mut with, &targets, &ends, limits, cancel);
    let best = found.ways(&|one| guide.rank(one));
    let mut ways: Vec<(u32, Way)> = Vec::new();
    for one in &relatives.outside {
        let (worth, further) = match (guide.rank(one), one.from) {
            (Some(rank), _) => (rank, Vec::new()),
            (None, From::Object(from)) => match (best.worth(from), best.way(from)) {
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
    let among = |way: &Way| match way.first() {
        Some(first) if first.to != object => {
            let name = Place::Family { objects: relatives.objects, cache: name.as_str().into() };
            Some(Step { name, address: Some(look.heap.object_va(first.to).into()) })
        }
        _ => None,
    };
    let steps = ways.iter().map(|(_, way)| {
        let mut steps = steps(guide, way);
        steps.extend(among(way));
        steps
    });
    let names = |way: &Vec<Step>| way.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
    steps.filter(|way| told.insert(names(way))).take(MOST_WAYS).collect()
}

/// From the holder downwards.
fn steps(guide: &Guide<'_, '_>, way: &Way) -> Vec<Step> {
    let last = way.len().saturating_sub(1);
    let name = |(index, one): (usize, &Reference)| match guide.holder(one) {
        Some((kind, name)) if index == last => place(kind, &name),
        _ => step(guide, one),
    };
    let steps =
        way.iter().enumerate().map(|one| Step { name: name(one), address: Some(one.1.at.into()) });
    let mut steps: Vec<Step> = steps.collect();
    steps.reverse();
    steps
}

/// What a reference stands in.
fn step(guide: &Guide<'_, '_>, one: &Reference) -> Place {
    match (one.from, guide.holder(one)) {
        (From::Object(_), _) => Place::kernel(&guide.step(one)),
        (_, Some((kind, name))) => place(kind, &name),
        (_, None) => Place::Unknown,
    }
}
