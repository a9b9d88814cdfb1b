//! Reachability: marks every object that in-use memory leads to.
//!
//! A graph from roots, not a count of references, so that rings and lost trees
//! are found. Every word that points into an allocated object counts, interior
//! or not. A mark puts the *slab* on the queue, a bit each, and one read of a
//! slab scans all of its newly marked objects: no edges and no addresses are
//! stored, and reads go up through memory.
//!
//! **Invariant:** the words of free objects and of user pages are never read as
//! references; what cannot be read is counted, never guessed.

use sysak_base::heap::{Bits, Heap, Object, PageSet};
use sysak_base::{Cancel, Memory, PAGE_SHIFT, PAGE_SIZE, Progress, Stage, Va};

/// What marking did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// Bytes of root pages and objects whose words were looked at.
    pub bytes_scanned: u64,
    /// Root pages and slabs that could not be read.
    pub unreadable: u64,
    /// Whether it was ended early: unmarked objects are then no suspects.
    pub interrupted: bool,
}

/// Marks everything that the roots lead to.
pub fn mark(
    heap: &mut Heap,
    memory: &dyn Memory,
    roots: &PageSet,
    registers: &[u64],
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Reach {
    let mut queue = Bits::default();
    queue.grow(heap.slabs.len() as u64, false);
    let total_bytes = roots.len() * PAGE_SIZE;
    let mut marker =
        Marker { heap, memory, queue, waiting: 0, done: Reach::default(), progress, cancel };
    for word in registers {
        marker.follow(*word);
    }
    marker.roots(roots, total_bytes);
    marker.drain(total_bytes);
    marker.done
}

struct Marker<'a> {
    heap: &'a mut Heap,
    memory: &'a dyn Memory,
    queue: Bits,
    waiting: u64,
    done: Reach,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl Marker<'_> {
    fn roots(&mut self, roots: &PageSet, total: u64) {
        let (base, _) = self.heap.window();
        let piece = (self.memory.best_read_bytes() as u64 >> PAGE_SHIFT).max(1);
        let mut scratch = Vec::new();
        for (start, pages) in roots.runs() {
            let mut at = 0;
            while at < pages {
                let many = (pages - at).min(piece);
                let va = Va(base).at((start.0 + at) << PAGE_SHIFT);
                self.root(va, many, &mut scratch);
                at += many;
                self.progress.tell(Stage::Reach, self.done.bytes_scanned, total);
                if self.cancel.is_set() {
                    self.done.interrupted = true;
                    return;
                }
            }
        }
    }

    fn root(&mut self, va: Va, pages: u64, scratch: &mut Vec<u8>) {
        let len = (pages * PAGE_SIZE) as usize;
        match self.memory.view(va, len, scratch) {
            Ok(bytes) => self.scan(bytes),
            Err(_) if pages > 1 => {
                for page in 0..pages {
                    self.root(va.at(page * PAGE_SIZE), 1, scratch);
                }
            }
            Err(_) => self.done.unreadable += 1,
        }
    }

    /// Scans marked objects until no slab waits, going round through memory.
    fn drain(&mut self, roots_bytes: u64) {
        let mut scratch = Vec::new();
        let mut grey = Vec::new();
        let mut at = 0;
        while self.waiting > 0 && !self.done.interrupted {
            match self.queue.next_set(at) {
                Some(slab) => {
                    self.queue.clear(slab);
                    self.waiting -= 1;
                    self.slab(slab as u32, &mut grey, &mut scratch);
                    at = slab + 1;
                }
                None => at = 0,
            }
            if at & 0xff == 0 {
                let done = self.done.bytes_scanned;
                self.progress.tell(Stage::Reach, done, done.max(roots_bytes));
                self.done.interrupted = self.cancel.is_set();
            }
        }
    }

    fn slab(&mut self, slab: u32, grey: &mut Vec<u16>, scratch: &mut Vec<u8>) {
        grey.clear();
        self.heap.take_grey(slab, |index| grey.push(index));
        let (Some(first), Some(last)) = (grey.first(), grey.last()) else { return };
        let place = self.heap.slabs[slab as usize];
        let cache = &self.heap.caches[place.cache as usize];
        let (stride, size) = (cache.stride as usize, cache.object_size as usize);
        let start = self.heap.object_va(Object { slab, index: *first });
        let first = *first;
        let len = usize::from(last - first) * stride + size;
        let Ok(bytes) = self.memory.view(start, len, scratch) else {
            self.done.unreadable += 1;
            return;
        };
        for index in grey.iter() {
            let at = usize::from(index - first) * stride;
            // A word may begin before the object's last full word; the size is rounded
            // down to whole words, as pointers are aligned.
            self.scan(&bytes[at..at + size]);
        }
    }

    /// Follows every aligned word that may be the address of an object.
    #[inline]
    fn scan(&mut self, bytes: &[u8]) {
        self.done.bytes_scanned += bytes.len() as u64;
        let (base, span) = self.heap.window();
        let mut lines = bytes.chunks_exact(64);
        for line in &mut lines {
            // Most lines hold no address of the direct map: one test for eight words.
            let mut any = false;
            for word in line.chunks_exact(8) {
                any |= to_word(word).wrapping_sub(base) < span;
            }
            if any {
                for word in line.chunks_exact(8) {
                    self.follow(to_word(word));
                }
            }
        }
        for word in lines.remainder().chunks_exact(8) {
            self.follow(to_word(word));
        }
    }

    #[inline]
    fn follow(&mut self, word: u64) {
        if let Some(object) = self.heap.find_object(word)
            && self.heap.mark(object)
            && !self.queue.test(u64::from(object.slab))
        {
            self.queue.set(u64::from(object.slab));
            self.waiting += 1;
        }
    }
}

#[inline(always)]
fn to_word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lost::tests::Ram;
    use sysak_base::{Pfn, Quiet};

    fn mark_all(ram: &Ram, heap: &mut Heap, registers: &[u64]) -> Reach {
        let mut roots = PageSet::new(16);
        roots.insert(Pfn(0));
        mark(heap, ram, &roots, registers, &Quiet, &Cancel::default())
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
        assert_eq!(done.bytes_scanned, 4096 + 64 + 2 * 128);
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
    fn a_register_is_a_root() {
        let ram = Ram::new(16);
        let mut heap = ram.heap(&[(4, 0)]);
        let held = ram_object(0, 9);
        let word = heap.object_va(held).0;
        mark_all(&ram, &mut heap, &[word]);
        assert!(!heap.is_white(held));
    }

    fn ram_object(slab: u32, index: u16) -> Object {
        Object { slab, index }
    }
}
