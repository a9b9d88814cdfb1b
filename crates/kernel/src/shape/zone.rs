//! Nodes, zones, and the lists that free pages are on.

use sysak_base::Va;
use sysak_symbols::Kallsyms;

use super::{ArrayPlace, FreeBlockShape, Names};

/// Offsets inside `struct pglist_data`, `struct zone` and the per-CPU page lists.
#[derive(Clone, Debug)]
pub struct ZoneShape {
    /// What the first page of a free block says.
    pub block: FreeBlockShape,
    /// `pglist_data.node_zones`
    pub zones: u64,
    /// Zones in a node.
    pub zones_len: u64,
    /// Bytes of a `struct zone`.
    pub zone_bytes: u64,
    /// `pglist_data.node_present_pages`
    pub present_pages: u64,
    /// `pglist_data.node_start_pfn`
    pub start_pfn: u64,
    /// `pglist_data.node_spanned_pages`
    pub spanned_pages: u64,
    /// `pglist_data.node_id`
    pub node_id: u64,
    /// `pglist_data.first_deferred_pfn`
    pub first_deferred: Option<u64>,
    /// `zone.zone_pgdat`
    pub pgdat: u64,
    /// The zone's per-CPU lists: a per-CPU pointer.
    pub pageset: u64,
    /// The array of lists inside what `pageset` points to.
    pub lists: ArrayPlace,
    /// `zone.free_area`
    pub free_area: u64,
    /// Number of orders.
    pub orders: u64,
    /// Bytes of a `struct free_area`; its lists come first.
    pub free_area_bytes: u64,
    /// `free_area.free_list`
    pub free_list: u64,
    /// Migrate types: lists per order.
    pub migrate_types: u64,
    /// Lists per order below the huge pages' (`MIGRATE_PCPTYPES`).
    pub types_per_order: u64,
    /// `zone.trylock_free_pages`, pages that wait for the zone's lock (v6.15).
    pub waiting: Option<u64>,
    /// The nodes' counters; `None` where this kernel's types do not describe them.
    pub counters: Option<CounterShape>,
}

/// A counter of the kernel's memory; most are kept by the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Slabs of caches that reclaim can shrink (`NR_SLAB_RECLAIMABLE_B`).
    SlabReclaimable,
    /// All other slabs, and kmallocs too large for a slab (`NR_SLAB_UNRECLAIMABLE_B`).
    SlabUnreclaimable,
    /// Page tables of processes (`NR_PAGETABLE`).
    PageTables,
    /// Page tables of virtual machines and IOMMUs, since v6.1 (`NR_SECONDARY_PAGETABLE`).
    SecondaryPageTables,
    /// Stacks of tasks (`NR_KERNEL_STACK_KB`).
    KernelStacks,
    /// tmpfs and shared memory (`NR_SHMEM`).
    Shmem,
    /// Pages of vmalloc areas, stacks among them (`NR_VMALLOC` in v7.2; `nr_vmalloc_pages` in v6.18 and before).
    Vmalloc,
    /// Per-CPU memory (`pcpu_nr_populated` for each CPU).
    PerCpu,
}

impl Counter {
    /// All of them, in the order of their numbers.
    pub const ALL: [Counter; COUNTERS] = [
        Counter::SlabReclaimable,
        Counter::SlabUnreclaimable,
        Counter::PageTables,
        Counter::SecondaryPageTables,
        Counter::KernelStacks,
        Counter::Shmem,
        Counter::Vmalloc,
        Counter::PerCpu,
    ];
}

/// How many counters there are.
pub const COUNTERS: usize = 8;

/// Where a node counts its pages by their use.
#[derive(Clone, Copy, Debug)]
pub struct CounterShape {
    /// `pglist_data.vm_stat`: words.
    pub words: u64,
    /// `pglist_data.per_cpu_nodestats`: a per-CPU pointer.
    pub per_cpu: u64,
    /// `per_cpu_nodestat.vm_node_stat_diff`: what a CPU has not added yet, a signed byte each.
    pub diffs: u64,
    /// The index of each in these arrays.
    pub items: [Option<u64>; COUNTERS],
}

