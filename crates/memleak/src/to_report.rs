//! Turns a diagnosis into the report: figures only, the sentences are the report's own.

mod call_sites;
mod counted;
pub mod holders;
pub mod types;
mod watched;

use std::time::Duration;

use sysak_base::PAGE_SIZE;
use sysak_callsites::ModuleCall;
use sysak_heap::Class;
use sysak_infer::content::ContentSymbol;
use sysak_kernel::Kernel;
use sysak_kernel::functions::outside::Outside;
use sysak_report as report;
use sysak_report::Stage;
use sysak_snapshot::to_report::{
    books, cache_totals, census, counters, dump_pages, ownerless, rounded, seconds, skipped,
    strings, tool,
};

use crate::diagnose::Diagnosis;
use crate::explain::Explanation;
use crate::judge::Case;
use crate::observed::Observed;
use crate::outside::GivenAway;
use crate::plan::{Plan, Scope};
use crate::verdict::can_clear;

/// The report of a diagnosis.
pub fn report(
    target: report::Target,
    kernel: &Kernel<'_>,
    diagnosis: &Diagnosis<'_>,
    plan: &Plan,
    total: Duration,
) -> report::Report {
    let snapshot = &diagnosis.observed.snapshot;
    // Sums over half a look, or over memory that was copied while it changed, mean nothing.
    let is_one_moment = diagnosis.interrupted().is_none() && !target.torn;
    report::Report {
        tool: tool(),
        target,
        verdict: verdict(diagnosis, plan),
        interrupted: diagnosis.interrupted(),
        method: report::Method {
            looks: diagnosis.observed.snapshots,
            settle_s: settle(diagnosis, plan),
            similarity_percent: plan.similarity_percent,
            only_cache: plan.only_cache.as_deref().map(Into::into),
        },
        scope: scope(diagnosis),
        census: match diagnosis.observed.interrupted {
            Some(Stage::Census) => report::Census::default(),
            _ => census(&snapshot.census, snapshot.slab_pages),
        },
        counters: if is_one_moment {
            counters(&snapshot.census, snapshot.slab_pages, &snapshot.coverage.books)
        } else {
            Vec::new()
        },
        ownerless: ownerless(&snapshot.census, kernel.cpus()).filter(|_| is_one_moment),
        findings: diagnosis.cases.iter().map(|case| finding(kernel, diagnosis, case)).collect(),
        trace: watched::trace(diagnosis),
        trend: watched::trend(diagnosis),
        coverage: coverage(diagnosis),
        timings: timings(diagnosis, total),
        ..report::Report::default()
    }
}

/// What was to be judged; `None` where that is everything.
fn scope(diagnosis: &Diagnosis<'_>) -> Option<report::Scope> {
    let Observed { snapshot, tallies, interrupted, .. } = &diagnosis.observed;
    let heap = &snapshot.heap;
    let (class, cache) = match diagnosis.scope {
        Scope::All => return None,
        Scope::Class(class) => (class, None),
        Scope::Cache(cache) => {
            let info = &heap.caches[usize::from(cache)];
            (info.class, Some(info.name.as_str().into()))
        }
    };
    let judged = (0..).zip(tallies).filter(|(cache, _)| diagnosis.scope.has(heap, *cache));
    let (mut objects, mut lost) = (0, 0);
    judged.for_each(|(_, tally)| {
        objects += tally.live;
        lost += tally.unreachable;
    });
    let elsewhere = diagnosis.elsewhere.iter().map(|cache| {
        let (info, tally) = (&heap.caches[usize::from(*cache)], &tallies[usize::from(*cache)]);
        report::Elsewhere {
            class: self::class(info.class),
            cache: (info.class == Class::Slab).then(|| info.name.as_str().into()),
            unreachable_objects: tally.unreachable,
            unreachable_bytes: tally.unreachable_bytes,
        }
    });
    Some(report::Scope {
        class: self::class(class),
        cache,
        objects,
        objects_unreachable: interrupted.is_none().then_some(lost),
        elsewhere: elsewhere.collect(),
    })
}

/// Totals of every cache that has slabs.
pub fn all_caches(diagnosis: &Diagnosis<'_>) -> Vec<report::CacheTotals> {
    cache_totals(&diagnosis.observed.snapshot.heap, &diagnosis.observed.tallies)
}

