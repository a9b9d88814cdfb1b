//! What a crash dump has of the pages of its machine.

use crate::Pfn;

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
