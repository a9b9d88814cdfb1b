//! By which way objects are held: up from them, reference by reference, to what holds them.
//!
//! All objects asked about climb at once: a step up is one search through memory, however many
//! they are. Of what points at an object only a few references are kept.
//!
//! **Invariant:** the climb ends: no object is asked about twice, and depth and width are bounded.

use std::collections::{HashMap, HashSet, VecDeque};

use sysak_base::heap::{Heap, Object};
use sysak_base::{Cancel, Memory};

use crate::reach::Roots;
use crate::refs::{self, From, Reference};

/// References kept for each object, besides those of roots.
const KEPT: usize = 4;
/// Objects that one step asks about.
const WIDEST: usize = 1 << 16;

/// How far to climb.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Steps.
    pub depth: u32,
}

/// Gives its argument what marking started from.
pub type WithRoots<'a> = dyn FnMut(&mut dyn FnMut(Roots<'_>)) + 'a;

/// A way to an object: the references, from the object upwards. The last one stands in a root, in
/// a register, or in an object that ends a way.
pub type Way = Vec<Reference>;

/// What was found on the way up.
#[derive(Debug, Default)]
pub struct Climb {
    up: HashMap<Object, Vec<Reference>>,
}

/// Climbs from `targets`; `ends` says at which objects a way may end, `roots` makes the roots
/// anew for each step.
pub fn climb(
    heap: &Heap,
    memory: &dyn Memory,
    with_roots: &mut WithRoots<'_>,
    targets: &[Object],
    ends: &dyn Fn(Object) -> bool,
    limits: Limits,
    cancel: &Cancel,
) -> Climb {
    let mut climb = Climb::default();
    let mut asked: HashSet<Object> = targets.iter().copied().collect();
    let mut frontier = asked.clone();
    for _ in 0..limits.depth {
        if frontier.is_empty() || cancel.is_set() {
            break;
        }
        let mut found: HashMap<Object, Vec<Reference>> = HashMap::new();
        with_roots(&mut |roots| {
            let wanted = |object: Object| frontier.contains(&object);
            refs::find(heap, memory, roots, &wanted, false, cancel, &mut |one| {
                keep(found.entry(one.to).or_default(), one, ends);
            });
        });
        let mut next = HashSet::new();
        for reference in found.values().flatten() {
            if let From::Object(object) = reference.from
                && !ends(object)
                && next.len() < WIDEST
                && asked.insert(object)
            {
                next.insert(object);
            }
        }
        climb.up.extend(found);
        frontier = next;
    }
    climb
}

/// Keeps a few references: what ends a way first, and one of each kind of place.
fn keep(kept: &mut Vec<Reference>, one: Reference, ends: &dyn Fn(Object) -> bool) {
    let is_end = |one: &Reference| match one.from {
        From::Root | From::Register => true,
        From::Object(object) => ends(object),
    };
    if kept.len() < KEPT {
        kept.push(one);
    } else if is_end(&one)
        && let Some(other) = kept.iter_mut().find(|other| !is_end(other))
    {
        *other = one;
    }
}

impl Climb {
    /// The best way to an object: by what it ends in, the lowest `rank` first, then the shortest.
    pub fn way(&self, target: Object, rank: &dyn Fn(&Reference) -> Option<u32>) -> Option<Way> {
        let mut from: HashMap<Object, Reference> = HashMap::new();
        let mut seen = HashSet::from([target]);
        let mut queue = VecDeque::from([(target, 0u32)]);
        let mut best: Option<((u32, u32), Reference)> = None;
        while let Some((object, steps)) = queue.pop_front() {
            for reference in self.up.get(&object).into_iter().flatten() {
                if let Some(rank) = rank(reference) {
                    let worth = (rank, steps);
                    if best.as_ref().is_none_or(|(other, _)| worth < *other) {
                        best = Some((worth, *reference));
                    }
                }
                if let From::Object(next) = reference.from
                    && seen.insert(next)
                {
                    from.insert(next, *reference);
                    queue.push_back((next, steps + 1));
                }
            }
        }
        let (_, last) = best?;
        let mut way = vec![last];
        let mut at = last.to;
        while at != target {
            let reference = from.get(&at)?;
            way.push(*reference);
            at = reference.to;
        }
        way.reverse();
        Some(way)
    }

    /// What points at an object, as far as it was kept.
    pub fn references(&self, target: Object) -> &[Reference] {
        self.up.get(&target).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lost::tests::Ram;
    use crate::reach::mark;
    use sysak_base::heap::PageSet;
    use sysak_base::{Pfn, Quiet};

    #[test]
    fn a_way_leads_through_rings_to_the_best_end() {
        let mut ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0), (8, 1)]);
        let object = |slab, index| Object { slab, index };
        let (target, a, b, owner) = (object(0, 6), object(1, 2), object(1, 3), object(1, 4));
        let at = |object| heap.object_va(object).0;
        let [t, x, y, o] = [target, a, b, owner].map(at);
        // root → a ⇄ b → target; owner → b; root → owner
        ram.put(0x10, x);
        ram.put(0x18, o);
        ram.put_va(x, y);
        ram.put_va(y, x);
        ram.put_va(y + 32, t);
        ram.put_va(o + 8, y);
        let mut pages = PageSet::new(16);
        pages.insert(Pfn(0));
        let cancel = Cancel::default();
        let mut none = std::iter::empty();
        let roots = Roots { pages: &pages, ranges: &mut none, words: &[] };
        mark(&mut heap, &ram, roots, &Quiet, &cancel);
        let ends = |object| object == owner;
        let mut with = |each: &mut dyn FnMut(Roots<'_>)| {
            each(Roots { pages: &pages, ranges: &mut std::iter::empty(), words: &[] });
        };
        let limits = Limits { depth: 5 };
        let found = climb(&heap, &ram, &mut with, &[target], &ends, limits, &cancel);
        let owned = |one: &Reference| match one.from {
            From::Object(object) if ends(object) => Some(0),
            From::Root => Some(1),
            _ => None,
        };
        let way = |rank: &dyn Fn(&Reference) -> Option<u32>| -> Vec<From> {
            found.way(target, rank).unwrap().iter().map(|step| step.from).collect()
        };
        assert_eq!(way(&owned), [From::Object(b), From::Object(owner)]);
        let root_only = |one: &Reference| (one.from == From::Root).then_some(0);
        assert_eq!(way(&root_only), [From::Object(b), From::Object(a), From::Root]);
        assert_eq!(found.way(object(0, 9), &owned), None);
    }
}
