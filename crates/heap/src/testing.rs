//! A few pages of RAM and a heap over them, for tests.

#![allow(clippy::unwrap_used, missing_docs)] // Only tests call it.

use sysak_base::{Fault, Memory, Pfn, Va, Why};

use crate::{Cache, Heap};

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
    pub fn heap(&self, slabs: &[(u64, u16)]) -> Heap {
        let caches = vec![
            Cache::new(Va(1), "kmalloc-64".into(), 64, 64).unwrap(),
            Cache::new(Va(2), "kmalloc-128".into(), 128, 128).unwrap(),
        ];
        let mut heap = Heap::new(BASE, (self.0.len() >> 12) as u64, caches);
        for (pfn, cache) in slabs {
            let objects = 4096 / heap.caches[usize::from(*cache)].stride as u16;
            heap.push(Pfn(*pfn), 0, *cache, objects).unwrap();
        }
        heap.seal();
        heap
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
