//! Free pages that the buddy allocator's page type does not show, and the nodes.
//!
//! Pages on the per-CPU lists have no type and no references, and stale pointers
//! live in them. The deferred range is present but not initialised: neither its
//! `struct page`s nor its pages may be read.
//!
//! **Invariant:** a page is called free only when a list of the allocator says so.

use std::collections::BTreeSet;

use sysak_base::{Pfn, PfnRange, Va};
use sysak_heap::PageSet;

use crate::list::walk_list;
use crate::shape::{CounterShape, PageKind};
use crate::{Coverage, Kernel, Omitted, Reason};

/// No per-CPU list is longer (`pcp->high` is a fraction of a zone).
const LONGEST_LIST: usize = 1 << 22;
/// `MAX_NUMNODES` of the largest distribution kernels.
const MOST_NODES: usize = 1024;
/// How far to look for a free block when the nodes have no symbol.
const PROBES: u64 = 1 << 20;

/// Free pages outside the buddy lists, and what the nodes say of themselves.
#[derive(Clone, Debug)]
pub struct FreePages {
    /// Pages on a per-CPU list (or waiting for their zone's lock).
    pub per_cpu: PageSet,
    /// Present pages that the kernel has not initialised yet.
    pub deferred: Vec<PfnRange>,
    /// The nodes' present pages, added up; `None` where the nodes were not found.
    pub present_pages: Option<u64>,
    /// Pages that the nodes count as slabs that cannot be given back; large kmallocs are among
    /// them. `None` where the counters cannot be told.
    pub unreclaimable_pages: Option<u64>,
    /// Page tables of virtual machines and IOMMUs, as the nodes count them.
    pub secondary_table_pages: Option<u64>,
}

impl FreePages {
    /// Finds the nodes and walks their per-CPU lists.
    pub fn find(kernel: &Kernel<'_>, coverage: &mut Coverage) -> FreePages {
        let nodes = find_nodes(kernel);
        let mut free = FreePages {
            per_cpu: PageSet::new(kernel.end_pfn().0),
            deferred: Vec::new(),
            present_pages: None,
            unreclaimable_pages: None,
            secondary_table_pages: None,
        };
        if nodes.is_empty() {
            coverage.skip(Omitted::PerCpuFreePages, Reason::NoNodes);
            return free;
        }
        if let Some(shape) = kernel.shape.zone.counters {
            free.unreclaimable_pages = count(kernel, &nodes, shape, shape.slab_unreclaimable);
            let secondary = shape.secondary_tables;
            free.secondary_table_pages =
                secondary.and_then(|which| count(kernel, &nodes, shape, which));
        }
        for node in nodes {
            free.add_node(kernel, node, coverage);
        }
        free
    }

    /// Whether the page lies in a range that must not be read.
    pub fn is_deferred(&self, pfn: Pfn) -> bool {
        self.deferred.iter().any(|run| run.contains(pfn))
    }

    fn add_node(&mut self, kernel: &Kernel<'_>, node: Va, coverage: &mut Coverage) {
        let shape = &kernel.shape.zone;
        let word = |offset| kernel.memory.read_u64(node.at(offset)).unwrap_or(0);
        *self.present_pages.get_or_insert(0) += word(shape.present_pages);
        let start = word(shape.start_pfn);
        let end = start.saturating_add(word(shape.spanned_pages));
        if let Some(offset) = shape.first_deferred {
            let first = word(offset).max(start);
            if first < end {
                self.deferred.push(PfnRange { start: Pfn(first), end: Pfn(end) });
            }
        }
        for zone in 0..shape.zones_len {
            let zone = node.at(shape.zones + zone * shape.zone_bytes);
            self.add_zone(kernel, zone, coverage);
        }
    }

    fn add_zone(&mut self, kernel: &Kernel<'_>, zone: Va, coverage: &mut Coverage) {
        let shape = &kernel.shape.zone;
        let Ok(pageset) = kernel.memory.read_u64(zone.at(shape.pageset)) else { return };
        if pageset != 0 {
            for set in kernel.per_cpu(pageset) {
                for list in 0..shape.lists.1 {
                    let head = set.at(shape.lists.0 + list * 16);
                    self.add_list(kernel, head, shape.order_of_list(list), coverage);
                }
            }
        }
        let waiting = shape.waiting.and_then(|at| kernel.memory.read_u64(zone.at(at)).ok());
        let mut at = Va(waiting.unwrap_or(0));
        for _ in 0..LONGEST_LIST {
            let link = kernel.shape.page.lru;
            let Some(pfn) = kernel.page_of(Va(at.0.wrapping_sub(link))) else { break };
            let order =
                kernel.memory.read_u64(kernel.struct_page(pfn).at(kernel.shape.page.private));
            self.add_block(pfn, order.ok().filter(|order| *order < shape.orders).unwrap_or(0));
            at = Va(kernel.memory.read_u64(at).unwrap_or(0));
        }
    }

