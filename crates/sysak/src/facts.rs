//! Turns a diagnosis into the report: figures only, the sentences are the report's own.

mod graph;
mod guess;
mod holders;
pub mod inspect;
mod makers;
mod skipped;
mod watched;

use std::time::Duration;

use sysak::diagnose::{Case, Diagnosis};
use sysak::look::SlabPages;
use sysak::plan::Plan;
use sysak_analysis::content::Held;
use sysak_base::heap::Class;
use sysak_base::{PAGE_SIZE, Stage};
use sysak_kernel::Kernel;
use sysak_kernel::page::{Census, Owner, Part};
use sysak_report as report;
use sysak_target::{Identity, Reader};

pub use graph::graph;
pub use holders::{holders, user_memory};

/// The report of a diagnosis.
pub fn report(
    identity: &Identity,
    kernel: &Kernel<'_>,
    diagnosis: &Diagnosis<'_>,
    plan: &Plan,
    total: Duration,
) -> report::Report {
    report::Report {
        tool: report::Tool { name: "sysak".into(), version: env!("CARGO_PKG_VERSION").into() },
        target: target(identity),
        verdict: verdict(diagnosis),
        interrupted: diagnosis.interrupted.map(Into::into),
        method: report::Method {
            looks: diagnosis.looks,
            settle_s: settle(diagnosis, plan),
            similarity_percent: plan.similarity_percent,
            only_cache: plan.only_cache.as_deref().map(Into::into),
        },
        census: match diagnosis.interrupted {
            Some(Stage::Census) => report::Census::default(),
            _ => census(&diagnosis.look.census, diagnosis.look.slab_pages),
        },
        findings: diagnosis.cases.iter().map(|case| finding(kernel, diagnosis, case)).collect(),
        trace: watched::trace(diagnosis),
        trend: watched::trend(diagnosis),
        coverage: coverage(diagnosis),
        timings: timings(diagnosis, total),
        ..report::Report::default()
    }
}

/// Totals of every cache that has slabs.
pub fn all_caches(diagnosis: &Diagnosis<'_>) -> Vec<report::CacheTotals> {
    graph::caches_of(&diagnosis.look.heap, &diagnosis.tallies)
}

fn target(identity: &Identity) -> report::Target {
    report::Target {
        kind: match identity.live {
            true => report::TargetKind::Live,
            false => report::TargetKind::Vmcore,
        },
        reader: match identity.reader {
            Reader::Kcore => report::Reader::Kcore,
            Reader::Bpf => report::Reader::Bpf,
            Reader::Elf => report::Reader::Elf,
        },
        kernel_release: identity.kernel_release.as_str().into(),
        arch: identity.arch.as_str().into(),
        page_size: PAGE_SIZE,
        hostname: identity.hostname.clone(),
        uptime_s: identity.uptime_s,
    }
}

/// Grouping that was cut short still knows what is lost; anything earlier does not.
fn verdict(diagnosis: &Diagnosis<'_>) -> report::Verdict {
    match diagnosis.interrupted {
        Some(_) => report::Verdict::Undetermined,
        None if diagnosis.leaks() => report::Verdict::Leak,
        None if diagnosis.suspects() => report::Verdict::Suspected,
        None => report::Verdict::NoLeak,
    }
}

/// Seconds between the last two looks.
fn settle(diagnosis: &Diagnosis<'_>, plan: &Plan) -> Option<u64> {
    let between = match &diagnosis.watched {
        Some(watched) => watched.between_looks,
        None => plan.settle?,
    };
    (diagnosis.looks > 1).then_some(between.as_secs())
}

/// Every byte of RAM in exactly one leaf.
fn census(census: &Census, slab: SlabPages) -> report::Census {
    let bytes = |owner| Some(census.pages(owner) * PAGE_SIZE);
    let counted = census.counted_pages();
    let present = census.present_pages.unwrap_or(counted).max(counted);
    // No kernel is without these: where none was found, its pages are in another leaf (the
    // array of struct page is among the reserved ones, the rest among page_alloc).
    let found = |owner| bytes(owner).filter(|bytes| *bytes > 0);
    let taken = [Owner::Kernel, Owner::Untouchable, Owner::Own];
    let taken = taken.iter().map(|owner| census.pages(*owner)).sum::<u64>();
    // A kmalloc too large for a slab has a page type since v6.14 only; before, the nodes'
    // counter is all that tells how much there is of them.
    let large = census.unreclaimable_pages.unwrap_or(0).saturating_sub(slab.unreclaimable);
    let large =
        large.clamp(census.pages(Owner::LargeKmalloc), taken + census.pages(Owner::LargeKmalloc));
    let untyped = large - census.pages(Owner::LargeKmalloc);
    let pages = |part, owner| (owner, census.part(part));
    let owners = [
        pages(Part::Balloon, report::PageOwner::Balloon),
        pages(Part::Poisoned, report::PageOwner::Poisoned),
        pages(Part::Compressed, report::PageOwner::Compressed),
        pages(Part::PagePool, report::PageOwner::PagePool),
        (
            report::PageOwner::SecondaryPageTables,
            census.secondary_table_pages.unwrap_or(0).min(census.pages(Owner::Kernel)),
        ),
        (report::PageOwner::Sysak, census.pages(Owner::Own)),
    ];
    let mut owners: Vec<_> = owners
        .into_iter()
        .filter(|(_, pages)| *pages > 0)
        .map(|(owner, pages)| report::PageAllocOwner { owner, bytes: pages * PAGE_SIZE })
        .collect();
    owners.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    report::Census {
        total_bytes: Some(present * PAGE_SIZE),
        free_bytes: bytes(Owner::Free),
        reserved_bytes: bytes(Owner::Reserved),
        unaccounted_bytes: Some((present - counted) * PAGE_SIZE),
        user: report::UserMemory {
            anon_bytes: bytes(Owner::Anon),
            file_bytes: bytes(Owner::File),
            shmem_bytes: bytes(Owner::Shmem),
            hugetlb_bytes: bytes(Owner::Hugetlb),
            unevictable_bytes: Some(0),
        },
        kernel: report::KernelMemory {
            slab_reclaimable_bytes: Some(slab.reclaimable * PAGE_SIZE),
            slab_unreclaimable_bytes: Some((slab.unreclaimable + large) * PAGE_SIZE),
            page_table_bytes: bytes(Owner::PageTable),
            image_bytes: bytes(Owner::Image),
            vmemmap_bytes: found(Owner::Memmap),
            vmalloc_bytes: found(Owner::Vmalloc),
            percpu_bytes: found(Owner::PerCpu),
            kernel_stack_bytes: found(Owner::Stack),
            page_alloc_bytes: Some((taken - untyped) * PAGE_SIZE),
        },
        page_alloc_owners: owners,
    }
}

