//! How much of memory would go if a holder let go.
//!
//! **Invariant:** what cannot be told (a stack, a page of nobody) is not weighed.

use std::collections::HashSet;

use crate::place::Place;
use sysak_base::{Cancel, Ranges, Va, VaRange};
use sysak_heap::references::{From, Reference};
use sysak_heap::retained::retained;
use sysak_heap::{Class, Heap};
use sysak_kernel::Kernel;
use sysak_symbols::Symbol;

use crate::{HolderResolver, Holders};
use sysak_snapshot::Snapshot;

/// Holders that are weighed.
const MOST: usize = 10;
/// A heap that is larger leaves no room for its states beside it.
const ROOM_BYTES: u64 = 160 << 20;

/// The biggest holders, and the memory that their references stand in.
#[derive(Debug, Default)]
pub struct Heavy {
    /// By the caches' place in the list and the holder's in the cache's.
    holders: Vec<(usize, usize)>,
    memory: Vec<Ranges>,
}

/// The holders that are worth weighing: those with the most bytes.
pub fn heaviest(
    resolver: &HolderResolver<'_, '_>,
    caches: &[u16],
    found: &[Option<Holders>],
) -> Heavy {
    let heap = &resolver.look.heap;
    let mut all: Vec<(u64, usize, usize)> = Vec::new();
    for (at, (cache, holders)) in caches.iter().zip(found).enumerate() {
        let size = u64::from(heap.caches[usize::from(*cache)].object_size);
        let held_by = holders.iter().flat_map(|holders| &holders.held_by).enumerate();
        all.extend(held_by.map(|(index, one)| (one.objects * size, at, index)));
    }
    all.sort_unstable_by_key(|(bytes, at, index)| (std::cmp::Reverse(*bytes), *at, *index));
    let mut heavy = Heavy::default();
    let mut known = HashSet::new();
    for (_, at, index) in all {
        let Some(holders) = &found[at] else { continue };
        let one = &holders.held_by[index];
        if known.len() == MOST {
            break;
        }
        let memory = one.anchor.and_then(|anchor| resolver.memory_of(&anchor));
        if let Some(memory) = memory.filter(|memory| !memory.is_empty()) {
            // One that holds objects of several caches is one holder, and weighs the same.
            known.insert(memory.clone());
            heavy.holders.push((at, index));
            heavy.memory.push(memory);
        }
    }
    heavy
}

/// Weighs them.
pub fn weigh(
    kernel: &Kernel<'_>,
    look: &mut Snapshot,
    heavy: &Heavy,
    found: &mut [Option<Holders>],
    cancel: &Cancel,
) {
    if heavy.memory.is_empty() || look.heap.footprint_bytes() > ROOM_BYTES {
        return;
    }
    let mut each: Vec<Ranges> = heavy.memory.clone();
    each.sort_unstable();
    each.dedup();
    let Some(bytes) = look.with_heap_and_roots(kernel, |heap: &mut Heap, with| {
        retained(heap, kernel.memory, with, &each, cancel)
    }) else {
        return;
    };
    for ((at, index), memory) in heavy.holders.iter().zip(&heavy.memory) {
        let weight = each.binary_search(memory).ok().map(|place| bytes[place]);
        if let Some(holders) = &mut found[*at] {
            holders.held_by[*index].retained_bytes = weight;
        }
    }
}

impl HolderResolver<'_, '_> {
    /// The memory that a holder's references stand in, by one of them: its variable, the open
    /// files, the address space and the thread of a process, or a control group with its files.
    fn memory_of(&self, anchor: &Reference) -> Option<Ranges> {
        if self.is_timer(anchor) {
            return None;
        }
        let heap = &self.look.heap;
        if let From::Object(object) = anchor.from
            && heap.cache_of(object).class == Class::Slab
        {
            let part = |object| VaRange::new(heap.object_va(object), heap.object_bytes(object));
            return Some(match self.process_at(heap.object_va(object)) {
                Some(process) => {
                    let objects = self.objects_of(process);
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
                let pieces = self.places().pieces(Va(at.0 - offset), size);
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