    fn add_list(&mut self, kernel: &Kernel<'_>, head: Va, order: u64, coverage: &mut Coverage) {
        let walk = walk_list(kernel.memory, head, LONGEST_LIST);
        if let Some(stop) = walk.stopped {
            coverage.skip(Omitted::PerCpuPageList, Reason::Stopped(stop));
        }
        let link = kernel.shape.page.lru;
        for at in walk.seen {
            if let Some(pfn) = kernel.page_of(Va(at.0.wrapping_sub(link))) {
                self.add_block(pfn, order);
            }
        }
    }

    fn add_block(&mut self, pfn: Pfn, order: u64) {
        for page in pfn.0..pfn.0 + (1 << order) {
            self.per_cpu.insert(Pfn(page));
        }
    }
}

/// One of the nodes' counters, with what the CPUs have not added yet.
fn count(kernel: &Kernel<'_>, nodes: &[Va], shape: CounterShape, which: u64) -> Option<u64> {
    let memory = kernel.memory;
    let mut sum = 0i64;
    for node in nodes {
        let counter = node.at(shape.words + which * 8);
        sum = sum.checked_add(memory.read_u64(counter).ok()? as i64)?;
        for own in kernel.per_cpu(memory.read_u64(node.at(shape.per_cpu)).ok()?) {
            let mut diff = [0];
            memory.read(own.at(shape.diffs + which), &mut diff).ok()?;
            sum = sum.checked_add(i64::from(diff[0] as i8))?;
        }
    }
    u64::try_from(sum).ok()
}

/// The nodes (`struct pglist_data`), by symbol, else by way of a free block.
fn find_nodes(kernel: &Kernel<'_>) -> Vec<Va> {
    let plausible = |node: &Va| is_node(kernel, *node);
    if let Some(table) = kernel.symbols.find("node_data") {
        let read = |n: usize| kernel.memory.read_u64(table.at(n as u64 * 8)).ok().map(Va);
        let most = (kernel.shape.cache.nodes as usize).min(MOST_NODES);
        // Node numbers may have gaps; a hole in the table is a null pointer.
        let nodes: Vec<_> = (0..most).map_while(read).filter(plausible).collect();
        if !nodes.is_empty() {
            return nodes;
        }
    }
    if let Some(node) = kernel.symbols.find("contig_page_data").filter(plausible) {
        return vec![node];
    }
    nodes_of_free_blocks(kernel)
}

/// Whether a node's first zone points back at it.
fn is_node(kernel: &Kernel<'_>, node: Va) -> bool {
    let shape = &kernel.shape.zone;
    let zone = node.at(shape.zones);
    node != Va(0) && kernel.memory.read_u64(zone.at(shape.pgdat)) == Ok(node.0)
}

/// A free block's list leads to its zone, and the zone to its node.
fn nodes_of_free_blocks(kernel: &Kernel<'_>) -> Vec<Va> {
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
                && let Some(node) = node_of_block(kernel, page)
            {
                nodes.insert(node);
                break;
            }
            pfn = Pfn(pfn.0 + step);
        }
    }
    nodes.into_iter().collect()
}

fn node_of_block(kernel: &Kernel<'_>, page: Va) -> Option<Va> {
    let (shape, zone) = (&kernel.shape.page, &kernel.shape.zone);
    let order = kernel.memory.read_u64(page.at(shape.private)).ok()?;
    if order >= zone.orders {
        return None;
    }
    let mut link = page.at(shape.lru);
    for _ in 0..LONGEST_LIST {
        link = Va(kernel.memory.read_u64(link).ok()?);
        if kernel.page_of(Va(link.0.wrapping_sub(shape.lru))).is_some() {
            continue;
        }
        // The head of the list, inside the zone: which of the order's lists it is, the
        // pointers between zone and node tell.
        let area = zone.free_area + order * zone.free_area_bytes + zone.free_list;
        let candidates = (0..zone.migrate_types).map(|kind| link.0.wrapping_sub(area + kind * 16));
        return candidates.map(Va).find_map(|candidate| {
            let node = Va(kernel.memory.read_u64(candidate.at(zone.pgdat)).ok()?);
            is_node(kernel, node).then_some(node)
        });
    }
    None
}
