//! The reverse search: retention paths, from objects up to what holds them, reference by reference.
//!
//! All targets go up together: a step is one search through memory, however many
//! they are. Of the references to each object only a few are kept: the best of those that name a holder, and some
//! from other objects, because the search may find a better holder above these.
//!
//! **Invariant:** the search ends: no object is searched for twice, and depth and width are bounded. A
//! step that is cancelled counts for nothing: it may have missed the best reference.

use std::collections::{BTreeMap, HashMap, HashSet};

use sysak_base::{Cancel, PAGE_SHIFT};

use crate::marking::Roots;
use crate::references::{self, From, Reference, SearchSpace};
use crate::{Heap, Object, ObjectSet};

/// References kept for each object: those that end its path, and those that lead on; of either kind,
/// from the same field of objects of one cache.
const ENDS: usize = 4;
const OPEN: usize = 8;
const SAME: usize = 2;
/// References to one object from one place that are looked at although they keep nothing, and such
/// places.
const MOST_REFUSED: u32 = 1 << 6;
const MOST_PLACES: usize = 1 << 8;
/// Objects that one step searches for.
const WIDEST: usize = 1 << 15;

/// What a step adds to a path's length. Ranks of ends that are preferred among equally near ones are less.
pub const STEP: u32 = 4;

/// How far to go up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Steps.
    pub depth: u32,
}

/// Calls its argument with the roots that marking started from.
pub type WithRoots<'a> = dyn FnMut(&mut dyn FnMut(Roots<'_>)) + 'a;

/// A retention path: the references, from the object upwards. The last one lies in a root, in
/// a register, or in an object that ends a path.
pub type Path = Vec<Reference>;

/// The references that were found, each once.
#[derive(Debug, Default)]
pub struct ReverseSearch {
    up: Vec<Reference>,
}

/// Which references a search follows.
pub trait Ownership {
    /// Whether every path ends at an object, so that nothing above it is looked for.
    fn ends_at(&self, object: Object) -> bool;

    /// How good an end a reference is that ends the path to its object: the least is the best.
    fn rank(&self, one: &Reference) -> u32;

    /// Whether an end of this rank is so good that no better one needs to be looked for.
    fn settles(&self, rank: u32) -> bool;

    /// The reference that keeps the object which one leads to: itself, another one in its place, such
    /// as the head of the list that it is a link of, or none.
    fn keeping(&self, one: Reference) -> Option<Reference>;
}

/// References to one object.
#[derive(Default)]
struct References {
    /// Those that end its path, with their rank.
    ends: Vec<(Place, Reference, u32)>,
    /// Those from objects that may have an owner above them.
    open: Vec<(Place, Reference)>,
    /// How many from each place were found to keep nothing.
    refused: Vec<(Place, u32)>,
}

impl References {
    /// Whether enough references from a place were found to keep nothing.
    fn is_refused(&self, place: Place) -> bool {
        let known = self.refused.iter().find(|(other, _)| *other == place);
        known.map_or(self.refused.len() >= MOST_PLACES, |(_, count)| *count >= MOST_REFUSED)
    }

    /// Whether one more reference from a place may be kept. Of a thousand children with pointers back to their parent
    /// only a few are, so that they do not crowd out its holder.
    fn has_room(&self, place: Place) -> bool {
        let same = match place.ends {
            true => self.ends.iter().filter(|other| other.0 == place).count(),
            false => self.open.iter().filter(|other| other.0 == place).count(),
        };
        same < SAME && (place.ends || self.open.len() < OPEN)
    }

    /// Keeps a few references from different places. Many that end the path badly, such as stale words in pages without
    /// a known user, crowd out neither a good end nor what leads on to one.
    fn keep(&mut self, place: Place, one: Reference, ownership: &dyn Ownership) {
        // Many links of one list have the same head.
        let is_known = self.all().any(|other| *other == one);
        if is_known || !self.has_room(place) {
            return;
        }
        if !place.ends {
            return push(&mut self.open, (place, one));
        }
        let end = (place, one, ownership.rank(&one));
        if self.ends.len() < ENDS {
            return push(&mut self.ends, end);
        }
        let worst = self.ends.iter_mut().max_by_key(|(.., rank)| *rank);
        if let Some(worst) = worst.filter(|worst| worst.2 > end.2) {
            *worst = end;
        }
    }

