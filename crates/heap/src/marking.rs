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

use sysak_base::{
    Cancel, Memory, PAGE_SHIFT, PAGE_SIZE, Pfn, Progress, Ranges, Readers, Va, VaRange,
};

use crate::bits::{Alone, Together};
use crate::parts::parts_of_roots;
use crate::{Bits, Heap, Object};

mod marker;
mod queue;
mod roots;
mod stages;
#[cfg(test)]
mod tests;

pub use roots::Roots;
pub use stages::{Excused, FromRoots, Marking};

use marker::{Graph, Kept, Marker};
use queue::Queue;

/// The memory that marking reads, and how it reports progress and is ended early.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The kernel's memory, and how many threads read it.
    pub readers: Readers<'a>,
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

impl Marked {
    fn add(&mut self, more: Marked) {
        self.bytes_scanned += more.bytes_scanned;
        self.unreadable += more.unreadable;
        self.unreadable_bytes += more.unreadable_bytes;
        self.interrupted |= more.interrupted;
    }
}

/// Bytes of the roots, and slabs, that one of several threads scans in a row.
const PART: u64 = 1 << 20;
const SLABS: u32 = if cfg!(test) { 2 } else { 64 };
/// Several threads are worth it while so many slabs wait for each, and go on while there are so many regions.
const WORTH_SLABS: i64 = if cfg!(test) { 1 } else { 64 };
const WORTH_REGIONS: u32 = 2;

/// Marks everything that the roots lead to.
pub(crate) fn mark(heap: &mut Heap, roots: Roots<'_>, context: Context<'_>) -> Marked {
    let graph = Graph {
        heap,
        queue: &Queue::new(heap),
        left_out: roots.left_out,
        partly_left_out: &partly_left_out(heap, roots.left_out),
        unreadable: &no_slabs(heap),
        cancel: context.cancel,
    };
    let total_bytes = roots.pages.len() * PAGE_SIZE;
    let mut work = Work { graph, context, total_bytes, done: Marked::default(), waiting: 0 };
    let (words, slab_objects) = (roots.words, roots.slab_objects);
    work.alone(&mut Kept::default(), |marker| {
        words.iter().for_each(|word| marker.take(*word));
        if slab_objects {
            marker.all_slab_objects();
        }
    });
    work.roots(roots.memory(heap.page_offset()));
    work.drain();
    work.done
}

/// Goes on marking from objects that turned out to be in use, and from all that they lead to.
pub fn go_on(heap: &mut Heap, from: &[Object], left_out: &Ranges, context: Context<'_>) -> Marked {
    let words: Vec<u64> = from.iter().map(|object| heap.object_va(*object).0).collect();
    mark(heap, Roots { words: &words, left_out, ..Roots::none() }, context)
}

/// A bit for each slab.
fn no_slabs(heap: &Heap) -> Bits {
    let mut slabs = Bits::default();
    slabs.grow(heap.slabs.len() as u64, false);
    slabs
}

/// Which slabs have words that are left out. Slabs are scanned again and again, and a bit is quicker than a search
/// among the ranges.
fn partly_left_out(heap: &Heap, left_out: &Ranges) -> Bits {
    let mut slabs = no_slabs(heap);
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

/// Marking, by one thread or by several.
struct Work<'a> {
    graph: Graph<'a>,
    context: Context<'a>,
    /// Bytes of the roots.
    total_bytes: u64,
    done: Marked,
    /// How many slabs wait.
    waiting: i64,
}

/// What a part of the work did: how many more slabs wait now.
type Done = (Marked, i64);

impl<'a> Work<'a> {
    fn add(&mut self, (done, waiting): Done) {
        self.done.add(done);
        self.waiting += waiting;
        let scanned = self.done.bytes_scanned;
        self.context.progress.tell(scanned, scanned.max(self.total_bytes));
    }

    /// This thread marks, and no other one.
    fn alone(&mut self, kept: &mut Kept, work: impl FnOnce(&mut Marker<'_, Alone>)) {
        let mut marker = Marker::new(self.graph, self.context.readers.memory(), kept);
        work(&mut marker);
        let done = marker.end();
        self.add(done);
    }

    fn roots(&mut self, ranges: impl Iterator<Item = VaRange> + Send) {
        let (graph, Context { readers, cancel, .. }) = (self.graph, self.context);
        let parts = parts_of_roots(ranges, PART).take_while(|_| !cancel.is_set());
        if readers.threads() == 1 {
            let mut kept = Kept::default();
            for part in parts {
                self.alone(&mut kept, |marker| marker.ranges(&part));
            }
        } else {
            let scan = |memory: &dyn Memory, kept: &mut Kept, part: Vec<VaRange>| {
                let mut marker = Marker::<Together>::new(graph, memory, kept);
                marker.ranges(&part);
                marker.end()
            };
            readers.in_order(parts, scan, |done| self.add(done));
        }
        self.done.interrupted |= cancel.is_set();
    }

    /// Scans marked objects until no slab waits, going round through memory.
    fn drain(&mut self) {
        let (Context { readers, cancel, .. }, mut kept) = (self.context, Kept::default());
        let threads = readers.threads() as i64;
        let many = if threads > 1 { WORTH_SLABS * threads } else { i64::MAX };
        let mut at = 0;
        while self.waiting > 0 && !self.done.interrupted {
            let waiting = self.waiting;
            match waiting < many {
                true => self.alone(&mut kept, |marker| at = marker.go_on(at, waiting, many)),
                false => self.together(),
            }
            self.done.interrupted |= cancel.is_set();
        }
    }

    /// Several threads go round, each through other regions of memory, while many slabs wait.
    fn together(&mut self) {
        let (graph, Context { readers, cancel, .. }) = (self.graph, self.context);
        let (all, few) = (graph.heap.slabs.len() as u32, WORTH_REGIONS * readers.threads() as u32);
        let regions = graph.queue.regions(all, SLABS, few).take_while(|_| !cancel.is_set());
        let scan = |memory: &dyn Memory, kept: &mut Kept, region: Range<u32>| {
            let mut marker = Marker::<Together>::new(graph, memory, kept);
            marker.region(region);
            marker.end()
        };
        readers.in_order(regions, scan, |done| self.add(done));
    }
}
