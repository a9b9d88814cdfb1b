//! One pass over memory in use: every place that may lead to a suspect, in any of the shapes.
//!
//! Most of memory is dismissed a block at a time, without a branch, whatever lies in it. Which objects the other blocks
//! are part of is asked only then, and they are decoded place by place.
//!
//! **Invariant:** no place in free memory, in a lost object, or in memory that is left out becomes a hit.

use std::ops::Range;

use sysak_base::{PAGE_SIZE, Ranges, Va, VaRange};

use super::Question;
use super::filter::{BEYOND, BLOCK, Filter, bits};
use super::reader::Reader;
use super::shapes::{Encoding, OFFSET_PLACES, SHIFTS, Space, WIDEST, long, short};
use super::wanted::Wanted;
use crate::states::States;
use crate::{Class, Object, never_followed};

/// More places of one width than this are not kept: 24 MiB. Of one part of memory as many as it has words.
const MOST_HITS: usize = 1 << 20;
const MOST_HITS_OF_PART: usize = 1 << 17;
/// Of numbers of 32 bits many are an address by chance: so many on a page are needed, and such a share of all on it.
const DENSE: usize = 16;
const DENSE_SHARE: usize = 8;
/// Bytes of a page.
const PAGE: usize = PAGE_SIZE as usize;

/// A place that leads to a suspect.
#[derive(Clone, Copy)]
pub(super) struct Hit {
    pub(super) at: Va,
    pub(super) encoding: Encoding,
    pub(super) to: Object,
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Scanned {
    /// By the width of the references.
    pub(super) wide: Vec<Hit>,
    pub(super) narrow: Vec<Hit>,
    pub(super) bytes: u64,
    pub(super) interrupted: bool,
}

impl Scanned {
    /// Adds what was found elsewhere.
    pub(super) fn add(&mut self, more: Scanned) {
        let add = |hits: &mut Vec<Hit>, more: Vec<Hit>| {
            let room = MOST_HITS - hits.len();
            hits.extend(more.into_iter().take(room));
        };
        add(&mut self.wide, more.wide);
        add(&mut self.narrow, more.narrow);
        self.bytes += more.bytes;
        self.interrupted |= more.interrupted;
    }
}

/// The blocks of a page that may hold references to suspects, one bit for each block, by the width of the reference.
#[derive(Clone, Copy, Default)]
struct Blocks {
    wide: u64,
    narrow: u64,
}

impl Blocks {
    fn is_empty(self) -> bool {
        self.wide | self.narrow == 0
    }

