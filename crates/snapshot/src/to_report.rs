//! What a snapshot and an inventory show, in the report's terms: figures only.

mod counters;
mod skipped;

use std::time::Duration;

use sysak_base::{PAGE_SIZE, PageCounts, PageState};
use sysak_heap::{Class, Heap, Tally};
use sysak_kernel::page::{Census, LargeKmallocs, Owner, Part, Unmapped};
use sysak_kernel::shape::Counter;
use sysak_kernel::{Book, Books, Coverage};
use sysak_report as report;

pub use counters::counters;
pub use skipped::skipped;

use crate::SlabPages;

/// 16 MiB: less is no question.
const LEAST_OWNERLESS_PAGES: u64 = 1 << 12;
/// Pages in transit for each CPU: its batches of pages to be put on LRU lists or freed have up to 31 pages each.
const PAGES_IN_TRANSIT: u64 = 1 << 8;

/// This program.
pub fn tool() -> report::Tool {
    report::Tool { name: "sysak".into(), version: env!("CARGO_PKG_VERSION").into() }
}

/// Seconds, to the millisecond.
pub fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Seconds of a step; `None` for one that was not made.
pub fn seconds(time: Duration) -> Option<f64> {
    (!time.is_zero()).then(|| rounded(time))
}

/// Every byte of RAM in exactly one leaf.
pub fn census(census: &Census, slab: SlabPages) -> report::Census {
    let bytes = |owner| Some(census.pages(owner) * PAGE_SIZE);
    let counted = census.counted_pages();
    let present = census.present_pages.unwrap_or(counted).max(counted);
    // No kernel is without these: where none was found, its pages are in another leaf (the
    // array of struct page is among the reserved ones, the rest among page_alloc).
    let found = |owner| bytes(owner).filter(|bytes| *bytes > 0);
    let taken = [Owner::Kernel, Owner::Untouchable, Owner::Own];
    let taken = taken.iter().map(|owner| census.pages(*owner)).sum::<u64>();
    let (large, untyped) = match census.large_kmallocs {
        LargeKmallocs::Typed => (census.pages(Owner::LargeKmalloc), 0),
        // The nodes' counter is all that tells how much there is of them.
        LargeKmallocs::Among { compound_pages } => {
            let (counted, _) = census.counters.pages(Counter::SlabUnreclaimable).unwrap_or((0, 0));
            let large = counted.saturating_sub(slab.unreclaimable);
            let large = large.min(compound_pages).min(taken);
            (large, large)
        }
    };
    let (secondary, _) = census.counters.pages(Counter::SecondaryPageTables).unwrap_or((0, 0));
    let pages = |part, owner| (owner, census.part(part));
    let owners = [
        pages(Part::Balloon, report::PageOwner::Balloon),
        pages(Part::Poisoned, report::PageOwner::Poisoned),
        pages(Part::Compressed, report::PageOwner::Compressed),
        pages(Part::PagePool, report::PageOwner::PagePool),
        (report::PageOwner::SecondaryPageTables, secondary.min(census.pages(Owner::Kernel))),
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

/// Anonymous memory that no process has mapped, if there is more than pages in transit explain.
pub fn ownerless(census: &Census, cpus: u64) -> Option<report::Ownerless> {
    let Unmapped { pages, pinned_pages, .. } = census.unmapped;
    let is_much = pages > LEAST_OWNERLESS_PAGES.max(cpus * PAGES_IN_TRANSIT);
    is_much.then(|| report::Ownerless {
        bytes: pages * PAGE_SIZE,
        pinned_bytes: pinned_pages * PAGE_SIZE,
    })
}

/// What a crash dump has of RAM; `None` for a running machine.
pub fn dump_pages(census: &Census) -> Option<report::DumpPages> {
    let dumped = census.dumped.as_ref()?;
    let owners = [
        (Owner::Slab, report::HoleOwner::Slab),
        (Owner::Vmalloc, report::HoleOwner::Vmalloc),
        (Owner::PerCpu, report::HoleOwner::Percpu),
        (Owner::PageTable, report::HoleOwner::PageTable),
        (Owner::Stack, report::HoleOwner::KernelStack),
        (Owner::Image, report::HoleOwner::Image),
        (Owner::Memmap, report::HoleOwner::Vmemmap),
        (Owner::Reserved, report::HoleOwner::Reserved),
        (Owner::Kernel, report::HoleOwner::PageAlloc),
        (Owner::LargeKmalloc, report::HoleOwner::PageAlloc),
    ];
    let mut holes: Vec<report::Hole> = Vec::new();
    for (owner, named) in owners {
        let bytes = dumped.holes_of(owner) * PAGE_SIZE;
        match holes.last_mut().filter(|hole| hole.owner == named) {
            Some(hole) => hole.bytes += bytes,
            None => holes.push(report::Hole { owner: named, bytes }),
        }
    }
    holes.retain(|hole| hole.bytes > 0);
    holes.sort_by_key(|hole| std::cmp::Reverse(hole.bytes));
    Some(report::DumpPages {
        holes_bytes: dumped.holes() * PAGE_SIZE,
        holes,
        ..dump_states(dumped.pages())
    })
}

/// What a crash dump has of some pages, whosever they are.
pub fn dump_states(pages: &PageCounts) -> report::DumpPages {
    let bytes = |state| pages.of(state) * PAGE_SIZE;
    report::DumpPages {
        present_bytes: bytes(PageState::Present),
        zero_bytes: bytes(PageState::Zero),
        excluded_bytes: bytes(PageState::Excluded),
        absent_bytes: bytes(PageState::Absent),
        lost_bytes: bytes(PageState::Lost),
        ..report::DumpPages::default()
    }
}

/// How much of each kind of memory could be judged.
pub fn books(coverage: &Coverage) -> Vec<report::Book> {
    let Books { slab, page, vmalloc, percpu } = &coverage.books;
    let all = [
        (report::Class::Slab, slab),
        (report::Class::Page, page),
        (report::Class::Vmalloc, vmalloc),
        (report::Class::Percpu, percpu),
    ];
    let book = |(class, book): (report::Class, &Book)| report::Book {
        class,
        found: !book.is_missing,
        total_bytes: book.pages * PAGE_SIZE,
        unjudged_bytes: book.unjudged_pages.min(book.pages) * PAGE_SIZE,
        closed: book.is_closed(),
    };
    all.map(book).to_vec()
}

/// Totals of every cache.
pub fn cache_totals(heap: &Heap, tallies: &[Tally]) -> Vec<report::CacheTotals> {
    let slabs = heap.caches.iter().zip(tallies).filter(|(cache, _)| cache.class == Class::Slab);
    let totals = slabs.map(|(cache, tally)| report::CacheTotals {
        name: cache.name.as_str().into(),
        aliases: strings(&cache.aliases),
        object_size_bytes: cache.object_size.into(),
        slabs: tally.slabs,
        objects_total: tally.total,
        objects_live: tally.live,
        bytes: tally.pages * PAGE_SIZE,
        reclaimable: cache.reclaimable,
    });
    totals.collect()
}

/// Strings as the report has them.
pub fn strings<T: for<'a> From<&'a str>>(all: &[String]) -> Vec<T> {
    all.iter().map(|one| T::from(one)).collect()
}
