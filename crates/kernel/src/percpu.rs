//! The per-CPU allocator: its chunks and the pages behind them.
//!
//! A chunk is a vmalloc area for each group of CPUs, filled page by page. No array
//! names these pages; each names its chunk, in a field of its `struct page`. The
//! chunks of boot time lie in the direct map, among the reserved pages.
//!
//! **Invariant:** a word counts as a chunk's address only if what lies there says
//! that it begins where an area of the per-CPU allocator begins.

mod allocations;
mod boot;
mod unit_map;

use std::collections::HashMap;

use sysak_base::numbers::{half, word};
use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pfn, Va};
use sysak_heap::Heap;

use crate::page::{Census, Owner};
use crate::shape::PerCpuShape;
use crate::vmalloc::{Area, AreaKind};
use crate::{Coverage, Kernel, Omitted, Reason};

pub use allocations::{Allocation, Allocations, ChunkUse, allocations};

/// The largest number of `struct page`s that one read covers.
const WINDOW_PAGES: u64 = 4096;
/// A unit of a chunk has some hundred pages, a few thousand where it is a huge page.
const MOST_UNIT_PAGES: u64 = 1 << 13;

/// Where a chunk comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Boot time: what is behind the static variables.
    First,
    /// Boot time: kept for the static variables of modules.
    Reserved,
    /// Areas of the vmalloc address space, when the others were full.
    Areas,
}

/// A chunk of per-CPU memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where its `struct pcpu_chunk` lies.
    pub at: Va,
    /// Where it begins, in the unit that lies lowest.
    pub base: Va,
    /// Pages in a unit: one CPU's share.
    pub unit_pages: u64,
    /// Pages of a unit that are there; every CPU's unit has the same.
    pub populated_pages: u64,
    /// Where it comes from.
    pub origin: Origin,
    /// Bytes at the start of a unit that are not the chunk's.
    start_offset: u64,
    /// Bytes at the end of a unit that are not the chunk's.
    end_offset: u64,
    /// Bytes of a unit that are not allocated.
    free_bytes: u64,
    /// Where its maps lie: what is allocated, and where allocations begin.
    maps: [Va; 2],
    /// The vector of charged cgroups; 0 where none is charged.
    charges: Va,
}

impl Chunk {
    /// What lies at an address, if that can be a chunk.
    fn parse(shape: &PerCpuShape, at: Va, raw: &[u8]) -> Option<Chunk> {
        let immutable = raw.get(shape.immutable as usize) == Some(&1);
        let chunk = Chunk {
            at,
            base: Va(word(raw, shape.base)),
            unit_pages: half(raw, shape.pages).into(),
            populated_pages: half(raw, shape.populated).into(),
            origin: if immutable { Origin::First } else { Origin::Areas },
            start_offset: half(raw, shape.start_offset).into(),
            end_offset: half(raw, shape.end_offset).into(),
            free_bytes: half(raw, shape.free_bytes).into(),
            maps: [shape.alloc_map, shape.bound_map].map(|place| Va(word(raw, place))),
            charges: Va(shape.charges.map_or(0, |charges| word(raw, charges.vector))),
        };
        let sane = (1..=MOST_UNIT_PAGES).contains(&chunk.unit_pages)
            && chunk.populated_pages <= chunk.unit_pages
            && chunk.start_offset < PAGE_SIZE
            && chunk.start_offset + chunk.end_offset < chunk.unit_bytes()
            && chunk.base.0.is_multiple_of(PAGE_SIZE);
        sane.then_some(chunk)
    }

    fn unit_bytes(&self) -> u64 {
        self.unit_pages << PAGE_SHIFT
    }

    /// Bytes of a unit that can be allocated.
    fn own_bytes(&self) -> u64 {
        self.unit_bytes() - self.start_offset - self.end_offset
    }
}

