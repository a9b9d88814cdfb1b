//! Every per-CPU allocation in use, by the maps of the chunks.
//!
//! A chunk has two maps with a bit for each four bytes of a unit: what is in use, and
//! where an allocation begins or one has ended. A live kernel changes them, and the
//! count of free bytes beside them, while they are read.
//!
//! **Invariant:** a chunk's maps count as whole only if what they say is in use and what
//! the chunk says is free make up all that the chunk has.

use std::collections::HashSet;

use sysak_base::numbers::word;
use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Va};

use super::unit_map::{UnitMap, UnitPart};
use super::{Chunk, Origin, boot};
use crate::shape::{GRAIN_BYTES, PerCpuShape};
use crate::{Coverage, Kernel, Omitted, Reason};

/// How often the maps of a chunk that changed meanwhile are read again.
const RETRIES: u32 = 4;
/// Machines with thousands of cgroups have some hundred thousand.
const MOST_ALLOCATIONS: usize = 1 << 24;
/// Bits of a map that stand for a page.
const PAGE_BITS: u64 = PAGE_SIZE / GRAIN_BYTES;

/// One allocation in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The per-CPU pointer that its owner was given.
    pub pointer: u64,
    /// Bytes of one CPU's share.
    pub bytes: u32,
    /// Which of the chunks it lies in.
    pub chunk: u32,
}

impl Allocation {
    /// Each CPU's copy. Pages that are only now being filled cannot be read.
    pub fn copies<'k>(&self, kernel: &'k Kernel<'_>) -> impl Iterator<Item = Va> + use<'k> {
        kernel.per_cpu_offsets.iter().map({
            let pointer = self.pointer;
            move |offset| Va(pointer.wrapping_add(*offset))
        })
    }
}

/// How a chunk is used; everything counts for one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkUse {
    /// The per-CPU pointer to the chunk's first byte.
    pub pointer: u64,
    /// Allocations in use.
    pub allocations: u64,
    /// Bytes in use.
    pub allocated_bytes: u64,
    /// Bytes that could be allocated.
    pub free_bytes: u64,
    /// Pages that are there.
    pub populated_pages: u64,
    /// Pages that are there, and nothing in them is in use.
    pub empty_pages: u64,
    /// Whether memory cgroups can be charged for what is in it.
    pub chargeable: bool,
    /// Whether its maps were read whole.
    pub whole: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Allocations {
    /// Every allocation, by pointer.
    pub list: Vec<Allocation>,
    /// How each chunk is used, in the order of the chunks.
    pub uses: Vec<ChunkUse>,
    /// Pages of a unit of boot time: static variables and what follows, to the end of the
    /// first chunk.
    pub boot_pages: u64,
    unit_map: UnitMap,
}

/// Every allocation in the chunks that [`super::claim`] found.
pub fn allocations(kernel: &Kernel<'_>, chunks: &[Chunk], coverage: &mut Coverage) -> Allocations {
    let mut found = Allocations::default();
    let first = chunks.iter().find(|chunk| chunk.origin == Origin::First);
    let Some(shape) = &kernel.shape.percpu else { return found };
    // Without the first chunk no pointer can be mapped to a chunk; `claim` noted that.
    let unit = first.and_then(|first| boot::first_unit(kernel, shape, first));
    let (Some(first), Some((unit, start))) = (first, unit) else { return found };
    let mut known = HashSet::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let pointer = chunk.base.0.wrapping_sub(unit.0).wrapping_add(start);
        let mut used = ChunkUse { pointer, ..ChunkUse::default() };
        let room = MOST_ALLOCATIONS - found.list.len();
        if known.insert(chunk.base) {
            let seen = read_patiently(kernel, shape, chunk, &mut used);
            used.whole &= seen.len() <= room;
            found.list.extend(seen.into_iter().take(room).map(|(offset, bytes)| Allocation {
                pointer: pointer.wrapping_add(offset),
                bytes,
                chunk: index as u32,
            }));
        }
        found.uses.push(used);
    }
    let torn = chunks.iter().zip(&found.uses).filter(|(_, used)| !used.whole);
    // What the chunk says counts where its maps cannot be read at all.
    let torn: Vec<u64> =
        torn.map(|(chunk, used)| chunk.populated_pages.max(used.populated_pages)).collect();
    if !torn.is_empty() {
        let is_live = kernel.memory.is_live();
        let why = if is_live { Reason::ChangedOrDamaged } else { Reason::Damaged };
        coverage.skip(Omitted::PerCpuAllocations(torn.len() as u64), why);
        // What a running kernel changed is judged all the same.
        let pages = if is_live { 0 } else { torn.iter().sum::<u64>() * kernel.cpus() };
        coverage.books.percpu.unjudged_pages += pages;
    }
    found.list.sort_unstable_by_key(|allocation| allocation.pointer);
    found.boot_pages = (first.base.0 + first.unit_bytes()).saturating_sub(unit.0) >> PAGE_SHIFT;
    let boot = UnitPart { pointer: start, bytes: found.boot_pages << PAGE_SHIFT };
    found.unit_map = UnitMap::new(chunks, &found.uses, boot, &kernel.per_cpu_offsets);
    found
}

