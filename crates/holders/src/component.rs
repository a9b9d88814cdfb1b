//! Which objects of a cache hang together, and what points at them from outside.
//!
//! A list of a million objects is held by what points at one of them. So all of a cache's
//! objects are joined along the references between them; four bytes an object are enough.
//!
//! **Invariant:** two objects are of one component only if references join them.

use std::collections::HashMap;

use sysak_heap::references::{From, Reference};
use sysak_heap::{Heap, Object};

/// Kinds of references from outside that are kept for one component.
const KEPT: usize = 8;
/// Components of which references from outside are kept at the same time.
const MOST_KEPT: usize = 1 << 16;

/// References of one kind: from the same place in objects of one cache, from one variable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside {
    /// What they have in common.
    pub(crate) kind: u64,
    /// How many.
    pub(crate) many: u32,
    /// One of them.
    pub(crate) one: Reference,
}

/// Objects of one cache and how they hang together.
pub(crate) struct Components<'h> {
    heap: &'h Heap,
    cache: u16,
    /// Of each slab, the number of its first object.
    first: HashMap<u32, u32>,
    /// Of each object, another that it hangs together with; itself where it is the first.
    above: Vec<u32>,
    /// Objects that nothing leads to, or that are free, are none of ours.
    held: Vec<bool>,
    /// Objects that are holders themselves: they are of no component.
    pub(crate) own: Vec<Object>,
    /// By the first object of a component.
    outside: HashMap<u32, Vec<Outside>>,
}

/// What hangs together.
pub(crate) struct Component {
    /// How many objects.
    pub(crate) objects: u64,
    /// What points at them from outside.
    pub(crate) outside: Vec<Outside>,
}

impl Component {
    /// One reference of each kind that holds much of the component: where thousands of entries of
    /// a table lead to its objects, what happens to look at one of them is no holder.
    pub(crate) fn main(&self) -> impl Iterator<Item = Outside> + '_ {
        let most = self.outside.iter().map(|one| one.many).max().unwrap_or(0);
        self.outside.iter().copied().filter(move |one| one.many >= most.div_ceil(2))
    }
}

impl<'h> Components<'h> {
    /// The objects of a cache that something leads to, each alone; of a huge cache those in one of
    /// `every` slabs. Those that are holders themselves are left out, as `is_own` says.
    pub(crate) fn of(
        heap: &'h Heap,
        cache: u16,
        every: usize,
        is_own: &dyn Fn(Object) -> bool,
    ) -> Components<'h> {
        let (mut first, mut own) = (HashMap::new(), Vec::new());
        let mut held = Vec::new();
        let slabs = (0..).zip(&heap.slabs).filter(|(_, slab)| slab.cache == cache);
        for (index, slab) in slabs.step_by(every.max(1)) {
            let start = held.len();
            first.insert(index, start as u32);
            held.resize(start + usize::from(slab.objects), false);
            heap.for_each_live(index, |object| {
                let at = start + usize::from(object);
                let object = Object { slab: index, index: object };
                let reached = !heap.is_white(object);
                match reached && is_own(object) {
                    true => own.push(object),
                    false => held[at] = reached,
                }
            });
        }
        let above = (0..held.len() as u32).collect();
        Components { heap, cache, first, above, held, own, outside: HashMap::new() }
    }

    fn number(&self, object: Object) -> Option<u32> {
        let number = self.first.get(&object.slab)? + u32::from(object.index);
        self.held.get(number as usize).copied()?.then_some(number)
    }

    /// The first object of a component; the way there gets shorter each time.
    fn head(&mut self, mut at: u32) -> u32 {
        while self.above[at as usize] != at {
            let over = self.above[at as usize];
            self.above[at as usize] = self.above[over as usize];
            at = over;
        }
        at
    }

    /// Takes a reference in.
    pub(crate) fn add(&mut self, one: Reference, kind: &dyn Fn(&Reference) -> u64) {
        let Some(to) = self.number(one.to) else { return };
        let to = self.head(to);
        let from = match one.from {
            From::Object(from) => {
                let number = self.number(from);
                // Of a sample, a neighbour that is not in it tells nothing.
                let is_ours = self.heap.slabs[from.slab as usize].cache == self.cache;
                if is_ours && !self.first.contains_key(&from.slab) {
                    return;
                }
                number
            }
            From::Root | From::Register => None,
        };
        let more = match from {
            Some(from) => {
                let from = self.head(from);
                if from == to {
                    return;
                }
                self.above[from as usize] = to;
                self.outside.remove(&from).unwrap_or_default()
            }
            None => vec![Outside { kind: kind(&one), many: 1, one }],
        };
        let is_full = self.outside.len() >= MOST_KEPT && !self.outside.contains_key(&to);
        if !more.is_empty() && !is_full {
            merge(self.outside.entry(to).or_default(), more);
        }
    }

    /// The component of one object.
    pub(crate) fn with(mut self, object: Object) -> Option<Component> {
        let head = self.number(object)?;
        let head = self.head(head);
        let all = (0..self.above.len() as u32).filter(|at| self.held[*at as usize]);
        let objects = all.collect::<Vec<_>>().into_iter().filter(|at| self.head(*at) == head);
        let objects = objects.count() as u64;
        Some(Component { objects, outside: self.outside.remove(&head).unwrap_or_default() })
    }

    /// The components, the biggest first.
    pub(crate) fn all(mut self) -> Vec<Component> {
        let mut many: HashMap<u32, u64> = HashMap::new();
        for at in 0..self.above.len() as u32 {
            if self.held[at as usize] {
                let head = self.head(at);
                *many.entry(head).or_insert(0) += 1;
            }
        }
        let mut all: Vec<(u32, u64)> = many.into_iter().collect();
        all.sort_unstable_by_key(|(head, objects)| (std::cmp::Reverse(*objects), *head));
        let outside = &mut self.outside;
        all.into_iter()
            .map(|(head, objects)| Component {
                objects,
                outside: outside.remove(&head).unwrap_or_default(),
            })
            .collect()
    }
}

