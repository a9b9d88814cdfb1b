//! Weighs the places that lead to suspects: which of them are holders, and which lead there by chance.
//!
//! Hits that lie close together are a table with slots at equal distances; hits in small slab objects are a field
//! of their cache. All slots of it are read, those that lead nowhere too.
//!
//! A table of ascending numbers, such as an index or a table of offsets, matches nearly every object in a range of
//! addresses. If most of that range was lost, nearly every number matches a suspect, and so would the numbers between.
//! Real references differ: the next higher value points to another offset in the object, or nearly all values have the
//! same alignment.

use std::collections::{HashMap, HashSet};

use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pfn, Va, VaRange};

use super::reader::Reader;
use super::scan::Hit;
use super::shapes::{Encoding, Space, long};
use super::wanted::Wanted;
use super::{Holder, MIN_FOUND, MIN_PRECISION_PERCENT, Place, Question, TIMES_CHANCE};
use crate::bit_set::BitSet;
use crate::{Class, Object, never_followed};

/// Hits further apart are of two tables.
const FAR: u64 = 4096;
/// Tables that lie close together.
const MOST_TABLES: usize = 8;
/// So many slots of a table are unused between two that are used, or so many bytes.
const GAP_SLOTS: u64 = 64;
const GAP_BYTES: u64 = 256;
/// Fields of one cache that are weighed.
const MOST_FIELDS: usize = 16;
/// One in so many slots of a table are looked at beside it, before and behind.
const BESIDE: u64 = 3;
/// Bytes of a table that are read at once.
const WINDOW: u64 = 64 << 10;
/// By how many pages the suspects are moved, to see what leads to them by chance.
const MOVED_PAGES: [u64; 4] = [0x1003, 0x2851, 0x5009, 0x9031];
/// Sample sizes, in slabs. A field of a larger cache is weighed in the smallest sample first, and in the next one if
/// the result is not conclusive. Weighing all slabs of a huge cache takes minutes, and in most fields only random
/// values happen to match addresses of suspects.
const TRIED_SLABS: [usize; 3] = [1 << 10, 1 << 13, 1 << 16];
/// A sample is conclusive if it has at least this many slots, or at least this many random matches.
const TELLING_SLOTS: u64 = 1 << 12;
const TELLING_CHANCE: u64 = 16;
/// Addresses of buffers are congruent modulo this many units of their encoding, or modulo a page. Offsets relative to
/// the slot are not, because slots are closer together.
const ALIGNED_STEPS: u64 = 64;
/// Offsets in an object are compared in words.
const WORD: u64 = 8;
/// Objects that are asked what they have in common, and of a hundred so many must have it.
const ASKED: usize = 64;
const COMMON_PERCENT: usize = 90;

/// Where slots lie.
#[derive(Clone, Copy)]
enum Slots {
    /// At equal distances; so many bytes of slots beside it tell whether it is a table of its own.
    Table { first: Va, last: Va, stride: u64, beside: [u64; 2] },
    /// A field of a cache's objects; where they have different uses, only of those that have this word there.
    Field { cache: u16, offset: u32, sample: Object, common: Option<(usize, u64)> },
}

/// The holders among the places; the suspects that they lead to are added to `suspects`.
pub(super) fn holders<'a>(
    question: &'a Question<'a>,
    wanted: &'a Wanted,
    mut hits: Vec<Hit>,
    suspects: &mut BitSet,
) -> Vec<Holder> {
    hits.sort_unstable_by_key(|hit| (hit.encoding, hit.at));
    // Damaged slabs overlap, and what lies in both was seen twice.
    hits.dedup_by_key(|hit| (hit.encoding, hit.at));
    let mut scale =
        Scale { question, wanted, space: Space::of(question.heap), reader: Reader::new(question) };
    let owner = |hit: &Hit| question.heap.find_object(hit.at.0);
    let is_near = |one: &Hit, next: &Hit| {
        one.encoding == next.encoding && next.at.0 - one.at.0 <= FAR && owner(one) == owner(next)
    };
    let parts = hits.chunk_by(is_near).filter(|hits| hits.len() >= MIN_FOUND);
    let tables = parts.flat_map(|hits| {
        let around = around(question, hits);
        let widened = move |(slots, many): (Slots, u64)| slots.widened(many, around);
        tables(hits).into_iter().map(move |table| (hits[0].encoding, widened(table)))
    });
    let fields = fields(question, &hits);
    let places: Vec<_> = tables.chain(fields).collect();
    let weigh = |(encoding, slots)| scale.weigh(encoding, slots, suspects);
    places.into_iter().filter_map(weigh).collect()
}