    /// Those that some places of a page are part of, where blocks begin with the page.
    fn around(self, places: &Range<usize>) -> Blocks {
        let (first, last) = (places.start / BLOCK, places.end.saturating_sub(1) / BLOCK);
        let mask = u64::MAX << first & u64::MAX >> (63 - last);
        Blocks { wide: self.wide & mask, narrow: self.narrow & mask }
    }
}

/// Looks through memory.
pub(super) struct Scanner<'a> {
    question: &'a Question<'a>,
    wanted: &'a Wanted,
    filter: &'a Filter<'a>,
    space: Space,
    left_out: &'a Ranges,
    pending: Vec<Hit>,
    done: &'a mut Scanned,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(
        question: &'a Question<'a>,
        wanted: &'a Wanted,
        filter: &'a Filter<'a>,
        left_out: &'a Ranges,
        done: &'a mut Scanned,
    ) -> Scanner<'a> {
        Scanner {
            question,
            wanted,
            filter,
            space: Space::of(question.heap),
            left_out,
            pending: Vec::new(),
            done,
        }
    }

    /// The objects of some slabs that were reached; where states are given, only those that were not in them.
    pub(super) fn slabs(&mut self, slabs: Range<u32>, since: Option<&States>) {
        let (mut reader, mut pages) = (Reader::new(self.question), Vec::new());
        self.done.interrupted |= self.question.cancel.is_set();
        if !self.done.interrupted {
            slabs
                .filter(|slab| self.question.heap.has_reached(since, *slab))
                .for_each(|slab| self.slab(slab, since, &mut reader, &mut pages));
        }
    }

    /// Some roots.
    pub(super) fn roots(&mut self, ranges: &[VaRange]) {
        let mut reader = Reader::new(self.question);
        ranges.iter().for_each(|range| self.region(*range, &mut reader));
    }

    fn region(&mut self, range: VaRange, reader: &mut Reader<'_>) {
        let most = (self.question.readers.memory().best_read_bytes() as u64).max(PAGE_SIZE);
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

    /// Scans what lies at an address, but for words that are left out.
    fn bytes(&mut self, at: Va, raw: &[u8]) {
        for page in VaRange::new(at, raw.len() as u64).pages() {
            let raw = &raw[(page.start().0 - at.0) as usize..];
            let bytes = page.bytes() as usize;
            self.done.bytes += page.bytes();
            let blocks = self.blocks(page.start(), raw, bytes);
            if !blocks.is_empty() {
                // References may reach into the next page.
                let reach = (bytes + WIDEST).min(raw.len());
                self.in_use(page.start(), &raw[..reach], 0..bytes, blocks);
            }
        }
    }

    /// Objects of a slab that were reached, a block or an area; per-CPU memory is among the roots.
    fn slab(
        &mut self,
        slab: u32,
        since: Option<&States>,
        reader: &mut Reader<'_>,
        pages: &mut Vec<Blocks>,
    ) {
        let heap = self.question.heap;
        let place = heap.slabs[slab as usize];
        let range = VaRange::new(heap.slab_va(&place), place.bytes());
        match heap.caches[usize::from(place.cache)].class {
            Class::PerCpu => {}
            Class::Page | Class::Vmalloc => {
                let passed_over = heap.never_followed.of_slab(slab);
                if !never_followed::has(passed_over, Object { slab, index: 0 }) {
                    self.region(range, reader);
                }
            }
            Class::Slab => self.objects(slab, since, reader.read(range), pages),
        }
    }

    /// The same of a slab with these bytes.
    fn objects(&mut self, slab: u32, since: Option<&States>, raw: &[u8], pages: &mut Vec<Blocks>) {
        let heap = self.question.heap;
        let place = &heap.slabs[slab as usize];
        let range = VaRange::new(heap.slab_va(place), place.bytes());
        pages.clear();
        for (at, from) in (range.start().0..).step_by(PAGE).zip((0..raw.len()).step_by(PAGE)) {
            pages.push(self.blocks(Va(at), &raw[from..], PAGE.min(raw.len() - from)));
        }
        self.done.bytes += raw.len() as u64;
        if pages.iter().all(|blocks| blocks.is_empty()) {
            return;
        }
        let cache = &heap.caches[usize::from(place.cache)];
        let (stride, pad) = (cache.stride as usize, cache.left_pad as usize);
        let size = (cache.object_size as usize).min(stride - pad);
        let passed_over = heap.never_followed.of_slab(slab);
        heap.for_each_reached(since, slab, |index| {
            let start = usize::from(index) * stride + pad;
            let end = start + size;
            if end > raw.len() || never_followed::has(passed_over, Object { slab, index }) {
                return;
            }
            for (page, blocks) in
                pages.iter().enumerate().take(end.div_ceil(PAGE)).skip(start / PAGE)
            {
                let from = page * PAGE;
                let places = start.max(from) - from..end.min(from + PAGE) - from;
                let blocks = blocks.around(&places);
                if !blocks.is_empty() {
                    let reach = end.min(from + PAGE + WIDEST);
                    self.in_use(range.start().at(from as u64), &raw[from..reach], places, blocks);
                }
            }
        });
    }

    /// Which blocks of a page may hold references to suspects. `raw` may be longer than the page's `bytes`.
    fn blocks(&self, at: Va, raw: &[u8], bytes: usize) -> Blocks {
        let (mut found, mut narrow) = (Blocks::default(), 0);
        for (index, from) in (to_a_word(at)..bytes).step_by(BLOCK).enumerate() {
            let rest = &raw[from..];
            let mut padded = [0; BLOCK + BEYOND];
            let block = rest.first_chunk().unwrap_or_else(|| {
                padded[..rest.len()].copy_from_slice(rest);
                &padded
            });
            let may = self.filter.may(block);
            found.wide |= u64::from(may.wide) << index;
            found.narrow |= u64::from(may.narrow > 0) << index;
            narrow += may.narrow;
        }
        // Fewer are never kept.
        if narrow < DENSE {
            found.narrow = 0;
        }
        found
    }

    /// Decodes some places of a page that are in use, but for those that are left out. References end with `raw`.
    fn in_use(&mut self, at: Va, raw: &[u8], places: Range<usize>, blocks: Blocks) {
        let left_out = self.left_out;
        let whole = VaRange::between(at.at(places.start as u64), at.at(raw.len() as u64));
        for gap in left_out.gaps(whole) {
            let [start, end] = [gap.start(), gap.end()].map(|end| (end.0 - at.0) as usize);
            self.places(at, &raw[..end], start..end.min(places.end), blocks);
        }
    }

    fn places(&mut self, at: Va, raw: &[u8], places: Range<usize>, blocks: Blocks) {
        let first = to_a_word(at);
        let part = |index: u32| {
            let from = first + BLOCK * index as usize;
            (from, from.max(places.start)..(from + BLOCK).min(places.end))
        };
        for (from, part) in bits(blocks.wide).map(part) {
            self.wide(at, raw, from, part);
        }
        for (_, part) in bits(blocks.narrow).map(part) {
            let aligned = part.filter(|place| (place - first).is_multiple_of(4));
            aligned.for_each(|place| self.each(at, raw, place, SHIFTS.map(Encoding::Narrow)));
        }
        if !self.pending.is_empty() {
            self.keep_dense(raw.get(places).unwrap_or_default());
        }
    }

    /// Decodes some places of the block that starts `from` bytes behind `at`.
    fn wide(&mut self, at: Va, raw: &[u8], from: usize, places: Range<usize>) {
        let word = |place: usize| long(raw, place).unwrap_or_default();
        for place in (from..places.end).step_by(4).filter(|place| places.contains(place)) {
            self.each(at, raw, place, self.filter.physical(word(place)));
            if (place - from).is_multiple_of(8) {
                self.each(at, raw, place, self.filter.encoded(word(place)));
                if self.filter.may_be_page(word(place)) {
                    self.each(at, raw, place, (0..OFFSET_PLACES).map(Encoding::PageOffset));
                }
            }
        }
        for place in places.filter(|place| !(place - from).is_multiple_of(8)) {
            if self.filter.may_be_pointer(word(place)) {
                self.each(at, raw, place, [Encoding::Unaligned]);
            }
        }
    }

    /// A place in some encodings.
    #[inline]
    fn each(
        &mut self,
        at: Va,
        raw: &[u8],
        place: usize,
        encodings: impl IntoIterator<Item = Encoding>,
    ) {
        for encoding in encodings {
            let address = self.space.decode(encoding, raw.get(place..).unwrap_or_default());
            let heap = self.question.heap;
            if let Some(to) = address.and_then(|address| self.wanted.find(heap, address)) {
                let hits = match encoding {
                    Encoding::Narrow(_) => &mut self.pending,
                    _ => &mut self.done.wide,
                };
                if hits.len() < MOST_HITS_OF_PART {
                    hits.push(Hit { at: at.at(place as u64), encoding, to });
                }
            }
        }
    }

    /// Keeps what was found in part of a page where it is more than chance.
    fn keep_dense(&mut self, part: &[u8]) {
        if self.pending.len() >= DENSE {
            let used = (0..part.len()).step_by(4).filter(|at| short(part, *at) > Some(0)).count();
            for shift in SHIFTS.map(Encoding::Narrow) {
                let hits = self.pending.iter().filter(|hit| hit.encoding == shift);
                let many = hits.clone().count();
                if many >= DENSE && many * DENSE_SHARE >= used {
                    let room = MOST_HITS_OF_PART - self.done.narrow.len();
                    self.done.narrow.extend(hits.take(room));
                }
            }
        }
        self.pending.clear();
    }
}

/// Bytes to the next aligned word.
fn to_a_word(at: Va) -> usize {
    (at.0.wrapping_neg() % 8) as usize
}