/// Counts references of the same kinds together.
fn merge(all: &mut Vec<Outside>, more: Vec<Outside>) {
    for other in more {
        match all.iter_mut().find(|one| one.kind == other.kind) {
            Some(one) => one.many = one.many.saturating_add(other.many),
            None => all.push(other),
        }
    }
    if all.len() > 2 * KEPT {
        all.sort_by_key(|one| std::cmp::Reverse(one.many));
        all.truncate(KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::{Pfn, Va};
    use sysak_heap::{Cache, HeapBuilder};

    /// Two slabs of objects that are all in use and reached, but for free ones.
    fn heap(free: &[Object]) -> Heap {
        let cache = Cache::new(Va(1), "kmalloc-64".to_owned(), 64, 64).unwrap();
        let mut heap = HeapBuilder::new(Va(0xffff_8880_0000_0000), 64, vec![cache]);
        for pfn in [4, 8] {
            heap.push(Pfn(pfn), 0, 0, 64).unwrap();
        }
        free.iter().for_each(|object| heap.set_free(*object));
        let mut heap = heap.seal().never_marked();
        let all = (0..2).flat_map(|slab| (0..64).map(move |index| Object { slab, index }));
        all.for_each(|object| heap.clear_suspicion(object));
        heap
    }

    fn reference(from: From, to: Object) -> Reference {
        Reference { from, at: Va(0), word: 0, to }
    }

    #[test]
    fn a_list_over_two_slabs_is_one_family_with_one_reference_from_outside() {
        let heap = heap(&[Object { slab: 1, index: 63 }]);
        let mut components = Components::of(&heap, 0, 1, &|_| false);
        let object = |number: u32| Object { slab: number / 64, index: (number % 64) as u16 };
        components.add(reference(From::Root, object(5)), &|_| 7);
        for number in 0..99 {
            let from = From::Object(object(number + 1));
            components.add(reference(from, object(number)), &|_| 7);
        }
        components.add(reference(From::Root, Object { slab: 1, index: 63 }), &|_| 7);
        let all = components.all();
        assert_eq!((all[0].objects, all[0].outside.len()), (100, 1));
        assert_eq!(all.len(), 1 + 27, "the others are alone");
        assert!(
            all[1..].iter().all(|component| component.objects == 1 && component.outside.is_empty())
        );
    }

    #[test]
    fn references_of_one_kind_are_counted_and_the_frequent_kinds_kept() {
        let heap = heap(&[]);
        let mut components = Components::of(&heap, 0, 1, &|_| false);
        let to = Object { slab: 0, index: 7 };
        for other in 1..100 {
            components.add(reference(From::Root, to), &|_| other);
            components.add(reference(From::Register, to), &|_| 0);
        }
        let all = components.all();
        let found = all.iter().flat_map(|component| &component.outside).max_by_key(|one| one.many);
        assert_eq!(found.map(|one| (one.kind, one.many)), Some((0, 99)));
    }

    #[test]
    fn of_a_sample_a_neighbour_that_is_not_in_it_is_no_reference_from_outside() {
        let heap = heap(&[]);
        let mut components = Components::of(&heap, 0, 2, &|_| false);
        let object = |slab: u32| Object { slab, index: 3 };
        components.add(reference(From::Object(object(1)), object(0)), &|_| 1);
        components.add(reference(From::Root, object(1)), &|_| 2);
        components.add(reference(From::Root, object(0)), &|_| 3);
        let all = components.all();
        assert_eq!(all.len(), 64, "one slab of two");
        let kinds = all.iter().flat_map(|component| &component.outside).map(|one| one.kind);
        assert_eq!(kinds.collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn what_is_a_holder_itself_holds_its_neighbours_from_outside() {
        let heap = heap(&[]);
        let object = |index: u16| Object { slab: 0, index };
        let mut components = Components::of(&heap, 0, 1, &|one| one == object(3));
        components.add(reference(From::Object(object(3)), object(4)), &|_| 1);
        components.add(reference(From::Object(object(4)), object(5)), &|_| 2);
        components.add(reference(From::Object(object(5)), object(3)), &|_| 3);
        assert_eq!(components.own, [object(3)]);
        let all = components.all();
        let kinds: Vec<u64> = all[0].outside.iter().map(|one| one.kind).collect();
        assert_eq!((all[0].objects, kinds), (2, vec![1]));
    }
}
