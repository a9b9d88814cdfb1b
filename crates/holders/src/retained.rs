//! Retained size: how much memory would be unreachable without a holder.
//!
//! **Invariant:** no size is given where it is not known which memory is the holder's own: of
//! stacks, and of pages whose user is not known.

use std::cmp::Reverse;
use std::collections::HashSet;

use sysak_base::{Cancel, Ranges, Va, VaRange};
use sysak_heap::references::{From, Reference};
use sysak_heap::retained::retained;
use sysak_heap::{Class, Heap};
use sysak_kernel::Kernel;
use sysak_snapshot::Snapshot;
use sysak_symbols::Symbol;

use crate::place::Place;
use crate::{HolderResolver, Holders};

/// Holders whose retained size is measured.
const MOST: usize = 10;
/// A heap that is larger leaves no room for its states beside it.
const ROOM_BYTES: u64 = 160 << 20;

/// One of the largest holders.
#[derive(Debug)]
struct LargeHolder {
    /// The position of its cache in the list of caches.
    cache: usize,
    /// Its position among the holders of this cache.
    holder: usize,
    /// The memory that its references lie in.
    memory: Ranges,
}

/// The largest holders, and the memory that their references lie in.
#[derive(Debug, Default)]
pub struct LargestHolders(Vec<LargeHolder>);

/// The holders of the most bytes.
pub fn largest_holders(
    resolver: &HolderResolver<'_, '_>,
    caches: &[u16],
    found: &[Option<Holders>],
) -> LargestHolders {
    let heap = &resolver.snapshot.heap;
    let mut all: Vec<(u64, usize, usize)> = Vec::new();
    for (at, (cache, holders)) in caches.iter().zip(found).enumerate() {
        let size = u64::from(heap.caches[usize::from(*cache)].object_size);
        let held_by = holders.iter().flat_map(|holders| &holders.held_by).enumerate();
        all.extend(held_by.map(|(index, one)| (one.objects * size, at, index)));
    }
    all.sort_unstable_by_key(|(bytes, at, index)| (Reverse(*bytes), *at, *index));
    let mut largest = LargestHolders::default();
    let mut known = HashSet::new();
    for (_, cache, holder) in all {
        let Some(holders) = &found[cache] else { continue };
        if known.len() == MOST {
            break;
        }
        let anchor = holders.held_by[holder].anchor;
        let memory = anchor.and_then(|anchor| resolver.memory_of(&anchor));
        if let Some(memory) = memory.filter(|parts| !parts.is_empty()) {
            // One that holds objects of several caches is one holder with one retained size.
            known.insert(memory.clone());
            largest.0.push(LargeHolder { cache, holder, memory });
        }
    }
    largest
}

/// Measures the retained size of the largest holders.
pub fn measure_retained(
    kernel: &Kernel<'_>,
    snapshot: &mut Snapshot,
    largest: &LargestHolders,
    found: &mut [Option<Holders>],
    cancel: &Cancel,
) {
    if largest.0.is_empty() || snapshot.heap.footprint_bytes() > ROOM_BYTES {
        return;
    }
    let mut each: Vec<Ranges> = largest.0.iter().map(|one| one.memory.clone()).collect();
    each.sort_unstable();
    each.dedup();
    let Some(bytes) = snapshot.with_heap_and_roots(kernel, |heap: &mut Heap, with| {
        retained(heap, kernel.readers, with, &each, cancel)
    }) else {
        return;
    };
    for large in &largest.0 {
        let size = each.binary_search(&large.memory).ok().map(|place| bytes[place]);
        if let Some(holders) = &mut found[large.cache] {
            holders.held_by[large.holder].retained_bytes = size;
        }
    }
}

impl HolderResolver<'_, '_> {
    /// The memory that a holder's references lie in, by one of them: its variable, the open
    /// files, the address space and the thread of a process, or a control group with its files.
    fn memory_of(&self, anchor: &Reference) -> Option<Ranges> {
        if self.is_timer(anchor) {
            return None;
        }
        let heap = &self.snapshot.heap;
        if let From::Object(object) = anchor.from
            && heap.cache_of(object).class == Class::Slab
        {
            let part = |object| VaRange::new(heap.object_va(object), heap.object_bytes(object));
            return Some(match self.process_at(heap.object_va(object)) {
                Some(process) => {
                    let objects = self.objects_of_process(process);
                    objects.filter_map(|at| heap.find_object(at.0)).map(part).collect()
                }
                None => self.objects_of_cgroup(self.cgroup(object)?).map(part).collect(),
            });
        }
        let symbols = self.kernel.symbols;
        let bounds = |symbol: Symbol<'_>| Some((symbol.offset, symbol.size?));
        match self.places().of(anchor.at) {
            Place::Image(at) | Place::Module(at) => {
                let (offset, size) = bounds(symbols.symbolize(at)?)?;
                let pieces = self.places().direct_map_pieces(Va(at.0 - offset), size);
                Some(pieces.into_iter().map(|(at, bytes)| VaRange::new(at, bytes)).collect())
            }
            Place::PerCpu(at) => {
                let (offset, size) = bounds(symbols.symbolize_per_cpu(at)?)?;
                let copies = self.places().copies(Va(at.0 - offset));
                Some(copies.map(|copy| VaRange::new(copy, size)).collect())
            }
            _ => None,
        }
    }
}
