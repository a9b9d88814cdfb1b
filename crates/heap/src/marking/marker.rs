//! The work of one marking thread: it marks objects, and scans the contents of marked ones for pointers.

use std::marker::PhantomData;
use std::ops::Range;

use sysak_base::{Cancel, Memory, PAGE_SHIFT, PAGE_SIZE, Ranges, Va, VaRange};

use super::queue::Queue;
use super::{Done, Marked};
use crate::bits::Change;
use crate::{AddressFilter, Bits, Class, Heap, Hits, Object};

/// Slabs closer than this are read together: a gap of so many pages costs less to copy
/// than another read costs to begin.
const CLOSE_PAGES: u64 = 4;
/// Batches that one thread scans before it tells its progress.
const BATCHES: u32 = 64;
/// Bytes of an address.
const WORD: u64 = 8;

/// The object graph that is being marked.
#[derive(Clone, Copy)]
pub(super) struct Graph<'a> {
    pub heap: &'a Heap,
    pub queue: &'a Queue,
    pub left_out: &'a Ranges,
    /// A bit for each slab: whether some of its words are left out.
    pub partly_left_out: &'a Bits,
    /// A bit for each slab: whether it was found that it cannot be read.
    pub unreadable: &'a Bits,
    pub cancel: &'a Cancel,
}

/// What a thread keeps between two parts of its work.
#[derive(Default)]
pub(super) struct Kept {
    hits: Hits,
    grey: Vec<Range<u16>>,
    scratch: [Vec<u8>; 2],
}

/// One thread that marks: while no other one does, or together with others.
pub(super) struct Marker<'a, C> {
    graph: Graph<'a>,
    filter: AddressFilter,
    memory: &'a dyn Memory,
    hits: &'a mut Hits,
    grey: &'a mut Vec<Range<u16>>,
    scratch: &'a mut [Vec<u8>; 2],
    done: Marked,
    /// How many more slabs wait than at the beginning.
    waiting: i64,
    change: PhantomData<C>,
}

impl<'a, C: Change> Marker<'a, C> {
    pub(super) fn new(graph: Graph<'a>, memory: &'a dyn Memory, kept: &'a mut Kept) -> Self {
        let Kept { hits, grey, scratch } = kept;
        Marker {
            graph,
            filter: *graph.heap.address_filter(),
            memory,
            hits,
            grey,
            scratch,
            done: Marked::default(),
            waiting: 0,
            change: PhantomData,
        }
    }

    /// Ends this part of the work.
    pub(super) fn end(mut self) -> Done {
        self.follow();
        (self.done, self.waiting)
    }

    /// Marks every object of every slab.
    pub(super) fn all_slab_objects(&mut self) {
        let heap = self.graph.heap;
        for slab in 0..heap.slabs.len() as u32 {
            if self.class(slab) == Class::Slab {
                heap.for_each_live(slab, |index| {
                    self.take(heap.object_va(Object { slab, index }).0);
                });
            }
        }
    }

    /// Scans some memory.
    pub(super) fn ranges(&mut self, ranges: &[VaRange]) {
        let most = self.memory.best_read_bytes() as u64;
        let mut scratch = std::mem::take(&mut self.scratch[0]);
        for piece in ranges.iter().flat_map(|range| range.pieces(most)) {
            self.piece(piece, &mut scratch);
        }
        self.scratch[0] = scratch;
    }

    /// Scans some memory, page by page where it cannot be read in one go.
    fn piece(&mut self, piece: VaRange, scratch: &mut Vec<u8>) {
        match self.memory.view(piece.start(), piece.bytes() as usize, scratch) {
            Ok(bytes) => self.scan_at(piece.start(), bytes),
            Err(_) if piece.bytes() > PAGE_SIZE => {
                piece.pages().for_each(|page| self.piece(page, scratch));
            }
            Err(_) => self.unreadable(piece.bytes()),
        }
    }

    fn unreadable(&mut self, bytes: u64) {
        self.done.unreadable += 1;
        self.done.unreadable_bytes += bytes;
    }

