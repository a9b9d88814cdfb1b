//! Sweeps through memory part by part, by as many threads as read it.
//!
//! **Invariant:** the result does not depend on how many threads there are.

use std::iter;

use sysak_base::{Memory, Ranges, Readers, VaRange};

use super::Question;
use super::filter::Filter;
use super::scan::{Scanned, Scanner};
use super::wanted::Wanted;
use crate::marking::Roots;
use crate::parts::{Part, parts};
use crate::states::States;

/// Bytes that one thread scans in a row.
const PART: u64 = 1 << 20;

/// Scans the roots and all reachable objects.
pub(super) fn scan_all(question: &Question<'_>, wanted: &Wanted, roots: Roots<'_>) -> Scanned {
    let left_out = roots.left_out;
    let ranges = roots.memory(question.heap.page_offset());
    // Code and constants are tens of megabytes that need not even be dismissed.
    let ranges = ranges.flat_map(|range| left_out.gaps(range));
    scan(question, wanted, left_out, None, ranges)
}

/// Scans objects that were not reached in these states, and are reachable now.
pub(super) fn scan_reached_since(
    question: &Question<'_>,
    wanted: &Wanted,
    left_out: &Ranges,
    states: &States,
) -> Scanned {
    scan(question, wanted, left_out, Some(states), iter::empty())
}

fn scan(
    question: &Question<'_>,
    wanted: &Wanted,
    left_out: &Ranges,
    since: Option<&States>,
    roots: impl Iterator<Item = VaRange> + Send,
) -> Scanned {
    let Question { heap, readers, caches, cancel } = *question;
    let filter = Filter::new(heap, wanted.pages(), wanted.linear, wanted.areas);
    let scan = |memory: &dyn Memory, (): &mut (), part: Part| {
        let question = Question { heap, readers: Readers::one(memory), caches, cancel };
        let mut done = Scanned::default();
        let mut scanner = Scanner::new(&question, wanted, &filter, left_out, &mut done);
        match part {
            Part::Roots(ranges) => scanner.roots(&ranges),
            Part::Slabs(slabs) => scanner.slabs(slabs, since),
        }
        done
    };
    let mut all = Scanned::default();
    readers.in_order(parts(heap, roots, PART), scan, |done| all.add(done));
    all
}
