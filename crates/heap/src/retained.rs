//! How much memory only one holder keeps: what nothing would lead to if it let go.
//!
//! Marked once with the words of all holders asked about left out, then from those of all but
//! one: what all together lead to and all others do not is that one's. What two of them lead to
//! is neither's.
//!
//! **Invariant:** every object is left in the state that it was found in.

use crate::{Heap, Object, PageSet, States};
use sysak_base::{Cancel, Memory, Quiet, Va};

use crate::marking::{self, Roots};
use crate::reverse::WithRoots;

/// Memory that a holder's references stand in: addresses of the direct map, and bytes.
pub type Part = (Va, u64);

/// Bytes that only each of the holders keeps; `None` when cancelled.
pub fn retained(
    heap: &mut Heap,
    memory: &dyn Memory,
    with_roots: &mut WithRoots<'_>,
    holders: &[Vec<Part>],
    cancel: &Cancel,
) -> Option<Vec<u64>> {
    let found = heap.states();
    heap.whiten();
    let all = merged(holders.concat());
    let mut interrupted = false;
    with_roots(&mut |roots| {
        let Roots { pages, ranges, words, left_out } = roots;
        let left_out = merged([left_out, &all].concat());
        let roots = Roots { pages, ranges: &mut *ranges, words, left_out: &left_out };
        interrupted |= marking::mark(heap, memory, roots, &Quiet, cancel).interrupted;
    });
    let without = heap.states();
    let mut add = |heap: &mut Heap, parts: &mut dyn Iterator<Item = Part>| {
        let pages = PageSet::new(0);
        let roots = Roots { pages: &pages, ranges: parts, words: &[], left_out: &[] };
        interrupted |= marking::mark(heap, memory, roots, &Quiet, cancel).interrupted;
    };
    add(heap, &mut all.iter().copied());
    let with = heap.states();
    let bytes = (0..holders.len()).map(|left_out| {
        heap.put_back(&without);
        let others = holders.iter().enumerate().filter(|(index, _)| *index != left_out);
        add(heap, &mut others.flat_map(|(_, parts)| parts).copied());
        white_since(heap, &with)
    });
    let bytes: Vec<u64> = bytes.collect();
    heap.put_back(&found);
    (!interrupted).then_some(bytes)
}

/// In order, and what overlaps as one.
fn merged(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_unstable();
    let mut all: Vec<Part> = Vec::new();
    for (start, bytes) in parts {
        match all.last_mut() {
            Some((before, len)) if start.0 <= before.0 + *len => {
                *len = (*len).max(start.0 - before.0 + bytes);
            }
            _ => all.push((start, bytes)),
        }
    }
    all
}

/// Bytes of what is white now and was not in these states.
fn white_since(heap: &Heap, states: &States) -> u64 {
    let mut bytes = 0;
    for slab in 0..heap.slabs.len() as u32 {
        heap.for_each_white_since(states, slab, |index| {
            bytes += heap.object_bytes(Object { slab, index });
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally;
    use crate::testing::{BASE, Ram};
    use sysak_base::Pfn;

    #[test]
    fn what_two_holders_lead_to_is_neithers_and_states_stay() {
        let mut ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0), (8, 1)]);
        let at = |slab, index| heap.object_va(Object { slab, index }).0;
        // first → a → b, first → c; second → c; the object d → e holds as well
        let (a, b, c, d, e) = (at(0, 1), at(1, 1), at(0, 2), at(0, 3), at(1, 2));
        ram.put(0x10, a);
        ram.put_va(a, b);
        ram.put(0x18, c);
        ram.put(0x40, c);
        ram.put(0x80, d);
        ram.put_va(d + 8, e);
        let mut pages = PageSet::new(16);
        pages.insert(Pfn(0));
        let cancel = Cancel::default();
        let mut with = |each: &mut dyn FnMut(Roots<'_>)| {
            let mut none = std::iter::empty();
            each(Roots { pages: &pages, ranges: &mut none, words: &[], left_out: &[] });
        };
        with(&mut |roots| {
            marking::mark(&mut heap, &ram, roots, &Quiet, &cancel);
        });
        let before = tally(&heap);
        let holders = [
            vec![(BASE.at(0x10), 16)],
            vec![(BASE.at(0x40), 8)],
            vec![(Va(d), 64)],
            vec![(BASE.at(0x48), 8)],
        ];
        let found = retained(&mut heap, &ram, &mut with, &holders, &cancel);
        assert_eq!(found, Some(vec![64 + 128, 0, 128, 0]));
        assert_eq!(tally(&heap), before);
    }
}
