//! What ways lead through, what the steps are called, and which ways are the same.
//!
//! BestPaths through the same words of the same caches are counted together; then their steps are
//! named, each by one of the objects that it leads through, and what has become the same is merged.
//!
//! **Invariant:** every object is counted once, whatever is merged.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use sysak_heap::references::Reference;
use sysak_heap::{Heap, Object};

use crate::{Holder, HolderKind};

/// Of each step so many objects are kept.
const EXAMPLES: usize = 6;
/// Of a hundred objects so many must be held alike to make the way worth a closer look.
const WORTH_PERCENT: u64 = 1;

/// More holders of one kind that hold objects by the same way are told as one.
const MANY: usize = 8;

/// An object that a way leads through, and where in it; of what is no slab object, nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) object: Object,
    pub(crate) offset: Option<u64>,
}

/// A way from a holder to some objects.
#[derive(Clone, Debug)]
pub(crate) struct RetentionPath {
    pub(crate) kind: HolderKind,
    pub(crate) holder: String,
    /// What it is called together with others of its kind, where it is one of many: `cgroups`.
    pub(crate) among: Option<&'static str>,
    /// How many holders of its kind hold the same objects; one where that is not known.
    pub(crate) many: usize,
    /// From the holder downwards.
    pub(crate) steps: Vec<Step>,
    /// How many objects it leads to.
    pub(crate) objects: u64,
    /// The reference that it begins with.
    pub(crate) anchor: Reference,
}

/// Says what the words of objects are called.
pub(crate) trait MemberNaming {
    /// Of the offsets that are part of the same member of a cache's objects, the first that was
    /// asked about.
    fn first_of_member(&mut self, cache: u16, offset: u64) -> u64;

    /// The word at an offset of some objects of one cache; where their struct is not known it is
    /// looked for only with `guess`.
    fn member(&mut self, objects: &[Object], offset: u64, guess: bool) -> Option<String>;
}

/// What a step is called, and where in a slab object whose type is not known.
type Name = (String, Option<u64>);
/// What ways have in common that are counted together: what the holder is, its name or that of
/// all of its kind, and each step.
type Same<S> = (HolderKind, String, Vec<S>);
/// A cache, and where in an object of it.
type Place = (u16, Option<u64>);

/// BestPaths that are counted together.
struct Bundle {
    /// One of them.
    path: RetentionPath,
    /// Some of the objects at each step.
    examples: Vec<Vec<Object>>,
    /// Objects of each holder.
    holders: BTreeMap<String, u64>,
    /// How many hold objects that are not one holder's alone.
    many: usize,
}

impl Bundle {
    fn of(path: RetentionPath) -> Bundle {
        let examples = path.steps.iter().map(|step| vec![step.object]).collect();
        let holders = BTreeMap::from([(path.holder.clone(), path.objects)]);
        let many = if path.many > 1 { path.many } else { 0 };
        Bundle { path, examples, holders, many }
    }

    /// Adds ways; through the same words, each of their holders holds something else.
    fn add(&mut self, other: Bundle, is_same: bool) {
        self.many = if is_same { self.many + other.many } else { self.many.max(other.many) };
        for (known, more) in self.examples.iter_mut().zip(other.examples) {
            let more = more.into_iter().filter(|one| !known.contains(one)).collect::<Vec<_>>();
            known.extend(more.into_iter().take(EXAMPLES.saturating_sub(known.len())));
        }
        for (holder, objects) in other.holders {
            *self.holders.entry(holder).or_insert(0) += objects;
        }
    }

    fn objects(&self) -> u64 {
        self.holders.values().sum()
    }
}

/// Merges the ways to the objects of one cache; the holders of most objects come first.
pub(crate) fn merge(
    heap: &Heap,
    paths: impl Iterator<Item = RetentionPath>,
    words: &mut impl MemberNaming,
) -> Vec<Holder> {
    let mut merged: HashMap<Same<String>, (Vec<Name>, Bundle)> = HashMap::new();
    let bundles = by_place(heap, paths, words);
    let all: u64 = bundles.iter().map(|one| one.bundle.objects()).sum();
    for Alike { key: (kind, head, _), bundle, through } in bundles {
        let guess = through * 100 >= all * WORTH_PERCENT;
        let names = named(heap, &bundle, guess, words);
        let key = (kind, head, names.iter().map(|(name, _)| name.clone()).collect());
        match merged.get_mut(&key) {
            Some((known, other)) => {
                other.add(bundle, false);
                // Slots of one table are one way.
                for (known, (_, offset)) in known.iter_mut().zip(names) {
                    known.1 = known.1.filter(|known| Some(*known) == offset);
                }
            }
            None => {
                merged.insert(key, (names, bundle));
            }
        }
    }
    let mut held: Vec<Holder> =
        merged.into_values().flat_map(|(names, bundle)| told(&names, bundle)).collect();
    held.sort_by(|a, b| (Reverse(a.objects), &a.path).cmp(&(Reverse(b.objects), &b.path)));
    held
}

