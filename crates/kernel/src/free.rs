//! Free pages that the buddy allocator's page type does not show, and the nodes.
//!
//! Pages on the per-CPU lists have no type and a reference count of 0, and are full of old pointers.
//! The deferred range is present but not initialised: neither its `struct page`s nor its pages may be
//! read.
//!
//! **Invariant:** a page is called free only when a list of the allocator says so.

use std::collections::BTreeSet;

use sysak_base::numbers::word;
use sysak_base::{Pfn, PfnRange, Va};
use sysak_heap::PageSet;

use crate::counters::Counters;
use crate::list::walk_list;
use crate::shape::{PageKind, ZoneShape, find_node_table, find_only_node};
use crate::{Coverage, Kernel, Omitted, Reason};

/// No per-CPU list is longer (`pcp->high` is a fraction of a zone).
const LONGEST_LIST: usize = 1 << 22;
/// `MAX_NUMNODES` of the largest distribution kernels.
const MOST_NODES: usize = 1024;
/// Sections are larger, on every architecture.
const SECTION_PAGES: u64 = 1 << 10;
/// How far to look for a free block when the nodes have no symbol.
const PROBES: u64 = 1 << 20;

/// Free pages outside of the buddy lists, and counters of the nodes.
#[derive(Clone, Debug)]
pub struct FreePages {
    /// Pages on a per-CPU list (or waiting for their zone's lock).
    pub per_cpu: PageSet,
    /// Present pages that the kernel has not initialised yet.
    pub deferred: Vec<PfnRange>,
    /// The nodes' present pages, added up; `None` where the nodes were not found.
    pub present_pages: Option<u64>,
    /// What the nodes count.
    pub counters: Counters,
}

impl FreePages {
    /// Finds the nodes and walks their per-CPU lists.
    pub fn find(kernel: &Kernel<'_>, coverage: &mut Coverage) -> FreePages {
        let mut free = FreePages::none(kernel.end_pfn().0);
        let Some(zone) = &kernel.shape.zone else {
            coverage.skip(Omitted::PerCpuFreePages, Reason::NoTypeInfo);
            return free;
        };
        let nodes = find_nodes(kernel, zone);
        if nodes.is_empty() {
            coverage.skip(Omitted::PerCpuFreePages, Reason::NoNodes);
            return free;
        }
        for node in &nodes {
            free.add_node(kernel, zone, *node, coverage);
        }
        free.counters = Counters::read(kernel, nodes);
        free
    }

    /// No page below `end` is known to be free.
    fn none(end: u64) -> FreePages {
        FreePages {
            per_cpu: PageSet::new(end),
            deferred: Vec::new(),
            present_pages: None,
            counters: Counters::default(),
        }
    }

    /// Whether one page is free, as [`FreePages::find`] would answer, by following only the list that
    /// the page is on. The counters are left out.
    pub(crate) fn find_one(kernel: &Kernel<'_>, pfn: Pfn) -> FreePages {
        let mut free = FreePages::none(pfn.0 + 1);
        let Some(zone) = &kernel.shape.zone else { return free };
        let nodes = find_nodes(kernel, zone);
        free.deferred = nodes.iter().filter_map(|node| deferred(kernel, zone, *node)).collect();
        if !free.is_deferred(pfn) && is_listed(kernel, zone, &nodes, pfn) {
            free.per_cpu.insert(pfn);
        }
        free
    }

    /// Whether the page lies in a range that must not be read.
    pub fn is_deferred(&self, pfn: Pfn) -> bool {
        self.deferred.iter().any(|run| run.contains(pfn))
    }

    fn add_node(
        &mut self,
        kernel: &Kernel<'_>,
        shape: &ZoneShape,
        node: Va,
        coverage: &mut Coverage,
    ) {
        let present = kernel.memory.read_u64(node.at(shape.present_pages));
        *self.present_pages.get_or_insert(0) += present.unwrap_or(0);
        self.deferred.extend(deferred(kernel, shape, node));
        for zone in zones(shape, node) {
            for list in per_cpu_lists(kernel, shape, zone) {
                self.add_list(kernel, shape, list, coverage);
            }
            for block in waiting_blocks(kernel, shape, zone) {
                self.add_block(block);
            }
        }
    }

    fn add_list(
        &mut self,
        kernel: &Kernel<'_>,
        shape: &ZoneShape,
        list: FreeList,
        coverage: &mut Coverage,
    ) {
        let walk = walk_list(kernel.memory, list.head, LONGEST_LIST);
        if let Some(stop) = walk.stopped {
            coverage.skip(Omitted::PerCpuPageList, Reason::Stopped(stop));
        }
        let link = shape.block.link;
        for at in walk.seen {
            if let Some(first) = kernel.page_of(Va(at.0.wrapping_sub(link))) {
                self.add_block(FreeBlock { first, order: list.order });
            }
        }
    }

