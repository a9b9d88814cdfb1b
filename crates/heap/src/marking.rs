//! Reachability: marks every object that in-use memory leads to.
//!
//! A graph from roots, not a count of references, so that rings and lost trees
//! are found. Every word that points into an allocated object counts, interior
//! or not. A mark puts the *slab* on the queue, a bit each, and one read of a
//! slab scans all of its newly marked objects: no edges and no addresses are
//! stored, and reads go up through memory. A block of pages and a vmalloc area are
//! objects too; their `struct page`s belong to them, so that pages on a list are found.
//!
//! **Invariant:** the words of free objects and of user pages are never read as
//! references; what cannot be read is counted, never guessed.

use std::ops::Range;

use crate::{AddressFilter, Bits, Class, Heap, Hits, PageSet};
use sysak_base::{Cancel, Memory, PAGE_SHIFT, PAGE_SIZE, Progress, Stage, Va};

/// Where marking starts.
pub struct Roots<'a> {
    /// Pages of the direct map.
    pub pages: &'a PageSet,
    /// Other memory, by virtual address and length in bytes.
    pub ranges: &'a mut dyn Iterator<Item = (Va, u64)>,
    /// Words that stand nowhere in memory: registers.
    pub words: &'a [u64],
    /// Parts of memory, ascending, whose words do not count, in roots or in objects.
    pub left_out: &'a [(Va, u64)],
}

/// What marking did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marked {
    /// Bytes of root pages and objects whose words were looked at.
    pub bytes_scanned: u64,
    /// Root pages and slabs that could not be read.
    pub unreadable: u64,
    /// Whether it was ended early: unmarked objects are then no suspects.
    pub interrupted: bool,
}

/// Slabs closer than this are read together: a gap of so many pages costs less to copy
/// than another read costs to begin.
const CLOSE_PAGES: u64 = 4;

