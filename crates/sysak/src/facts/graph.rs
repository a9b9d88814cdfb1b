//! The figures of the memory graph.

use std::time::Duration;

use sysak::look::{Survey, Times};
use sysak_analysis::lost::{self, Tally};
use sysak_base::heap::{Class, Heap};
use sysak_base::{PAGE_SIZE, Stage};
use sysak_report as report;
use sysak_target::Identity;

/// The memory graph of what was seen, with the biggest `caches`.
pub fn graph(
    identity: &Identity,
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
        tool: report::Tool {
            name: "sysak".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        target: super::target(identity),
        interrupted: seen.interrupted,
        census: match seen.interrupted {
            Some(Stage::Census) => report::Census::default(),
            _ => super::census(&seen.census, seen.slab_pages()),
        },
        caches: biggest,
        holders,
        coverage: coverage(seen, &tallies),
        timings: timings(seen.times, total),
        ..report::MemGraph::default()
    }
}

/// Nothing is searched for pointers here.
fn coverage(seen: &Survey, tallies: &[Tally]) -> report::Coverage {
    let skipped = seen.coverage.skipped.iter();
    report::Coverage {
        slabs_total: seen.interrupted.is_none().then_some(seen.coverage.slabs_total),
        slabs_walked: seen.coverage.slabs_walked,
        objects_walked: tallies.iter().map(|tally| tally.live).sum(),
        skipped: skipped
            .map(|(what, why)| report::Skipped { what: what.clone(), why: why.clone() })
            .collect(),
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
        name: cache.name.clone(),
        aliases: cache.aliases.clone(),
        object_size_bytes: cache.object_size.into(),
        slabs: tally.slabs,
        objects_total: tally.total,
        objects_live: tally.live,
        bytes: tally.pages * PAGE_SIZE,
        reclaimable: cache.reclaimable,
    });
    totals.collect()
}
