//! Similarity: the groups of objects of one cache with like content, biggest first.
//!
//! The groups are chosen from a sample: the most frequent fingerprints of a bounded number of objects, from all over
//! the cache. Then one pass over all objects counts each group exactly, and what is similar by bytes to the first
//! object of the biggest one, the template. A group that the sample may miss is too small to be worth a word.
//!
//! **Invariant:** the counts do not depend on how many threads read.

mod template;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use sysak_base::{Cancel, Memory, Progress, Readers, Va};
use sysak_heap::{Bits, Heap, Object, ObjectPlace};
use sysak_infer::fingerprint::{self, FrequentValues, Pattern};

pub use template::Template;

/// sysAK's measure: similar from this many percent of equal bytes.
pub const DEFAULT_SIMILARITY_PERCENT: u32 = 65;
/// Groups reported per cache.
const GROUPS: usize = 5;
/// Objects of a cache, and lost ones of it, that the groups are chosen from. Of a group that is one in 256 of them,
/// 4,096 are expected, and half of that is never seen.
const SAMPLE: u64 = 1 << 20;
/// Slabs that one thread reads in a row.
const SLABS: u32 = 256;

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

/// The memory that is read, and how progress is told and the work ended early.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The object graph.
    pub heap: &'a Heap,
    /// The kernel's memory, and how many threads read it.
    pub readers: Readers<'a>,
    /// Gets the progress.
    pub progress: &'a dyn Progress,
    /// Ends it early.
    pub cancel: &'a Cancel,
}

/// Groups the objects of the chosen caches.
pub fn group(
    context: Context<'_>,
    caches: &[Chosen],
    similarity_percent: u32,
) -> HashMap<u16, Similarity> {
    let slabs = Slabs::chosen(context.heap, caches);
    let caches = caches.iter().map(|chosen| {
        let white = frequent(context, chosen.cache, &slabs, Which::Lost);
        let live = frequent(context, chosen.cache, &slabs, Which::Live);
        Counted::new(context, chosen.cache, white.into_iter().chain(live), similarity_percent)
    });
    let caches = caches.collect();
    let (caches, finished) = count(context, caches, &slabs, Which::Live);
    caches.into_iter().map(|counted| counted.end(&slabs, !finished)).collect()
}

/// Groups the lost objects of some caches, and no others: of a group `objects` are `unreachable`.
pub fn group_lost(context: Context<'_>, caches: &[u16]) -> HashMap<u16, Similarity> {
    let all: Vec<Chosen> = caches.iter().map(|cache| Chosen { cache: *cache, every: 1 }).collect();
    let slabs = Slabs::chosen(context.heap, &all);
    let caches = caches.iter().map(|cache| {
        let white = frequent(context, *cache, &slabs, Which::Lost);
        Counted::new(context, *cache, white, DEFAULT_SIMILARITY_PERCENT)
    });
    let (caches, finished) = count(context, caches.collect(), &slabs, Which::Lost);
    caches.into_iter().map(|counted| counted.end(&slabs, !finished)).collect()
}

/// Which objects are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Lost,
    Live,
}

impl Which {
    fn count(self, heap: &Heap, slab: u32) -> u64 {
        let count = heap.count(slab);
        if self == Which::Lost { count.white } else { count.live }
    }
}

/// The slabs that are looked at, a bit each.
struct Slabs {
    chosen: Bits,
    /// The caches of which only some slabs are.
    sampled: HashSet<u16>,
}

impl Slabs {
    fn chosen(heap: &Heap, caches: &[Chosen]) -> Slabs {
        let mut chosen = Bits::default();
        chosen.grow(heap.slabs.len() as u64, false);
        let mut every = vec![0; heap.caches.len()];
        for one in caches {
            every[usize::from(one.cache)] = one.every.max(1);
        }
        let mut seen = vec![0u64; heap.caches.len()];
        for (index, slab) in (0..).zip(&heap.slabs) {
            let cache = usize::from(slab.cache);
            seen[cache] += 1;
            if every[cache] > 0 && seen[cache].is_multiple_of(every[cache]) {
                chosen.set(index);
            }
        }
        let sampled = caches.iter().filter(|one| one.every > 1).map(|one| one.cache).collect();
        Slabs { chosen, sampled }
    }

