//! Similarity: the groups of objects of one cache with like content, biggest first.
//!
//! Linear: one pass fingerprints every live object and keeps the most frequent
//! ones, one more counts those exactly and counts what is similar by bytes to the
//! winner's first object, the template.

use std::collections::HashMap;

use sysak_base::{Cancel, Memory, Progress, Va};
use sysak_heap::{Heap, Object};
use sysak_infer::fingerprint::{self, FrequentValues, IdentityHash};

/// sysAK's measure: similar from this many percent of equal bytes.
pub const DEFAULT_SIMILARITY_PERCENT: u32 = 65;
/// Groups reported per cache.
const GROUPS: usize = 5;
/// Bytes that say nothing: what allocators and debug options fill memory with.
const FILL: [u8; 6] = [0x00, 0xff, 0xbb, 0xcc, 0x5a, 0x6a];

/// A cache whose objects are to be grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Index into the heap's caches.
    pub cache: u16,
    /// Only every so-many-th slab is looked at: 1 counts everything.
    pub every: u64,
}

/// Objects of one cache with like content.
#[derive(Clone, Debug)]
pub struct Group {
    /// What they have in common.
    pub fingerprint: u64,
    /// How many there are.
    pub objects: u64,
    /// How many of them nothing leads to.
    pub unreachable: u64,
    /// One of them.
    pub sample: Va,
}

/// What a cache holds.
#[derive(Clone, Debug, Default)]
pub struct Similarity {
    /// The biggest groups: by lost objects where there are any, else by objects.
    pub groups: Vec<Group>,
    /// Objects similar by bytes to the first group's sample.
    pub similar: u64,
    /// Whether only some of the slabs were looked at: the counts here are of those.
    pub sampled: bool,
    /// Whether it was ended early.
    pub interrupted: bool,
}

#[derive(Default)]
struct CacheCount {
    every: u64,
    slabs: u64,
    live: FrequentValues<Object>,
    white: FrequentValues<Object>,
    groups: Vec<Group>,
    index: HashMap<u64, usize, IdentityHash>,
    template: Vec<u8>,
    similar: u64,
}

/// Groups the objects of the chosen caches.
pub fn group(
    heap: &Heap,
    memory: &dyn Memory,
    caches: &[Chosen],
    similarity_percent: u32,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> HashMap<u16, Similarity> {
    let tally = |chosen: &Chosen| {
        (chosen.cache, CacheCount { every: chosen.every.max(1), ..CacheCount::default() })
    };
    let mut tallies: HashMap<u16, CacheCount> = caches.iter().map(tally).collect();
    let total = 2 * heap.slabs.len() as u64;
    let mut pass = Pass { heap, memory, progress, cancel, total, done: 0 };
    let finished = pass.run(&mut tallies, |tally, object, bytes| {
        let print = fingerprint::of(heap, bytes);
        tally.live.add(print, object);
        if heap.is_white(object) {
            tally.white.add(print, object);
        }
    });
    for tally in tallies.values_mut() {
        tally.choose(heap, memory);
    }
    let finished = finished
        && pass.run(&mut tallies, |tally, object, bytes| {
            if let Some(group) = tally.index.get(&fingerprint::of(heap, bytes)) {
                let group = &mut tally.groups[*group];
                group.objects += 1;
                group.unreachable += u64::from(heap.is_white(object));
            }
            tally.similar += u64::from(is_similar(&tally.template, bytes, similarity_percent));
        });
    let similarity = |tally: CacheCount| {
        let mut groups = tally.groups;
        groups.retain(|group| group.objects > 0);
        groups.sort_by_key(|g| std::cmp::Reverse((g.unreachable, g.objects)));
        let sampled = tally.every > 1;
        Similarity { groups, similar: tally.similar, sampled, interrupted: !finished }
    };
    tallies.into_iter().map(|(cache, tally)| (cache, similarity(tally))).collect()
}

impl CacheCount {
    /// Takes the most frequent fingerprints as groups and the winner's bearer as template.
    fn choose(&mut self, heap: &Heap, memory: &dyn Memory) {
        let chosen = self.white.top(GROUPS).into_iter().chain(self.live.top(GROUPS));
        for (fingerprint, object) in chosen {
            if self.groups.len() < GROUPS && !self.index.contains_key(&fingerprint) {
                self.index.insert(fingerprint, self.groups.len());
                let sample = heap.object_va(object);
                self.groups.push(Group { fingerprint, objects: 0, unreachable: 0, sample });
            }
        }
        if let Some(winner) = self.groups.first()
            && let Some(object) = heap.find_object(winner.sample.0)
        {
            let mut template = vec![0; heap.cache_of(object).object_size as usize];
            let at = heap.content_va(object);
            if at.is_some_and(|at| memory.read(at, &mut template).is_ok()) {
                self.template = template;
            }
        }
    }
}

struct Pass<'a> {
    heap: &'a Heap,
    memory: &'a dyn Memory,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    total: u64,
    done: u64,
}

