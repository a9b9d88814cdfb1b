//! Reachability: marks every object that in-use memory leads to.
//!
//! A graph from roots, not a count of references, so that rings and lost trees
//! are found. Every word that points into an allocated object counts, interior
//! or not. Tri-colour marking: an object that is reached becomes grey, and black once its
//! words are followed. The queue has the *slabs* with grey objects, a bit each, and one read of a
//! slab scans all of them: no edges and no addresses are
//! stored, and reads go up through memory. A block of pages and a vmalloc area are
//! objects too; their `struct page`s belong to them, so that pages on a list are found.
//!
//! **Invariant:** the words of free objects and of user pages are never read as
//! references; what cannot be read is counted, never guessed.

use std::ops::Range;

use sysak_base::{Cancel, Memory, PAGE_SHIFT, PAGE_SIZE, Pfn, Progress, Ranges, Va, VaRange};

use crate::{AddressFilter, Bits, Class, Heap, Hits, Object};

mod queue;
mod roots;
mod stages;
#[cfg(test)]
mod tests;

pub use roots::Roots;
pub use stages::{Excused, FromRoots, Marking};

use queue::Queue;

/// The memory that marking reads, and how it reports progress and is ended early.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The kernel's memory.
    pub memory: &'a dyn Memory,
    /// Gets the progress.
    pub progress: &'a dyn Progress,
    /// Ends it early.
    pub cancel: &'a Cancel,
}

/// What marking did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marked {
    /// Bytes of roots and objects that were scanned.
    pub bytes_scanned: u64,
    /// Root pages and slabs that could not be read.
    pub unreadable: u64,
    /// Their bytes.
    pub unreadable_bytes: u64,
    /// Whether it was ended early: unmarked objects are then no suspects.
    pub interrupted: bool,
}

/// Slabs closer than this are read together: a gap of so many pages costs less to copy
/// than another read costs to begin.
const CLOSE_PAGES: u64 = 4;
/// Bytes of an address.
const WORD: u64 = 8;

/// Marks everything that the roots lead to.
pub(crate) fn mark(heap: &mut Heap, roots: Roots<'_>, context: Context<'_>) -> Marked {
    let total_bytes = roots.pages.len() * PAGE_SIZE;
    let mut marker = Marker {
        filter: *heap.address_filter(),
        queue: Queue::new(heap),
        partly_left_out: partly_left_out(heap, roots.left_out),
        heap,
        hits: Hits::default(),
        left_out: roots.left_out,
        done: Marked::default(),
        context,
    };
    for word in roots.words {
        take(*word, &mut marker.hits, marker.heap, &mut marker.queue);
    }
    if roots.slab_objects {
        marker.all_slab_objects();
    }
    let memory = roots.memory(marker.heap.page_offset());
    marker.roots(memory, total_bytes);
    marker.drain(total_bytes);
    marker.done
}

/// Goes on marking from objects that turned out to be in use, and from all that they lead to.
pub fn go_on(heap: &mut Heap, from: &[Object], left_out: &Ranges, context: Context<'_>) -> Marked {
    let words: Vec<u64> = from.iter().map(|object| heap.object_va(*object).0).collect();
    mark(heap, Roots { words: &words, left_out, ..Roots::none() }, context)
}

struct Marker<'a> {
    heap: &'a mut Heap,
    filter: AddressFilter,
    context: Context<'a>,
    queue: Queue,
    hits: Hits,
    left_out: &'a Ranges,
    /// A bit for each slab: whether some of its words are left out.
    partly_left_out: Bits,
    done: Marked,
}

/// Which slabs have words that are left out. Slabs are scanned again and again, and a bit is quicker than a search
/// among the ranges.
fn partly_left_out(heap: &Heap, left_out: &Ranges) -> Bits {
    let mut slabs = Bits::default();
    slabs.grow(heap.slabs.len() as u64, false);
    let page = |at: Va| at.0.saturating_sub(heap.page_offset.0).min(heap.span) >> PAGE_SHIFT;
    for range in left_out.overlapping(VaRange::new(heap.page_offset, heap.span)) {
        for pfn in page(range.start())..=page(range.end()) {
            if let (true, slab) = heap.pages.look_up(Pfn(pfn)) {
                slabs.set(u64::from(slab));
            }
        }
    }
    slabs
}

