//! One pass over memory in use: every place that may lead to a suspect, in any of the shapes.
//!
//! Most of memory is dismissed a block at a time, without a branch. What is left is decoded place by place.

use sysak_base::{PAGE_SIZE, Ranges, Va, VaRange};

use super::Question;
use super::filter::{BEYOND, BLOCK, Filter};
use super::reader::Reader;
use super::shapes::{self, Encoding, OFFSET_PLACES, SHIFTS, Space, Width, long, short};
use crate::marking::Roots;
use crate::{Class, Object, ObjectSet, never_followed};

/// Of more suspects, those of some slabs stand for all.
const MOST_SUSPECTS: u64 = 1 << 20;
/// More places than this are not kept: 24 MiB.
const MOST_HITS: usize = 1 << 20;
/// Of numbers of 32 bits many are an address by chance: so many on a page are needed, and such a share of all on it.
const DENSE: usize = 16;
const DENSE_SHARE: usize = 8;

/// The objects that references are looked for.
pub(super) struct Wanted<'a> {
    question: &'a Question<'a>,
    set: ObjectSet,
    /// Where they lie in the direct map.
    pub(super) linear: VaRange,
    /// Where they lie outside of it.
    pub(super) areas: VaRange,
    /// One in so many slabs is among them.
    pub(super) every: u64,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(question: &'a Question<'a>) -> Wanted<'a> {
        let heap = question.heap;
        let of_caches = || {
            let slabs = (0..).zip(&heap.slabs);
            let is_wanted = |slab: &u32| heap.count(*slab).white > 0;
            slabs
                .filter(|(_, slab)| question.caches.contains(&slab.cache))
                .map(|(index, _)| index)
                .filter(is_wanted)
        };
        let all: u64 = of_caches().map(|slab| heap.count(slab).white).sum();
        let every = all.div_ceil(MOST_SUSPECTS).max(1);
        let mut wanted = Wanted {
            question,
            set: ObjectSet::new(heap, []),
            linear: VaRange::default(),
            areas: VaRange::default(),
            every,
        };
        for slab in of_caches().step_by(every as usize) {
            let place = &heap.slabs[slab as usize];
            let range = match heap.caches[usize::from(place.cache)].class {
                Class::Slab | Class::Page => &mut wanted.linear,
                Class::Vmalloc => &mut wanted.areas,
                Class::PerCpu => continue,
            };
            *range = over(*range, VaRange::new(heap.slab_va(place), place.bytes()));
            heap.for_each_white(slab, |index| wanted.set.insert(heap, Object { slab, index }));
        }
        wanted
    }

    pub(super) fn is_empty(&self) -> bool {
        self.linear.is_empty() && self.areas.is_empty()
    }

    /// The suspect that an address leads to.
    #[inline]
    pub(super) fn find(&self, address: u64) -> Option<Object> {
        let is_near = self.linear.contains(Va(address)) || self.areas.contains(Va(address));
        if is_near { self.set.find(self.question.heap, address) } else { None }
    }
}

/// What reaches over both.
fn over(one: VaRange, other: VaRange) -> VaRange {
    if one.is_empty() {
        return other;
    }
    VaRange::between(one.start().min(other.start()), one.end().max(other.end()))
}

/// A place that leads to a suspect.
#[derive(Clone, Copy)]
pub(super) struct Hit {
    pub(super) at: Va,
    pub(super) encoding: Encoding,
}

/// What a scan gave.
#[derive(Default)]
pub(super) struct Scanned {
    pub(super) hits: Vec<Hit>,
    pub(super) bytes: u64,
    pub(super) interrupted: bool,
}

/// Scans the roots and all reachable objects.
pub(super) fn scan<'a>(
    question: &'a Question<'a>,
    wanted: &'a Wanted<'a>,
    roots: Roots<'_>,
    width: Width,
) -> Scanned {
    let left_out = roots.left_out;
    let mut scanner = Scanner {
        question,
        wanted,
        filter: Filter::new(question.heap, wanted.linear, wanted.areas),
        space: Space::of(question.heap),
        width,
        left_out,
        pending: Vec::new(),
        done: Scanned::default(),
    };
    let mut reader = Reader::new(question);
    for range in roots.memory(question.heap.page_offset()) {
        scanner.region(range, &mut reader);
        if scanner.done.interrupted {
            return scanner.done;
        }
    }
    for slab in 0..question.heap.slabs.len() as u32 {
        if slab.is_multiple_of(256) && question.cancel.is_set() {
            scanner.done.interrupted = true;
            break;
        }
        scanner.slab(slab, &mut reader);
    }
    scanner.done
}

struct Scanner<'a> {
    question: &'a Question<'a>,
    wanted: &'a Wanted<'a>,
    filter: Filter,
    space: Space,
    width: Width,
    left_out: &'a Ranges,
    pending: Vec<Hit>,
    done: Scanned,
}