/// BestPaths through the same words of the same caches.
struct Alike {
    key: Same<Place>,
    bundle: Bundle,
    /// Objects that are held through the same caches, by these words or by others.
    through: u64,
}

/// Counts ways together that lead through the same words of the same caches. Those that lead to
/// most objects come first, and with them those that differ in the words alone: they are named
/// first, and not all can be.
fn by_place(
    heap: &Heap,
    paths: impl Iterator<Item = RetentionPath>,
    words: &mut impl MemberNaming,
) -> Vec<Alike> {
    let mut place = |step: &Step| {
        let cache = heap.slabs[step.object.slab as usize].cache;
        (cache, step.offset.map(|offset| words.first_of_member(cache, offset)))
    };
    let mut same: HashMap<Same<Place>, Bundle> = HashMap::new();
    let mut through: HashMap<Same<u16>, u64> = HashMap::new();
    for path in paths {
        let places = path.steps.iter().map(&mut place).collect();
        let head = path.among.map_or_else(|| path.holder.clone(), str::to_owned);
        let key = (path.kind, head, places);
        *through.entry(caches(&key)).or_insert(0) += path.objects;
        match same.get_mut(&key) {
            Some(known) => known.add(Bundle::of(path), true),
            None => {
                same.insert(key, Bundle::of(path));
            }
        }
    }
    let alike = |(key, bundle): (Same<Place>, Bundle)| {
        let through = through.get(&caches(&key)).copied().unwrap_or(0);
        Alike { key, bundle, through }
    };
    let mut all: Vec<Alike> = same.into_iter().map(alike).collect();
    all.sort_by_cached_key(|one| {
        let objects = one.bundle.objects();
        (Reverse(one.through), caches(&one.key), Reverse(objects), one.key.2.clone())
    });
    all
}

fn caches((kind, head, places): &Same<Place>) -> Same<u16> {
    (*kind, head.clone(), places.iter().map(|(cache, _)| *cache).collect())
}

/// The names along a way, without the holder's.
fn named(heap: &Heap, bundle: &Bundle, guess: bool, words: &mut impl MemberNaming) -> Vec<Name> {
    let mut names: Vec<Name> = Vec::new();
    for (step, examples) in bundle.path.steps.iter().zip(&bundle.examples) {
        let next = match step.offset.and_then(|offset| words.member(examples, offset, guess)) {
            Some(member) => (member, None),
            None => (heap.cache_of(step.object).name.clone(), step.offset),
        };
        match names.last_mut() {
            // The levels of a tree are one step.
            Some(before) if before.0 == next.0 => {
                before.1 = before.1.filter(|offset| Some(*offset) == next.1);
            }
            _ => names.push(next),
        }
    }
    names
}