/// Gives the pages of per-CPU memory to [`Owner::PerCpu`]; returns the chunks that have pages.
pub fn claim(
    kernel: &Kernel<'_>,
    heap: &Heap,
    areas: &[Area],
    census: &mut Census,
    coverage: &mut Coverage,
) -> Vec<Chunk> {
    let Some(shape) = &kernel.shape.percpu else {
        coverage.skip(Omitted::PerCpuMemory, Reason::NoTypeInfo);
        coverage.books.percpu.is_missing = true;
        return Vec::new();
    };
    let starts = areas.iter().filter(|area| area.kind == AreaKind::PerCpu).map(|area| area.address);
    let chunks = Chunks { kernel, shape, starts: starts.collect() };
    let mut found = chunks.claim_pages(heap, census);
    let first = chunks.find_first(found.first());
    let claimed = first.is_some_and(|first| chunks.claim_first(&first, census));
    if !claimed {
        coverage.skip(Omitted::BootPerCpuMemory, Reason::NoFirstChunk);
        coverage.books.percpu.is_missing = !kernel.memory.is_live();
    }
    found.extend(first.and_then(|first| chunks.find_reserved(&first)));
    found.extend(first);
    found
}

struct Chunks<'a, 'k> {
    kernel: &'a Kernel<'k>,
    shape: &'a PerCpuShape,
    /// Where the allocator's areas begin, ascending.
    starts: Vec<Va>,
}

impl Chunks<'_, '_> {
    /// Finds the chunk of every page that can be claimed.
    fn claim_pages(&self, heap: &Heap, census: &mut Census) -> Vec<Chunk> {
        if self.starts.is_empty() {
            return Vec::new();
        }
        let mut known: HashMap<u64, Option<Chunk>> = HashMap::new();
        let runs: Vec<_> = census.unclaimed.runs().collect();
        let size = self.kernel.shape.page.size;
        let mut raw = Vec::new();
        for (start, pages) in runs {
            for first in (start.0..start.0 + pages).step_by(WINDOW_PAGES as usize) {
                let many = (start.0 + pages - first).min(WINDOW_PAGES);
                raw.resize((many * size) as usize, 0);
                if self.kernel.memory.read(self.kernel.struct_page(Pfn(first)), &mut raw).is_err() {
                    continue;
                }
                for (pfn, page) in (first..).zip(raw.chunks_exact(size as usize)) {
                    let chunk = self.shape.of_page.iter().find_map(|place| {
                        let at = word(page, *place);
                        // Chunks are objects of the heap; anything else costs no read.
                        let object = heap.find_object(at).filter(|object| heap.is_live(*object));
                        object.and_then(|_| *known.entry(at).or_insert_with(|| self.read(Va(at))))
                    });
                    if chunk.is_some() {
                        census.claim(Pfn(pfn), Owner::PerCpu);
                    }
                }
            }
        }
        let mut chunks: Vec<_> = known.into_values().flatten().collect();
        chunks.sort_unstable_by_key(|chunk| (chunk.base, chunk.at));
        chunks
    }

    /// The chunk at an address; `None` where there is none.
    fn read(&self, at: Va) -> Option<Chunk> {
        let mut raw = vec![0; self.shape.bytes.min(PAGE_SIZE) as usize];
        self.kernel.memory.read(at, &mut raw).ok()?;
        Chunk::parse(self.shape, at, &raw).filter(|chunk| match chunk.origin {
            Origin::Areas => self.starts.binary_search(&chunk.base).is_ok(),
            Origin::First | Origin::Reserved => self.kernel.direct_pfn(chunk.base).is_some(),
        })
    }

    /// Every CPU's copy of the static variables and what follows them in the first chunk.
    fn claim_first(&self, first: &Chunk, census: &mut Census) -> bool {
        let Some((unit, start)) = boot::first_unit(self.kernel, self.shape, first) else {
            return false;
        };
        let end = first.base.0 + first.unit_bytes() - first.end_offset;
        let pages = end.saturating_sub(unit.0) >> PAGE_SHIFT;
        if pages > MOST_UNIT_PAGES {
            return false;
        }
        for copy in self.kernel.per_cpu(start) {
            for page in 0..pages {
                if let Some(pfn) = self.kernel.direct_pfn(copy.at(page << PAGE_SHIFT)) {
                    census.claim(pfn, Owner::PerCpu);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
