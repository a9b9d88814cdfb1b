//! Two snapshots: what was a suspect in the first and is one in the second.
//!
//! On a live machine an object in flight looks unreachable for a moment: its
//! only pointer is in a register, or between two stores. A long list that is cut
//! and joined while it is followed loses its tail in every snapshot. So only what is
//! still allocated, still unreachable and *unchanged* seconds later counts: nobody
//! can write to an object that is lost.

use std::collections::{HashMap, HashSet};

use sysak_base::{Memory, Va};
use sysak_heap::{Bits, Class, Heap, Object, Slab};

use crate::turnover::{CacheTurnover, Kind};

/// The unreachable objects of one snapshot: a bit for each object of the slabs that have any.
///
/// Some 24 bytes a slab and a bit an object, so that a leak of hundreds of millions of
/// objects can be confirmed on a machine that it has left short of memory.
#[derive(Debug, Default)]
pub struct Suspects {
    slabs: Vec<Slab>,
    white: Bits,
    caches: Vec<Va>,
    /// A short hash of the content of each suspect, in the order of `white`, up to
    /// [`MOST_HASHES`]; those beyond are believed on the strength of the rest.
    hashes: Vec<u16>,
    /// What kind of content each of these has.
    kinds: Vec<Kind>,
    /// How many suspects lie in the slabs before each of `slabs`.
    before: Vec<u64>,
    /// Of per-CPU allocations, their pointers: their number in a row changes.
    pointers: HashSet<Va>,
}

/// 32 MiB of hashes and kinds; what churns has thousands of objects, not millions.
const MOST_HASHES: usize = 8 << 20;

impl Suspects {
    /// Takes down every unreachable object.
    pub fn of(heap: &Heap, memory: &dyn Memory) -> Suspects {
        let caches = heap.caches.iter().map(|cache| cache.va).collect();
        let mut suspects = Suspects { caches, ..Suspects::default() };
        let mut total = 0;
        let mut buffer = Vec::new();
        for (index, slab) in heap.slabs.iter().enumerate() {
            if heap.caches[usize::from(slab.cache)].class == Class::PerCpu {
                heap.for_each_white(index as u32, |object| {
                    let object = Object { slab: index as u32, index: object };
                    suspects.pointers.insert(heap.object_va(object));
                });
            } else if heap.count(index as u32).white > 0 {
                let first = suspects.white.len();
                suspects.slabs.push(Slab { first, ..*slab });
                suspects.white.grow(u64::from(slab.objects), false);
                heap.for_each_white(index as u32, |object| {
                    suspects.white.set(first + u64::from(object));
                });
                suspects.before.push(total);
                total += heap.count(index as u32).white;
                if suspects.hashes.len() < MOST_HASHES {
                    let slab = Contents::read(heap, memory, index as u32, &mut buffer);
                    heap.for_each_white(index as u32, |object| {
                        suspects.hashes.push(slab.hash(object));
                        suspects.kinds.push(slab.kind(object));
                    });
                }
            }
        }
        suspects
    }

    /// Clears the suspicion of every unreachable object of `heap` that was no suspect before,
    /// or whose content has changed since. Tells how the suspects of each cache moved, by its index in `heap`.
    pub fn confirm(&self, heap: &mut Heap, memory: &dyn Memory) -> HashMap<u16, CacheTurnover> {
        let (mut cleared, mut buffer) = (Vec::new(), Vec::new());
        let mut turnovers = self.freed(heap);
        // Both rows of slabs ascend: one walk along both.
        let mut before = self.slabs.iter().zip(&self.before).peekable();
        for index in 0..heap.slabs.len() as u32 {
            if heap.count(index).white == 0 {
                continue;
            }
            let slab = heap.slabs[index as usize];
            if heap.caches[usize::from(slab.cache)].class == Class::PerCpu {
                self.confirm_per_cpu(heap, index);
                continue;
            }
            while before.next_if(|(old, _)| old.pfn < slab.pfn).is_some() {}
            let old = before.peek().filter(|(old, _)| self.is_same(old, &slab, heap));
            let now = Contents::read(heap, memory, index, &mut buffer);
            let turnover = turnovers.entry(slab.cache).or_default();
            cleared.clear();
            heap.for_each_white(index, |object| {
                turnover.after += 1;
                let suspect = old.filter(|(old, _)| self.is_suspect(old, object));
                let Some((old, before)) = suspect else { return cleared.push(object) };
                let rank = self.rank(old, **before, object);
                if self.hashes.get(rank).is_some_and(|hash| *hash != now.hash(object)) {
                    turnover.all.changed += 1;
                    turnover.kinds.entry(self.kinds[rank]).or_default().changed += 1;
                    cleared.push(object);
                }
            });
            for object in &cleared {
                heap.clear_suspicion(Object { slab: index, index: *object });
            }
        }
        turnovers
    }