impl Scanner<'_> {
    fn region(&mut self, range: VaRange, reader: &mut Reader<'_>) {
        let most = (self.question.memory.best_read_bytes() as u64).max(PAGE_SIZE);
        for piece in range.pieces(most) {
            if self.question.cancel.is_set() {
                self.done.interrupted = true;
                return;
            }
            match reader.read(piece) {
                [] if piece.bytes() > PAGE_SIZE => {
                    piece.pages().for_each(|page| self.bytes(page.start(), reader.read(page)));
                }
                raw => self.bytes(piece.start(), raw),
            }
        }
    }

    /// The reachable objects of a slab, a block or an area; per-CPU memory is among the roots.
    fn slab(&mut self, slab: u32, reader: &mut Reader<'_>) {
        let heap = self.question.heap;
        let place = heap.slabs[slab as usize];
        let cache = &heap.caches[usize::from(place.cache)];
        let passed_over = heap.never_followed.of_slab(slab);
        let counts = |index| {
            let object = Object { slab, index };
            !heap.is_white(object) && !never_followed::has(passed_over, object)
        };
        let range = VaRange::new(heap.slab_va(&place), place.bytes());
        match cache.class {
            Class::PerCpu => {}
            Class::Page | Class::Vmalloc => {
                if heap.is_live(Object { slab, index: 0 }) && counts(0) {
                    self.region(range, reader);
                }
            }
            Class::Slab => {
                let (stride, pad) = (cache.stride as usize, cache.left_pad as usize);
                let size = (cache.object_size as usize).min(stride - pad);
                let raw = reader.read(range);
                heap.for_each_live(slab, |index| {
                    let at = usize::from(index) * stride + pad;
                    if let Some(object) = raw.get(at..at + size).filter(|_| counts(index)) {
                        self.bytes(range.start().at(at as u64), object);
                    }
                });
            }
        }
    }

    /// Scans what lies at an address, but for words that are left out.
    fn bytes(&mut self, at: Va, raw: &[u8]) {
        let left_out = self.left_out;
        for gap in left_out.gaps(VaRange::new(at, raw.len() as u64)) {
            for page in gap.pages() {
                let (from, to) = (page.start().0 - at.0, page.end().0 - at.0);
                // References may reach into the next page.
                let end = (to as usize + shapes::WIDEST).min((gap.end().0 - at.0) as usize);
                self.page(page.start(), &raw[from as usize..end], page.bytes() as usize);
            }
        }
    }

    /// Scans up to one page; `raw` may go on behind it.
    fn page(&mut self, at: Va, raw: &[u8], bytes: usize) {
        self.done.bytes += bytes as u64;
        let first = (at.0.wrapping_neg() % 8) as usize;
        for from in (first..bytes).step_by(BLOCK) {
            let rest = &raw[from..];
            let may = match rest.first_chunk() {
                Some(block) => self.filter.may(block, self.width),
                None => {
                    let mut block = [0; BLOCK + BEYOND];
                    block[..rest.len()].copy_from_slice(rest);
                    self.filter.may(&block, self.width)
                }
            };
            if may {
                self.block(at.at(from as u64), rest, BLOCK.min(bytes - from));
            }
        }
        if self.width == Width::Narrow {
            self.keep_dense(&raw[..bytes]);
        }
    }

    /// Decodes every place of a block.
    fn block(&mut self, at: Va, raw: &[u8], bytes: usize) {
        for place in 0..bytes {
            let (at, raw) = (at.at(place as u64), &raw[place..]);
            match (self.width, place % 8) {
                (Width::Narrow, 0 | 4) => {
                    self.places(at, raw, &SHIFTS.map(Encoding::Narrow));
                }
                (Width::Narrow, _) => {}
                (Width::Wide, 0) => self.word(at, raw),
                (Width::Wide, 4) => {
                    use Encoding::{Halves, Physical, Unaligned};
                    self.places(at, raw, &[Unaligned, Physical, Halves]);
                }
                (Width::Wide, _) => self.place(at, raw, Encoding::Unaligned),
            }
        }
    }

    /// An aligned word.
    fn word(&mut self, at: Va, raw: &[u8]) {
        use Encoding::{Complement, Halves, PageOffset, Physical, Shifted, Tagged};
        self.places(at, raw, &[Physical, Halves, Complement, Shifted]);
        let Some(word) = long(raw, 0) else { return };
        // A whole pointer was followed already.
        if shapes::tagged(word) != word {
            self.place(at, raw, Tagged);
        }
        if self.space.page(word).is_some() {
            (0..OFFSET_PLACES).for_each(|place| self.place(at, raw, PageOffset(place)));
        }
    }

    fn places(&mut self, at: Va, raw: &[u8], encodings: &[Encoding]) {
        encodings.iter().for_each(|encoding| self.place(at, raw, *encoding));
    }

    #[inline]
    fn place(&mut self, at: Va, raw: &[u8], encoding: Encoding) {
        let address = self.space.decode(encoding, raw);
        if address.and_then(|address| self.wanted.find(address)).is_some() {
            let hits =
                if self.width == Width::Narrow { &mut self.pending } else { &mut self.done.hits };
            if hits.len() < MOST_HITS {
                hits.push(Hit { at, encoding });
            }
        }
    }

    /// Keeps what was found on a page where it is more than chance.
    fn keep_dense(&mut self, page: &[u8]) {
        if self.pending.len() >= DENSE {
            let used = (0..page.len()).step_by(4).filter(|at| short(page, *at) > Some(0)).count();
            for shift in SHIFTS.map(Encoding::Narrow) {
                let hits = self.pending.iter().filter(|hit| hit.encoding == shift);
                let many = hits.clone().count();
                if many >= DENSE && many * DENSE_SHARE >= used {
                    let room = MOST_HITS - self.done.hits.len();
                    self.done.hits.extend(hits.take(room));
                }
            }
        }
        self.pending.clear();
    }
}