pub(super) fn finding(
    kernel: &Kernel<'_>,
    diagnosis: &Diagnosis<'_>,
    case: &Case,
) -> report::Finding {
    let heap = &diagnosis.look.heap;
    let cache = &heap.caches[usize::from(case.cache)];
    let tally = &diagnosis.tallies[usize::from(case.cache)];
    let is_slab = cache.class == Class::Slab;
    // Without an end of marking, what is unmarked says nothing.
    let unreachable = diagnosis.interrupted.is_none().then_some(tally.white);
    // Of a sample, only what its objects hold is worth telling.
    let counted = !case.likeness.interrupted && !case.likeness.sampled;
    let content = |held: &Held| content_symbol(kernel, diagnosis, case, held);
    let group = |(index, group): (usize, &sysak_analysis::alike::Group)| report::Group {
        objects: group.objects,
        unreachable: group.unreachable,
        sample_object: Some(group.sample.into()),
        content_symbols: match index {
            0 => case.held.iter().map(content).collect(),
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
        object_size_bytes: is_slab.then_some(cache.object_size.into()),
        reclaimable: is_slab.then_some(cache.reclaimable),
        total_objects: is_slab.then_some(tally.total),
        slab_bytes: is_slab.then_some(tally.pages * PAGE_SIZE),
        allocated_objects: Some(tally.live),
        allocated_bytes: Some(tally.live_bytes),
        unreachable_objects: unreachable,
        unreachable_bytes: unreachable.map(|_| tally.white_bytes),
        lost_through: case
            .lost_through
            .filter(|_| case.leaks)
            .map(|other| heap.caches[usize::from(other)].name.as_str().into()),
        similar_objects: counted.then_some(case.likeness.similar),
        sample_object: case.likeness.groups.first().map(|group| group.sample.into()),
        groups: case.likeness.groups.iter().enumerate().filter(|_| counted).map(group).collect(),
        content_symbols: case.held.iter().map(content).collect(),
        holders: case
            .holders
            .as_ref()
            .map_or(Vec::new(), |held| inspect::holders(heap, case.cache, held)),
        holders_sampled: case.holders.as_ref().map(|held| held.sampled),
        growth_bytes_per_s: case.growth.as_ref().map(|growth| growth.bytes_per_s.round()),
        functions: [watched::functions(kernel, diagnosis, case), makers::functions(kernel, case)]
            .concat(),
        object_type: guess::object_type(&case.guesses),
        call_sites: case.makers.as_ref().map(|makers| makers.functions),
        explained_by: watched::explanation(case),
        ..report::Finding::default()
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
    held: &Held,
) -> report::ContentSymbol {
    let caches = &diagnosis.look.heap.caches;
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
    let seen = &diagnosis.look.coverage;
    let walked = !matches!(diagnosis.interrupted, Some(Stage::Census | Stage::Walk));
    report::Coverage {
        slabs_total: walked.then_some(seen.slabs_total),
        slabs_walked: seen.slabs_walked,
        objects_walked: diagnosis.tallies.iter().map(|tally| tally.live).sum(),
        objects_unreachable: diagnosis
            .interrupted
            .is_none()
            .then(|| diagnosis.tallies.iter().map(|tally| tally.white).sum()),
        bytes_scanned: seen.bytes_scanned,
        skipped: skipped::skipped(&seen.skipped),
    }
}

fn timings(diagnosis: &Diagnosis<'_>, total: Duration) -> report::Timings {
    let times = diagnosis.look.times;
    let seconds = |time: Duration| (!time.is_zero()).then(|| rounded(time));
    report::Timings {
        total_s: Some(rounded(total)),
        census_s: seconds(times.census),
        walk_s: seconds(times.walk),
        reach_s: seconds(times.reach),
        similarity_s: seconds(times.alike),
        explain_s: seconds(times.explain),
        trace_s: diagnosis
            .watched
            .as_ref()
            .and_then(|watched| seconds(watched.watch.collected + watched.watch.drained)),
    }
}

/// Strings as the report has them.
fn strings<T: for<'a> From<&'a str>>(all: &[String]) -> Vec<T> {
    all.iter().map(|one| T::from(one)).collect()
}

/// Seconds, to the millisecond.
pub fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
