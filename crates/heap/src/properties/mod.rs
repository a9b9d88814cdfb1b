//! Marking and the searches, compared with the simplest way to do the same over small random memories.

mod model;

use std::collections::BTreeSet;

use proptest::prelude::*;
use sysak_base::{Cancel, Quiet, Ranges, Readers, VaRange};

use crate::marking::{Context, Marking, Roots};
use crate::references::tests::Part;
use crate::references::{self, From, Reference, SearchSpace};
use crate::retained::retained;
use crate::reverse::tests::All;
use crate::reverse::{Limits, STEP, search};
use crate::testing::{BASE, page_set};
use crate::{Heap, Hits, Object, ObjectSet, PageSet, PageTargets};
use model::{LATER, Model, seeds};

fn roots<'a>(model: &'a Model, pages: &'a PageSet, left_out: &'a Ranges) -> Roots<'a> {
    let ranges = Box::new([Model::root_range()].into_iter());
    Roots { ranges, words: &model.registers, left_out, ..Roots::of_pages(pages) }
}

/// Marks from the roots, and gives the heap and what is never followed in the end.
fn marked(model: &Model) -> (Heap, BTreeSet<Object>) {
    let (pages, left_out, cancel) = (page_set(&[0]), model.left_out(), Cancel::default());
    let context =
        Context { readers: Readers::several(&model.ram, 3), progress: &Quiet, cancel: &cancel };
    let marking = Marking::start(model.heap(), model.never_followed.clone(), context);
    let marking = marking.from_roots(roots(model, &pages, &left_out));
    let heap = marking.excuse(model.bookkeeping.clone()).finish().0;
    let reached = model.reached();
    let mut never = model.never();
    let excused = model.bookkeeping.iter().filter(|one| model.is_live(**one));
    never.extend(excused.filter(|one| !reached.contains(one)));
    (heap, never)
}

fn every_object(heap: &Heap) -> impl Iterator<Item = Object> + '_ {
    let slabs = (0..).zip(&heap.slabs);
    slabs.flat_map(|(slab, place)| (0..place.objects).map(move |index| Object { slab, index }))
}

fn not_white(heap: &Heap) -> BTreeSet<Object> {
    every_object(heap).filter(|one| heap.is_live(*one) && !heap.is_white(*one)).collect()
}

fn space<'a>(
    model: &'a Model,
    heap: &'a Heap,
    targets: Option<&'a PageTargets>,
) -> SearchSpace<'a> {
    let readers = Readers::several(&model.ram, 3);
    SearchSpace { heap, readers, root_objects: &Part(None), targets }
}

fn found(
    model: &Model,
    heap: &Heap,
    wanted: Object,
    lost: bool,
    targets: Option<&PageTargets>,
) -> Vec<Reference> {
    let (pages, left_out) = (page_set(&[0]), model.left_out());
    let wanted = ObjectSet::new(heap, [wanted]);
    let mut found = Vec::new();
    let (space, roots) = (space(model, heap, targets), roots(model, &pages, &left_out));
    references::find(space, roots, &wanted, lost, &Cancel::default(), &mut |one| found.push(one));
    found
}

fn sorted(references: Vec<Reference>) -> Vec<(u64, u64)> {
    let mut places: Vec<_> = references.iter().map(|one| (one.at.0, one.word)).collect();
    places.sort_unstable();
    places
}

fn is_end(object: Object) -> bool {
    object.index.is_multiple_of(27)
}

