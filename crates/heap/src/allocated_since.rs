//! Objects that were allocated while a live kernel was being looked at.
//!
//! Marking passes over what was free when the slabs were walked, and with it over
//! everything that only such an object leads to: the rest of a list whose newest element,
//! put in front a moment ago, was not there yet. A second walk finds these objects; they
//! count as roots.

use crate::{Class, Heap, Slab};
use sysak_base::Va;

/// Address and length of every object that is allocated in `after` and was not in `before`;
/// of pages and areas, of their `struct page`s too.
pub fn ranges(before: &Heap, after: &Heap) -> Vec<(Va, u64)> {
    let mut found = Vec::new();
    // Both rows of slabs ascend: one walk along both.
    let mut old = before.slabs.iter().peekable();
    for (index, slab) in (0..).zip(&after.slabs) {
        while old.next_if(|old| old.pfn < slab.pfn).is_some() {}
        let same = old.peek().filter(|old| is_same(before, old, after, slab));
        let cache = &after.caches[usize::from(slab.cache)];
        if cache.class != Class::Slab {
            if same.is_none() {
                found.extend(after.words_of(index));
            }
            continue;
        }
        let start = after.slab_va(slab).at(u64::from(cache.left_pad));
        for at in (0..slab.objects).step_by(64) {
            let was = same.map_or(0, |old| before.live_word(old, at));
            let mut new = after.live_word(slab, at) & !was;
            while new != 0 {
                let index = u64::from(at) + u64::from(new.trailing_zeros());
                new &= new - 1;
                let offset = index * u64::from(cache.stride);
                found.push((start.at(offset), u64::from(cache.object_size)));
            }
        }
    }
    found
}

fn is_same(before: &Heap, old: &Slab, after: &Heap, slab: &Slab) -> bool {
    let cache = |heap: &Heap, slab: &Slab| heap.caches[usize::from(slab.cache)].va;
    old.pfn == slab.pfn && old.objects == slab.objects && cache(before, old) == cache(after, slab)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Object;
    use crate::testing::Ram;

    #[test]
    fn what_was_free_and_what_was_no_slab_is_new() {
        let ram = Ram::new(16);
        let mut before = ram.heap(&[(4, 0)]);
        let after = ram.heap(&[(4, 0), (5, 1)]);
        let object = |slab, index| Object { slab, index };
        before.set_free(object(0, 3));
        let new = ranges(&before, &after);
        assert_eq!(new[0].0, after.object_va(object(0, 3)));
        assert_eq!(new.len(), 1 + usize::from(after.slabs[1].objects));
        assert_eq!(ranges(&after, &after), []);
    }
}
