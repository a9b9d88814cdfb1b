//! Free objects that the slabs themselves count as used: on the per-CPU
//! freelists, and in the sheaves of v6.18 and later.

use sysak_base::Va;

use super::Caches;
use crate::list::walk_list;
use crate::read::word;
use crate::{Coverage, Kernel, Omitted, Reason};

/// `MAX_OBJS_PER_PAGE`: a per-CPU freelist lies within one slab.
const LONGEST_CHAIN: usize = 32767;
/// More objects than any sheaf holds.
const LARGEST_SHEAF: u64 = 1 << 16;
/// `MAX_FULL_SHEAVES` is 10; this leaves room.
const MOST_SHEAVES: usize = 1 << 12;

/// The addresses of all free objects that are kept per CPU.
pub(super) fn free_objects(
    kernel: &Kernel<'_>,
    caches: &Caches,
    coverage: &mut Coverage,
) -> Vec<Va> {
    let mut free = Vec::new();
    if kernel.per_cpu_offsets.is_empty() {
        coverage.skip(Omitted::PerCpuFreeObjects, Reason::NoPerCpuAreas);
    }
    for index in 0..caches.caches.len() {
        cpu_freelists(kernel, caches, index, &mut free);
        sheaves(kernel, caches.caches[index].va, &mut free);
    }
    free
}

fn cpu_freelists(kernel: &Kernel<'_>, caches: &Caches, index: usize, free: &mut Vec<Va>) {
    let Some(shape) = &kernel.shape.cache.cpu else { return };
    let pointer = caches.pointers[index];
    let Ok(cpu_slab) = kernel.memory.read_u64(caches.caches[index].va.at(shape.at)) else { return };
    if cpu_slab == 0 {
        return;
    }
    for cpu in kernel.per_cpu(cpu_slab) {
        let Ok(first) = kernel.memory.read_u64(cpu.at(shape.freelist)) else { continue };
        let mut at = Va(first);
        let start = free.len();
        while kernel.direct_pfn(at).is_some() && free.len() - start < LONGEST_CHAIN {
            free.push(at);
            let slot = at.at(pointer.offset);
            let Ok(stored) = kernel.memory.read_u64(slot) else { break };
            at = pointer.decode(stored, slot);
        }
    }
}

fn sheaves(kernel: &Kernel<'_>, cache: Va, free: &mut Vec<Va>) {
    let Some(shape) = &kernel.shape.cache.sheaf else { return };
    let read = |at: Va| kernel.memory.read_u64(at).unwrap_or(0);
    let of_cpus = read(cache.at(shape.at));
    if of_cpus == 0 {
        return;
    }
    for cpu in kernel.per_cpu(of_cpus) {
        for place in shape.of_cpu {
            sheaf(kernel, Va(read(cpu.at(place))), free);
        }
    }
    for node in 0..kernel.shape.cache.nodes {
        let node = Va(read(cache.at(kernel.shape.cache.node + node * 8)));
        if node == Va(0) {
            break;
        }
        let barn = Va(read(node.at(shape.barn)));
        if barn != Va(0) {
            for link in walk_list(kernel.memory, barn.at(shape.full), MOST_SHEAVES).seen {
                sheaf(kernel, Va(link.0.wrapping_sub(shape.link)), free);
            }
        }
    }
}

fn sheaf(kernel: &Kernel<'_>, sheaf: Va, free: &mut Vec<Va>) {
    let Some(shape) = &kernel.shape.cache.sheaf else { return };
    if sheaf == Va(0) {
        return;
    }
    let size = kernel.memory.read_u32(sheaf.at(shape.size)).map_or(0, u64::from);
    if size > LARGEST_SHEAF {
        return;
    }
    let mut bytes = vec![0; size as usize * 8];
    if kernel.memory.read(sheaf.at(shape.objects), &mut bytes).is_ok() {
        free.extend((0..size).map(|at| Va(word(&bytes, at * 8))));
    }
}