    /// Scans the waiting slabs of a region, each at least once.
    pub(super) fn region(&mut self, slabs: Range<u32>) {
        let mut at = slabs.start;
        while let Some(slab) = self.graph.queue.next(at..slabs.end) {
            at = self.batch(slab, slabs.end);
            self.follow();
            if self.graph.cancel.is_set() {
                break;
            }
        }
    }

    /// Scans some batches of marked objects, going round through memory from a slab on, while any slab waits and not
    /// too many do; returns where to go on.
    pub(super) fn go_on(&mut self, mut at: u32, waiting: i64, many: i64) -> u32 {
        let all = self.graph.heap.slabs.len() as u32;
        for _ in 0..BATCHES {
            if !(1..many).contains(&(waiting + self.waiting)) {
                break;
            }
            at = match self.graph.queue.next(at..all) {
                Some(slab) => self.batch(slab, all),
                None => 0,
            };
            self.follow();
        }
        at
    }

    /// Scans the waiting slabs from `first` on, up to `end`, that lie close together, with one read;
    /// returns the slab after the last one.
    fn batch(&mut self, first: u32, end: u32) -> u32 {
        let mut scratch = std::mem::take(self.scratch);
        let after = self.scan_batch(first, end, &mut scratch);
        *self.scratch = scratch;
        after
    }

    fn scan_batch(&mut self, first: u32, last: u32, [scratch, alone]: &mut [Vec<u8>; 2]) -> u32 {
        let Graph { heap, queue, .. } = self.graph;
        if self.class(first) != Class::Slab {
            if self.take_off(first) {
                self.whole(first, scratch);
            }
            return first + 1;
        }
        let start = heap.slabs[first as usize];
        let most = self.memory.best_read_bytes() as u64 >> PAGE_SHIFT;
        let mut end = start.end().0;
        let mut after = first + 1;
        while let Some(next) = queue.next(after..last) {
            let slab = heap.slabs[next as usize];
            let slab_end = slab.end().0;
            let is_far = slab.pfn.0 > end + CLOSE_PAGES || slab_end > start.pfn.0 + most;
            if is_far || self.class(next) != Class::Slab {
                break;
            }
            end = slab_end;
            after = next + 1;
        }
        let bytes = ((end - start.pfn.0) << PAGE_SHIFT) as usize;
        let piece = self.memory.view(heap.slab_va(&start), bytes, scratch);
        // Objects of one slab often lead to its neighbours: go on until none waits.
        let mut from = first;
        while let Some(slab) = self.next_waiting(first..after, from) {
            from = slab + 1;
            let at = (heap.slabs[slab as usize].pfn.0 - start.pfn.0) << PAGE_SHIFT;
            match piece {
                // A block may lie between them.
                _ if self.class(slab) != Class::Slab => self.whole(slab, alone),
                Ok(piece) => self.slab(slab, &piece[at as usize..]),
                Err(_) => self.alone(slab, alone),
            }
        }
        after
    }

    fn class(&self, slab: u32) -> Class {
        let heap = self.graph.heap;
        let cache = heap.slabs[slab as usize].cache;
        heap.caches[usize::from(cache)].class
    }

    /// Scans a marked block or area, and its `struct page`s. Per-CPU memory was a root.
    fn whole(&mut self, slab: u32, scratch: &mut Vec<u8>) {
        self.graph.heap.take_grey::<C>(slab, |_| ());
        let most = (self.memory.best_read_bytes() as u64).max(PAGE_SIZE);
        for range in self.graph.heap.words_of(slab) {
            range.pieces(most).for_each(|piece| self.piece(piece, scratch));
        }
    }

    /// Takes the next waiting slab in a range off the queue, going round from `from`: the more of a
    /// slab's objects wait, the less often it is read.
    fn next_waiting(&mut self, slabs: Range<u32>, from: u32) -> Option<u32> {
        let queue = self.graph.queue;
        loop {
            let next = queue.next(from..slabs.end).or_else(|| {
                self.follow();
                queue.next(slabs.clone())
            })?;
            if self.take_off(next) {
                return Some(next);
            }
        }
    }

    /// Takes a waiting slab off the queue; false where another thread did.
    fn take_off(&mut self, slab: u32) -> bool {
        let is_ours = self.graph.queue.take::<C>(slab);
        self.waiting -= i64::from(is_ours);
        is_ours
    }