    fn add_block(&mut self, block: FreeBlock) {
        for page in block.first.0..block.first.0 + (1 << block.order) {
            self.per_cpu.insert(Pfn(page));
        }
    }
}

/// A list of free blocks of one size, by its head.
#[derive(Clone, Copy, Debug)]
struct FreeList {
    head: Va,
    order: u64,
}

/// 2^`order` free pages.
#[derive(Clone, Copy, Debug)]
struct FreeBlock {
    first: Pfn,
    order: u64,
}

/// The pages of a node that the kernel has not initialised yet.
fn deferred(kernel: &Kernel<'_>, shape: &ZoneShape, node: Va) -> Option<PfnRange> {
    let word = |offset| kernel.memory.read_u64(node.at(offset)).unwrap_or(0);
    let start = word(shape.start_pfn);
    let end = start.saturating_add(word(shape.spanned_pages));
    // The kernel puts it off a section of memory at a time.
    let first =
        Some(word(shape.first_deferred?)).filter(|pfn| pfn.is_multiple_of(SECTION_PAGES))?;
    let first = first.max(start);
    (first < end).then_some(PfnRange { start: Pfn(first), end: Pfn(end) })
}

/// The zones of a node.
fn zones(shape: &ZoneShape, node: Va) -> impl Iterator<Item = Va> + use<> {
    let (first, bytes) = (node.at(shape.zones), shape.zone_bytes);
    (0..shape.zones_len).map(move |zone| first.at(zone * bytes))
}

/// The per-CPU lists of a zone.
fn per_cpu_lists<'k>(
    kernel: &'k Kernel<'_>,
    shape: &'k ZoneShape,
    zone: Va,
) -> impl Iterator<Item = FreeList> + use<'k> {
    let pageset = kernel.memory.read_u64(zone.at(shape.pageset)).ok().filter(|at| *at != 0);
    pageset.into_iter().flat_map(move |pageset| {
        let lists = move |set: Va| {
            let head = move |list| set.at(shape.lists.at + list * 16);
            (0..shape.lists.len)
                .map(move |list| FreeList { head: head(list), order: shape.order_of_list(list) })
        };
        kernel.per_cpu(pageset).flat_map(lists)
    })
}

/// Blocks that wait for the lock of their zone.
fn waiting_blocks(kernel: &Kernel<'_>, shape: &ZoneShape, zone: Va) -> Vec<FreeBlock> {
    let memory = kernel.memory;
    let first = shape.waiting.and_then(|at| memory.read_u64(zone.at(at)).ok());
    let mut at = Va(first.unwrap_or(0));
    let mut blocks = Vec::new();
    for _ in 0..LONGEST_LIST {
        let link = shape.block.link;
        let Some(first) = kernel.page_of(Va(at.0.wrapping_sub(link))) else { break };
        let order = memory.read_u64(kernel.struct_page(first).at(shape.block.order));
        let order = order.ok().filter(|order| *order < shape.orders).unwrap_or(0);
        blocks.push(FreeBlock { first, order });
        at = Va(memory.read_u64(at).unwrap_or(0));
    }
    blocks
}

/// Whether the block of a page is on a per-CPU list, or on a list of blocks that wait.
fn is_listed(kernel: &Kernel<'_>, shape: &ZoneShape, nodes: &[Va], pfn: Pfn) -> bool {
    if !is_unused(kernel, pfn) {
        return false;
    }
    let orders: BTreeSet<u64> =
        (0..shape.lists.len).map(|list| shape.order_of_list(list)).collect();
    let heads = orders.into_iter().filter_map(|order| {
        let first = Pfn(pfn.0 >> order << order);
        let is_block = kernel.is_ram(first) && is_unused(kernel, first);
        let head = is_block.then(|| list_head(kernel, shape, first))??;
        Some(FreeList { head, order })
    });
    let heads: Vec<FreeList> = heads.collect();
    nodes.iter().flat_map(|node| zones(shape, *node)).any(|zone| {
        let is_one = |list: FreeList| {
            heads.iter().any(|known| (known.head, known.order) == (list.head, list.order))
        };
        let has_page = |block: &FreeBlock| {
            (block.first.0..block.first.0 + (1 << block.order)).contains(&pfn.0)
        };
        !heads.is_empty() && per_cpu_lists(kernel, shape, zone).any(is_one)
            || waiting_blocks(kernel, shape, zone).iter().any(has_page)
    })
}

