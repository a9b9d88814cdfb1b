//! The address spaces of processes, and a top-level table to start from.

use sysak_arch::x86_64::Paging;
use sysak_base::{PAGE_SIZE, Va};
use sysak_heap::{Heap, Object};

use super::proof::prove;
use crate::Kernel;
use crate::list::walk_list;
use crate::shape::{SPACE_CACHE, find_program_tables};

/// A list that changes under the walk may lead anywhere; few machines have more processes.
const MOST_LISTED: usize = 1 << 16;

/// The top-level tables of all processes.
pub(super) fn spaces(kernel: &Kernel<'_>, heap: &Heap) -> Vec<Va> {
    let spaces = address_spaces(kernel, heap);
    if spaces.is_empty() { listed(kernel) } else { spaces }
}

/// A top-level table that maps the kernel, and how its entries are read.
pub(super) fn proved(kernel: &Kernel<'_>, spaces: &[Va]) -> Option<(Va, Paging)> {
    let mut tops = kernel.page_table.into_iter().chain(spaces.iter().copied());
    tops.find_map(|top| Some((top, prove(kernel, top)?)))
}

/// The top-level tables on the kernel's list, which goes through their `struct page`s; any
/// of them is on it.
fn listed(kernel: &Kernel<'_>) -> Vec<Va> {
    let Some(free) = kernel.shape.page.free else { return Vec::new() };
    let lru = free.link;
    let known = kernel.page_table.and_then(|top| kernel.direct_pfn(top));
    let head = find_program_tables(kernel.symbols)
        .or_else(|| known.map(|pfn| kernel.struct_page(pfn).at(lru)));
    let Some(head) = head else { return Vec::new() };
    let links = walk_list(kernel.memory, head, MOST_LISTED).seen;
    let of_link = |link: Va| kernel.page_of(Va(link.0.wrapping_sub(lru)));
    links.into_iter().filter_map(of_link).chain(known).map(|pfn| kernel.page_va(pfn)).collect()
}

/// The top-level tables of the address spaces among the slabs' objects.
fn address_spaces(kernel: &Kernel<'_>, heap: &Heap) -> Vec<Va> {
    let mut tops = Vec::new();
    let Some(place) = kernel.shape.top_table else { return tops };
    for (slab, _) in heap.slabs_of(SPACE_CACHE) {
        heap.for_each_live(slab, |index| {
            let space = heap.object_va(Object { slab, index });
            let top = kernel.memory.read_u64(space.at(place)).unwrap_or(0);
            if top.is_multiple_of(PAGE_SIZE) && kernel.direct_pfn(Va(top)).is_some() {
                tops.push(Va(top));
            }
        });
    }
    tops
}