/// The tables that hits close together lie in, and how many hits each has: those of most hits first.
fn tables(hits: &[Hit]) -> Vec<(Slots, u64)> {
    let mut places: Vec<u64> = hits.iter().map(|hit| hit.at.0).collect();
    let mut tables = Vec::new();
    while places.len() >= MIN_FOUND && tables.len() < MOST_TABLES {
        let Some((stride, inside)) = table(&places) else { break };
        if inside.len() < MIN_FOUND {
            break;
        }
        let (first, last) = (inside[0], inside[inside.len() - 1]);
        places.retain(|at| !(first..=last).contains(at) || at % stride != first % stride);
        let (first, last) = (Va(first), Va(last));
        tables.push((Slots::Table { first, last, stride, beside: [0; 2] }, inside.len() as u64));
    }
    tables
}

/// The distance of the slots that most of the places lie in, and the longest row of such places without a large gap.
fn table(places: &[u64]) -> Option<(u64, Vec<u64>)> {
    let stride = most_frequent(places.windows(2).map(|pair| pair[1] - pair[0]))?;
    let phase = most_frequent(places.iter().map(|at| at % stride))?;
    let inside: Vec<u64> = places.iter().copied().filter(|at| at % stride == phase).collect();
    let rows = inside.chunk_by(|one, next| next - one <= (stride * GAP_SLOTS).max(GAP_BYTES));
    rows.max_by_key(|row| row.len()).map(|row| (stride, row.to_vec()))
}

/// The memory that a table may lie in: the object, else the pages.
fn around(question: &Question<'_>, hits: &[Hit]) -> VaRange {
    let heap = question.heap;
    let (first, last) = (hits[0].at, hits[hits.len() - 1].at);
    match heap.find_object(first.0) {
        Some(object) => VaRange::new(heap.object_va(object), heap.object_bytes(object)),
        None => VaRange::between(
            Va(first.0 / PAGE_SIZE * PAGE_SIZE),
            Va((last.0 / PAGE_SIZE + 1).saturating_mul(PAGE_SIZE)),
        ),
    }
}

/// The one that there are most of; of several the least.
fn most_frequent<T: Copy + Ord + std::hash::Hash>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: HashMap<T, u64> = HashMap::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    let best = counts.into_iter().max_by_key(|(one, many)| (*many, std::cmp::Reverse(*one)));
    best.map(|(one, _)| one)
}

/// The fields of caches that enough hits lie in.
fn fields(question: &Question<'_>, hits: &[Hit]) -> Vec<(Encoding, Slots)> {
    let heap = question.heap;
    let mut by_field: HashMap<(u16, Encoding, u32), Vec<Object>> = HashMap::new();
    for hit in hits {
        let Some(object) = heap.find_object(hit.at.0) else { continue };
        let cache = heap.cache_of(object);
        if cache.class == Class::Slab {
            let offset = (hit.at.0 - heap.object_va(object).0) as u32;
            let key = (heap.slabs[object.slab as usize].cache, hit.encoding, offset);
            by_field.entry(key).or_default().push(object);
        }
    }
    let mut fields: Vec<_> = by_field.into_iter().filter(|(_, at)| at.len() >= MIN_FOUND).collect();
    fields.sort_unstable_by_key(|(key, at)| (key.0, std::cmp::Reverse(at.len()), *key));
    let mut of_cache: HashMap<u16, usize> = HashMap::new();
    fields.retain(|(key, _)| {
        let seen = of_cache.entry(key.0).or_default();
        *seen += 1;
        *seen <= MOST_FIELDS
    });
    let slots = |((cache, encoding, offset), objects): (_, Vec<Object>)| {
        let common = common_word(question, &objects, offset as usize / 8 * 8);
        (encoding, Slots::Field { cache, offset, sample: objects[0], common })
    };
    fields.into_iter().map(slots).collect()
}