impl Pass<'_> {
    /// Shows every live object of the chosen caches to `each`; false when cancelled.
    fn run(
        &mut self,
        tallies: &mut HashMap<u16, CacheCount>,
        mut each: impl FnMut(&mut CacheCount, Object, &[u8]),
    ) -> bool {
        let mut scratch = Vec::new();
        let mut chosen: Vec<Option<&mut CacheCount>> =
            (0..self.heap.caches.len()).map(|_| None).collect();
        for (cache, tally) in tallies {
            if let Some(place) = chosen.get_mut(usize::from(*cache)) {
                tally.slabs = 0;
                *place = Some(tally);
            }
        }
        for (index, slab) in self.heap.slabs.iter().enumerate() {
            self.done += 1;
            if self.done & 0xff == 0 {
                self.progress.tell(self.done, self.total);
                if self.cancel.is_set() {
                    return false;
                }
            }
            let Some(tally) = &mut chosen[usize::from(slab.cache)] else { continue };
            tally.slabs += 1;
            if tally.slabs % tally.every != 0 {
                continue;
            }
            let index = index as u32;
            let Some((start, bytes)) = self.heap.contents(index) else { continue };
            let Ok(bytes) = self.memory.view(start, bytes, &mut scratch) else { continue };
            let cache = &self.heap.caches[usize::from(slab.cache)];
            let (stride, pad) = (cache.stride as usize, cache.left_pad as usize);
            let size = (cache.object_size as usize).min(stride - pad);
            self.heap.for_each_live(index, |object| {
                let at = usize::from(object) * stride + pad;
                each(tally, Object { slab: index, index: object }, &bytes[at..at + size]);
            });
        }
        true
    }
}

/// sysAK's measure: of the bytes that are no fill in one of the two, at least this
/// percentage are equal. Two objects of nothing but fill are similar when equal.
pub fn is_similar(template: &[u8], bytes: &[u8], percent: u32) -> bool {
    if template.len() != bytes.len() {
        return false;
    }
    let (mut telling, mut equal) = (0u32, 0u32);
    for (a, b) in template.iter().zip(bytes) {
        let said = TELLS[usize::from(*a)] | TELLS[usize::from(*b)];
        telling += u32::from(said);
        equal += u32::from(said & u8::from(a == b));
    }
    if telling == 0 { template == bytes } else { equal * 100 >= percent * telling }
}

/// 1 for each byte that says something, 0 for fill.
const TELLS: [u8; 256] = {
    let mut tells = [1; 256];
    let mut at = 0;
    while at < FILL.len() {
        tells[FILL[at] as usize] = 0;
        at += 1;
    }
    tells
};

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::Quiet;
    use sysak_heap::testing::Ram;

    #[test]
    fn similarity_ignores_fill_on_both_sides() {
        let template = [1, 2, 3, 4, 0, 0, 0xcc, 0xff];
        assert!(is_similar(&template, &[1, 2, 3, 9, 0xcc, 0, 0, 0], 65), "3 of 4");
        assert!(!is_similar(&template, &[1, 2, 8, 9, 0, 0, 0, 0], 65), "2 of 4");
        assert!(!is_similar(&template, &[1, 2, 3, 4, 5, 6, 7, 0], 65), "4 of 7");
        assert!(!is_similar(&[0; 4], &[0xff; 4], 65));
        assert!(is_similar(&[0; 4], &[0; 4], 65));
    }

    #[test]
    fn the_biggest_group_of_lost_objects_comes_first() {
        let mut ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0), (5, 0)]);
        for index in 0..128u16 {
            let object = Object { slab: u32::from(index / 64), index: index % 64 };
            let va = heap.object_va(object).0;
            let lost = index < 20;
            ram.put_va(va, if lost { 0xffff_ffff_8123_4567 } else { 0xffff_ffff_8276_5410 });
            ram.put_va(va + 8, u64::from(index) + 1);
            if !lost {
                heap.reach(object);
            }
        }
        let similarity =
            group(&heap, &ram, &[Chosen { cache: 0, every: 1 }], 65, &Quiet, &Cancel::default());
        let similarity = &similarity[&0];
        assert_eq!((similarity.groups[0].objects, similarity.groups[0].unreachable), (20, 20));
        assert_eq!((similarity.groups[1].objects, similarity.groups[1].unreachable), (108, 0));
        assert_eq!(similarity.similar, 20);
    }
}
