//! Which lost objects are lost only because other lost objects led to them.

use std::collections::HashMap;

use sysak_base::{Cancel, Memory};
use sysak_heap::{Heap, LostVisits, Object, Tally};

/// Of 100 lost objects of a cache, so many must be led to by lost objects of another
/// cache for that cache to be the cause.
const HANGING_PERCENT: u64 = 90;

/// For each cache whose lost objects are lost only because lost objects of another
/// cache lead to them: that other cache.
///
/// Leaves every object as it was found.
pub fn lost_through(
    heap: &mut Heap,
    memory: &dyn Memory,
    tallies: &[Tally],
    cancel: &Cancel,
) -> HashMap<u16, u16> {
    let edges = edges_between_lost(heap.visit_lost(), memory, cancel);
    let reached = |from: u16, to: u16| edges.get(&(from, to)).copied().unwrap_or(0);
    let mut through = HashMap::new();
    for &(from, to) in edges.keys() {
        let hanging = reached(from, to);
        let all = tallies[usize::from(to)].unreachable;
        let one_way = reached(to, from) * 2 < hanging;
        let known = through.get(&to).map_or(0, |other| reached(*other, to));
        if hanging * 100 >= all * HANGING_PERCENT && one_way && hanging > known {
            through.insert(to, from);
        }
    }
    through
}

/// How many lost objects of one cache are led to by lost objects of another, each counted once.
fn edges_between_lost(
    visits: LostVisits<'_>,
    memory: &dyn Memory,
    cancel: &Cancel,
) -> HashMap<(u16, u16), u64> {
    let mut edges = HashMap::new();
    for_each_reference(visits, memory, cancel, &mut |visits, from, to| {
        let cache = |object: Object| visits.heap().slabs[object.slab as usize].cache;
        let edge = (cache(from), cache(to));
        if edge.0 != edge.1 && visits.visit(to) {
            *edges.entry(edge).or_insert(0) += 1;
        }
    });
    edges
}

/// By cache: how many of its lost objects no other lost object leads to. One reference that was not read can explain
/// one of these, with all that it leads to.
///
/// Leaves every object as it was found.
pub fn outermost(
    heap: &mut Heap,
    memory: &dyn Memory,
    tallies: &[Tally],
    cancel: &Cancel,
) -> Vec<u64> {
    let mut outermost: Vec<u64> = tallies.iter().map(|tally| tally.unreachable).collect();
    for_each_reference(heap.visit_lost(), memory, cancel, &mut |visits, from, to| {
        if from != to && visits.visit(to) {
            let cache = visits.heap().slabs[to.slab as usize].cache;
            let left = &mut outermost[usize::from(cache)];
            *left = left.saturating_sub(1);
        }
    });
    outermost
}

/// Calls `each` with every object that a lost object leads to.
fn for_each_reference(
    mut visits: LostVisits<'_>,
    memory: &dyn Memory,
    cancel: &Cancel,
    each: &mut dyn FnMut(&mut LostVisits<'_>, Object, Object),
) {
    let (mut lost, mut buffer) = (Vec::new(), Vec::new());
    for slab in 0..visits.heap().slabs.len() as u32 {
        if cancel.is_set() {
            break;
        }
        lost.clear();
        visits.for_each_lost(slab, |object| lost.push(object));
        if lost.is_empty() {
            continue;
        }
        let heap = visits.heap();
        let info = &heap.caches[usize::from(heap.slabs[slab as usize].cache)];
        let (stride, pad) = (info.stride as usize, info.left_pad as usize);
        let size = (info.object_size as usize).min(stride - pad);
        let Some((start, bytes)) = heap.contents(slab) else { continue };
        let Ok(raw) = memory.view(start, bytes, &mut buffer) else { continue };
        let filter = *heap.address_filter();
        for index in &lost {
            let at = usize::from(*index) * stride + pad;
            filter.for_each_within(&raw[at..at + size], |_, word| {
                if let Some(target) = visits.heap().find_object(word) {
                    each(&mut visits, Object { slab, index: *index }, target);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_heap::tally;
    use sysak_heap::testing::Ram;

    #[test]
    fn children_of_lost_objects_are_lost_through_them() {
        let mut ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0), (5, 1)]);
        for index in 0..64 {
            let object = Object { slab: 0, index };
            if index >= 10 {
                heap.reach(object);
            }
        }
        for index in 0..32 {
            let object = Object { slab: 1, index };
            if index >= 10 {
                heap.reach(object);
            } else {
                let parent = heap.object_va(Object { slab: 0, index }).0;
                ram.put_va(parent + 8, heap.object_va(object).0);
            }
        }
        let tallies = tally(&heap);
        assert_eq!((tallies[0].unreachable, tallies[1].unreachable), (10, 10));
        let through = lost_through(&mut heap, &ram, &tallies, &Cancel::default());
        assert_eq!(through, HashMap::from([(1, 0)]));
        assert_eq!(tally(&heap), tallies, "nothing was changed");
    }

    #[test]
    fn of_a_lost_list_only_the_first_is_outermost_and_of_a_lost_ring_none() {
        let mut ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0)]);
        let at = |index| heap.object_va(Object { slab: 0, index }).0;
        // 0 → 1 → 2; 3 → 4 → 3; 5 leads to itself.
        for (from, to) in [(0, 1), (1, 2), (3, 4), (4, 3), (5, 5)] {
            ram.put_va(at(from) + 8, at(to));
        }
        (6..64).for_each(|index| heap.reach(Object { slab: 0, index }));
        let tallies = tally(&heap);
        assert_eq!(tallies[0].unreachable, 6);
        assert_eq!(outermost(&mut heap, &ram, &tallies, &Cancel::default()), [2, 0]);
        assert_eq!(tally(&heap), tallies, "nothing was changed");
    }
}
