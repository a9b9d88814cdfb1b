//! The figures of the memory graph.

use std::collections::BTreeMap;
use std::time::Duration;

use sysak::look::{Survey, Times};
use sysak_analysis::lost::{self, Tally};
use sysak_base::heap::{Class, Heap};
use sysak_base::{PAGE_SIZE, Stage};
use sysak_kernel::Kernel;
use sysak_kernel::percpu::ChunkUse;
use sysak_kernel::vmalloc::Kind;
use sysak_report as report;
use sysak_target::Identity;

/// Functions that asked for vmalloc areas that are told at least.
const CALLERS: usize = 5;

/// The memory graph of what was seen, with the biggest `caches`.
pub fn graph(
    identity: &Identity,
    kernel: &Kernel<'_>,
    seen: &Survey,
    caches: usize,
    holders: Option<report::UserHolders>,
    total: Duration,
) -> report::MemGraph {
    let tallies = lost::tally(&seen.heap);
    // Of half a walk the order of the caches says nothing.
    let mut biggest = match seen.interrupted {
        None => caches_of(&seen.heap, &tallies),
        Some(_) => Vec::new(),
    };
    biggest.retain(|cache| cache.bytes > 0);
    biggest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    biggest.truncate(caches);
    report::MemGraph {
        tool: report::Tool { name: "sysak".into(), version: env!("CARGO_PKG_VERSION").into() },
        target: super::target(identity),
        interrupted: seen.interrupted.map(Into::into),
        census: match seen.interrupted {
            Some(Stage::Census) => report::Census::default(),
            _ => super::census(&seen.census, seen.slab_pages()),
        },
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
fn callers(kernel: &Kernel<'_>, seen: &Survey, top: usize) -> Vec<report::AreaCaller> {
    let mut callers = BTreeMap::<(Option<String>, String), report::AreaCaller>::new();
    for area in seen.areas.iter().filter(|area| {
        matches!(area.kind, Kind::Plain | Kind::Bpf | Kind::Module) && area.pages > 0
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
fn coverage(seen: &Survey, tallies: &[Tally]) -> report::Coverage {
    report::Coverage {
        slabs_total: seen.interrupted.is_none().then_some(seen.coverage.slabs_total),
        slabs_walked: seen.coverage.slabs_walked,
        objects_walked: tallies.iter().map(|tally| tally.live).sum(),
        skipped: super::skipped::skipped(&seen.coverage.skipped),
        ..report::Coverage::default()
    }
}

fn timings(times: Times, total: Duration) -> report::Timings {
    let seconds = |time: Duration| (!time.is_zero()).then(|| super::rounded(time));
    report::Timings {
        total_s: Some(super::rounded(total)),
        census_s: seconds(times.census),
        walk_s: seconds(times.walk),
        ..report::Timings::default()
    }
}

/// Totals of every cache.
pub(super) fn caches_of(heap: &Heap, tallies: &[Tally]) -> Vec<report::CacheTotals> {
    let slabs = heap.caches.iter().zip(tallies).filter(|(cache, _)| cache.class == Class::Slab);
    let totals = slabs.map(|(cache, tally)| report::CacheTotals {
        name: cache.name.as_str().into(),
        aliases: super::strings(&cache.aliases),
        object_size_bytes: cache.object_size.into(),
        slabs: tally.slabs,
        objects_total: tally.total,
        objects_live: tally.live,
        bytes: tally.pages * PAGE_SIZE,
        reclaimable: cache.reclaimable,
    });
    totals.collect()
}
