//! Retained size: the memory that only one holder keeps, and that nothing would lead to without it.
//!
//! Marking is made once with the words of all holders left out. Then, for each holder, it goes on from those of all
//! other holders: objects that are reached from all together, and not without this one, are retained by it. What two
//! holders lead to is retained by neither.
//!
//! **Invariant:** every object is left in the state that it was found in.

use sysak_base::{Cancel, Memory, Quiet, Ranges};

use crate::marking::{Context, Roots, mark};
use crate::reverse::WithRoots;
use crate::states::States;
use crate::{Heap, Object};

/// The retained size of each holder in bytes; `None` when cancelled.
///
/// A holder is the memory that its references lie in, by addresses of the direct map.
pub fn retained(
    heap: &mut Heap,
    memory: &dyn Memory,
    with_roots: &mut WithRoots<'_>,
    holders: &[Ranges],
    cancel: &Cancel,
) -> Option<Vec<u64>> {
    let context = Context { memory, progress: &Quiet, cancel };
    let found = heap.states();
    heap.whiten();
    let all = holders.iter().flat_map(Ranges::iter).collect::<Ranges>();
    let (mut interrupted, mut never_counted) = (false, Ranges::new());
    with_roots(&mut |roots| {
        never_counted = roots.left_out.clone();
        let left_out = roots.left_out.union(&all);
        let roots = Roots { left_out: &left_out, ..roots };
        interrupted |= mark(heap, roots, context).interrupted;
    });
    let without = heap.states();
    let mut add = |heap: &mut Heap, holders: Ranges| {
        let ranges = Box::new(holders.iter());
        let roots = Roots { ranges, left_out: &never_counted, ..Roots::none() };
        interrupted |= mark(heap, roots, context).interrupted;
    };
    add(heap, all);
    let with = heap.states();
    let bytes = (0..holders.len()).map(|left_out| {
        heap.put_back(&without);
        let others = holders.iter().enumerate().filter(|(index, _)| *index != left_out);
        add(heap, others.flat_map(|(_, holder)| holder.iter()).collect());
        white_since(heap, &with)
    });
    let bytes: Vec<u64> = bytes.collect();
    heap.put_back(&found);
    (!interrupted).then_some(bytes)
}

/// Bytes of the objects that are white now and were not in these states.
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
    use crate::testing::{BASE, Ram, page_set};
    use sysak_base::{Va, VaRange};

    #[test]
    fn what_two_holders_lead_to_is_retained_by_neither_and_states_stay() {
        let mut ram = Ram::new(16);
        let heap = ram.builder(&[(4, 0), (8, 1)]).seal();
        let at = |slab, index| heap.object_va(Object { slab, index }).0;
        // first → a → b, first → c; second → c; the object d → e holds as well
        let (a, b, c, d, e) = (at(0, 1), at(1, 1), at(0, 2), at(0, 3), at(1, 2));
        ram.put(0x10, a);
        ram.put_va(a, b);
        ram.put(0x18, c);
        ram.put(0x40, c);
        ram.put(0x80, d);
        ram.put_va(d + 8, e);
        let mut heap = ram.mark(heap, &[0]);
        let pages = page_set(&[0]);
        let mut with = |each: &mut dyn FnMut(Roots<'_>)| each(Roots::of_pages(&pages));
        let cancel = Cancel::default();
        let before = tally(&heap);
        let holders = [(BASE.at(0x10), 16), (BASE.at(0x40), 8), (Va(d), 64), (BASE.at(0x48), 8)];
        let holder = |(at, bytes)| [VaRange::new(at, bytes)].into_iter().collect();
        let holders: [Ranges; 4] = holders.map(holder);
        let found = retained(&mut heap, &ram, &mut with, &holders, &cancel);
        assert_eq!(found, Some(vec![64 + 128, 0, 128, 0]));
        assert_eq!(tally(&heap), before);
    }
}