    /// Scans the marked objects of a slab whose memory could not be read together with others.
    fn alone(&mut self, slab: u32, scratch: &mut Vec<u8>) {
        let heap = self.graph.heap;
        let place = heap.slabs[slab as usize];
        match self.memory.view(heap.slab_va(&place), place.bytes() as usize, scratch) {
            Ok(bytes) => self.slab(slab, bytes),
            Err(_) => {
                heap.take_grey::<C>(slab, |_| ());
                // It waits again whenever another of its objects is reached.
                if self.graph.unreadable.set_as::<C>(u64::from(slab)) {
                    self.unreadable(place.bytes());
                }
            }
        }
    }

    /// Scans the marked objects of a slab; `bytes` begin with it.
    fn slab(&mut self, slab: u32, bytes: &[u8]) {
        let Graph { heap, partly_left_out, .. } = self.graph;
        let mut grey = std::mem::take(self.grey);
        grey.clear();
        heap.take_grey::<C>(slab, |run| grey.push(run));
        let place = heap.slabs[slab as usize];
        let cache = &heap.caches[place.cache as usize];
        let (stride, pad) = (cache.stride as usize, cache.left_pad as usize);
        let size = (cache.object_size as usize).min(stride - pad);
        let start = heap.slab_va(&place);
        let counts_whole = !partly_left_out.test(u64::from(slab));
        let mut scan = |from: usize, to: usize| match counts_whole {
            true => self.scan(&bytes[from..to], size),
            false => self.scan_at(start.at(from as u64), &bytes[from..to]),
        };
        for run in grey.iter().map(|run| usize::from(run.start)..usize::from(run.end)) {
            match size == stride && counts_whole {
                true => scan(run.start * stride, run.end * stride),
                false => run.map(|index| index * stride + pad).for_each(|at| scan(at, at + size)),
            }
        }
        *self.grey = grey;
    }

    /// Scans what lies at an address, but for words that are left out, whole or in part.
    #[inline]
    fn scan_at(&mut self, at: Va, bytes: &[u8]) {
        let left_out = self.graph.left_out;
        for gap in left_out.gaps(VaRange::new(at, bytes.len() as u64)) {
            let (from, to) = ((gap.start().0 - at.0) as usize, (gap.end().0 - at.0) as usize);
            let to_a_word = gap.start().0.wrapping_neg() % WORD;
            let bytes = &bytes[(from + to_a_word as usize).min(to)..to];
            self.scan(bytes, bytes.len());
        }
    }

    /// Collects every aligned word that may be the address of an object, and the addresses in records of page, offset
    /// and length. `bytes` are objects of `object_bytes` each, or one piece of other memory: no record extends from one
    /// into the next.
    #[inline]
    fn scan(&mut self, bytes: &[u8], object_bytes: usize) {
        self.done.bytes_scanned += bytes.len() as u64;
        let Marker { filter, graph, hits, waiting, .. } = self;
        let record_starts = graph.heap.record_starts();
        filter.for_each_within(bytes, |at, word| {
            take::<C>(word, hits, *graph, waiting);
            if record_starts.contains(Va(word))
                && let Some(address) =
                    graph.heap.record(&bytes[..at - at % object_bytes + object_bytes], at)
            {
                take::<C>(address, hits, *graph, waiting);
            }
        });
    }

    /// Collects a word.
    pub(super) fn take(&mut self, word: u64) {
        take::<C>(word, self.hits, self.graph, &mut self.waiting);
    }

    /// Marks the objects that the collected words lead to.
    fn follow(&mut self) {
        follow::<C>(self.hits, self.graph, &mut self.waiting);
    }
}

#[inline]
fn take<C: Change>(word: u64, hits: &mut Hits, graph: Graph<'_>, waiting: &mut i64) {
    if !hits.push(word) {
        follow::<C>(hits, graph, waiting);
        hits.push(word);
    }
}

fn follow<C: Change>(hits: &mut Hits, graph: Graph<'_>, waiting: &mut i64) {
    graph.heap.mark_all_as::<C>(hits, |slab| *waiting += graph.queue.add::<C>(slab));
}