/// The holders, each by itself or, where they are many, together.
fn told(names: &[Name], bundle: Bundle) -> Vec<Holder> {
    let RetentionPath { kind, among, anchor, .. } = bundle.path;
    let steps = names.iter().map(|(name, offset)| match offset {
        Some(offset) => format!("{name}+{offset:#x}"),
        None => name.clone(),
    });
    let one = |holder: String, objects: u64, anchor: Option<Reference>| Holder {
        path: std::iter::once(holder).chain(steps.clone()).collect(),
        kind,
        objects,
        anchor,
        retained_bytes: None,
    };
    let many = bundle.holders.len().max(bundle.many);
    match among.filter(|_| many > MANY || bundle.many > 0) {
        Some(among) => vec![one(format!("{many} {among}"), bundle.objects(), None)],
        None => {
            let each = bundle.holders.into_iter();
            each.map(|(holder, objects)| one(holder, objects, Some(anchor))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::{Pfn, Va};
    use sysak_heap::references::From;
    use sysak_heap::{Cache, HeapBuilder};

    /// A page of kmalloc-64 and one of kmalloc-128.
    fn heap() -> Heap {
        let cache = |at, name: &str, bytes| Cache::new(Va(at), name.into(), bytes, bytes).unwrap();
        let caches = vec![cache(1, "kmalloc-64", 64), cache(2, "kmalloc-128", 128)];
        let mut heap = HeapBuilder::new(Va(0xffff_8880_0000_0000), 8, caches);
        heap.push(Pfn(1), 0, 0, 64).unwrap();
        heap.push(Pfn(2), 0, 1, 32).unwrap();
        heap.seal().never_marked()
    }

    /// Knows the structs of kmalloc-64's first object, and of all of kmalloc-128.
    #[derive(Default)]
    struct Known(Vec<u64>);

    impl MemberNaming for Known {
        fn first_of_member(&mut self, cache: u16, offset: u64) -> u64 {
            if cache == 1 { 0 } else { offset }
        }

        fn member(&mut self, objects: &[Object], offset: u64, guess: bool) -> Option<String> {
            self.0.extend(guess.then_some(offset));
            match objects[0] {
                Object { slab: 1, .. } => Some("node.slots[]".to_owned()),
                Object { slab: 0, index: 1 } if guess => Some("flow.link".to_owned()),
                _ => None,
            }
        }
    }

    fn path(holder: &str, steps: &[(u32, u16, u64)], objects: u64) -> RetentionPath {
        let step = |(slab, index, offset): &(u32, u16, u64)| Step {
            object: Object { slab: *slab, index: *index },
            offset: Some(*offset),
        };
        let to = Object { slab: 0, index: 0 };
        let anchor = Reference { from: From::Root, at: Va(0), word: 0, to };
        let steps = steps.iter().map(step).collect();
        RetentionPath {
            kind: HolderKind::Module,
            holder: holder.to_owned(),
            among: None,
            many: 1,
            steps,
            objects,
            anchor,
        }
    }

    fn expect(held: &[Holder], expected: &[(&str, u64)]) {
        let held: Vec<_> = held.iter().map(|one| (one.path.join(" → "), one.objects)).collect();
        let held: Vec<_> = held.iter().map(|(path, objects)| (path.as_str(), *objects)).collect();
        assert_eq!(held, expected);
    }

    #[test]
    fn ways_through_the_same_words_are_one_and_so_are_the_slots_of_a_table() {
        let paths = [
            path("table", &[(0, 2, 8)], 5),
            path("table", &[(0, 3, 8)], 6),
            path("table", &[(1, 1, 0), (0, 3, 8)], 1),
            path("table", &[(1, 2, 8), (0, 4, 8)], 1),
            path("array", &[(0, 4, 0)], 1),
            path("array", &[(0, 4, 8)], 1),
            path("list", &[(0, 5, 8), (0, 6, 8)], 20),
        ];
        let held = merge(&heap(), paths.into_iter(), &mut Known::default());
        let expected = [
            ("list → kmalloc-64+0x8", 20),
            ("table → kmalloc-64+0x8", 11),
            ("array → kmalloc-64", 2),
            ("table → node.slots[] → kmalloc-64+0x8", 2),
        ];
        expect(&held, &expected);
    }

    #[test]
    fn what_has_the_same_names_is_merged_once_more() {
        let paths = [
            path("flows", &[(0, 1, 0x10)], 3),
            path("flows", &[(0, 1, 0x18)], 30),
            path("flows", &[(0, 2, 0x20)], 7),
        ];
        let held = merge(&heap(), paths.into_iter(), &mut Known::default());
        expect(&held, &[("flows → flow.link", 33), ("flows → kmalloc-64+0x20", 7)]);
    }

    #[test]
    fn structs_are_looked_for_where_most_objects_are_held() {
        let paths = [
            path("few", &[(0, 1, 0x40)], 1),
            path("most", &[(0, 1, 0x10)], 3),
            path("most", &[(0, 1, 0x18)], 300),
            path("some", &[(0, 1, 0x20)], 7),
        ];
        let mut known = Known::default();
        let held = merge(&heap(), paths.into_iter(), &mut known);
        assert_eq!(known.0, [0x18, 0x10, 0x20]);
        let expected =
            [("most → flow.link", 303), ("some → flow.link", 7), ("few → kmalloc-64+0x40", 1)];
        expect(&held, &expected);
    }

    #[test]
    fn many_holders_of_one_kind_are_one_and_a_few_are_told_each() {
        let group = |name: String, index| RetentionPath {
            among: Some("cgroups"),
            ..path(&name, &[(0, index, 0)], 2)
        };
        let many = (0..9).map(|at| group(format!("/{at}"), 1));
        let few =
            (0..2).map(|at| RetentionPath { steps: Vec::new(), ..group(format!("/{at}"), 1) });
        // What hangs together is held by three of them, of which one is known each time.
        let common = |objects, offset| RetentionPath {
            many: 3,
            objects,
            steps: path("", &[(0, 2, offset)], 0).steps,
            ..group("/0".to_owned(), 1)
        };
        let all = many.chain(few).chain([common(70, 8), common(7, 8)]);
        let held = merge(&heap(), all, &mut Known::default());
        let expected = [
            ("6 cgroups → kmalloc-64+0x8", 77),
            ("9 cgroups → flow.link", 18),
            ("/0", 2),
            ("/1", 2),
        ];
        expect(&held, &expected);
        let anchors: Vec<bool> = held.iter().map(|one| one.anchor.is_some()).collect();
        assert_eq!(anchors, [false, false, true, true], "what many hold weighs nobody");
    }
}