impl Allocations {
    /// Those that can be judged: a dump's chunk whose maps contradict each other names none for sure.
    pub fn judged(&self, kernel: &Kernel<'_>) -> impl Iterator<Item = &Allocation> {
        let is_live = kernel.memory.is_live();
        self.list.iter().filter(move |one| is_live || self.uses[one.chunk as usize].whole)
    }

    /// The allocation that a per-CPU pointer points into; an index of the list.
    pub fn of_pointer(&self, pointer: u64) -> Option<usize> {
        let next = self.list.partition_point(|allocation| allocation.pointer <= pointer);
        let index = next.checked_sub(1)?;
        let found = &self.list[index];
        (pointer - found.pointer < u64::from(found.bytes)).then_some(index)
    }

    /// The allocation that an address of some CPU's copy lies in; an index of the list.
    pub fn of_address(&self, at: Va) -> Option<usize> {
        self.of_pointer(self.unit_map.pointer(at)?)
    }

    /// Where an allocation begins in its chunk, in bytes of a unit.
    pub fn offset(&self, allocation: &Allocation) -> u64 {
        allocation.pointer.wrapping_sub(self.uses[allocation.chunk as usize].pointer)
    }

    /// The `struct obj_cgroup` that is charged for an allocation; `None` where none is.
    pub fn charged(
        &self,
        kernel: &Kernel<'_>,
        chunks: &[Chunk],
        allocation: &Allocation,
    ) -> Option<Va> {
        let shape = kernel.shape.percpu.as_ref()?.charges?;
        let vector = chunks.get(allocation.chunk as usize)?.charges;
        let entry = self.offset(allocation) / GRAIN_BYTES * shape.entry_bytes + shape.group;
        let word = kernel.memory.read_u64(vector.at(entry)).ok()?;
        (vector != Va(0) && word != 0).then_some(Va(word))
    }
}

/// Offset and bytes of everything in use in a chunk; what was read of maps that never held
/// still is better than nothing.
fn read_patiently(
    kernel: &Kernel<'_>,
    shape: &PerCpuShape,
    chunk: &Chunk,
    used: &mut ChunkUse,
) -> Vec<(u64, u32)> {
    let mut best = Vec::new();
    for _ in 0..RETRIES {
        let Some((now, maps)) = Maps::read(kernel, shape, chunk) else { continue };
        let mut seen = Vec::new();
        let sound = maps.each(&now, |offset, bytes| seen.push((offset, bytes)));
        let bytes: u64 = seen.iter().map(|(_, bytes)| u64::from(*bytes)).sum();
        let populated = maps.populated.iter().map(|word| u64::from(word.count_ones())).sum();
        used.whole =
            sound && bytes + now.free_bytes == now.own_bytes() && now.populated_pages == populated;
        if used.whole || seen.len() >= best.len() {
            best = seen;
            used.allocations = best.len() as u64;
            used.allocated_bytes = bytes;
            used.free_bytes = now.free_bytes;
            used.populated_pages = now.populated_pages;
            used.empty_pages = maps.empty_pages(&now);
            used.chargeable = now.charges != Va(0);
        }
        if used.whole || !kernel.memory.is_live() {
            break;
        }
    }
    best
}