    /// How many suspects there were of each cache, and how many of them are no longer allocated.
    fn freed(&self, heap: &Heap) -> HashMap<u16, CacheTurnover> {
        let of_va: HashMap<Va, u16> = heap.caches.iter().map(|cache| cache.va).zip(0..).collect();
        let mut turnovers: HashMap<u16, CacheTurnover> = HashMap::new();
        let mut now = (0..).zip(&heap.slabs).peekable();
        let mut kinds = self.kinds.iter();
        for old in &self.slabs {
            let cache = self.caches.get(usize::from(old.cache)).and_then(|va| of_va.get(va));
            while now.next_if(|(_, slab)| slab.pfn < old.pfn).is_some() {}
            let same = now.peek().filter(|(_, slab)| self.is_same(old, slab, heap));
            for index in (0..old.objects).filter(|index| self.is_suspect(old, *index)) {
                let kind = kinds.next();
                let Some(cache) = cache else { continue };
                let is_live =
                    same.is_some_and(|(slab, _)| heap.is_live(Object { slab: *slab, index }));
                let turnover = turnovers.entry(*cache).or_default();
                let kind = kind.map(|kind| turnover.kinds.entry(*kind).or_default());
                for count in [Some(&mut turnover.all), kind].into_iter().flatten() {
                    count.before += 1;
                    count.freed += u64::from(!is_live);
                }
            }
        }
        turnovers
    }

    fn is_suspect(&self, old: &Slab, object: u16) -> bool {
        self.white.test(old.first + u64::from(object))
    }

    fn confirm_per_cpu(&self, heap: &mut Heap, slab: u32) {
        let mut cleared = Vec::new();
        heap.for_each_white(slab, |index| {
            let object = Object { slab, index };
            if !self.pointers.contains(&heap.object_va(object)) {
                cleared.push(object);
            }
        });
        for object in cleared {
            heap.clear_suspicion(object);
        }
    }

    /// How many suspects come before one of them. `before` is the number of those before its slab.
    fn rank(&self, old: &Slab, before: u64, object: u16) -> usize {
        let mut rank = before;
        for at in (0..object).step_by(64) {
            let many = u64::from(object - at).min(64);
            rank += u64::from(self.white.word(old.first + u64::from(at), many).count_ones());
        }
        rank as usize
    }

    /// Whether a slab of the first snapshot is still there, of the same cache.
    fn is_same(&self, old: &Slab, slab: &Slab, heap: &Heap) -> bool {
        let cache = heap.caches[usize::from(slab.cache)].va;
        old.pfn == slab.pfn
            && old.objects == slab.objects
            && self.caches.get(usize::from(old.cache)) == Some(&cache)
    }
}

/// Unreachable objects of caches that are in use, but for those of kinds that stand still.
pub fn in_use(
    heap: &Heap,
    memory: &dyn Memory,
    alive: &HashMap<u16, CacheTurnover>,
) -> Vec<Object> {
    let (mut moving, mut buffer) = (Vec::new(), Vec::new());
    for (slab, place) in (0..).zip(&heap.slabs) {
        let Some(turnover) = alive.get(&place.cache).filter(|_| heap.count(slab).white > 0) else {
            continue;
        };
        let cache = &heap.caches[usize::from(place.cache)];
        let contents = Contents::read(heap, memory, slab, &mut buffer);
        heap.for_each_white(slab, |index| {
            if !turnover.is_still(contents.kind(index), cache) {
                moving.push(Object { slab, index });
            }
        });
    }
    moving
}