fn rank(one: &Reference) -> Option<u32> {
    match one.from {
        From::Register => Some(0),
        From::Root => Some(STEP),
        From::Object(object) => is_end(object).then_some(1),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

    #[test]
    fn marking_reaches_what_following_word_by_word_reaches(seed in seeds()) {
        let model = Model::new(&seed);
        let (pages, left_out, cancel) = (page_set(&[0]), model.left_out(), Cancel::default());
        let context = Context { readers: Readers::several(&model.ram, 3), progress: &Quiet, cancel: &cancel };
        let marking = Marking::start(model.heap(), model.never_followed.clone(), context);
        let mut reached = model.reached();
        let marking = marking.from_roots(roots(&model, &pages, &left_out));
        let (_, never) = marked(&model);
        let marking = marking.excuse(model.bookkeeping.clone());
        reached.extend(&never);
        prop_assert_eq!(&not_white(marking.heap()), &reached);
        let later = Roots { ranges: Box::new([LATER].into_iter()), left_out: &left_out, ..Roots::none() };
        let (heap, _) = marking.from_later_allocations(later).finish();
        let words = model.words(&[LATER], &model.left_out).into_iter().map(|(_, word)| word);
        model.reach(&mut reached, &never, words.collect(), &model.left_out);
        prop_assert_eq!(not_white(&heap), reached);
    }

    #[test]
    fn references_are_all_words_that_marking_followed(seed in seeds()) {
        let model = Model::new(&seed);
        let (heap, never) = marked(&model);
        let live: BTreeSet<Object> = every_object(&heap).filter(|one| heap.is_live(*one)).collect();
        let followed = |lost: bool| -> BTreeSet<Object> {
            let sources = live.iter().filter(|one| lost || !heap.is_white(**one));
            sources.filter(|one| !never.contains(one)).copied().collect()
        };
        // What the first search notes, the others go by.
        let targets = PageTargets::default();
        for lost in [false, true] {
            let all = model.references(&followed(lost));
            for wanted in model.objects.iter().copied().step_by(3) {
                let expected = all.iter().copied().filter(|one| one.to == wanted);
                let expected: Vec<_> = expected.collect();
                let found = found(&model, &heap, wanted, lost, Some(&targets));
                prop_assert!(found.iter().all(|one| expected.contains(one)), "{:?}", found);
                prop_assert_eq!(sorted(found), sorted(expected));
            }
        }
    }

    #[test]
    fn every_path_is_a_chain_of_references_from_an_end(seed in seeds()) {
        let model = Model::new(&seed);
        let (heap, _) = marked(&model);
        let (pages, left_out, cancel) = (page_set(&[0]), model.left_out(), Cancel::default());
        let space = space(&model, &heap, None);
        let mut with = |each: &mut dyn FnMut(Roots<'_>)| each(roots(&model, &pages, &left_out));
        let targets: Vec<Object> = model.objects.iter().copied().step_by(4).collect();
        let limits = Limits { depth: 12 };
        let paths = search(space, &mut with, &targets, &All(is_end), limits, &cancel).best_paths(&rank);
        for target in targets {
            let direct = found(&model, &heap, target, false, None);
            let Some(path) = paths.path(target) else {
                prop_assert!(direct.iter().all(|one| rank(one).is_none()), "{:?}", target);
                continue;
            };
            prop_assert_eq!(path[0].to, target);
            for (below, above) in path.iter().zip(&path[1..]) {
                prop_assert_eq!(below.from, From::Object(above.to));
            }
            let (last, steps) = path.split_last().unwrap();
            prop_assert!(rank(last).is_some() && steps.iter().all(|one| rank(one).is_none()));
            let all: BTreeSet<Object> = path.iter().map(|one| one.to).collect();
            prop_assert_eq!(all.len(), path.len(), "no object twice");
            for one in &path {
                prop_assert!(found(&model, &heap, one.to, false, None).contains(one));
            }
        }
    }

    #[test]
    fn words_are_marked_together_as_one_by_one(seed in seeds()) {
        let model = Model::new(&seed);
        let words = seed.edges.iter().map(|(_, to, at)| model.target(*to, *at));
        let words: Vec<u64> = words.chain([0, u64::MAX, BASE.0 - 1]).collect();
        let mut together = model.heap().never_marked();
        let mut alone = model.heap().never_marked();
        let mut hits = Hits::default();
        let (mut touched, mut expected) = (BTreeSet::new(), BTreeSet::new());
        for word in words.iter().copied() {
            prop_assert_eq!(alone.find_object(word), model.find(word), "{:#x}", word);
            if let Some(object) = alone.find_object(word)
                && alone.mark(object)
            {
                expected.insert(object.slab);
            }
            while !hits.push(word) {
                together.mark_all(&mut hits, |slab| _ = touched.insert(slab));
            }
        }
        together.mark_all(&mut hits, |slab| _ = touched.insert(slab));
        prop_assert_eq!(touched, expected);
        prop_assert_eq!(not_white(&together), not_white(&alone));
        let mut places = Vec::new();
        alone.places_of(&words, &mut places);
        prop_assert_eq!(places, words.iter().map(|word| alone.place_of(*word)).collect::<Vec<_>>());
    }

    #[test]
    fn retained_is_what_is_reached_with_a_holder_and_not_without_it(
        seed in seeds(), parts in proptest::collection::vec((0..512u64, 1..400u64), 1..4),
    ) {
        let model = Model::new(&seed);
        let (mut heap, never) = marked(&model);
        let before = not_white(&heap);
        let parts = parts.iter().map(|(at, bytes)| VaRange::new(BASE.at(at * 4), *bytes));
        let holders: Vec<Ranges> = parts.map(|part| [part].into_iter().collect()).collect();
        let (pages, left_out) = (page_set(&[0]), model.left_out());
        let mut with = |each: &mut dyn FnMut(Roots<'_>)| each(roots(&model, &pages, &left_out));
        let bytes = retained(&mut heap, Readers::several(&model.ram, 3), &mut with, &holders, &Cancel::default());
        prop_assert_eq!(not_white(&heap), before);
        let all: Ranges = holders.iter().flat_map(Ranges::iter).collect();
        let reached = |holders: &Ranges| {
            let without: Vec<VaRange> = all.iter().chain(left_out.iter()).collect();
            let mut words = model.words(&Model::root_memory(), &without);
            let memory: Vec<VaRange> = holders.iter().collect();
            words.extend(model.words(&memory, &model.left_out));
            let words = words.into_iter().map(|(_, word)| word).chain(model.registers.iter().copied());
            let mut reached = never.clone();
            model.reach(&mut reached, &never, words.collect(), &model.left_out);
            reached
        };
        let with_all = reached(&all);
        let alone = |left_out: usize| -> u64 {
            let others = holders.iter().enumerate().filter(|(index, _)| *index != left_out);
            let others: Ranges = others.flat_map(|(_, holder)| holder.iter()).collect();
            let without = reached(&others);
            with_all.difference(&without).map(|object| heap.object_bytes(*object)).sum()
        };
        prop_assert_eq!(bytes, Some((0..holders.len()).map(alone).collect()));
    }
}
