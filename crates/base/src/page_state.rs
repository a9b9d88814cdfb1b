//! What a crash dump has of the pages of its machine.

use crate::{Pfn, PfnRange};

/// What a dump has of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageState {
    /// Its contents.
    Present,
    /// The note that it is full of zeroes: it can be read.
    Zero,
    /// Nothing: who wrote the dump left it out on purpose.
    Excluded,
    /// Nothing: to who wrote the dump it was no RAM.
    Absent,
    /// Nothing any more: the file is cut off or damaged there.
    Lost,
}

impl PageState {
    /// Whether the page can be read.
    pub fn is_readable(self) -> bool {
        matches!(self, PageState::Present | PageState::Zero)
    }
}

/// Tells which pages a dump has, and why it lacks the others.
pub trait PageStates {
    /// The state of `first`, and where the run of pages that are in it ends, at `end` at the latest. The run may be
    /// shorter than it could be; it has at least one page.
    fn state(&self, first: Pfn, end: Pfn) -> (PageState, Pfn);
}

impl dyn PageStates + '_ {
    /// The runs of some pages by their states, ascending.
    pub fn runs(&self, pages: PfnRange) -> impl Iterator<Item = (PageState, PfnRange)> {
        let mut start = pages.start;
        std::iter::from_fn(move || {
            let (state, end) = (start < pages.end).then(|| self.state(start, pages.end))?;
            let run = PfnRange { start, end };
            start = end;
            Some((state, run))
        })
    }

    /// Counts some pages by their states.
    pub fn count(&self, pages: PfnRange) -> PageCounts {
        let mut counts = PageCounts::default();
        self.runs(pages).for_each(|(state, run)| counts.add(state, run.pages()));
        counts
    }
}

/// How many pages are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts([u64; PageState::Lost as usize + 1]);

impl PageCounts {
    /// Counts so many more pages.
    pub fn add(&mut self, state: PageState, pages: u64) {
        self.0[state as usize] += pages;
    }

    /// How many pages are in a state.
    pub fn of(&self, state: PageState) -> u64 {
        self.0[state as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages below 8 are there; of the others every second one is lost.
    struct Dump;

    impl PageStates for Dump {
        fn state(&self, first: Pfn, end: Pfn) -> (PageState, Pfn) {
            match first.0 {
                0..8 => (PageState::Present, end.min(Pfn(8))),
                odd if odd % 2 == 1 => (PageState::Lost, Pfn(odd + 1)),
                even => (PageState::Absent, Pfn(even + 1)),
            }
        }
    }

    #[test]
    fn pages_are_counted_by_state_within_the_bounds() {
        let dump: &dyn PageStates = &Dump;
        let counts = dump.count(PfnRange { start: Pfn(2), end: Pfn(13) });
        let of = [PageState::Present, PageState::Lost, PageState::Absent, PageState::Zero];
        assert_eq!(of.map(|state| counts.of(state)), [6, 2, 3, 0]);
        assert_eq!(dump.runs(PfnRange { start: Pfn(9), end: Pfn(9) }).count(), 0);
    }
}