impl CounterShape {
    fn find(names: Names<'_>) -> Option<CounterShape> {
        let item = |name| names.find_value(name).filter(|at| *at < 256);
        let shmem = item("NR_SHMEM");
        // Before v5.11 NR_PAGETABLE is an item of zones. Where it is an item of nodes, it comes after NR_SHMEM.
        let tables = item("NR_PAGETABLE").filter(|tables| shmem.is_some_and(|it| it < *tables));
        let of = |counter| match counter {
            Counter::SlabReclaimable => item("NR_SLAB_RECLAIMABLE_B"),
            Counter::SlabUnreclaimable => item("NR_SLAB_UNRECLAIMABLE_B"),
            Counter::PageTables => tables,
            Counter::SecondaryPageTables => item("NR_SECONDARY_PAGETABLE"),
            Counter::KernelStacks => item("NR_KERNEL_STACK_KB"),
            Counter::Shmem => shmem,
            Counter::Vmalloc => item("NR_VMALLOC"),
            Counter::PerCpu => None,
        };
        Some(CounterShape {
            words: names.find("pglist_data", "vm_stat")?,
            per_cpu: names.find("pglist_data", "per_cpu_nodestats")?,
            diffs: names.find("per_cpu_nodestat", "vm_node_stat_diff")?,
            items: Counter::ALL.map(of),
        })
    }
}

impl ZoneShape {
    /// The order of the blocks on a per-CPU list: lists of orders 0 to 3, then those of
    /// huge pages, since Linux commit 44042b449872 ("mm/page_alloc: allow high-order
    /// pages to be stored on the per-cpu lists") (v5.14).
    pub fn order_of_list(&self, list: u64) -> u64 {
        const COSTLY_ORDER: u64 = 3;
        const HUGE_ORDER: u64 = 9;
        let order = list / self.types_per_order;
        if order <= COSTLY_ORDER { order } else { HUGE_ORDER }
    }

    pub(super) fn find(names: Names<'_>) -> Option<ZoneShape> {
        let node = |path| names.find("pglist_data", path);
        let zone = |path| names.find("zone", path);
        // One structure less between zone and lists since Linux commit 28f836b6777b
        // ("mm/page_alloc: split per cpu page lists and zone stats") (v5.14).
        let (pageset, inner) = match names.find("zone", "per_cpu_pageset") {
            Some(offset) => (offset, 0),
            None => (zone("pageset")?, names.find("per_cpu_pageset", "pcp")?),
        };
        let lists = names.find("per_cpu_pages", "lists")? + inner;
        let len = |owner, path, most: u64| names.find_len(owner, path).unwrap_or(1).min(most);
        Some(ZoneShape {
            block: FreeBlockShape::find(names)?,
            zones: node("node_zones")?,
            zones_len: len("pglist_data", "node_zones", 16),
            zone_bytes: names.find_size("zone")?,
            present_pages: node("node_present_pages")?,
            start_pfn: node("node_start_pfn")?,
            spanned_pages: node("node_spanned_pages")?,
            node_id: node("node_id")?,
            first_deferred: names.find("pglist_data", "first_deferred_pfn"),
            pgdat: zone("zone_pgdat")?,
            pageset,
            lists: ArrayPlace { at: lists, len: len("per_cpu_pages", "lists", 256) },
            free_area: zone("free_area")?,
            orders: len("zone", "free_area", 32),
            free_area_bytes: names.find_size("free_area")?,
            free_list: names.find("free_area", "free_list")?,
            migrate_types: len("free_area", "free_list", 16),
            types_per_order: names.find_value("MIGRATE_PCPTYPES").unwrap_or(3).max(1),
            waiting: names.find("zone", "trylock_free_pages"),
            counters: CounterShape::find(names),
        })
    }
}

/// The address of a global counter, and whether it has 64 bits (else 32).
pub fn find_counter(symbols: &Kallsyms, counter: Counter) -> Option<(Va, bool)> {
    match counter {
        Counter::Vmalloc => Some((symbols.find("nr_vmalloc_pages")?, true)),
        Counter::PerCpu => Some((symbols.find("pcpu_nr_populated")?, false)),
        _ => None,
    }
}

/// The table of the nodes, an array of pointers; listed where KALLSYMS_ALL is set.
pub fn find_node_table(symbols: &Kallsyms) -> Option<Va> {
    symbols.find("node_data")
}

/// The node of a kernel that is built for one node; listed where KALLSYMS_ALL is set.
pub fn find_only_node(symbols: &Kallsyms) -> Option<Va> {
    symbols.find("contig_page_data")
}
