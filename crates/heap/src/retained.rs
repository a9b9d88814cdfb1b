//! Retained size: the memory that only one holder keeps, and that nothing would lead to without it.
//!
//! Marking is made once with the words of all holders left out. Then, for each holder, it goes on from its words alone:
//! objects that are reached from one holder only are retained by it. What two holders lead to is retained by neither.
//!
//! **Invariant:** every object is left in the state that it was found in.

use sysak_base::{Cancel, Quiet, Ranges, Readers};

use crate::bits::mask;
use crate::marking::{Context, Roots, mark};
use crate::reverse::WithRoots;
use crate::states::{States, for_each_bit};
use crate::{Bits, Heap, Object};

/// The retained size of each holder in bytes; `None` when cancelled.
///
/// A holder is the memory that its references lie in, by addresses of the direct map.
pub fn retained(
    heap: &mut Heap,
    readers: Readers<'_>,
    with_roots: &mut WithRoots<'_>,
    holders: &[Ranges],
    cancel: &Cancel,
) -> Option<Vec<u64>> {
    let context = Context { readers, progress: &Quiet, cancel };
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
    let mut only = OnlyHolders::new(heap, holders.len());
    for (number, holder) in (1..).zip(holders) {
        let roots =
            Roots { ranges: Box::new(holder.iter()), left_out: &never_counted, ..Roots::none() };
        interrupted |= mark(heap, roots, context).interrupted;
        only.add(heap, &without, number);
        heap.put_back(&without);
    }
    heap.put_back(&found);
    (!interrupted).then(|| (1..=holders.len()).map(|number| only.bytes(heap, number)).collect())
}

/// The number of the only holder that leads to each object: 0 where none does, all bits set where several do. Each of
/// its binary digits is kept in a row of bits, by the object's own bit.
struct OnlyHolders(Vec<Bits>);

impl OnlyHolders {
    /// Numbers up to so many.
    fn new(heap: &Heap, most: usize) -> OnlyHolders {
        let mut row = Bits::default();
        row.grow(heap.objects(), false);
        // One number more, for several.
        OnlyHolders(vec![row; (most + 1).ilog2() as usize + 1])
    }

    /// Adds the objects that were white in these states and are reached now, from one holder alone.
    fn add(&mut self, heap: &Heap, without: &States, number: usize) {
        for slab in &heap.slabs {
            for at in (0..slab.objects).step_by(64) {
                let reached = heap.reached_word(Some(without), slab, at);
                if reached == 0 {
                    continue;
                }
                let (from, many) =
                    (slab.first + u64::from(at), u64::from(slab.objects - at).min(64));
                let known = self.0.iter().fold(0, |known, row| known | row.word(from, many));
                for (digit, row) in self.0.iter_mut().enumerate() {
                    let is_set = if number >> digit & 1 != 0 { u64::MAX } else { known };
                    row.set_word(from, reached & is_set);
                }
            }
        }
    }

    /// Bytes of the objects that this holder alone leads to.
    fn bytes(&self, heap: &Heap, number: usize) -> u64 {
        let mut bytes = 0;
        for (index, slab) in (0..).zip(&heap.slabs) {
            let word = |at: u16| {
                let (from, many) =
                    (slab.first + u64::from(at), u64::from(slab.objects - at).min(64));
                (0..).zip(&self.0).fold(u64::MAX, |same, (digit, row)| {
                    let is_set = if number >> digit & 1 != 0 { 0 } else { u64::MAX };
                    same & (row.word(from, many) ^ is_set)
                }) & mask(many)
            };
            for_each_bit(slab, word, |object| {
                bytes += heap.object_bytes(Object { slab: index, index: object });
            });
        }
        bytes
    }
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
        let found = retained(&mut heap, Readers::one(&ram), &mut with, &holders, &cancel);
        assert_eq!(found, Some(vec![64 + 128, 0, 128, 0]));
        assert_eq!(tally(&heap), before);
    }
}