/// A word that nearly all of some objects have in the same place, beside the field itself: their type, their
/// operations.
fn common_word(question: &Question<'_>, objects: &[Object], own: usize) -> Option<(usize, u64)> {
    let heap = question.heap;
    let size = heap.cache_of(*objects.first()?).object_size as usize;
    let asked = objects.iter().step_by(objects.len().div_ceil(ASKED));
    let contents: Vec<Vec<u8>> = asked
        .filter_map(|object| {
            let mut raw = vec![0; size];
            question.readers.memory().read(heap.object_va(*object), &mut raw).ok().map(|()| raw)
        })
        .collect();
    let common = |at: usize| {
        let words = || contents.iter().filter_map(|raw| long(raw, at));
        let word = most_frequent(words().filter(|word| *word != 0))?;
        let many = words().filter(|one| *one == word).count();
        (many * 100 >= contents.len() * COMMON_PERCENT).then_some((at, word))
    };
    (0..size.saturating_sub(7)).step_by(8).filter(|at| at.abs_diff(own) > 8).find_map(common)
}

struct Scale<'a> {
    question: &'a Question<'a>,
    wanted: &'a Wanted,
    space: Space,
    reader: Reader<'a>,
}

/// What the slots of a place lead to.
struct Weight {
    slots: u64,
    hits: u64,
    by_chance: [u64; MOVED_PAGES.len()],
    /// Suspects, by cache and by where in them the slots lead to.
    suspects: HashMap<(u16, u64), u64>,
    /// How many of these also match with the next lower or next higher value.
    beside: HashMap<(u16, u64), u64>,
    /// How many slots have each remainder modulo [`ALIGNED_STEPS`].
    off: [u64; ALIGNED_STEPS as usize],
}

impl Weight {
    fn new() -> Weight {
        Weight {
            slots: 0,
            hits: 0,
            by_chance: [0; MOVED_PAGES.len()],
            suspects: HashMap::new(),
            beside: HashMap::new(),
            off: [0; ALIGNED_STEPS as usize],
        }
    }

    fn by_chance(&self) -> u64 {
        self.by_chance.into_iter().max().unwrap_or(0)
    }

    /// How many slots would match this offset even if they were arbitrary numbers of the same magnitude.
    fn by_numbers(&self, place: (u16, u64)) -> u64 {
        let aligned = self.off.into_iter().max().unwrap_or(0);
        match aligned * 100 >= self.slots * COMMON_PERCENT as u64 {
            true => 0,
            false => self.beside.get(&place).copied().unwrap_or(0),
        }
    }
}

