//! The per-CPU allocator: its chunks and the pages behind them.
//!
//! A chunk is a vmalloc area for each group of CPUs, filled page by page. No array
//! names these pages; each names its chunk, in a field of its `struct page`. The
//! chunk of boot time lies in the direct map, among the reserved pages.
//!
//! **Invariant:** a word counts as a chunk's address only if what lies there says
//! that it begins where an area of the per-CPU allocator begins.

use std::collections::HashMap;

use sysak_base::heap::Heap;
use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pfn, Va};

use crate::list::{half, walk_list, word};
use crate::page::{Census, Owner};
use crate::shape::{PerCpuShape, find_first_chunk, find_first_unit};
use crate::vmalloc::{Area, Kind};
use crate::{Coverage, Kernel};

/// Pages whose `struct page`s are read at once.
const WINDOW_PAGES: u64 = 4096;
/// A unit of a chunk has some hundred pages, a few thousand where it is a huge page.
const MOST_UNIT_PAGES: u64 = 1 << 13;
/// Machines with thousands of cgroups and CPUs have some thousand.
const MOST_CHUNKS: usize = 1 << 20;
/// The kernel sorts chunks into fewer lists than this.
const MOST_LISTS: u64 = 64;
/// How far below the first chunk's dynamic part its static variables can begin.
const MOST_STATIC_PAGES: u64 = 1024;

/// A chunk of per-CPU memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where its `struct pcpu_chunk` lies.
    pub at: Va,
    /// Where it begins.
    pub base: Va,
    /// Pages in a unit: one CPU's share.
    pub unit_pages: u64,
    /// Pages of a unit that are there; every CPU's unit has the same.
    pub populated_pages: u64,
    /// Bytes at the end of a unit that are not the chunk's.
    end_offset: u64,
    /// Whether it was set up at boot.
    pub is_first: bool,
}

/// Gives the pages of per-CPU memory to it; returns the chunks that have pages.
pub fn claim(
    kernel: &Kernel<'_>,
    heap: &Heap,
    areas: &[Area],
    census: &mut Census,
    coverage: &mut Coverage,
) -> Vec<Chunk> {
    let Some(shape) = &kernel.shape.percpu else {
        coverage.skip("per-CPU memory", "the kernel's type information does not tell of it");
        return Vec::new();
    };
    let starts = areas.iter().filter(|area| area.kind == Kind::PerCpu).map(|area| area.address);
    let chunks = Chunks { kernel, shape, starts: starts.collect() };
    let mut found = chunks.claim_pages(heap, census);
    let first = find_first_chunk(kernel.memory, kernel.symbols)
        .and_then(|at| chunks.read(at))
        .filter(|chunk| chunk.is_first)
        .or_else(|| found.first().and_then(|chunk| chunks.search_first(chunk.at)));
    let claimed = first.is_some_and(|first| chunks.claim_first(&first, census));
    if !claimed {
        let why = "the first chunk was not found; it is among the reserved pages";
        coverage.skip("per-CPU memory of boot time", why);
    }
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
    /// Asks every page that has no owner yet for its chunk.
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
        chunks.sort_unstable_by_key(|chunk| chunk.base);
        chunks
    }

    /// The chunk at an address; `None` where there is none.
    fn read(&self, at: Va) -> Option<Chunk> {
        let shape = self.shape;
        let mut raw = vec![0; shape.bytes.min(PAGE_SIZE) as usize];
        self.kernel.memory.read(at, &mut raw).ok()?;
        let chunk = Chunk {
            at,
            base: Va(word(&raw, shape.base)),
            unit_pages: half(&raw, shape.pages).into(),
            populated_pages: half(&raw, shape.populated).into(),
            end_offset: half(&raw, shape.end_offset).into(),
            is_first: raw.get(shape.immutable as usize) == Some(&1),
        };
        let begins = match chunk.is_first {
            true => self.kernel.direct_pfn(chunk.base).is_some(),
            false => self.starts.binary_search(&chunk.base).is_ok(),
        };
        let sane = (1..=MOST_UNIT_PAGES).contains(&chunk.unit_pages)
            && chunk.populated_pages <= chunk.unit_pages
            && chunk.end_offset < chunk.unit_pages << PAGE_SHIFT
            && chunk.base.0.is_multiple_of(PAGE_SIZE);
        (begins && sane).then_some(chunk)
    }

    /// The chunk of boot time, by way of any other: their lists' heads are an array.
    fn search_first(&self, chunk: Va) -> Option<Chunk> {
        let of_link = |link: Va| self.read(Va(link.0.wrapping_sub(self.shape.list)));
        let walk = |head| walk_list(self.kernel.memory, head, MOST_CHUNKS).seen;
        let ring = walk(chunk.at(self.shape.list));
        let head = ring.into_iter().find(|link| of_link(*link).is_none())?;
        let next = |at: Va| self.kernel.memory.read_u64(at).ok().map(Va);
        let is_head = |at: &Va| next(*at).is_some_and(|first| next(first.at(8)) == Some(*at));
        let above = (0..MOST_LISTS).map(|n| head.at(n * 16)).take_while(is_head);
        let below = (1..MOST_LISTS).map(|n| Va(head.0.wrapping_sub(n * 16))).take_while(is_head);
        above.chain(below).find_map(|head| {
            walk(head).into_iter().find_map(|link| of_link(link).filter(|chunk| chunk.is_first))
        })
    }

    /// Every CPU's copy of the static variables and what follows them in the first chunk.
    fn claim_first(&self, first: &Chunk, census: &mut Census) -> bool {
        let Some((unit, start)) = self.first_unit(first) else { return false };
        let end = first.base.0 + (first.unit_pages << PAGE_SHIFT) - first.end_offset;
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

    /// Where the first unit begins, and the per-CPU pointer to the first static variable.
    fn first_unit(&self, first: &Chunk) -> Option<(Va, u64)> {
        let offsets = &self.kernel.per_cpu_offsets;
        if let Some((base, unit)) = find_first_unit(self.kernel.memory, self.kernel.symbols) {
            return Some((base, base.at(unit).0.wrapping_sub(*offsets.first()?)));
        }
        // Every CPU's copy of one variable tells that CPU's offset.
        let place = self.shape.this_cpu_off?;
        let says = |copy: Va| self.kernel.memory.read_u64(copy.at(place)).ok();
        (1..=MOST_STATIC_PAGES).find_map(|pages| {
            let unit = Va(first.base.0.checked_sub(pages << PAGE_SHIFT)?);
            self.kernel.direct_pfn(unit)?;
            let own = says(unit).filter(|own| offsets.contains(own))?;
            let start = unit.0.wrapping_sub(own);
            let all = offsets.iter().all(|offset| says(Va(start).at(*offset)) == Some(*offset));
            all.then_some((unit, start))
        })
    }
}

#[cfg(test)]
mod tests;
