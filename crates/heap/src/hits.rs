//! Looks up and marks the objects of many words at once.
//!
//! A look-up goes through five tables, each entry found by the one before, and most words lead to
//! what was marked already. One word after the other, a core waits for each table and guesses each
//! outcome wrongly half of the time. So a table is asked for all words before the next one is, and
//! what need not go on is left out without a branch.
//!
//! **Invariant:** marks the same objects as looking up and marking each word alone.

use sysak_base::{PAGE_SHIFT, Pfn};

use crate::Heap;
use crate::bits::{Alone, Change};

/// Words that go through the tables together: their interim results stay in the nearest cache.
const AT_ONCE: usize = 256;

/// Words that may lead to objects, to be followed together.
#[derive(Debug)]
pub struct Hits {
    words: [u64; AT_ONCE],
    many: usize,
    // What is left of them after each table.
    elsewhere: [u64; AT_ONCE],
    linear: [u64; AT_ONCE],
    slabs: [u32; AT_ONCE],
    whites: [White; AT_ONCE],
}

/// An object that is to be marked.
#[derive(Clone, Copy, Debug, Default)]
struct White {
    bit: u64,
    slab: u32,
}

impl Default for Hits {
    fn default() -> Hits {
        Hits {
            words: [0; AT_ONCE],
            many: 0,
            elsewhere: [0; AT_ONCE],
            linear: [0; AT_ONCE],
            slabs: [0; AT_ONCE],
            whites: [White::default(); AT_ONCE],
        }
    }
}

impl Hits {
    /// Takes in a word; false, and nothing done, where there is no room.
    #[inline]
    pub fn push(&mut self, word: u64) -> bool {
        let has_room = self.many < AT_ONCE;
        if has_room {
            self.words[self.many] = word;
            self.many += 1;
        }
        has_room
    }
}

impl Heap {
    /// Marks every white object that one of the words leads to, and forgets the words. Calls `each` with
    /// the object's slab.
    pub fn mark_all(&mut self, hits: &mut Hits, each: impl FnMut(u32)) {
        self.mark_all_as::<Alone>(hits, each);
    }

    /// The same, as several threads may. Of an object that several of them find at once, `each` is called by one.
    #[inline(always)]
    pub(crate) fn mark_all_as<C: Change>(&self, hits: &mut Hits, mut each: impl FnMut(u32)) {
        let Hits { words, many, elsewhere, linear, slabs, whites } = hits;
        let (mut others, mut inside) = (0, 0);
        for word in &words[..std::mem::take(many)] {
            let offset = word.wrapping_sub(self.page_offset.0);
            linear[inside] = offset;
            elsewhere[others] = *word;
            inside += usize::from(offset < self.span);
            others += usize::from(offset >= self.span);
        }
        let mut placed = 0;
        for at in 0..inside {
            let offset = linear[at];
            let pfn = Pfn(offset >> PAGE_SHIFT);
            let (is_used, slab) = self.pages.look_up(pfn);
            linear[placed] = offset;
            slabs[placed] = slab;
            placed += usize::from(is_used);
        }
        let mut left = 0;
        for at in 0..others {
            let word = elsewhere[at];
            elsewhere[left] = word;
            left += usize::from(self.may_be_non_slab(word));
        }
        for word in &elsewhere[..left] {
            if let Some(object) = self.non_slab_at(*word)
                && self.states.mark::<C>(self.bit(object))
            {
                each(object.slab);
            }
        }
        let mut found = 0;
        for (index, offset) in slabs.iter().zip(&linear[..placed]) {
            let Some(slab) = self.slabs.get(*index as usize) else { continue };
            let cache = &self.caches[usize::from(slab.cache)];
            let at = cache.index_of(offset - (slab.pfn.0 << PAGE_SHIFT));
            // What lies behind the last object is none.
            let object = at.min(u64::from(slab.objects) - 1);
            let bit = slab.first + object;
            whites[found] = White { bit, slab: *index };
            found += usize::from((at == object) & self.states.is_white(bit));
        }
        for White { bit, slab } in &whites[..found] {
            if self.states.mark::<C>(*bit) {
                each(*slab);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AreaPages, Block, Cache, HeapBuilder, NonSlab, Object};
    use sysak_base::Va;

    const BASE: Va = Va(0xffff_8880_0000_0000);
    const AREA: Va = Va(0xffff_c900_0010_0000);

    fn heap() -> Heap {
        let cache = Cache::new(Va(1), "kmalloc-96".into(), 96, 96).unwrap();
        let mut heap = HeapBuilder::new(BASE, 300, vec![cache]);
        for pfn in [3, 70, 140, 141, 200] {
            heap.push(Pfn(pfn), 0, 0, 42).unwrap();
        }
        heap.set_free(Object { slab: 0, index: 7 });
        let memmap = Va(0xffff_ea00_0000_0000);
        let blocks = vec![Block { pfn: Pfn(80), pages: 4 }, Block { pfn: Pfn(142), pages: 1 }];
        let areas = vec![AreaPages { address: AREA, pages: vec![Pfn(61), Pfn(50)] }];
        let others = NonSlab { blocks, areas, memmap, struct_page_bytes: 64, ..NonSlab::default() };
        heap.seal().adopt(others).never_marked()
    }

    #[test]
    fn together_the_same_is_marked_as_one_by_one() {
        let (mut together, mut alone) = (heap(), heap());
        let memory = (BASE.0..BASE.0 + (320 << PAGE_SHIFT)).step_by(40);
        let areas = (AREA.0 - 64..AREA.0 + 0x3000).step_by(512);
        let pages = (0..320).map(|pfn| 0xffff_ea00_0000_0008 + pfn * 64);
        let words = [0, 1, BASE.0 - 1, u64::MAX];
        let all = || memory.clone().chain(areas.clone()).chain(pages.clone()).chain(words);
        let mut hits = Hits::default();
        let (mut touched, mut expected) = (Vec::new(), Vec::new());
        for word in all().filter(|word| word % 3 > 0) {
            if !hits.push(word) {
                together.mark_all(&mut hits, |slab| touched.push(slab));
                assert!(hits.push(word));
            }
            if let Some(object) = alone.find_object(word)
                && alone.mark(object)
            {
                expected.push(object.slab);
            }
        }
        together.mark_all(&mut hits, |slab| touched.push(slab));
        together.mark_all(&mut hits, |_| panic!("they were forgotten"));
        for place in &alone.slabs {
            let white = |heap: &Heap| heap.white_word(place, 0);
            assert_eq!(white(&together), white(&alone), "{place:?}");
        }
        touched.sort_unstable();
        touched.dedup();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(touched, expected);
        assert!(touched.len() == alone.slabs.len() && !alone.is_live(Object { slab: 0, index: 7 }));
    }
}