impl Scale<'_> {
    /// The place as a holder, if it is one.
    fn weigh(&mut self, encoding: Encoding, slots: Slots, suspects: &mut BitSet) -> Option<Holder> {
        if self.is_hopeless(encoding, slots) {
            return None;
        }
        let mut weight = Weight::new();
        self.each_slot(encoding, slots.with_beside(), |scale, raw| {
            scale.add(&mut weight, encoding, raw)
        });
        let ((cache, offset), many) =
            weight.suspects.iter().max_by_key(|(key, many)| (**many, **key))?;
        let (best, many) = ((*cache, *offset), *many);
        let by_chance = (weight.by_chance() * self.wanted.every).max(weight.by_numbers(best));
        let is_precise = weight.hits * 100 >= weight.slots * MIN_PRECISION_PERCENT;
        if !is_precise || many < MIN_FOUND as u64 || many < by_chance * TIMES_CHANCE {
            return None;
        }
        let mut distinct = HashSet::new();
        self.each_slot(encoding, slots, |scale, raw| {
            let suspect = scale.suspect(encoding, raw).filter(|(_, key)| *key == best);
            if let Some((object, _)) = suspect.filter(|_| distinct.len() < MIN_FOUND) {
                distinct.insert(object);
            }
        });
        if distinct.len() < MIN_FOUND {
            return None;
        }
        let mut found: HashMap<u16, u64> = HashMap::new();
        self.each_slot(encoding, slots, |scale, raw| {
            // Other caches' objects are held from the same place in another offset.
            let Some((object, key)) = scale.suspect(encoding, raw) else { return };
            let bit = scale.question.heap.bit(object);
            if weight.suspects[&key] >= MIN_FOUND as u64 && !suspects.has(bit) {
                suspects.add(bit);
                *found.entry(key.0).or_default() += 1;
            }
        });
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_unstable();
        let Weight { slots: used, hits, .. } = weight;
        let (shape, place) = (encoding.shape(), slots.place());
        (!found.is_empty()).then_some(Holder { shape, place, slots: used, hits, by_chance, found })
    }

    /// Whether a field of a cache is no holder, by some of its slabs: it is not half as good as it must be.
    fn is_hopeless(&mut self, encoding: Encoding, slots: Slots) -> bool {
        let Slots::Field { cache, offset, common, .. } = slots else { return false };
        let slabs = self.question.heap.slabs.iter().filter(|slab| slab.cache == cache).count();
        TRIED_SLABS.into_iter().take_while(|tried| slabs >= 2 * tried).any(|tried| {
            let mut weight = Weight::new();
            self.each_field(cache, offset, common, slabs / tried, |scale, raw| {
                scale.add(&mut weight, encoding, raw);
            });
            let most = weight.suspects.values().max().copied().unwrap_or(0);
            let by_chance = weight.by_chance() * self.wanted.every;
            let is_imprecise = weight.hits * 100 * 2 < weight.slots * MIN_PRECISION_PERCENT;
            weight.slots >= TELLING_SLOTS && is_imprecise
                || by_chance >= TELLING_CHANCE && most * 2 < by_chance * TIMES_CHANCE
        })
    }

    /// Takes one slot into account.
    fn add(&self, weight: &mut Weight, encoding: Encoding, raw: &[u8]) {
        let used = raw.get(..encoding.bytes()).is_some_and(|raw| raw.iter().any(|byte| *byte != 0));
        if !used {
            return;
        }
        weight.slots += 1;
        let heap = self.question.heap;
        let Some(address) = self.space.decode(encoding, raw) else { return };
        let step = encoding.step();
        if let Some(step) = step {
            let number = address.wrapping_sub(heap.page_offset().0) / step;
            let steps = ALIGNED_STEPS.min(PAGE_SIZE / step);
            weight.off[(number % steps) as usize] += 1;
        }
        match heap.find_object(address) {
            Some(object) => {
                let cache = heap.slabs[object.slab as usize].cache;
                weight.hits +=
                    u64::from(heap.is_live(object) && self.question.caches.contains(&cache));
                if let Some((_, key)) = self.suspect_at(address) {
                    *weight.suspects.entry(key).or_default() += 1;
                    let beside = step.is_some_and(|step| self.is_beside(address, step, key));
                    *weight.beside.entry(key).or_default() += u64::from(beside);
                }
            }
            None => {
                let page = address.wrapping_sub(heap.page_offset().0) >> PAGE_SHIFT;
                if !heap.is_slab_page(Pfn(page)) {
                    let moved = MOVED_PAGES.map(|pages| address.wrapping_sub(pages << PAGE_SHIFT));
                    for (count, moved) in weight.by_chance.iter_mut().zip(moved) {
                        *count += u64::from(self.wanted.find(heap, moved).is_some());
                    }
                }
            }
        }
    }

    /// Whether the next lower or next higher value points to the same offset of a suspect.
    fn is_beside(&self, address: u64, step: u64, place: (u16, u64)) -> bool {
        let step = step.max(WORD);
        let leads = |at| self.suspect_at(at).is_some_and(|(_, other)| other == place);
        leads(address.wrapping_sub(step)) || leads(address.wrapping_add(step))
    }

    fn suspect(&self, encoding: Encoding, raw: &[u8]) -> Option<(Object, (u16, u64))> {
        self.suspect_at(self.space.decode(encoding, raw)?)
    }

    /// The accused object that an address leads to, its cache, and where in it; low bits may be flags, and
    /// a block of pages is used from anywhere in it.
    fn suspect_at(&self, address: u64) -> Option<(Object, (u16, u64))> {
        let heap = self.question.heap;
        let object = heap.find_object(address).filter(|object| heap.is_white(*object))?;
        let cache = heap.slabs[object.slab as usize].cache;
        let offset = match heap.cache_of(object).class {
            Class::Slab => address.wrapping_sub(heap.object_va(object).0) & !7,
            _ => 0,
        };
        self.question.caches.contains(&cache).then_some((object, (cache, offset)))
    }

    fn each_slot(&mut self, encoding: Encoding, slots: Slots, mut each: impl FnMut(&Self, &[u8])) {
        match slots {
            Slots::Table { first, last, stride, .. } => {
                let many = (WINDOW / stride).max(1);
                let end = last.at(encoding.reach());
                let mut at = first;
                while at <= last {
                    let next = at.at(many * stride);
                    let window = VaRange::between(at, end.min(next.at(encoding.reach())));
                    let raw = self.reader.read(window).to_vec();
                    let used = raw.len().min((many * stride) as usize);
                    (0..used).step_by(stride as usize).for_each(|slot| each(self, &raw[slot..]));
                    at = next;
                }
            }
            Slots::Field { cache, offset, common, .. } => {
                self.each_field(cache, offset, common, 1, each);
            }
        }
    }

    /// The slots of a field, in one of so many slabs.
    fn each_field(
        &mut self,
        cache: u16,
        offset: u32,
        common: Option<(usize, u64)>,
        every: usize,
        mut each: impl FnMut(&Self, &[u8]),
    ) {
        let heap = self.question.heap;
        let info = &heap.caches[usize::from(cache)];
        let size = info.object_size.min(info.stride - info.left_pad) as usize;
        let slabs = (0..).zip(&heap.slabs).filter(|(_, place)| place.cache == cache);
        for (slab, place) in slabs.step_by(every) {
            let raw = self.reader.read(VaRange::new(heap.slab_va(place), place.bytes())).to_vec();
            let passed_over = heap.never_followed.of_slab(slab);
            heap.for_each_live(slab, |index| {
                let object = Object { slab, index };
                let at = usize::from(index) * info.stride as usize + info.left_pad as usize;
                let raw = raw.get(at..at + size).unwrap_or_default();
                let is_alike = common.is_none_or(|(at, word)| long(raw, at) == Some(word));
                let counts = !heap.is_white(object) && !never_followed::has(passed_over, object);
                if let Some(raw) = raw.get(offset as usize..).filter(|_| is_alike && counts) {
                    each(self, raw);
                }
            });
        }
    }
}

impl Slots {
    /// The table, and how many bytes of slots before and behind it are looked at as well: numbers that ascend are
    /// addresses for a while.
    fn widened(self, many: u64, around: VaRange) -> Slots {
        let Slots::Table { first, last, stride, .. } = self else { return self };
        let more = (many / BESIDE).max(MIN_FOUND as u64) * stride;
        let before = (first.0 - around.start().0.min(first.0)).min(more) / stride * stride;
        let behind = around.end().0.saturating_sub(last.0 + stride).min(more) / stride * stride;
        Slots::Table { first, last, stride, beside: [before, behind] }
    }

    /// The same with the slots beside it.
    fn with_beside(self) -> Slots {
        let Slots::Table { first, last, stride, beside: [before, behind] } = self else {
            return self;
        };
        let (first, last) = (Va(first.0 - before), last.at(behind));
        Slots::Table { first, last, stride, beside: [0; 2] }
    }

    fn place(self) -> Place {
        match self {
            Slots::Table { first, last, stride, .. } => {
                Place::Memory(VaRange::between(first, last.at(stride)))
            }
            Slots::Field { cache, offset, sample, .. } => Place::Field(cache, offset, sample),
        }
    }
}