/// Grouping that was cut short still knows what is lost; anything earlier does not. That nothing is lost can be said
/// only where all of the memory could be judged.
fn verdict(diagnosis: &Diagnosis<'_>, plan: &Plan) -> report::Verdict {
    let books = &diagnosis.observed.snapshot.coverage.books;
    match diagnosis.observed.interrupted {
        Some(_) => report::Verdict::Undetermined,
        None if diagnosis.leaks() => report::Verdict::Leak,
        None if diagnosis.may_leak() => report::Verdict::Undetermined,
        None if diagnosis.suspects() => report::Verdict::Suspected,
        None if !can_clear(books, plan) => report::Verdict::Undetermined,
        None => report::Verdict::NoLeak,
    }
}

/// Seconds between the last two snapshots.
fn settle(diagnosis: &Diagnosis<'_>, plan: &Plan) -> Option<u64> {
    let between = match &diagnosis.observed.watched {
        Some(watched) => watched.between_looks,
        None => plan.settle?,
    };
    (diagnosis.observed.snapshots > 1).then_some(between.as_secs())
}

/// A judged case, with what could be explained of it.
pub fn finding(kernel: &Kernel<'_>, diagnosis: &Diagnosis<'_>, case: &Case) -> report::Finding {
    let heap = &diagnosis.observed.snapshot.heap;
    let none = Explanation::default();
    let explained = diagnosis.explanations.get(&case.cache).unwrap_or(&none);
    let cache = &heap.caches[usize::from(case.cache)];
    let tally = &diagnosis.observed.tallies[usize::from(case.cache)];
    let is_slab = cache.class == Class::Slab;
    // Without an end of marking, what is unmarked says nothing.
    let unreachable = diagnosis.observed.interrupted.is_none().then_some(tally.unreachable);
    // Of a sample, only what its objects hold is worth telling.
    let counted = !case.similarity.interrupted && !case.similarity.sampled;
    let content = |held: &ContentSymbol| content_symbol(kernel, diagnosis, case, held);
    let group = |(index, group): (usize, &crate::similarity::Group)| report::Group {
        objects: group.objects,
        unreachable: group.unreachable,
        sample_object: Some(group.sample.into()),
        content_symbols: match index {
            0 => case.content_symbols.iter().map(content).collect(),
            _ => Vec::new(),
        },
    };
    report::Finding {
        class: class(cache.class),
        verdict: match () {
            () if case.leaks => report::FindingVerdict::Leak,
            () if case.is_suspected() => report::FindingVerdict::Suspected,
            () => report::FindingVerdict::Held,
        },
        cache: is_slab.then(|| cache.name.as_str().into()),
        aliases: strings(&cache.aliases),
        cache_destroyed: cache.destroyed,
        object_size_bytes: is_slab.then_some(cache.object_size.into()),
        reclaimable: is_slab.then_some(cache.reclaimable),
        total_objects: is_slab.then_some(tally.total),
        slab_bytes: is_slab.then_some(tally.pages * PAGE_SIZE),
        allocated_objects: Some(tally.live),
        allocated_bytes: Some(tally.live_bytes),
        unreachable_objects: unreachable,
        unreachable_bytes: unreachable.map(|_| tally.unreachable_bytes),
        lost_through: case
            .lost_through
            .filter(|_| case.leaks)
            .map(|other| heap.caches[usize::from(other)].name.as_str().into()),
        similar_objects: counted.then_some(case.similarity.similar),
        sample_object: case.similarity.groups.first().map(|group| group.sample.into()),
        groups: case.similarity.groups.iter().enumerate().filter(|_| counted).map(group).collect(),
        content_symbols: case.content_symbols.iter().map(content).collect(),
        holders: explained
            .holders
            .as_ref()
            .map_or(Vec::new(), |held| holders::holders(heap, case.cache, held)),
        moved_suspects: diagnosis
            .observed
            .alive
            .get(&case.cache)
            .map(|turnover| turnover.all.moved()),
        hidden_references: explained
            .hidden
            .as_ref()
            .map(|held| held.iter().map(holders::hidden).collect()),
        holders_sampled: explained.holders.as_ref().map(|held| held.sampled),
        growth_bytes_per_s: case.growth.as_ref().map(|growth| growth.bytes_per_s.round()),
        functions: [
            watched::functions(kernel, diagnosis, case),
            call_sites::functions(kernel, explained.call_sites.as_ref()),
        ]
        .concat(),
        object_type: types::object_type(&explained.types),
        call_sites: explained.call_sites.as_ref().map(|sites| sites.functions),
        counted: explained.counted.as_ref().map(counted::counted),
        given_away: explained.given_away.iter().map(given_away).collect(),
        explained_by: watched::explanation(case),
        ..report::Finding::default()
    }
}

