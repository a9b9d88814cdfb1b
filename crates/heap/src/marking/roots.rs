//! Where marking starts, and where references are looked for.

use sysak_base::{PAGE_SHIFT, Ranges, Va, VaRange};

use crate::PageSet;

/// Memory that is in use whatever leads to it.
pub struct Roots<'a> {
    /// Pages of the direct map.
    pub pages: &'a PageSet,
    /// Other memory.
    pub ranges: Box<dyn Iterator<Item = VaRange> + Send + 'a>,
    /// Words that stand nowhere in memory: registers.
    pub words: &'a [u64],
    /// Whether every slab object is in use whatever leads to it: where it is not known which are free.
    pub slab_objects: bool,
    /// Memory whose words do not count, in roots or in objects. A word that lies there in part does
    /// not count either.
    pub left_out: &'a Ranges,
}

static NO_PAGES: PageSet = PageSet::empty();
static NOTHING: Ranges = Ranges::new();

impl<'a> Roots<'a> {
    /// No memory at all.
    pub fn none() -> Roots<'static> {
        let ranges = Box::new(std::iter::empty());
        Roots { pages: &NO_PAGES, ranges, words: &[], slab_objects: false, left_out: &NOTHING }
    }

    /// Pages alone.
    pub fn of_pages(pages: &'a PageSet) -> Roots<'a> {
        Roots { pages, ..Roots::none() }
    }

    /// All of the memory, pages first.
    pub(crate) fn memory(self, page_offset: Va) -> impl Iterator<Item = VaRange> + Send + 'a {
        let pages = self.pages.runs().map(move |(pfn, pages)| {
            VaRange::new(page_offset.at(pfn.0 << PAGE_SHIFT), pages << PAGE_SHIFT)
        });
        pages.chain(self.ranges)
    }
}
