//! Scans memory with several threads, where several may read it.
//!
//! **Invariant:** the result is the same in every run: each thread has a fixed share of memory.

use std::num::NonZero;
use std::ops::Range;
use std::thread;

use sysak_base::{Memory, Ranges, VaRange};

use super::Question;
use super::scan::{MOST_HITS, Scanned, Scanner};
use super::wanted::Wanted;
use crate::Heap;
use crate::marking::Roots;
use crate::states::States;

/// More threads would take CPUs from those who need them.
const MOST_THREADS: usize = 4;
/// Bytes of the roots, and slabs, that one thread scans in a row.
const PIECE: u64 = 4 << 20;
const SLABS: usize = 256;

/// Scans the roots and all reachable objects.
pub(super) fn scan_all(question: &Question<'_>, wanted: &Wanted, roots: Roots<'_>) -> Scanned {
    let left_out = roots.left_out;
    let ranges = roots.memory(question.heap.page_offset());
    // Code and constants are tens of megabytes that need not even be dismissed.
    let ranges = ranges.flat_map(|range| left_out.gaps(range));
    let pieces: Vec<VaRange> = ranges.flat_map(|range| range.pieces(PIECE)).collect();
    let heap = question.heap;
    in_shares(question, wanted, left_out, &|scanner, share| {
        scanner.roots(share.of(pieces.iter()));
        share.slabs(heap).for_each(|slabs| scanner.slabs(slabs, None));
    })
}

/// Scans objects that were not reached in these states, and are reachable now.
pub(super) fn scan_reached_since(
    question: &Question<'_>,
    wanted: &Wanted,
    left_out: &Ranges,
    states: &States,
) -> Scanned {
    let heap = question.heap;
    in_shares(question, wanted, left_out, &|scanner, share| {
        share.slabs(heap).for_each(|slabs| scanner.slabs(slabs, Some(states)));
    })
}

/// What one of several threads scans.
#[derive(Clone, Copy)]
struct Share {
    number: usize,
    threads: usize,
}

impl Share {
    fn of<T>(self, pieces: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        pieces.skip(self.number).step_by(self.threads)
    }

    fn slabs(self, heap: &Heap) -> impl Iterator<Item = Range<u32>> {
        let all = heap.slabs.len() as u32;
        self.of((0..all).step_by(SLABS)).map(move |first| first..all.min(first + SLABS as u32))
    }
}

/// Scans all memory in one thread, or each share in a thread of its own where several threads may read it.
fn in_shares(
    question: &Question<'_>,
    wanted: &Wanted,
    left_out: &Ranges,
    scan: &(dyn Fn(&mut Scanner<'_>, Share) + Sync),
) -> Scanned {
    let Question { heap, memory, shared, caches, cancel } = *question;
    let of_share = move |memory: &dyn Memory, share: Share| {
        let question = Question { heap, memory, shared: None, caches, cancel };
        let mut done = Scanned::default();
        let most_hits = MOST_HITS / share.threads;
        scan(&mut Scanner::new(&question, wanted, left_out, most_hits, &mut done), share);
        done
    };
    let Some(shared) = shared else { return of_share(memory, Share { number: 0, threads: 1 }) };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
    thread::scope(|scope| {
        let start = |number| {
            let share = Share { number, threads };
            thread::Builder::new().spawn_scoped(scope, move || of_share(shared, share)).ok()
        };
        let others: Vec<_> = (1..threads).map(|number| (number, start(number))).collect();
        let mut all = of_share(memory, Share { number: 0, threads });
        for (number, thread) in others {
            let done = thread.and_then(|thread| thread.join().ok());
            // Where no thread can be started, its share is scanned here.
            all.add(done.unwrap_or_else(|| of_share(memory, Share { number, threads })));
        }
        all
    })
}