    /// All that are kept.
    fn all(&self) -> impl Iterator<Item = &Reference> {
        self.ends.iter().map(|(_, one, _)| one).chain(self.open.iter().map(|(_, one)| one))
    }

    /// Whether an end is so good that no better one needs to be looked for.
    fn is_settled(&self, ownership: &dyn Ownership) -> bool {
        self.ends.iter().any(|(.., rank)| ownership.settles(*rank))
    }

    fn refuse(&mut self, place: Place) {
        match self.refused.iter_mut().find(|(other, _)| *other == place) {
            Some((_, count)) => *count += 1,
            None => push(&mut self.refused, (place, 1)),
        }
    }
}

/// Adds an item to a short list. Thousands of such lists have one item: room is made for one more, not for four.
fn push<T>(list: &mut Vec<T>, item: T) {
    list.reserve_exact(1);
    list.push(item);
}

/// Searches upwards from `targets`; `with_roots` makes the roots anew for each step.
pub fn search(
    space: SearchSpace<'_>,
    with_roots: &mut WithRoots<'_>,
    targets: &[Object],
    ownership: &dyn Ownership,
    limits: Limits,
    cancel: &Cancel,
) -> ReverseSearch {
    let place_of = |one: &Reference| Place::of(space.heap, one, ownership);
    let mut found_above = ReverseSearch::default();
    let mut asked: HashSet<Object> = targets.iter().copied().collect();
    let mut frontier = targets.to_vec();
    for _ in 0..limits.depth {
        if frontier.is_empty() || cancel.is_set() {
            break;
        }
        // Most are found: a table that grows has its items twice for a moment.
        let mut found: HashMap<Object, References> = HashMap::with_capacity(frontier.len());
        let mut is_whole = true;
        with_roots(&mut |roots| {
            let wanted = ObjectSet::new(space.heap, frontier.iter().copied());
            is_whole &= references::find(space, roots, &wanted, false, cancel, &mut |one| {
                let known = found.entry(one.to).or_default();
                let place = place_of(&one);
                if known.is_refused(place) || !known.has_room(place) {
                    return;
                }
                match ownership.keeping(one) {
                    Some(one) => known.keep(place_of(&one), one, ownership),
                    None => known.refuse(place),
                }
            });
        });
        if !is_whole {
            break;
        }
        let above = |(_, one): &(Place, Reference)| match one.from {
            From::Object(object) if !asked.contains(&object) => Some(object),
            _ => None,
        };
        let open = found.values().filter(|references| !references.is_settled(ownership));
        frontier = open.flat_map(|references| &references.open).filter_map(above).collect();
        // Where there are too many, the choice does not depend on the order of a hash table.
        frontier.sort_unstable_by_key(|object| (object.slab, object.index));
        frontier.dedup();
        frontier.truncate(WIDEST);
        asked.extend(&frontier);
        found_above.up.extend(found.values().flat_map(References::all));
    }
    found_above
}

/// What a reference lies in. There are many: two words each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Whether a path ends there.
    ends: bool,
    within: Within,
    /// The offset in the object; of a root the page.
    field: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Register,
    Root,
    /// An object of a cache.
    Cache(u16),
}

impl Place {
    fn of(heap: &Heap, one: &Reference, ownership: &dyn Ownership) -> Place {
        match one.from {
            From::Root => Place { ends: true, within: Within::Root, field: one.at.0 >> PAGE_SHIFT },
            From::Register => Place { ends: true, within: Within::Register, field: 0 },
            From::Object(object) => {
                let cache = heap.slabs[object.slab as usize].cache;
                let field = one.at.0.wrapping_sub(heap.object_va(object).0);
                Place { ends: ownership.ends_at(object), within: Within::Cache(cache), field }
            }
        }
    }
}