impl Marker<'_> {
    /// Marks every object of every slab.
    fn all_slab_objects(&mut self) {
        for slab in 0..self.heap.slabs.len() as u32 {
            if self.class(slab) != Class::Slab {
                continue;
            }
            let mut all = Vec::new();
            self.heap.for_each_live(slab, |index| all.push(Object { slab, index }));
            for object in all {
                take(self.heap.object_va(object).0, &mut self.hits, self.heap, &mut self.queue);
            }
        }
    }

    fn roots(&mut self, ranges: impl Iterator<Item = VaRange>, total: u64) {
        let most = self.context.memory.best_read_bytes() as u64;
        let mut scratch = Vec::new();
        for range in ranges {
            for piece in range.pieces(most) {
                self.piece(piece, &mut scratch);
                self.context.progress.tell(self.done.bytes_scanned, total);
                if self.context.cancel.is_set() {
                    self.done.interrupted = true;
                    return;
                }
            }
        }
    }

    /// Scans some memory, page by page where it cannot be read in one go.
    fn piece(&mut self, piece: VaRange, scratch: &mut Vec<u8>) {
        match self.context.memory.view(piece.start(), piece.bytes() as usize, scratch) {
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

    /// Scans marked objects until no slab waits, going round through memory.
    fn drain(&mut self, roots_bytes: u64) {
        let mut scratch = [Vec::new(), Vec::new()];
        let mut grey = Vec::new();
        let mut at = 0;
        let mut batches = 0u64;
        loop {
            self.follow();
            if self.queue.is_empty() || self.done.interrupted {
                break;
            }
            at = match self.queue.next(at..u32::MAX) {
                Some(slab) => self.batch(slab, &mut grey, &mut scratch),
                None => 0,
            };
            batches += 1;
            if batches & 0x3f == 0 {
                let done = self.done.bytes_scanned;
                self.context.progress.tell(done, done.max(roots_bytes));
                self.done.interrupted = self.context.cancel.is_set();
            }
        }
    }

    /// Scans the waiting slabs from `first` on that lie close together, with one read;
    /// returns the slab after the last one.
    fn batch(
        &mut self,
        first: u32,
        grey: &mut Vec<Range<u16>>,
        [scratch, alone]: &mut [Vec<u8>; 2],
    ) -> u32 {
        if self.class(first) != Class::Slab {
            self.queue.take(first);
            self.whole(first, scratch);
            return first + 1;
        }
        let start = self.heap.slabs[first as usize];
        let most = self.context.memory.best_read_bytes() as u64 >> PAGE_SHIFT;
        let mut end = start.end().0;
        let mut after = first + 1;
        while let Some(next) = self.queue.next(after..u32::MAX) {
            let slab = self.heap.slabs[next as usize];
            let slab_end = slab.end().0;
            let is_far = slab.pfn.0 > end + CLOSE_PAGES || slab_end > start.pfn.0 + most;
            if is_far || self.class(next) != Class::Slab {
                break;
            }
            end = slab_end;
            after = next + 1;
        }
        let bytes = ((end - start.pfn.0) << PAGE_SHIFT) as usize;
        let piece = self.context.memory.view(self.heap.slab_va(&start), bytes, scratch);
        // Objects of one slab often lead to its neighbours: go on until none waits.
        let mut from = first;
        while let Some(slab) = self.next_waiting(first..after, from) {
            from = slab + 1;
            let at = (self.heap.slabs[slab as usize].pfn.0 - start.pfn.0) << PAGE_SHIFT;
            match piece {
                // A block may lie between them.
                _ if self.class(slab) != Class::Slab => self.whole(slab, alone),
                Ok(piece) => self.slab(slab, &piece[at as usize..], grey),
                Err(_) => self.alone(slab, grey, alone),
            }
        }
        after
    }

    fn class(&self, slab: u32) -> Class {
        let cache = self.heap.slabs[slab as usize].cache;
        self.heap.caches[usize::from(cache)].class
    }

    /// Scans a marked block or area, and its `struct page`s. Per-CPU memory was a root.
    fn whole(&mut self, slab: u32, scratch: &mut Vec<u8>) {
        self.heap.take_grey(slab, |_| ());
        let most = (self.context.memory.best_read_bytes() as u64).max(PAGE_SIZE);
        for range in self.heap.words_of(slab) {
            range.pieces(most).for_each(|piece| self.piece(piece, scratch));
        }
    }

    /// Takes the next waiting slab in a range off the queue, going round from `from`: the more of a
    /// slab's objects wait, the less often it is read.
    fn next_waiting(&mut self, slabs: Range<u32>, from: u32) -> Option<u32> {
        let next = self.queue.next(from..slabs.end).or_else(|| {
            self.follow();
            self.queue.next(slabs)
        })?;
        self.queue.take(next);
        Some(next)
    }

    /// Scans the marked objects of a slab whose memory could not be read together with others.
    fn alone(&mut self, slab: u32, grey: &mut Vec<Range<u16>>, scratch: &mut Vec<u8>) {
        let place = self.heap.slabs[slab as usize];
        match self.context.memory.view(self.heap.slab_va(&place), place.bytes() as usize, scratch) {
            Ok(bytes) => self.slab(slab, bytes, grey),
            Err(_) => {
                self.heap.take_grey(slab, |_| ());
                self.unreadable(place.bytes());
            }
        }
    }

    /// Scans the marked objects of a slab; `bytes` begin with it.
    fn slab(&mut self, slab: u32, bytes: &[u8], grey: &mut Vec<Range<u16>>) {
        grey.clear();
        self.heap.take_grey(slab, |run| grey.push(run));
        let place = self.heap.slabs[slab as usize];
        let cache = &self.heap.caches[place.cache as usize];
        let (stride, pad) = (cache.stride as usize, cache.left_pad as usize);
        let size = (cache.object_size as usize).min(stride - pad);
        let start = self.heap.slab_va(&place);
        let counts_whole = !self.partly_left_out.test(u64::from(slab));
        let mut scan = |from: usize, to: usize| match counts_whole {
            true => self.scan(&bytes[from..to]),
            false => self.scan_at(start.at(from as u64), &bytes[from..to]),
        };
        for run in grey.iter().map(|run| usize::from(run.start)..usize::from(run.end)) {
            match size == stride {
                true => scan(run.start * stride, run.end * stride),
                false => run.map(|index| index * stride + pad).for_each(|at| scan(at, at + size)),
            }
        }
    }

    /// Scans what lies at an address, but for words that are left out, whole or in part.
    #[inline]
    fn scan_at(&mut self, at: Va, bytes: &[u8]) {
        let left_out = self.left_out;
        for gap in left_out.gaps(VaRange::new(at, bytes.len() as u64)) {
            let (from, to) = ((gap.start().0 - at.0) as usize, (gap.end().0 - at.0) as usize);
            let to_a_word = gap.start().0.wrapping_neg() % WORD;
            self.scan(&bytes[(from + to_a_word as usize).min(to)..to]);
        }
    }

    /// Collects every aligned word that may be the address of an object, and what records of page, offset and length
    /// lead to.
    #[inline]
    fn scan(&mut self, bytes: &[u8]) {
        self.done.bytes_scanned += bytes.len() as u64;
        let Marker { filter, heap, queue, hits, .. } = self;
        let record_starts = heap.record_starts();
        filter.for_each_within(bytes, |at, word| {
            take(word, hits, heap, queue);
            if record_starts.contains(Va(word))
                && let Some(address) = heap.record(bytes, at)
            {
                take(address, hits, heap, queue);
            }
        });
    }

    /// Marks the objects that the collected words lead to.
    fn follow(&mut self) {
        follow(&mut self.hits, self.heap, &mut self.queue);
    }
}

#[inline]
fn take(word: u64, hits: &mut Hits, heap: &mut Heap, queue: &mut Queue) {
    if !hits.push(word) {
        follow(hits, heap, queue);
        hits.push(word);
    }
}

fn follow(hits: &mut Hits, heap: &mut Heap, queue: &mut Queue) {
    heap.mark_all(hits, |slab| queue.add(slab));
}