/// Marks everything that the roots lead to.
pub fn mark(
    heap: &mut Heap,
    memory: &dyn Memory,
    roots: Roots<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Marked {
    let total_bytes = roots.pages.len() * PAGE_SIZE;
    let mut marker = Marker {
        filter: *heap.address_filter(),
        queue: Queue::new(heap),
        heap,
        memory,
        hits: Hits::default(),
        left_out: roots.left_out,
        done: Marked::default(),
        progress,
        cancel,
    };
    for word in roots.words {
        take(*word, &mut marker.hits, marker.heap, &mut marker.queue);
    }
    let base = marker.heap.page_offset();
    let pages =
        roots.pages.runs().map(|(pfn, many)| (base.at(pfn.0 << PAGE_SHIFT), many << PAGE_SHIFT));
    marker.roots(&mut pages.chain(roots.ranges), total_bytes);
    marker.drain(total_bytes);
    marker.done
}

struct Marker<'a> {
    heap: &'a mut Heap,
    filter: AddressFilter,
    memory: &'a dyn Memory,
    queue: Queue,
    hits: Hits,
    left_out: &'a [(Va, u64)],
    done: Marked,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl Marker<'_> {
    fn roots(&mut self, ranges: &mut dyn Iterator<Item = (Va, u64)>, total: u64) {
        let piece = self.memory.best_read_bytes() as u64;
        let mut scratch = Vec::new();
        for (start, bytes) in ranges {
            let mut at = 0;
            while at < bytes {
                let many = (bytes - at).min(piece);
                self.root(start.at(at), many, &mut scratch);
                at += many;
                self.progress.tell(Stage::Reach, self.done.bytes_scanned, total);
                if self.cancel.is_set() {
                    self.done.interrupted = true;
                    return;
                }
            }
        }
    }

    /// Scans a range, page by page where it cannot be read in one go.
    fn root(&mut self, va: Va, bytes: u64, scratch: &mut Vec<u8>) {
        match self.memory.view(va, bytes as usize, scratch) {
            Ok(bytes) => self.scan_at(va, bytes),
            Err(_) if bytes > PAGE_SIZE => {
                let mut at = 0;
                while at < bytes {
                    let many = (PAGE_SIZE - va.at(at).0 % PAGE_SIZE).min(bytes - at);
                    self.root(va.at(at), many, scratch);
                    at += many;
                }
            }
            Err(_) => self.done.unreadable += 1,
        }
    }

    /// Scans marked objects until no slab waits, going round through memory.
    fn drain(&mut self, roots_bytes: u64) {
        let mut scratch = [Vec::new(), Vec::new()];
        let mut grey = Vec::new();
        let mut at = 0;
        let mut batches = 0u64;
        loop {
            self.follow();
            if self.queue.waiting == 0 || self.done.interrupted {
                break;
            }
            at = match self.queue.next(at..u32::MAX) {
                Some(slab) => self.batch(slab, &mut grey, &mut scratch),
                None => 0,
            };
            batches += 1;
            if batches & 0x3f == 0 {
                let done = self.done.bytes_scanned;
                self.progress.tell(Stage::Reach, done, done.max(roots_bytes));
                self.done.interrupted = self.cancel.is_set();
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
        let most = self.memory.best_read_bytes() as u64 >> PAGE_SHIFT;
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
        let piece = self.memory.view(self.heap.slab_va(&start), bytes, scratch);
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
        let most = self.memory.best_read_bytes() as u64;
        for (start, bytes) in self.heap.words_of(slab) {
            for at in (0..bytes).step_by(most.max(PAGE_SIZE) as usize) {
                self.root(start.at(at), (bytes - at).min(most), scratch);
            }
        }
    }

    /// Takes the next waiting slab of some off the queue, going round from `from`: the more of a
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
        match self.memory.view(self.heap.slab_va(&place), place.bytes() as usize, scratch) {
            Ok(bytes) => self.slab(slab, bytes, grey),
            Err(_) => {
                self.heap.take_grey(slab, |_| ());
                self.done.unreadable += 1;
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
        let counts_whole = within(self.left_out, start, place.bytes()).is_empty();
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

    /// Scans what lies at an address, but for what is left out.
    #[inline]
    fn scan_at(&mut self, at: Va, bytes: &[u8]) {
        let end = at.0 + bytes.len() as u64;
        let part = |from: u64, to: u64| &bytes[(from - at.0) as usize..(to - at.0) as usize];
        let mut from = at.0;
        for (start, len) in within(self.left_out, at, bytes.len() as u64) {
            self.scan(part(from, start.0.clamp(from, end)));
            from = (start.0 + len).clamp(from, end);
        }
        self.scan(part(from, end));
    }

    /// Takes in every aligned word that may be the address of an object.
    #[inline]
    fn scan(&mut self, bytes: &[u8]) {
        self.done.bytes_scanned += bytes.len() as u64;
        let Marker { filter, heap, queue, hits, .. } = self;
        filter.for_each_within(bytes, |_, word| take(word, hits, heap, queue));
    }

    /// Marks what the words that were taken in lead to.
    fn follow(&mut self) {
        follow(&mut self.hits, self.heap, &mut self.queue);
    }
}

/// Those of some ascending parts of memory that lie in a range, or reach into it.
pub(crate) fn within(parts: &[(Va, u64)], at: Va, bytes: u64) -> &[(Va, u64)] {
    let first = parts.partition_point(|(start, len)| start.0 + len <= at.0);
    let rest = &parts[first..];
    &rest[..rest.partition_point(|(start, _)| start.0 < at.0 + bytes)]
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

/// Slabs with marked objects that are to be scanned.
struct Queue {
    slabs: Bits,
    waiting: u64,
}

impl Queue {
    fn new(heap: &Heap) -> Queue {
        let mut slabs = Bits::default();
        slabs.grow(heap.slabs.len() as u64, false);
        Queue { slabs, waiting: 0 }
    }

    #[inline]
    fn add(&mut self, slab: u32) {
        let slab = u64::from(slab);
        self.waiting += u64::from(!self.slabs.test(slab));
        self.slabs.set(slab);
    }

    /// The first one of some that waits.
    fn next(&self, slabs: Range<u32>) -> Option<u32> {
        let next = self.slabs.next_set(u64::from(slabs.start))?;
        (next < u64::from(slabs.end)).then_some(next as u32)
    }

    /// Takes one that waits off.
    fn take(&mut self, slab: u32) {
        self.slabs.clear(u64::from(slab));
        self.waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BASE, MEMMAP, Ram};
    use crate::{AreaPages, Block, NonSlab, Object};
    use sysak_base::{Pfn, Quiet};

    fn mark_all(ram: &Ram, heap: &mut Heap, registers: &[u64]) -> Marked {
        let mut roots = PageSet::new(16);
        roots.insert(Pfn(0));
        let mut ranges = [(BASE.at(0x1000), 16)].into_iter();
        let roots = Roots { pages: &roots, ranges: &mut ranges, words: registers, left_out: &[] };
        mark(heap, ram, roots, &Quiet, &Cancel::default())
    }

    #[test]
    fn a_chain_across_slabs_is_followed_and_a_ring_without_root_is_not() {
        let mut ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0), (8, 1)]);
        let small = |index| ram_object(0, index);
        let large = |index| ram_object(1, index);
        let at = |heap: &Heap, object| heap.object_va(object).0;
        // root → large 3 (interior) → small 63 → large 0
        let (a, b, c) = (at(&heap, large(3)), at(&heap, small(63)), at(&heap, large(0)));
        ram.put(0x128, a + 17);
        ram.put_va(a + 40, b);
        ram.put_va(b + 56, c);
        // a ring of two
        let (x, y) = (at(&heap, small(1)), at(&heap, large(1)));
        ram.put_va(x, y);
        ram.put_va(y, x);
        let done = mark_all(&ram, &mut heap, &[]);
        for reached in [large(3), small(63), large(0)] {
            assert!(!heap.is_white(reached), "{reached:?}");
        }
        for lost in [small(1), large(1), small(0)] {
            assert!(heap.is_white(lost), "{lost:?}");
        }
        assert_eq!(done.bytes_scanned, 4096 + 16 + 64 + 2 * 128);
    }

    #[test]
    fn free_objects_and_unaligned_words_lead_nowhere() {
        let mut ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0)]);
        let (free, target) = (ram_object(0, 5), ram_object(0, 6));
        heap.set_free(free);
        let (free_va, target_va) = (heap.object_va(free).0, heap.object_va(target).0);
        ram.put(0, free_va);
        ram.put_va(free_va, target_va);
        ram.put_bytes(0x203, &target_va.to_le_bytes());
        mark_all(&ram, &mut heap, &[]);
        assert!(heap.is_white(target));
    }

    #[test]
    fn memory_outside_of_the_root_pages_can_be_a_root_too() {
        let mut ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0)]);
        let held = ram_object(0, 9);
        ram.put(0x1008, heap.object_va(held).0);
        mark_all(&ram, &mut heap, &[]);
        assert!(!heap.is_white(held));
    }

    #[test]
    fn a_register_is_a_root() {
        let ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0)]);
        let held = ram_object(0, 9);
        let word = heap.object_va(held).0;
        mark_all(&ram, &mut heap, &[word]);
        assert!(!heap.is_white(held));
    }

    #[test]
    fn pages_on_a_list_and_what_an_area_holds_are_reached_and_lost_ones_are_not() {
        // Frame 15 has the struct pages; frames 8 to 11 are blocks, 12 and 13 those of an area.
        let mut ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0)]);
        let area = Va(0xffff_c900_0000_0000);
        heap.adopt(NonSlab {
            blocks: (8..12).map(|pfn| Block { pfn: Pfn(pfn), pages: 1 }).collect(),
            areas: vec![AreaPages { address: area, pages: vec![Pfn(13), Pfn(12)] }],
            memmap: MEMMAP,
            struct_page_bytes: 64,
            ..NonSlab::default()
        });
        let page = |pfn: u64| MEMMAP.at(pfn * 64).0;
        let held = |heap: &Heap, index| heap.object_va(ram_object(0, index)).0;
        // root → page 8's lru → page 9's lru; page 9 → the area's second page → an object
        ram.put(0x40, page(8) + 8);
        ram.put_va(page(8) + 8, page(9) + 8);
        ram.put_va(BASE.at(9 << 12).0 + 64, area.0 + 0x1008);
        ram.put_va(BASE.at(12 << 12).0 + 8, held(&heap, 3));
        // lost page 10 → lost page 11 → an object
        ram.put_va(BASE.at(10 << 12).0, BASE.at(11 << 12).0);
        ram.put_va(BASE.at(11 << 12).0, held(&heap, 5));
        mark_all(&ram, &mut heap, &[]);
        let white = |address| heap.is_white(heap.find_object(address).unwrap());
        let reached = [page(8), page(9), area.0, held(&heap, 3)];
        assert_eq!(reached.map(white), [false; 4]);
        assert_eq!([page(10), page(11), held(&heap, 5)].map(white), [true; 3]);
    }

    #[test]
    fn a_block_between_slabs_that_are_read_together_is_followed_as_a_block() {
        // Frame 15 has the struct pages; 5 and 6 are a block between two slabs, 9 and 10 are others.
        let mut ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0), (7, 0)]);
        let blocks = [(5, 2), (9, 1), (10, 1)];
        let blocks = blocks.map(|(pfn, pages)| Block { pfn: Pfn(pfn), pages });
        heap.adopt(NonSlab {
            blocks: blocks.to_vec(),
            memmap: MEMMAP,
            struct_page_bytes: 64,
            ..NonSlab::default()
        });
        let slab = |pfn: u64| BASE.at(pfn << 12).0;
        // root → both slabs; the first → the block; its second page → an object, its lru → 9, and what
        // its second page was on a list with → 10
        ram.put(0x40, slab(4));
        ram.put(0x48, slab(7));
        ram.put_va(slab(4) + 8, slab(5));
        ram.put_va(slab(6) + 16, slab(7) + 64);
        ram.put_va(MEMMAP.at(5 * 64 + 8).0, MEMMAP.at(9 * 64 + 8).0);
        ram.put_va(MEMMAP.at(6 * 64 + 8).0, MEMMAP.at(10 * 64 + 8).0);
        mark_all(&ram, &mut heap, &[]);
        let white = |address| heap.is_white(heap.find_object(address).unwrap());
        assert_eq!([slab(5), slab(7) + 64, slab(9)].map(white), [false; 3]);
        assert!(white(slab(7) + 128) && white(slab(10)));
    }

    fn ram_object(slab: u32, index: u16) -> Object {
        Object { slab, index }
    }
}
