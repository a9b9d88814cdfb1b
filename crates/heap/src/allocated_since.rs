//! Objects that a live kernel has allocated since the object graph was made.
//!
//! Marking passes over what was free when the slabs were walked, and with it over
//! everything that only such an object leads to: the rest of a list whose newest element,
//! put in front a moment ago, was not there yet. A second walk finds these objects; they
//! count as roots.

use sysak_base::VaRange;

use crate::never_followed::{NeverFollowed, has};
use crate::{Class, Heap, Object, Slab};

/// The memory of every object that is allocated in `after` and was not in `before`, but of those that
/// are never followed; of pages and areas, of their `struct page`s too.
pub fn ranges(before: &Heap, after: &Heap, never_followed: Vec<Object>) -> Vec<VaRange> {
    let never_followed = NeverFollowed::from_iter(never_followed);
    let mut found = Vec::new();
    let is_followed = |slab, index| !has(never_followed.of_slab(slab), Object { slab, index });
    // Both rows of slabs ascend: one walk along both.
    let mut old = before.slabs.iter().peekable();
    for (index, slab) in (0..).zip(&after.slabs) {
        while old.next_if(|old| old.pfn < slab.pfn).is_some() {}
        let same = old.peek().filter(|old| is_same(before, old, after, slab));
        let cache = &after.caches[usize::from(slab.cache)];
        if cache.class != Class::Slab {
            if same.is_none() && is_followed(index, 0) {
                found.extend(after.words_of(index));
            }
            continue;
        }
        let start = after.slab_va(slab).at(u64::from(cache.left_pad));
        for at in (0..slab.objects).step_by(64) {
            let was = same.map_or(0, |old| before.live_word(old, at));
            let mut new = after.live_word(slab, at) & !was;
            while new != 0 {
                let object = at + new.trailing_zeros() as u16;
                new &= new - 1;
                if !is_followed(index, object) {
                    continue;
                }
                let offset = u64::from(object) * u64::from(cache.stride);
                found.push(VaRange::new(start.at(offset), u64::from(cache.object_size)));
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
    use crate::testing::Ram;
    use crate::{Block, NonSlab};
    use sysak_base::Pfn;

    const fn object(index: u16) -> Object {
        Object { slab: 0, index }
    }

    /// One slab, two of its objects free.
    fn before(ram: &Ram) -> Heap {
        let mut before = ram.builder(&[(4, 0)]);
        [3, 4].map(object).into_iter().for_each(|new| before.set_free(new));
        before.seal().never_marked()
    }

    #[test]
    fn what_was_free_and_what_was_no_slab_is_new() {
        let ram = Ram::new(16);
        let after = ram.heap(&[(4, 0), (5, 1)]);
        let new = ranges(&before(&ram), &after, vec![]);
        assert_eq!(new[0].start(), after.object_va(object(3)));
        assert_eq!(new.len(), 2 + usize::from(after.slabs[1].objects));
        assert_eq!(ranges(&after, &after, vec![]), []);
    }

    #[test]
    fn what_is_never_followed_is_no_root_when_it_is_new() {
        let ram = Ram::new(16);
        let blocks = vec![Block { pfn: Pfn(9), pages: 1 }];
        let after = ram.builder(&[(4, 0)]).seal().adopt(NonSlab { blocks, ..NonSlab::default() });
        let never_followed = vec![Object { slab: 1, index: 0 }, object(3), object(9)];
        let new = VaRange::new(after.object_va(object(4)), 64);
        assert_eq!(ranges(&before(&ram), &after, never_followed), [new]);
    }
}
