//! The kernel's counters against the memory that was found.
//!
//! Whoever reads `/proc/meminfo` believes them. One that is too high looks like a leak, and machines were rebooted for
//! it.

use sysak_base::PAGE_SIZE;
use sysak_kernel::page::{Census, LargeKmallocs, Owner};
use sysak_kernel::shape::Counter;
use sysak_kernel::{Book, Books};
use sysak_report as report;
use sysak_report::CounterName;

use crate::SlabPages;

/// A counter that differs by less, in bytes or in percent of what there is, is right. On quiet machines they agree to
/// the page.
const TOLERANCE_BYTES: u64 = 16 << 20;
const TOLERANCE_PERCENT: u64 = 5;

/// Counters that say another number of pages than there are.
pub fn counters(census: &Census, slab: SlabPages, books: &Books) -> Vec<report::Counter> {
    // What was not found may be of any kind.
    let is_whole = |book: &Book| book.unjudged_pages == 0 && !book.is_missing;
    let differs = |counter| {
        let says = census.counters.pages(counter).filter(|_| is_whole(book(counter, books)))?;
        let (name, is) = expected(counter, census, slab)?;
        let (says, is) = differing(says, is)?;
        Some(report::Counter {
            name,
            kernel_says_bytes: says * PAGE_SIZE,
            found_bytes: is * PAGE_SIZE,
        })
    };
    Counter::ALL.into_iter().filter_map(differs).collect()
}

/// Where what a counter counts is found.
fn book(counter: Counter, books: &Books) -> &Book {
    match counter {
        Counter::SlabReclaimable | Counter::SlabUnreclaimable => &books.slab,
        Counter::KernelStacks | Counter::Vmalloc => &books.vmalloc,
        Counter::PerCpu => &books.percpu,
        Counter::PageTables | Counter::SecondaryPageTables | Counter::Shmem => &books.page,
    }
}

/// The ends of two ranges of pages that face each other, where they are further apart than is tolerated.
fn differing(says: (u64, u64), is: (u64, u64)) -> Option<(u64, u64)> {
    let (says, is) = match () {
        () if says.0 > is.1 => (says.0, is.1),
        () if says.1 < is.0 => (says.1, is.0),
        () => return None,
    };
    let gap = says.abs_diff(is);
    let is_apart = gap * PAGE_SIZE > TOLERANCE_BYTES && gap * 100 > is * TOLERANCE_PERCENT;
    is_apart.then_some((says, is))
}

/// A counter's name, and how many pages it should count, at least and at most; `None` where nothing else tells.
fn expected(
    counter: Counter,
    census: &Census,
    slab: SlabPages,
) -> Option<(CounterName, (u64, u64))> {
    // The kernel's own page tables are found and not counted, and so are stacks that are kept for threads to come.
    let at_most = |pages: u64| (0, pages);
    Some(match counter {
        Counter::SlabReclaimable => {
            (CounterName::SReclaimable, (slab.reclaimable, slab.reclaimable))
        }
        Counter::SlabUnreclaimable => {
            let large = match census.large_kmallocs {
                LargeKmallocs::Typed => {
                    let large = census.pages(Owner::LargeKmalloc);
                    (large, large)
                }
                LargeKmallocs::Among { compound_pages } => (0, compound_pages),
            };
            let is = (slab.unreclaimable + large.0, slab.unreclaimable + large.1);
            (CounterName::SUnreclaim, is)
        }
        Counter::PageTables => (CounterName::PageTables, at_most(census.pages(Owner::PageTable))),
        // Without vmalloc areas for stacks, nothing tells them.
        Counter::KernelStacks => match census.pages(Owner::Stack) {
            0 => return None,
            stacks => (CounterName::KernelStack, at_most(stacks)),
        },
        Counter::Shmem => {
            let shmem = census.pages(Owner::Shmem);
            (CounterName::Shmem, (shmem, shmem))
        }
        Counter::Vmalloc => {
            let areas = census.pages(Owner::Vmalloc) + census.pages(Owner::Stack);
            // Our own BPF maps are areas, and pages.
            (CounterName::VmallocUsed, (areas, areas + census.pages(Owner::Own)))
        }
        Counter::PerCpu => {
            let units = census.pages(Owner::PerCpu);
            (CounterName::Percpu, (units, units))
        }
        Counter::SecondaryPageTables => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_wrong_only_beyond_both_tolerances_and_whatever_it_said_meanwhile() {
        let pages = |mib: u64| mib << 8;
        let at = |says: (u64, u64), is: (u64, u64)| {
            let differs = differing((pages(says.0), pages(says.1)), (pages(is.0), pages(is.1)));
            differs.map(|(says, is)| (says >> 8, is >> 8))
        };
        assert_eq!(at((1000, 1000), (200, 220)), Some((1000, 220)), "too high");
        assert_eq!(at((100, 120), (900, 990)), Some((120, 900)), "too low");
        assert_eq!(at((116, 116), (100, 100)), None, "16 MiB");
        assert_eq!(at((1050, 1050), (1000, 1000)), None, "5 %");
        assert_eq!(at((100, 1000), (500, 500)), None, "it moved");
        assert_eq!(at((500, 500), (100, 1000)), None, "nobody knows so exactly");
    }
}
