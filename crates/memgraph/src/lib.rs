//! `sysak memgraph`: who owns every byte of memory, and the biggest holders in user space.
//!
//! No pointer is followed: an inventory of pages and slabs is enough, and quick.

mod user_memory;

use std::collections::BTreeMap;
use std::time::Duration;

use sysak_base::PAGE_SIZE;
use sysak_heap::{Tally, tally};
use sysak_kernel::Kernel;
use sysak_kernel::percpu::ChunkUse;
use sysak_kernel::vmalloc::AreaKind;
use sysak_report as report;
use sysak_report::Stage;
use sysak_snapshot::to_report::{
    cache_totals, census, counters, dump_pages, ownerless, rounded, seconds, skipped, tool,
};
use sysak_snapshot::{Inventory, Times};

pub use user_memory::{finding, holders};

/// Functions that asked for vmalloc areas that are reported at least.
const CALLERS: usize = 5;

/// The memory graph of what was seen, with the biggest `caches`.
pub fn graph(
    target: report::Target,
    kernel: &Kernel<'_>,
    seen: &Inventory,
    caches: usize,
    holders: Option<report::UserHolders>,
    total: Duration,
) -> report::MemGraph {
    let tallies = tally(&seen.heap);
    // Of half a walk the order of the caches says nothing.
    let mut biggest = match seen.interrupted {
        None => cache_totals(&seen.heap, &tallies),
        Some(_) => Vec::new(),
    };
    biggest.retain(|cache| cache.bytes > 0);
    biggest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    biggest.truncate(caches);
    // Sums over half a look, or over memory that was copied while it changed, mean nothing.
    let is_one_moment = seen.interrupted.is_none() && !target.torn;
    report::MemGraph {
        tool: tool(),
        target,
        interrupted: seen.interrupted,
        census: match seen.interrupted {
            Some(Stage::Census) => report::Census::default(),
            _ => census(&seen.census, seen.slab_pages()),
        },
        counters: if is_one_moment {
            counters(&seen.census, seen.slab_pages(), &seen.coverage.books)
        } else {
            Vec::new()
        },
        ownerless: ownerless(&seen.census, kernel.cpus()).filter(|_| is_one_moment),
        caches: biggest,
        vmalloc_callers: callers(kernel, seen, CALLERS.max(caches / 2)),
        percpu_use: percpu_use(kernel, &seen.percpu.uses),
        holders,
        coverage: coverage(seen, &tallies),
        timings: timings(seen.times, total),
        ..report::MemGraph::default()
    }
}

/// Who asked for most of the areas.
fn callers(kernel: &Kernel<'_>, seen: &Inventory, top: usize) -> Vec<report::AreaCaller> {
    let mut callers = BTreeMap::<(Option<String>, String), report::AreaCaller>::new();
    for area in seen.areas.iter().filter(|area| {
        matches!(area.kind, AreaKind::Plain | AreaKind::Bpf | AreaKind::Module) && area.pages > 0
    }) {
        let symbol = kernel.symbols.symbolize_return(area.caller);
        let function = symbol
            .map_or_else(|| report::UNKNOWN_FUNCTION.to_owned(), |symbol| symbol.name.to_owned());
        let module = symbol.and_then(|symbol| symbol.module).map(str::to_owned);
        let caller = callers.entry((module.clone(), function.clone())).or_insert_with(|| {
            report::AreaCaller {
                function: function.into(),
                module: module.map(Into::into),
                ..report::AreaCaller::default()
            }
        });
        caller.areas += 1;
        caller.bytes = caller.bytes.saturating_add(area.pages.saturating_mul(PAGE_SIZE));
    }
    let mut callers: Vec<_> = callers.into_values().collect();
    callers.sort_by_key(|caller| std::cmp::Reverse(caller.bytes));
    callers.truncate(top);
    callers
}

/// What of per-CPU memory is in use, for all CPUs.
fn percpu_use(kernel: &Kernel<'_>, chunks: &[ChunkUse]) -> Option<report::PercpuUse> {
    let mut found = report::PercpuUse::default();
    for chunk in chunks.iter().filter(|chunk| chunk.whole) {
        let there = chunk.populated_pages.saturating_mul(PAGE_SIZE);
        let empty = chunk.empty_pages.saturating_mul(PAGE_SIZE).min(there);
        let split = there.saturating_sub(empty).saturating_sub(chunk.allocated_bytes);
        let all = |bytes: u64| bytes.saturating_mul(kernel.cpus());
        found.allocated_bytes += all(chunk.allocated_bytes);
        found.fragmented_bytes += all(split);
        found.empty_bytes += all(empty);
    }
    (!chunks.is_empty()).then_some(found)
}

/// Nothing is searched for pointers here.
fn coverage(seen: &Inventory, tallies: &[Tally]) -> report::Coverage {
    report::Coverage {
        slabs_total: seen.interrupted.is_none().then_some(seen.coverage.slabs_total),
        slabs_walked: seen.coverage.slabs_walked,
        objects_walked: tallies.iter().map(|tally| tally.live).sum(),
        skipped: skipped(&seen.coverage),
        pages: dump_pages(&seen.census),
        ..report::Coverage::default()
    }
}

fn timings(times: Times, total: Duration) -> report::Timings {
    report::Timings {
        total_s: Some(rounded(total)),
        census_s: seconds(times.census),
        walk_s: seconds(times.walk),
        ..report::Timings::default()
    }
}