/// Whether a page has neither a reference count nor a type.
fn is_unused(kernel: &Kernel<'_>, pfn: Pfn) -> bool {
    let shape = &kernel.shape.page;
    let word = |offset| kernel.memory.read_u32(kernel.struct_page(pfn).at(offset));
    word(shape.refcount) == Ok(0)
        && word(shape.page_type).map(|word| shape.types.kind(word)) == Ok(PageKind::Plain)
}

/// The head of the list that a page is on. The walk goes backwards, and checks that each link before
/// points to the one behind it: so a walk from the head would meet the page.
fn list_head(kernel: &Kernel<'_>, shape: &ZoneShape, pfn: Pfn) -> Option<Va> {
    let lru = shape.block.link;
    let mut link = kernel.struct_page(pfn).at(lru);
    for _ in 0..LONGEST_LIST {
        let before = Va(kernel.memory.read_u64(link.at(8)).ok()?);
        if kernel.memory.read_u64(before) != Ok(link.0) {
            return None;
        }
        if kernel.page_of(Va(before.0.wrapping_sub(lru))).is_none() {
            return Some(before);
        }
        link = before;
    }
    None
}

/// The nodes (`struct pglist_data`), by their symbol, else through the list of a free block.
fn find_nodes(kernel: &Kernel<'_>, shape: &ZoneShape) -> Vec<Va> {
    let plausible = |node: &Va| is_node(kernel, shape, *node);
    if let Some(table) = find_node_table(kernel.symbols) {
        let nodes = kernel.shape.cache.nodes.map_or(1, |nodes| nodes.len);
        let most = (nodes as usize).min(MOST_NODES);
        // Node numbers may have gaps; a hole in the table is a null pointer.
        let nodes = read_words(kernel, table, most).into_iter().map(Va);
        let nodes: Vec<_> = nodes.filter(plausible).collect();
        if !nodes.is_empty() {
            return nodes;
        }
    }
    if let Some(node) = find_only_node(kernel.symbols).filter(plausible) {
        return vec![node];
    }
    nodes_of_free_blocks(kernel, shape)
}

/// Up to `many` words from an address on; fewer where the memory ends before.
fn read_words(kernel: &Kernel<'_>, at: Va, many: usize) -> Vec<u64> {
    let mut raw = Vec::new();
    match kernel.memory.view(at, many * 8, &mut raw) {
        Ok(raw) => raw.chunks_exact(8).map(|bytes| word(bytes, 0)).collect(),
        Err(_) => {
            let read = |n: usize| kernel.memory.read_u64(at.at(n as u64 * 8)).ok();
            (0..many).map_while(read).collect()
        }
    }
}

/// Whether a node's first zone points back at it.
fn is_node(kernel: &Kernel<'_>, shape: &ZoneShape, node: Va) -> bool {
    let zone = node.at(shape.zones);
    node != Va(0) && kernel.memory.read_u64(zone.at(shape.pgdat)) == Ok(node.0)
}

/// A free block's list leads to its zone, and the zone to its node.
fn nodes_of_free_blocks(kernel: &Kernel<'_>, zone: &ZoneShape) -> Vec<Va> {
    let shape = &kernel.shape.page;
    let mut nodes = BTreeSet::new();
    for run in &kernel.ram {
        // A machine's free blocks are all over its memory: a sample per run finds one.
        let step = (run.pages() / PROBES).max(1);
        let mut pfn = run.start;
        while pfn < run.end {
            let page = kernel.struct_page(pfn);
            let kind = kernel.memory.read_u32(page.at(shape.page_type));
            if kind.map(|word| shape.types.kind(word)) == Ok(PageKind::Buddy)
                && let Some(node) = node_of_block(kernel, zone, page)
            {
                nodes.insert(node);
                break;
            }
            pfn = Pfn(pfn.0 + step);
        }
    }
    nodes.into_iter().collect()
}

fn node_of_block(kernel: &Kernel<'_>, zone: &ZoneShape, page: Va) -> Option<Va> {
    let order = kernel.memory.read_u64(page.at(zone.block.order)).ok()?;
    if order >= zone.orders {
        return None;
    }
    let mut link = page.at(zone.block.link);
    for _ in 0..LONGEST_LIST {
        link = Va(kernel.memory.read_u64(link).ok()?);
        if kernel.page_of(Va(link.0.wrapping_sub(zone.block.link))).is_some() {
            continue;
        }
        // The head of the list, inside the zone. Which of the lists of this order it is follows from
        // the pointers between zone and node.
        let area = zone.free_area + order * zone.free_area_bytes + zone.free_list;
        let candidates = (0..zone.migrate_types).map(|kind| link.0.wrapping_sub(area + kind * 16));
        return candidates.map(Va).find_map(|candidate| {
            let node = Va(kernel.memory.read_u64(candidate.at(zone.pgdat)).ok()?);
            is_node(kernel, zone, node).then_some(node)
        });
    }
    None
}