impl ReverseSearch {
    /// The best path to every object: the shortest one, where the `rank` of a path's end counts as more
    /// length, [`STEP`] for each reference. `None` is no end.
    pub fn best_paths(&self, rank: &dyn Fn(&Reference) -> Option<u32>) -> BestPaths {
        let mut below: HashMap<Object, Vec<Reference>> = HashMap::new();
        let mut steps: BTreeMap<u32, Vec<(bool, Reference)>> = BTreeMap::new();
        for reference in &self.up {
            if let Some(rank) = rank(reference) {
                steps.entry(rank + STEP).or_default().push((true, *reference));
            }
            // A better end may lie above an object at which a path may end.
            if let From::Object(from) = reference.from {
                below.entry(from).or_default().push(*reference);
            }
        }
        let mut paths = BestPaths::default();
        while let Some((length, mut references)) = steps.pop_first() {
            // Among paths of equal length the choice does not depend on the order of a hash table.
            references.sort_unstable_by_key(|(ends, one)| {
                (one.at, one.word, one.to.slab, one.to.index, !ends)
            });
            for (ends, reference) in references {
                if paths.best.contains_key(&reference.to) {
                    continue;
                }
                paths.best.insert(reference.to, (length, reference));
                if ends {
                    paths.ends.insert(reference.to);
                }
                let next = below.get(&reference.to).into_iter().flatten();
                steps.entry(length + STEP).or_default().extend(next.map(|one| (false, *one)));
            }
        }
        paths
    }
}

/// The best path to each object that has one.
#[derive(Debug, Default)]
pub struct BestPaths {
    best: HashMap<Object, (u32, Reference)>,
    /// Those whose best reference ends the path.
    ends: HashSet<Object>,
}

impl BestPaths {
    /// The length of the path to an object, its end's rank included.
    pub fn distance(&self, target: Object) -> Option<u32> {
        self.best.get(&target).map(|(length, _)| *length)
    }