    /// Those of a cache.
    fn of<'a>(&'a self, heap: &'a Heap, cache: u16) -> impl Iterator<Item = u32> + 'a {
        let slabs = (0..).zip(&heap.slabs).filter(move |(_, slab)| slab.cache == cache);
        slabs.map(|(index, _)| index).filter(|index| self.chosen.test(u64::from(*index)))
    }
}

/// The most frequent fingerprints of a cache's objects, with a bearer of each, by a sample of them.
fn frequent(context: Context<'_>, cache: u16, slabs: &Slabs, which: Which) -> Vec<(u64, Object)> {
    let Context { heap, readers, cancel, .. } = context;
    let all: u64 = slabs.of(heap, cache).map(|slab| which.count(heap, slab)).sum();
    let mut values = FrequentValues::default();
    let mut scratch = Vec::new();
    let has_any = slabs.of(heap, cache).filter(|slab| which.count(heap, *slab) > 0);
    for (number, slab) in has_any.step_by(all.div_ceil(SAMPLE).max(1) as usize).enumerate() {
        if number.is_multiple_of(256) && cancel.is_set() {
            break;
        }
        let add = |object: Object, bytes: &[u8]| values.add(fingerprint::of(heap, bytes), object);
        for_each(heap, readers.memory(), slab, which, &mut scratch, add);
    }
    values.top(GROUPS)
}

/// Shows each of a slab's objects that are looked at.
fn for_each(
    heap: &Heap,
    memory: &dyn Memory,
    slab: u32,
    which: Which,
    scratch: &mut Vec<u8>,
    mut each: impl FnMut(Object, &[u8]),
) {
    let Some((start, bytes)) = heap.contents(slab) else { return };
    let Ok(bytes) = memory.view(start, bytes, scratch) else { return };
    let cache = &heap.caches[usize::from(heap.slabs[slab as usize].cache)];
    let (stride, pad) = (cache.stride as usize, cache.left_pad as usize);
    let size = (cache.object_size as usize).min(stride - pad);
    let show = |index: u16| {
        let at = usize::from(index) * stride + pad;
        each(Object { slab, index }, &bytes[at..at + size]);
    };
    match which {
        Which::Lost => heap.for_each_white(slab, show),
        Which::Live => heap.for_each_live(slab, show),
    }
}

/// A cache whose groups are being counted.
struct Counted {
    cache: u16,
    groups: Vec<Group>,
    patterns: Vec<Pattern>,
    template: Template,
    similar: u64,
}

/// What was counted in some slabs of one cache.
#[derive(Clone, Copy, Default)]
struct Counts {
    /// Of each group: objects, and lost ones.
    groups: [[u64; 2]; GROUPS],
    similar: u64,
}

impl Counts {
    fn add(&mut self, more: &Counts) {
        self.similar += more.similar;
        let (sums, more) = (self.groups.as_flattened_mut(), more.groups.as_flattened());
        sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
}

impl Counted {
    /// Takes the most frequent fingerprints as groups and the winner's bearer as template.
    fn new(
        context: Context<'_>,
        cache: u16,
        frequent: impl IntoIterator<Item = (u64, Object)>,
        similarity_percent: u32,
    ) -> Counted {
        let Context { heap, readers, .. } = context;
        let mut counted = Counted {
            cache,
            groups: Vec::new(),
            patterns: Vec::new(),
            template: Template::default(),
            similar: 0,
        };
        let info = &heap.caches[usize::from(cache)];
        let mut bytes = vec![0; info.object_size.min(info.stride - info.left_pad) as usize];
        for (_, object) in frequent {
            let at = heap.content_va(object);
            let can_read = at.is_some_and(|at| readers.memory().read(at, &mut bytes).is_ok());
            // Of a live kernel it may be another one by now.
            let fingerprint = fingerprint::of(heap, &bytes);
            let is_known = counted.groups.iter().any(|group| group.fingerprint == fingerprint);
            if !can_read || is_known || counted.groups.len() == GROUPS {
                continue;
            }
            counted.patterns.push(Pattern::of(heap, &bytes));
            let sample = heap.object_va(object);
            counted.groups.push(Group { fingerprint, objects: 0, unreachable: 0, sample });
            if counted.groups.len() == 1 {
                counted.template = Template::new(bytes.clone(), similarity_percent);
            }
        }
        counted
    }

