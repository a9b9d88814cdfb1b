//! Finds the slab that a page belongs to.
//!
//! Slabs ascend by page, so a page's slab has the number of the slabs that begin at or below it, less one. What a
//! look-up needs stands side by side for 16 pages at once: it takes one word of memory.

use sysak_base::{Pfn, PfnRange};

use crate::sparse::Sparse;

/// The slabs of all pages. Blocks of pages count as slabs, too.
#[derive(Clone, Debug)]
pub(crate) struct PageIndex(Sparse<Pages>);

/// Pages of one item.
const PAGES: u64 = u16::BITS as u64;

/// Neighbouring pages, a bit each.
#[derive(Clone, Copy, Debug, Default)]
struct Pages {
    /// Those that belong to a slab.
    used: u16,
    /// Those that a slab begins with.
    firsts: u16,
    /// How many slabs begin before them.
    before: u32,
}

impl PageIndex {
    /// No slab yet; the highest page is below `pages`.
    pub fn new(pages: u64) -> PageIndex {
        PageIndex(Sparse::new(pages.div_ceil(PAGES)))
    }

    /// Adds a slab's pages; [`PageIndex::number`] must follow before it is found.
    pub fn add(&mut self, slab: PfnRange) {
        for page in slab.start.0..slab.end.0 {
            if let Some(pages) = self.0.add(page / PAGES) {
                pages.used |= 1 << (page % PAGES);
                pages.firsts |= u16::from(page == slab.start.0) << (page % PAGES);
            }
        }
    }

    /// Gives the slabs their numbers, ascending by page.
    pub fn number(&mut self) {
        let mut before = 0;
        self.0.for_each_mut(|pages| {
            pages.before = before;
            before += pages.firsts.count_ones();
        });
    }

    /// Whether the page belongs to a slab, and to which, without a branch for those that belong to none.
    #[inline(always)]
    pub fn look_up(&self, pfn: Pfn) -> (bool, u32) {
        let pages = self.0.get(pfn.0 / PAGES).copied().unwrap_or_default();
        let up_to_here = u16::MAX >> (PAGES - 1 - pfn.0 % PAGES);
        let slabs = pages.before + (pages.firsts & up_to_here).count_ones();
        (pages.used >> (pfn.0 % PAGES) & 1 != 0, slabs.wrapping_sub(1))
    }

    /// Whether the page belongs to a slab.
    #[inline]
    pub fn contains(&self, pfn: Pfn) -> bool {
        self.look_up(pfn).0
    }

    /// The number of the slab that the page belongs to.
    #[inline]
    pub fn slab_of(&self, pfn: Pfn) -> Option<u32> {
        let (is_used, slab) = self.look_up(pfn);
        is_used.then_some(slab)
    }

    /// Bytes that the index occupies.
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// 32 TiB.
    const FAR: u64 = 1 << 33;

    fn index(slabs: &[(u64, u64)]) -> PageIndex {
        let mut index = PageIndex::new(FAR + (1 << 18));
        for (start, end) in slabs {
            index.add(PfnRange { start: Pfn(*start), end: Pfn(*end) });
        }
        index.number();
        index
    }

    #[test]
    fn memory_that_begins_at_32_tib_costs_what_it_holds() {
        let index = index(&[(FAR, FAR + 8), (7, 9)]);
        assert_eq!(index.slab_of(Pfn(8)), Some(0));
        assert_eq!(index.slab_of(Pfn(FAR + 7)), Some(1));
        assert_eq!(index.slab_of(Pfn(FAR - 1)), None);
        assert!(index.bytes() < 3 << 19, "{} bytes", index.bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_page_is_found_as_in_a_list_of_slabs(
            gaps in vec((0..100u64, 1..70u64, any::<bool>()), 0..20),
            looked_up in vec(0..2500u64, 1..100),
        ) {
            let mut end = 0;
            let mut slabs: Vec<(u64, u64)> = Vec::new();
            for (gap, pages, is_far) in gaps {
                let start = if is_far && end < FAR { FAR + gap } else { end + gap };
                end = start + pages;
                slabs.push((start, end));
            }
            let index = index(&slabs);
            for page in looked_up.iter().flat_map(|page| [*page, FAR + page]) {
                let expected = slabs.iter().position(|(start, end)| (*start..*end).contains(&page));
                prop_assert_eq!(index.slab_of(Pfn(page)), expected.map(|slab| slab as u32));
            }
        }
    }
}