    /// The path to an object.
    pub fn path(&self, target: Object) -> Option<Path> {
        let (mut length, mut reference) = *self.best.get(&target)?;
        let mut path = vec![reference];
        // Each step is nearer to the end than the one before; the end itself has none.
        while let From::Object(next) = reference.from
            && !self.ends.contains(&reference.to)
            && let Some((nearer, further)) = self.best.get(&next).filter(|best| best.0 < length)
        {
            (length, reference) = (*nearer, *further);
            path.push(reference);
        }
        Some(path)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use sysak_base::{Budget, Readers};

    use super::*;
    use crate::references::tests::Part;
    use crate::testing::{BASE, Ram, page_set};

    /// Every reference keeps what it leads to, and paths end at the objects that this names.
    pub(crate) struct All<F>(pub(crate) F);

    impl<F: Fn(Object) -> bool> Ownership for All<F> {
        fn ends_at(&self, object: Object) -> bool {
            self.0(object)
        }

        fn rank(&self, _: &Reference) -> u32 {
            1
        }

        fn settles(&self, _: u32) -> bool {
            false
        }

        fn keeping(&self, one: Reference) -> Option<Reference> {
            Some(one)
        }
    }

    #[test]
    fn a_path_leads_through_rings_to_the_best_end() {
        let mut ram = Ram::new(16);
        let heap = ram.builder(&[(4, 0), (8, 1)]).seal();
        let object = |slab, index| Object { slab, index };
        let (target, a, b, owner) = (object(0, 6), object(1, 2), object(1, 3), object(1, 4));
        let at = |object| heap.object_va(object).0;
        let [t, x, y, o] = [target, a, b, owner].map(at);
        // root, twice → a ⇄ b → target; owner → b; root → owner
        ram.put(0x10, x);
        ram.put(0x20, x);
        ram.put(0x18, o);
        ram.put_va(x, y);
        ram.put_va(y, x);
        ram.put_va(y + 32, t);
        ram.put_va(o + 8, y);
        let heap = ram.mark(heap, &[0]);
        let cancel = Cancel::default();
        let ends = |object| object == owner;
        let ownership = All(|object| object == owner);
        let pages = page_set(&[0]);
        let mut with = |each: &mut dyn FnMut(Roots<'_>)| each(Roots::of_pages(&pages));
        let limits = Limits { depth: 5 };
        let none = Part(None);
        let space = SearchSpace {
            heap: &heap,
            readers: Readers::one(&ram),
            root_objects: &none,
            targets: None,
        };
        let found = search(space, &mut with, &[target], &ownership, limits, &cancel);
        let owned = |one: &Reference| match one.from {
            From::Object(object) if ends(object) => Some(0),
            From::Root => Some(STEP),
            _ => None,
        };
        let path = |rank: &dyn Fn(&Reference) -> Option<u32>| -> Vec<From> {
            found.best_paths(rank).path(target).unwrap().iter().map(|step| step.from).collect()
        };
        assert_eq!(path(&owned), [From::Object(b), From::Object(owner)]);
        let root_only = |one: &Reference| (one.from == From::Root).then_some(0);
        assert_eq!(path(&root_only), [From::Object(b), From::Object(a), From::Root]);
        let first = found.best_paths(&root_only).path(target).unwrap().last().unwrap().at;
        assert_eq!(first, BASE.at(0x10), "of paths of equal length always the same one");
        assert_eq!(found.best_paths(&owned).path(object(0, 9)), None);
    }

    /// Every reference ends a path, and those from one page well.
    struct Settled(u64);

    impl Ownership for Settled {
        fn ends_at(&self, _: Object) -> bool {
            false
        }

        fn rank(&self, one: &Reference) -> u32 {
            u32::from((one.at.0 - BASE.0) >> PAGE_SHIFT != self.0)
        }

        fn settles(&self, rank: u32) -> bool {
            rank == 0
        }

        fn keeping(&self, one: Reference) -> Option<Reference> {
            Some(one)
        }
    }

    #[test]
    fn stale_words_in_many_pages_do_not_hide_the_reference_of_an_owner() {
        let mut ram = Ram::new(16);
        let heap = ram.builder(&[(4, 0)]).seal();
        let target = Object { slab: 0, index: 6 };
        let roots: Vec<u64> = (0..16).filter(|page| *page != 4).collect();
        for page in &roots {
            ram.put((*page as usize) << PAGE_SHIFT, heap.object_va(target).0);
        }
        let heap = ram.mark(heap, &roots);
        let pages = page_set(&roots);
        let none = Part(None);
        let space = SearchSpace {
            heap: &heap,
            readers: Readers::one(&ram),
            root_objects: &none,
            targets: None,
        };
        for owner in roots {
            let mut with = |each: &mut dyn FnMut(Roots<'_>)| each(Roots::of_pages(&pages));
            let (limits, cancel) = (Limits { depth: 5 }, Cancel::default());
            let found = search(space, &mut with, &[target], &Settled(owner), limits, &cancel);
            assert_eq!(found.up.len(), ENDS);
            assert!(found.up.iter().any(|one| Settled(owner).rank(one) == 0), "page {owner}");
        }
    }

    #[test]
    fn a_step_that_is_cancelled_counts_for_nothing() {
        let mut ram = Ram::new(16);
        let heap = ram.builder(&[(4, 0), (8, 1)]).seal();
        let object = |slab, index| Object { slab, index };
        let (target, above) = (object(0, 6), object(1, 2));
        let [t, a] = [target, above].map(|object| heap.object_va(object).0);
        // root → above → target: two steps.
        ram.put(0x10, a);
        ram.put_va(a, t);
        let heap = ram.mark(heap, &[0]);
        let pages = page_set(&[0]);
        let none = Part(None);
        let space = SearchSpace {
            heap: &heap,
            readers: Readers::one(&ram),
            root_objects: &none,
            targets: None,
        };
        // A clock on which asking for the time takes a second.
        let steps = |seconds: u64| {
            let asked = AtomicU64::new(0);
            let clock = move || Duration::from_secs(asked.fetch_add(1, Ordering::Relaxed));
            let budget = Budget::new(Duration::from_secs(seconds), Box::new(clock));
            let cancel = Cancel::default().within(budget);
            let mut with = |each: &mut dyn FnMut(Roots<'_>)| each(Roots::of_pages(&pages));
            let limits = Limits { depth: 5 };
            let found = search(space, &mut with, &[target], &All(|_| false), limits, &cancel);
            (found.up.len(), cancel.is_out_of_time())
        };
        let all: Vec<_> = (1..20).map(steps).collect();
        assert_eq!(all[0], (0, true));
        assert_eq!(all[18], (2, false));
        assert!(all.contains(&(1, true)), "ended in the second step");
        assert!(all.is_sorted_by_key(|(steps, _)| *steps));
    }
}