    /// Counts the objects of one slab.
    fn slab(
        &self,
        heap: &Heap,
        memory: &dyn Memory,
        slab: u32,
        which: Which,
        kept: &mut Kept,
        counts: &mut Counts,
    ) {
        let Kept { scratch, candidates, pointers, places } = kept;
        candidates.clear();
        pointers.clear();
        places.clear();
        for_each(heap, memory, slab, which, scratch, |object, bytes| {
            for (group, pattern) in self.patterns.iter().enumerate() {
                if pattern.may_match(bytes, pointers) {
                    candidates.push((object, group));
                }
            }
            if which == Which::Live {
                counts.similar += u64::from(self.template.is_like(bytes));
            }
        });
        heap.places_of(pointers, places);
        let mut places = pointers.iter().copied().zip(places.iter().copied());
        for (object, group) in candidates {
            if self.patterns[*group].matches(heap, &mut places) {
                let [objects, lost] = &mut counts.groups[*group];
                *objects += 1;
                *lost += u64::from(heap.is_white(*object));
            }
        }
    }

    fn add(&mut self, counts: &Counts) {
        self.similar += counts.similar;
        for (group, [objects, lost]) in self.groups.iter_mut().zip(counts.groups) {
            group.objects += objects;
            group.unreachable += lost;
        }
    }

