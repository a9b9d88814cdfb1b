//! A dump without some of its pages, as if a filter had left them out: to try what that does to a diagnosis.
//!
//! **Invariant:** no byte of a page that is left out is ever given away.

use std::collections::BTreeSet;

use sysak_base::{PAGE_SIZE, Pa, PageState, PageStates, Pfn};

use super::facts::FileFacts;
use super::{PhysicalPages, Run};

/// Pages, and which of them are left out.
pub(super) struct Without {
    pages: Box<dyn PhysicalPages>,
    left_out: BTreeSet<Pfn>,
}

impl Without {
    pub(super) fn new(pages: Box<dyn PhysicalPages>, left_out: &[Pfn]) -> Without {
        Without { pages, left_out: left_out.iter().copied().collect() }
    }

    /// The first page from `from` on that is left out; else one behind all memory.
    fn next(&self, from: Pfn) -> Pfn {
        self.left_out.range(from..).next().copied().unwrap_or(Pfn(u64::MAX))
    }

    /// How many bytes from `at` on lie before the next page that is left out.
    fn bytes_before_next(&self, at: Pa) -> usize {
        let bytes = self.next(at.pfn()).pa().0.saturating_sub(at.0);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

impl PageStates for Without {
    fn state(&self, first: Pfn, end: Pfn) -> (PageState, Pfn) {
        match self.next(first) {
            next if next == first => (PageState::Excluded, Pfn(first.0 + 1)),
            next => self.pages.state(first, end.min(next)),
        }
    }
}

impl PhysicalPages for Without {
    fn read_piece(&self, at: Pa, buf: &mut [u8]) -> usize {
        let bytes = self.bytes_before_next(at).min(buf.len());
        match bytes {
            0 => 0,
            bytes => self.pages.read_piece(at, &mut buf[..bytes]),
        }
    }

    fn borrow(&self, at: Pa) -> Option<&[u8]> {
        let bytes = self.pages.borrow(at)?;
        let bytes = &bytes[..self.bytes_before_next(at).min(bytes.len())];
        (!bytes.is_empty()).then_some(bytes)
    }

    fn runs(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        for run in self.pages.runs() {
            let (mut at, end) = (run.start.0, run.start.0 + run.bytes);
            for page in self.left_out.range(run.start.pfn()..Pa(end).pfn()) {
                runs.push(Run { start: Pa(at), bytes: page.pa().0.saturating_sub(at) });
                at = page.pa().0 + PAGE_SIZE;
            }
            runs.push(Run { start: Pa(at), bytes: end.saturating_sub(at) });
        }
        runs.retain(|run| run.bytes > 0);
        runs
    }

    fn end(&self) -> Pa {
        self.pages.end()
    }

    fn most_ram_bytes(&self) -> u64 {
        self.pages.most_ram_bytes()
    }

    fn facts(&self) -> FileFacts {
        self.pages.facts()
    }

    fn find(&self, needle: &[u8], from: Pa) -> Option<Pa> {
        let mut from = from;
        loop {
            let found = self.pages.find(needle, from)?;
            let end = Pa(found.0 + needle.len() as u64);
            let page = self.next(found.pfn());
            if page.pa() >= end {
                return Some(found);
            }
            from = Pa(page.pa().0 + PAGE_SIZE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::physical::fake::FakePages;

    #[test]
    fn what_is_left_out_is_neither_read_nor_lent_nor_found() {
        let pages = (1..=5).map(|page| vec![page; PAGE_SIZE as usize]).collect();
        let whole = Box::new(FakePages { pages, can_lend: true });
        let without = Without::new(whole, &[Pfn(2), Pfn(5)]);
        assert_eq!(without.read(Pa(0x1000), &mut [0; 0x3000]), 0x1000);
        assert_eq!(without.read(Pa(0x2ff8), &mut [0; 8]), 0);
        assert_eq!(without.read(Pa(0x3000), &mut [0; 0x3000]), 0x2000);
        assert_eq!(without.borrow(Pa(0x1ffe)), Some(&[1, 1][..]));
        assert_eq!((without.borrow(Pa(0x2000)), without.borrow(Pa(0x5004))), (None, None));
        let run = |start: u64, pages: u64| Run { start: Pfn(start).pa(), bytes: pages * PAGE_SIZE };
        assert_eq!(without.runs(), [run(1, 1), run(3, 2)]);
        assert_eq!(without.find(&[2], Pa(0)), None);
        assert_eq!(without.find(&[3], Pa(0)), Some(Pa(0x3000)));
        let states =
            [(1, PageState::Present, 2), (2, PageState::Excluded, 3), (3, PageState::Present, 5)];
        for (first, state, end) in states {
            assert_eq!(without.state(Pfn(first), Pfn(6)), (state, Pfn(end)));
        }
    }
}