/// The maps of a chunk.
struct Maps {
    /// What is in use.
    used: Vec<u64>,
    /// Where an allocation begins or one has ended.
    bounds: Vec<u64>,
    /// Which pages of a unit are there.
    populated: Vec<u64>,
}

impl Maps {
    /// The maps, and what the chunk says at the same time.
    fn read(kernel: &Kernel<'_>, shape: &PerCpuShape, chunk: &Chunk) -> Option<(Chunk, Maps)> {
        let page_words = chunk.unit_pages.div_ceil(64);
        let mut raw = vec![0; (shape.populated_map.min(PAGE_SIZE) + page_words * 8) as usize];
        kernel.memory.read(chunk.at, &mut raw).ok()?;
        let now = Chunk { origin: chunk.origin, ..Chunk::parse(shape, chunk.at, &raw)? };
        if now.base != chunk.base || now.unit_pages != chunk.unit_pages {
            return None;
        }
        // Boot fills the last word whether there are pages or not.
        let real = |n| match chunk.unit_pages - n * 64 {
            rest @ ..64 => !(u64::MAX << rest),
            _ => u64::MAX,
        };
        let populated = (0..page_words).map(|n| word(&raw, shape.populated_map + n * 8) & real(n));
        let populated = populated.collect();
        let map = |at: Va| {
            let mut raw = vec![0; (chunk.unit_pages * PAGE_BITS / 8) as usize];
            kernel.memory.read(at, &mut raw).ok()?;
            Some((0..chunk.unit_pages * PAGE_BITS / 64).map(|n| word(&raw, n * 8)).collect())
        };
        Some((now, Maps { used: map(now.maps[0])?, bounds: map(now.maps[1])?, populated }))
    }

    /// Every allocation, as offset and bytes; false where the maps contradict each other.
    fn each(&self, chunk: &Chunk, mut each: impl FnMut(u64, u32)) -> bool {
        let end = (chunk.unit_bytes() - chunk.end_offset) / GRAIN_BYTES;
        let mut at = next(&self.used, chunk.start_offset / GRAIN_BYTES, end, true);
        while at < end {
            let stop = next(&self.bounds, at + 1, end, true);
            let begins = next(&self.bounds, at, at + 1, true) == at;
            if !begins || next(&self.used, at, stop, false) != stop {
                return false;
            }
            each(at * GRAIN_BYTES, ((stop - at) * GRAIN_BYTES) as u32);
            at = next(&self.used, stop, end, true);
        }
        true
    }

    /// Pages that are there, without anything in use.
    fn empty_pages(&self, chunk: &Chunk) -> u64 {
        let is_empty = |page: &u64| {
            let there = next(&self.populated, *page, page + 1, true) == *page;
            let end = (page + 1) * PAGE_BITS;
            there && next(&self.used, page * PAGE_BITS, end, true) == end
        };
        (0..chunk.unit_bytes() >> PAGE_SHIFT).filter(is_empty).count() as u64
    }
}

/// The next bit from `from` on that is as wanted, or `end`.
fn next(map: &[u64], from: u64, end: u64, wanted: bool) -> u64 {
    let mut at = from;
    while at < end {
        let word = map.get((at / 64) as usize).copied().unwrap_or(0);
        let hits = if wanted { word } else { !word };
        let hits = hits >> (at % 64);
        if hits != 0 {
            return (at + u64::from(hits.trailing_zeros())).min(end);
        }
        at = (at / 64 + 1) * 64;
    }
    end
}

#[cfg(test)]
mod tests;
