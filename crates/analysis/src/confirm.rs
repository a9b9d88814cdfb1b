//! Two looks: what was a suspect in the first and is one in the second.
//!
//! On a live machine an object in flight looks unreachable for a moment: its
//! only pointer is in a register, or between two stores. Only what is still
//! allocated and still unreachable seconds later counts.

use std::collections::HashMap;

use sysak_base::heap::{Heap, Object};
use sysak_base::{Pfn, Va};

/// The unreached objects of one look: a bitmap for each slab that has any.
#[derive(Debug, Default)]
pub struct Suspects {
    slabs: HashMap<Pfn, (Va, Vec<u64>)>,
}

impl Suspects {
    /// Takes down every unreached object.
    pub fn of(heap: &Heap) -> Suspects {
        let mut slabs = HashMap::new();
        for slab in &heap.slabs {
            let words: Vec<_> =
                (0..slab.objects).step_by(64).map(|at| heap.white_word(slab, at)).collect();
            if words.iter().any(|word| *word != 0) {
                let cache = heap.caches[usize::from(slab.cache)].va;
                slabs.insert(slab.pfn, (cache, words));
            }
        }
        Suspects { slabs }
    }

    /// Clears the suspicion of every unreached object of `heap` that was no suspect before.
    pub fn confirm(&self, heap: &mut Heap) {
        let mut cleared = Vec::new();
        for index in 0..heap.slabs.len() as u32 {
            let slab = heap.slabs[index as usize];
            let cache = heap.caches[usize::from(slab.cache)].va;
            let before = self.slabs.get(&slab.pfn).filter(|(owner, _)| *owner == cache);
            cleared.clear();
            heap.for_each_white(index, |object| {
                let word = before.and_then(|(_, words)| words.get(usize::from(object / 64)));
                if word.is_none_or(|word| word >> (object % 64) & 1 == 0) {
                    cleared.push(object);
                }
            });
            for object in &cleared {
                heap.mark(Object { slab: index, index: *object });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lost::tests::Ram;

    #[test]
    fn only_what_is_lost_in_both_looks_stays_lost() {
        let ram = Ram::new(16);
        let mut first = ram.heap(&[(4, 0), (6, 1)]);
        first.mark(Object { slab: 0, index: 1 });
        let suspects = Suspects::of(&first);
        let mut second = ram.heap(&[(4, 0), (5, 0), (6, 0)]);
        second.mark(Object { slab: 0, index: 2 });
        suspects.confirm(&mut second);
        let white = |slab, index| second.is_white(Object { slab, index });
        assert!(white(0, 0) && white(0, 63));
        assert!(!white(0, 1), "reached in the first look");
        assert!(!white(0, 2), "reached in the second look");
        assert!(!white(1, 0), "a slab that was not there");
        assert!(!white(2, 0), "the page belongs to another cache now");
    }
}