/// How many kinds of content are told apart: few enough to count them for each cache.
const KINDS: u64 = 1 << 10;

/// The contents of one slab's objects.
struct Contents<'a> {
    bytes: &'a [u8],
    stride: usize,
    pad: usize,
    size: usize,
}

impl<'a> Contents<'a> {
    fn read(
        heap: &Heap,
        memory: &'a dyn Memory,
        slab: u32,
        buffer: &'a mut Vec<u8>,
    ) -> Contents<'a> {
        let place = heap.slabs[slab as usize];
        let cache = &heap.caches[usize::from(place.cache)];
        let (stride, pad) = (cache.stride as usize, cache.left_pad as usize);
        let size = (cache.object_size as usize).min(stride - pad);
        let none = Contents { bytes: &[], stride, pad, size };
        let Some((start, bytes)) = heap.contents(slab) else { return none };
        let bytes = memory.view(start, bytes, buffer).unwrap_or_default();
        Contents { bytes, ..none }
    }

    /// A hash of an object's bytes; that of nothing where they cannot be read.
    fn hash(&self, object: u16) -> u16 {
        let hash = self.fold(object, |word| word);
        (hash ^ hash >> 16 ^ hash >> 32 ^ hash >> 48) as u16
    }

    /// The kind of an object's content: which of its words are zero, small, addresses of the kernel, or none of that.
    /// Objects that one function has filled are of one kind, or of few.
    fn kind(&self, object: u16) -> Kind {
        let hash = self.fold(object, |word| match word {
            0 => 1,
            1..=0xffff_ffff => 2,
            0xffff_8000_0000_0000.. => 3,
            _ => 4,
        });
        ((hash ^ hash >> 20 ^ hash >> 40) % KINDS) as Kind
    }

    /// FNV-1a, by words: only accidents are to be told apart.
    fn fold(&self, object: u16, of_word: impl Fn(u64) -> u64) -> u64 {
        let at = usize::from(object) * self.stride + self.pad;
        let bytes = self.bytes.get(at..at + self.size).unwrap_or_default();
        bytes.chunks(8).fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
            let word = word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            (hash ^ of_word(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turnover::Turnover;
    use sysak_base::Pfn;
    use sysak_heap::testing::{BASE, Ram};
    use sysak_heap::{Block, Cache, HeapBuilder, NonSlab, PerCpuObject};

    /// Memory in which no two words are alike.
    fn filled() -> Ram {
        let mut ram = Ram::new(16);
        for at in (0..16 << 12).step_by(8) {
            ram.put(at, (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        ram
    }

    fn mark(heap: &mut Heap, slab: u32, objects: impl IntoIterator<Item = u16>) {
        for index in objects {
            heap.reach(Object { slab, index });
        }
    }

    fn whites(heap: &Heap, slab: u32) -> Vec<u16> {
        let mut found = Vec::new();
        heap.for_each_white(slab, |index| found.push(index));
        found
    }

    /// One slab of one page, full of objects of a cache.
    fn slab_of(cache: &Cache) -> Heap {
        let mut heap = HeapBuilder::new(BASE, 16, vec![cache.clone()]);
        heap.push(Pfn(4), 0, 0, (4096 / cache.stride) as u16).unwrap();
        heap.seal().never_marked()
    }

    /// Which of 64 single changed bytes clear the suspicion of an object of 64 bytes.
    fn noticed_bytes(cache: &Cache) -> Vec<usize> {
        let first = slab_of(cache);
        let suspects = Suspects::of(&first, &filled());
        let is_noticed = |byte: usize| {
            let (mut ram, mut second) = (filled(), slab_of(cache));
            let at = (4 << 12) + 3 * 64 + byte;
            let mut was = [0];
            ram.read(BASE.at(at as u64), &mut was).unwrap();
            ram.put_bytes(at, &[was[0] ^ 0x10]);
            suspects.confirm(&mut second, &ram);
            assert_eq!(whites(&second, 0).len(), 64 - usize::from(!second.is_white(OBJECT)));
            !second.is_white(OBJECT)
        };
        (0..64).filter(|byte| is_noticed(*byte)).collect()
    }

    const OBJECT: Object = Object { slab: 0, index: 3 };

    #[test]
    fn suspects_are_compared_with_themselves_whatever_else_came_and_went() {
        let mut ram = filled();
        let mut first = ram.heap(&[(4, 0), (5, 0), (6, 0), (7, 0)]);
        mark(&mut first, 0, 0..64);
        mark(&mut first, 2, 0..10);
        let suspects = Suspects::of(&first, &ram);
        assert_eq!(suspects.slabs.len(), 3, "only slabs that have suspects are kept");
        for (slab, index) in [(2, 20), (3, 5)] {
            let at = first.object_va(Object { slab, index }).0;
            ram.put_va(at + 56, 1);
        }
        let mut second = ram.heap(&[(3, 0), (4, 0), (6, 0), (7, 0)]);
        suspects.confirm(&mut second, &ram);
        assert_eq!(whites(&second, 0), [] as [u16; 0], "a new slab of the same cache");
        assert_eq!(whites(&second, 1), [] as [u16; 0], "reached in the first snapshot");
        let expected: Vec<u16> = (10..64).filter(|index| *index != 20).collect();
        assert_eq!(whites(&second, 2), expected);
        let expected: Vec<u16> = (0..64).filter(|index| *index != 5).collect();
        assert_eq!(whites(&second, 3), expected);
    }

    #[test]
    fn what_was_freed_and_what_was_written_to_is_counted_by_cache() {
        let mut ram = filled();
        let suspects = Suspects::of(&ram.heap(&[(4, 0), (5, 0), (6, 1), (7, 0)]), &ram);
        let mut builder = ram.builder(&[(4, 0), (5, 1), (6, 1)]);
        (0..5).for_each(|index| builder.set_free(Object { slab: 0, index }));
        let mut second = builder.seal().never_marked();
        for index in 10..13 {
            ram.put_va(second.object_va(Object { slab: 0, index }).0, 1);
        }
        mark(&mut second, 2, 0..2);
        let turnovers = suspects.confirm(&mut second, &ram);
        // One slab has another cache now, and one is gone.
        let expected = Turnover { before: 192, freed: 5 + 64 + 64, changed: 3 };
        assert_eq!((turnovers[&0].all, turnovers[&0].after), (expected, 59));
        let sum = |count: fn(&Turnover) -> u64| turnovers[&0].kinds.values().map(count).sum();
        assert_eq!((sum(|kind| kind.before), sum(Turnover::moved)), (192u64, 5 + 64 + 64 + 3u64));
        let expected = Turnover { before: 32, freed: 0, changed: 0 };
        assert_eq!((turnovers[&1].all, turnovers[&1].after), (expected, 32 + 30));
    }

    #[test]
    fn a_slab_of_many_objects_is_compared_object_by_object() {
        let cache = Cache::new(Va(3), "kmalloc-8".into(), 8, 8).unwrap();
        let (mut ram, mut first) = (filled(), slab_of(&cache));
        mark(&mut first, 0, (0..512).step_by(3));
        let suspects = Suspects::of(&first, &ram);
        let written = [1, 65, 200, 511];
        for index in written {
            ram.put_va(first.object_va(Object { slab: 0, index }).0, 1);
        }
        let mut second = slab_of(&cache);
        suspects.confirm(&mut second, &ram);
        let expected: Vec<u16> =
            (0..512).filter(|index| index % 3 != 0 && !written.contains(index)).collect();
        assert_eq!(whites(&second, 0), expected);
    }

    #[test]
    fn a_page_whose_slab_has_another_size_now_is_another_slab() {
        let ram = filled();
        let suspects = Suspects::of(&ram.heap(&[(4, 0)]), &ram);
        let mut larger = HeapBuilder::new(BASE, 16, ram.heap(&[]).caches);
        larger.push(Pfn(4), 1, 0, 128).unwrap();
        let mut larger = larger.seal().never_marked();
        suspects.confirm(&mut larger, &ram);
        assert_eq!(whites(&larger, 0), [] as [u16; 0]);
    }

    #[test]
    fn every_byte_of_an_object_counts_and_none_of_its_padding() {
        let whole = Cache::new(Va(1), "kmalloc-64".into(), 64, 64).unwrap();
        assert_eq!(noticed_bytes(&whole), (0..64).collect::<Vec<_>>());
        let small = Cache::new(Va(1), "padded".into(), 64, 32).unwrap();
        assert_eq!(noticed_bytes(&small), (0..32).collect::<Vec<_>>());
        let mut padded = small;
        padded.left_pad = 16;
        assert_eq!(noticed_bytes(&padded), (16..48).collect::<Vec<_>>());
        padded.object_size = 60;
        assert_eq!(noticed_bytes(&padded), (16..64).collect::<Vec<_>>(), "ends with its slot");
    }

    #[test]
    fn unlike_contents_seldom_have_the_same_hash() {
        let bytes: Vec<u8> = (0..10_000u64).flat_map(u64::to_le_bytes).collect();
        let contents = Contents { bytes: &bytes, stride: 8, pad: 0, size: 8 };
        let hashes: HashSet<u16> = (0..10_000).map(|object| contents.hash(object)).collect();
        assert!(hashes.len() > 9_000, "{} of 10,000", hashes.len());
    }

    #[test]
    fn per_cpu_allocations_are_compared_by_pointer_and_blocks_by_content() {
        let with = |pointers: &[u64]| {
            let heap = filled().builder(&[]).seal();
            let per_cpu = |pointer: &u64| PerCpuObject { pointer: *pointer, bytes: 8 };
            let heap = heap.adopt(NonSlab {
                blocks: [8, 9].map(|pfn| Block { pfn: Pfn(pfn), pages: 1 }).to_vec(),
                per_cpu: pointers.iter().map(per_cpu).collect(),
                cpus: 2,
                ..NonSlab::default()
            });
            heap.never_marked()
        };
        let (mut ram, mut first) = (filled(), with(&[0x100, 0x200, 0x300]));
        mark(&mut first, 2, [0]);
        let suspects = Suspects::of(&first, &ram);
        ram.put((8 << 12) + 4088, 1);
        let mut second = with(&[0x080, 0x100, 0x200, 0x300]);
        mark(&mut second, 2, [3]);
        suspects.confirm(&mut second, &ram);
        assert_eq!(whites(&second, 2), [2], "0x200: lost in both snapshots, third in its row now");
        assert_eq!((whites(&second, 0), whites(&second, 1)), (vec![], vec![0]));
    }

    #[test]
    fn only_what_is_lost_in_both_looks_stays_lost() {
        let mut ram = Ram::new(16);
        let mut first = ram.heap(&[(4, 0), (6, 1)]);
        first.reach(Object { slab: 0, index: 1 });
        let suspects = Suspects::of(&first, &ram);
        let written = first.object_va(Object { slab: 0, index: 40 }).0;
        ram.put_va(written + 16, 1);
        let mut second = ram.heap(&[(4, 0), (5, 0), (6, 0)]);
        second.reach(Object { slab: 0, index: 2 });
        suspects.confirm(&mut second, &ram);
        let white = |slab, index| second.is_white(Object { slab, index });
        assert!(white(0, 0) && white(0, 63));
        assert!(!white(0, 40), "somebody wrote to it");
        assert!(white(0, 39) && white(0, 41));
        assert!(!white(0, 1), "reached in the first snapshot");
        assert!(!white(0, 2), "reached in the second snapshot");
        assert!(!white(1, 0), "a slab that was not there");
        assert!(!white(2, 0), "the page belongs to another cache now");
    }
}
