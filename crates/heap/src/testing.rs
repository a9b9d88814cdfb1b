//! A few pages of RAM and a heap over them, for tests.

#![allow(clippy::unwrap_used, missing_docs)] // Only tests call it.

use sysak_base::{Cancel, Fault, Memory, Pfn, Quiet, Readers, Va, Why};

use crate::marking::{Context, Marking, Roots};
use crate::{Cache, Heap, HeapBuilder, Object, PageSet, UnmarkedHeap};

/// Where the direct map starts.
pub const BASE: Va = Va(0xffff_8880_0000_0000);
/// Where the last page is seen, too: the array of `struct page`.
pub const MEMMAP: Va = Va(0xffff_ea00_0000_0000);

/// A few pages of RAM with a direct map.
pub struct Ram(Vec<u8>);

impl Ram {
    pub fn new(pages: usize) -> Ram {
        Ram(vec![0; pages << 12])
    }

    pub fn put(&mut self, at: usize, word: u64) {
        self.put_bytes(at, &word.to_le_bytes());
    }

    pub fn put_va(&mut self, at: u64, word: u64) {
        self.put(self.offset(at).unwrap(), word);
    }

    pub fn put_bytes(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn offset(&self, at: u64) -> Option<usize> {
        let in_memmap = at.checked_sub(MEMMAP.0);
        let direct = || at.checked_sub(BASE.0);
        in_memmap.map(|at| self.0.len() as u64 - 4096 + at).or_else(direct).map(|at| at as usize)
    }

    /// Slabs of one page: cache 0 has objects of 64 bytes, cache 1 of 128.
    pub fn builder(&self, slabs: &[(u64, u16)]) -> HeapBuilder {
        let caches = vec![
            Cache::new(Va(1), "kmalloc-64".into(), 64, 64).unwrap(),
            Cache::new(Va(2), "kmalloc-128".into(), 128, 128).unwrap(),
        ];
        let pages = (self.0.len() >> 12) as u64;
        let mut heap = HeapBuilder::new(BASE, pages, caches.clone());
        for (pfn, cache) in slabs {
            let objects = 4096 / caches[usize::from(*cache)].stride as u16;
            heap.push(Pfn(*pfn), 0, *cache, objects).unwrap();
        }
        heap
    }

    /// The same, and that is all there is; nothing is reached.
    pub fn heap(&self, slabs: &[(u64, u16)]) -> Heap {
        self.builder(slabs).seal().never_marked()
    }

    /// Marks from whole pages and does nothing else.
    pub fn mark(&self, heap: UnmarkedHeap, pages: &[u64]) -> Heap {
        let pages = page_set(pages);
        let (progress, cancel) = (Quiet, Cancel::default());
        let context = Context { readers: Readers::one(self), progress: &progress, cancel: &cancel };
        let marking = Marking::start(heap, Vec::new(), context);
        marking.from_roots(Roots::of_pages(&pages)).excuse(Vec::new()).finish().0
    }
}

/// Some of the first 64 pages.
pub fn page_set(pages: &[u64]) -> PageSet {
    let mut set = PageSet::new(64);
    pages.iter().for_each(|page| set.insert(Pfn(*page)));
    set
}

impl Heap {
    /// Makes an object reachable.
    pub fn reach(&mut self, object: Object) {
        self.clear_suspicion(object);
    }
}

impl Memory for Ram {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { at, why: Why::Unmapped };
        let start = self.offset(at.0).ok_or(fault)?;
        buf.copy_from_slice(self.0.get(start..start + buf.len()).ok_or(fault)?);
        Ok(())
    }
}