fn given_away(found: &GivenAway) -> report::GivenAway {
    let ModuleCall { module, function, calls } = &found.call;
    report::GivenAway {
        to: match found.to {
            Outside::Device => report::Outside::Device,
            Outside::Hypervisor => report::Outside::Hypervisor,
        },
        module: module.as_str().into(),
        function: function.as_str().into(),
        calls: (*calls).into(),
    }
}

fn class(class: Class) -> report::Class {
    match class {
        Class::Slab => report::Class::Slab,
        Class::Page => report::Class::Page,
        Class::Vmalloc => report::Class::Vmalloc,
        Class::PerCpu => report::Class::Percpu,
    }
}

fn content_symbol(
    kernel: &Kernel<'_>,
    diagnosis: &Diagnosis<'_>,
    case: &Case,
    held: &ContentSymbol,
) -> report::ContentSymbol {
    let caches = &diagnosis.observed.snapshot.heap.caches;
    let symbol = kernel.symbols.symbolize(held.address).map(|symbol| {
        let module = symbol.module.map_or(String::new(), |module| format!(" [{module}]"));
        match symbol.offset {
            0 => format!("{}{module}", symbol.name),
            offset => format!("{}+{offset:#x}{module}", symbol.name),
        }
    });
    report::ContentSymbol {
        offset: held.offset,
        path: held
            .path
            .iter()
            .map(|(cache, offset)| {
                format!("{}+{offset:#x}", caches[usize::from(*cache)].name).into()
            })
            .collect(),
        symbol: symbol.unwrap_or_else(|| held.address.to_string()).into(),
        objects: held.objects,
        objects_sampled: Some(case.sampled),
    }
}

fn coverage(diagnosis: &Diagnosis<'_>) -> report::Coverage {
    let seen = &diagnosis.observed.snapshot.coverage;
    let walked = !matches!(diagnosis.observed.interrupted, Some(Stage::Census | Stage::Walk));
    report::Coverage {
        slabs_total: walked.then_some(seen.slabs_total),
        slabs_walked: seen.slabs_walked,
        objects_walked: diagnosis.observed.tallies.iter().map(|tally| tally.live).sum(),
        objects_unreachable: diagnosis
            .observed
            .interrupted
            .is_none()
            .then(|| diagnosis.observed.tallies.iter().map(|tally| tally.unreachable).sum()),
        bytes_scanned: seen.bytes_scanned,
        skipped: skipped(seen).into_iter().chain(unexplained(diagnosis)).collect(),
        pages: walked.then(|| dump_pages(&diagnosis.observed.snapshot.census)).flatten(),
        books: if walked { books(seen) } else { Vec::new() },
    }
}

/// What the time was too short to explain.
fn unexplained(diagnosis: &Diagnosis<'_>) -> Option<report::Skipped> {
    let limit = diagnosis.unexplained?;
    let why = report::Reason::OutOfTime { seconds: limit.as_secs_f64().ceil() as u64 };
    Some(report::Skipped { what: report::Omitted::SomeExplanations, why })
}

fn timings(diagnosis: &Diagnosis<'_>, total: Duration) -> report::Timings {
    let times = diagnosis.observed.snapshot.times;
    report::Timings {
        total_s: Some(rounded(total)),
        census_s: seconds(times.census),
        walk_s: seconds(times.walk),
        reach_s: seconds(times.reach),
        hidden_s: seconds(times.hidden),
        similarity_s: seconds(times.similarity),
        explain_s: seconds(times.explain),
        trace_s: diagnosis
            .observed
            .watched
            .as_ref()
            .and_then(|watched| seconds(watched.watch.collected + watched.watch.drained)),
    }
}