    fn end(self, slabs: &Slabs, interrupted: bool) -> (u16, Similarity) {
        let Counted { cache, mut groups, similar, .. } = self;
        groups.retain(|group| group.objects > 0);
        groups.sort_by_key(|group| Reverse((group.unreachable, group.objects)));
        let sampled = slabs.sampled.contains(&cache);
        (cache, Similarity { groups, similar, sampled, interrupted })
    }
}

/// What a thread keeps from one slab to the next.
#[derive(Default)]
struct Kept {
    scratch: Vec<u8>,
    /// Objects that may be of a group.
    candidates: Vec<(Object, usize)>,
    /// Their addresses, and where these lead.
    pointers: Vec<u64>,
    places: Vec<Option<ObjectPlace>>,
}

/// Counts the groups of all caches in one pass; false where it was ended early.
fn count(
    context: Context<'_>,
    mut caches: Vec<Counted>,
    slabs: &Slabs,
    which: Which,
) -> (Vec<Counted>, bool) {
    let Context { heap, readers, progress, cancel } = context;
    let mut position = vec![None; heap.caches.len()];
    for (at, counted) in caches.iter().enumerate() {
        position[usize::from(counted.cache)] = Some(at);
    }
    let all = heap.slabs.len() as u32;
    let parts = (0..all).step_by(SLABS as usize).take_while(|_| !cancel.is_set());
    let parts = parts.map(|first| first..all.min(first + SLABS));
    let mut finished = 0;
    let work = |memory: &dyn Memory, kept: &mut Kept, part: Range<u32>| {
        let mut counts = vec![Counts::default(); caches.len()];
        for slab in part.clone().filter(|slab| slabs.chosen.test(u64::from(*slab))) {
            let cache = heap.slabs[slab as usize].cache;
            if let Some(at) = position[usize::from(cache)]
                && which.count(heap, slab) > 0
            {
                caches[at].slab(heap, memory, slab, which, kept, &mut counts[at]);
            }
        }
        (part.end, counts)
    };
    let mut sums = vec![Counts::default(); caches.len()];
    readers.in_order(parts, work, |(end, counts)| {
        sums.iter_mut().zip(counts).for_each(|(sum, counts)| sum.add(&counts));
        finished = end;
        progress.tell(u64::from(end), u64::from(all));
    });
    caches.iter_mut().zip(&sums).for_each(|(counted, counts)| counted.add(counts));
    (caches, finished == all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use sysak_base::Quiet;
    use sysak_heap::testing::Ram;

    const ALL: [Chosen; 1] = [Chosen { cache: 0, every: 1 }];

    fn with_context<T>(
        heap: &Heap,
        ram: &Ram,
        threads: usize,
        ask: impl Fn(Context<'_>) -> T,
    ) -> T {
        let (readers, cancel) = (Readers::several(ram, threads), Cancel::default());
        ask(Context { heap, readers, progress: &Quiet, cancel: &cancel })
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
        let similarity = with_context(&heap, &ram, 1, |context| group(context, &ALL, 65));
        let similarity = &similarity[&0];
        assert_eq!((similarity.groups[0].objects, similarity.groups[0].unreachable), (20, 20));
        assert_eq!((similarity.groups[1].objects, similarity.groups[1].unreachable), (108, 0));
        assert_eq!(similarity.similar, 20);
        let lost = with_context(&heap, &ram, 1, |context| group_lost(context, &[0]));
        let lost: Vec<u64> = lost[&0].groups.iter().map(|group| group.unreachable).collect();
        assert_eq!(lost, [20]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

        #[test]
        fn groups_are_counted_as_by_the_fingerprint_of_each_object(
            kinds in vec(0..9usize, 128),
            reached in vec(any::<bool>(), 128),
            threads in 1..4usize,
        ) {
            let mut ram = Ram::new(16);
            let mut heap = ram.heap(&[(4, 0), (5, 0), (6, 1)]);
            let at = |slab, index| heap.object_va(Object { slab, index }).0;
            let words = [
                0, 7, u64::MAX - 3, 0xffff_ffff_8123_4567, 0xffff_ffff_8123_4568,
                at(0, 1), at(1, 9) + 8, at(2, 3), heap.page_offset().0 + 0xf000,
            ];
            let objects: Vec<Object> = (0..128u16)
                .map(|number| Object { slab: u32::from(number / 64), index: number % 64 })
                .collect();
            for ((object, kind), reached) in objects.iter().zip(&kinds).zip(&reached) {
                let va = heap.object_va(*object).0;
                ram.put_va(va, words[*kind]);
                ram.put_va(va + 16, words[8 - kind] & 0xffff_ffff_ffff);
                if *reached {
                    heap.reach(*object);
                }
            }
            let mut expected: HashMap<u64, [u64; 2]> = HashMap::new();
            for object in &objects {
                let mut bytes = [0; 64];
                ram.read(heap.object_va(*object), &mut bytes).unwrap();
                let [all, lost] = expected.entry(fingerprint::of(&heap, &bytes)).or_default();
                *all += 1;
                *lost += u64::from(heap.is_white(*object));
            }
            let found = with_context(&heap, &ram, threads, |context| group(context, &ALL, 65));
            let found = &found[&0].groups;
            prop_assert_eq!(found.len(), expected.len().min(GROUPS));
            for group in found {
                prop_assert_eq!([group.objects, group.unreachable], expected[&group.fingerprint]);
            }
            let most = expected.values().map(|[_, lost]| *lost).max().unwrap_or(0);
            prop_assert_eq!(found[0].unreachable, most);
            let lost = with_context(&heap, &ram, threads, |context| group_lost(context, &[0]));
            let counted = lost[&0].groups.iter().map(|group| group.unreachable).max();
            prop_assert_eq!(counted.unwrap_or(0), most);
        }
    }
}
