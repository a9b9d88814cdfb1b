//! What is lost, cache by cache, and which lost objects hang on other lost ones.

use std::collections::HashMap;

use sysak_base::heap::{Class, Heap, Object};
use sysak_base::{Cancel, Memory};

/// Objects of one cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Slabs.
    pub slabs: u64,
    /// Pages of those slabs.
    pub pages: u64,
    /// Objects, free ones included.
    pub total: u64,
    /// Allocated objects.
    pub live: u64,
    /// Allocated objects that nothing leads to.
    pub white: u64,
    /// Bytes of the allocated objects.
    pub live_bytes: u64,
    /// Bytes of those that nothing leads to.
    pub white_bytes: u64,
}

/// Counts every cache's objects.
pub fn tally(heap: &Heap) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); heap.caches.len()];
    for (slab_index, slab) in (0..).zip(&heap.slabs) {
        let count = heap.count(slab_index);
        let tally = &mut tallies[usize::from(slab.cache)];
        tally.slabs += 1;
        let cache = &heap.caches[usize::from(slab.cache)];
        tally.pages += u64::from(slab.pages);
        tally.total += u64::from(slab.objects);
        tally.live += count.live;
        tally.white += count.white;
        if cache.class == Class::Slab {
            tally.live_bytes += count.live * u64::from(cache.object_size);
            tally.white_bytes += count.white * u64::from(cache.object_size);
        } else {
            let bytes = |index| heap.object_bytes(Object { slab: slab_index, index });
            heap.for_each_live(slab_index, |index| tally.live_bytes += bytes(index));
            heap.for_each_white(slab_index, |index| tally.white_bytes += bytes(index));
        }
    }
    tallies
}

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
    let edges = edges_between_lost(heap, memory, cancel);
    heap.forget_grey();
    let reached = |from: u16, to: u16| edges.get(&(from, to)).copied().unwrap_or(0);
    let mut through = HashMap::new();
    for &(from, to) in edges.keys() {
        let hanging = reached(from, to);
        let all = tallies[usize::from(to)].white;
        let one_way = reached(to, from) * 2 < hanging;
        let known = through.get(&to).map_or(0, |other| reached(*other, to));
        if hanging * 100 >= all * HANGING_PERCENT && one_way && hanging > known {
            through.insert(to, from);
        }
    }
    through
}

/// How many lost objects of one cache are led to by lost objects of another. Those that
/// are have been counted, and are grey, at the end.
fn edges_between_lost(
    heap: &mut Heap,
    memory: &dyn Memory,
    cancel: &Cancel,
) -> HashMap<(u16, u16), u64> {
    let mut edges = HashMap::new();
    let (mut lost, mut buffer) = (Vec::new(), Vec::new());
    for index in 0..heap.slabs.len() as u32 {
        if cancel.is_set() {
            break;
        }
        lost.clear();
        heap.for_each_undone(index, |object| lost.push(object));
        if lost.is_empty() {
            continue;
        }
        let place = heap.slabs[index as usize];
        let cache = place.cache;
        let info = &heap.caches[usize::from(cache)];
        let (stride, pad) = (info.stride as usize, info.left_pad as usize);
        let size = (info.object_size as usize).min(stride - pad);
        let Some((start, bytes)) = heap.contents(index) else { continue };
        let Ok(slab) = memory.view(start, bytes, &mut buffer) else { continue };
        let windows = *heap.windows();
        for object in &lost {
            let at = usize::from(*object) * stride + pad;
            windows.for_each_within(&slab[at..at + size], |_, word| {
                let Some(target) = heap.find_object(word) else { return };
                let of = heap.slabs[target.slab as usize].cache;
                if of != cache && heap.mark(target) {
                    *edges.entry((cache, of)).or_insert(0) += 1;
                }
            });
        }
    }
    edges
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use sysak_base::heap::{Cache, Object};
    use sysak_base::{Fault, Pfn, Va, Why};

    pub(crate) const BASE: Va = Va(0xffff_8880_0000_0000);
    /// Where the last page is seen, too: the array of `struct page`.
    pub(crate) const MEMMAP: Va = Va(0xffff_ea00_0000_0000);

    /// A few pages of RAM with a direct map.
    pub(crate) struct Ram(Vec<u8>);

    impl Ram {
        pub(crate) fn new(pages: usize) -> Ram {
            Ram(vec![0; pages << 12])
        }

        pub(crate) fn put(&mut self, at: usize, word: u64) {
            self.put_bytes(at, &word.to_le_bytes());
        }

        pub(crate) fn put_va(&mut self, at: u64, word: u64) {
            self.put(self.offset(at).unwrap(), word);
        }

        pub(crate) fn put_bytes(&mut self, at: usize, bytes: &[u8]) {
            self.0[at..at + bytes.len()].copy_from_slice(bytes);
        }

        fn offset(&self, at: u64) -> Option<usize> {
            let in_memmap = at.checked_sub(MEMMAP.0);
            let direct = || at.checked_sub(BASE.0);
            in_memmap
                .map(|at| self.0.len() as u64 - 4096 + at)
                .or_else(direct)
                .map(|at| at as usize)
        }

        /// Slabs of one page: cache 0 has objects of 64 bytes, cache 1 of 128.
        pub(crate) fn heap(&self, slabs: &[(u64, u16)]) -> Heap {
            let caches = vec![
                Cache::new(Va(1), "kmalloc-64".into(), 64, 64).unwrap(),
                Cache::new(Va(2), "kmalloc-128".into(), 128, 128).unwrap(),
            ];
            let mut heap = Heap::new(BASE, (self.0.len() >> 12) as u64, caches);
            for (pfn, cache) in slabs {
                let objects = 4096 / heap.caches[usize::from(*cache)].stride as u16;
                heap.push(Pfn(*pfn), 0, *cache, objects).unwrap();
            }
            heap.seal();
            heap
        }
    }

    impl Memory for Ram {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            let fault = Fault { at, why: Why::Unmapped };
            let start = self.offset(at.0).ok_or(fault)?;
            buf.copy_from_slice(self.0.get(start..start + buf.len()).ok_or(fault)?);
            Ok(())
        }
    }

    #[test]
    fn children_of_lost_objects_are_lost_through_them() {
        let mut ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0), (5, 1)]);
        for index in 0..64 {
            let object = Object { slab: 0, index };
            if index >= 10 {
                heap.mark(object);
            }
        }
        for index in 0..32 {
            let object = Object { slab: 1, index };
            if index >= 10 {
                heap.mark(object);
            } else {
                let parent = heap.object_va(Object { slab: 0, index }).0;
                ram.put_va(parent + 8, heap.object_va(object).0);
            }
        }
        heap.take_grey(0, |_| ());
        heap.take_grey(1, |_| ());
        let tallies = tally(&heap);
        assert_eq!((tallies[0].white, tallies[1].white), (10, 10));
        let through = lost_through(&mut heap, &ram, &tallies, &Cancel::default());
        assert_eq!(through, HashMap::from([(1, 0)]));
        assert_eq!(tally(&heap), tallies, "nothing was changed");
    }
}
