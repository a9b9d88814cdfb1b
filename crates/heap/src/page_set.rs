//! A set of page frames, one bit each.

use sysak_base::Pfn;

use crate::sparse::Sparse;

/// A set of page frames. Memory that has no member costs next to nothing.
#[derive(Clone, Debug, Default)]
pub struct PageSet {
    /// The frame behind the last one that it has room for.
    end: u64,
    words: Sparse<u64>,
}

impl PageSet {
    /// The set that has room for no frame.
    pub const fn empty() -> PageSet {
        PageSet { end: 0, words: Sparse::empty() }
    }

    /// An empty set for the frames below `end`.
    pub fn new(end: u64) -> PageSet {
        PageSet { end, words: Sparse::new(end.div_ceil(64)) }
    }

    /// Adds a page; one beyond the set's size is left out.
    pub fn insert(&mut self, pfn: Pfn) {
        if pfn.0 < self.end
            && let Some(word) = self.words.add(pfn.0 / 64)
        {
            *word |= 1 << (pfn.0 % 64);
        }
    }

    /// Takes a page out.
    pub fn remove(&mut self, pfn: Pfn) {
        if let Some(word) = self.words.get_mut(pfn.0 / 64) {
            *word &= !(1 << (pfn.0 % 64));
        }
    }

    /// Whether the page is in the set.
    #[inline]
    pub fn contains(&self, pfn: Pfn) -> bool {
        self.words.get(pfn.0 / 64).is_some_and(|word| word >> (pfn.0 % 64) & 1 != 0)
    }

    /// How many pages are in the set.
    pub fn len(&self) -> u64 {
        self.words.items().iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether the set has no page.
    pub fn is_empty(&self) -> bool {
        self.words.items().iter().all(|word| *word == 0)
    }

    /// The members that are none of `other`'s.
    pub fn without(&self, other: &PageSet) -> PageSet {
        let mut left = PageSet::new(self.end);
        for (first, words) in self.words.parts() {
            for (index, word) in (first..).zip(words) {
                let theirs = other.words.get(index).copied().unwrap_or_default();
                if let Some(left) = left.words.add(index) {
                    *left = word & !theirs;
                }
            }
        }
        left
    }

    /// Bytes that the set occupies.
    pub fn bytes(&self) -> u64 {
        self.words.bytes()
    }

    /// Runs of neighbouring members as `(first, pages)`, ascending.
    pub fn runs(&self) -> impl Iterator<Item = (Pfn, u64)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next(at, false)?;
            let stop = self.next(start, true).unwrap_or(self.end);
            at = stop;
            Some((Pfn(start), stop - start))
        })
    }

    /// The first page from `at` on that is a member, or with `absent` is none.
    fn next(&self, mut at: u64, absent: bool) -> Option<u64> {
        while at < self.end {
            let word = self.words.get(at / 64);
            let part_is_passed_over = word.is_none() && !absent;
            let word = word.copied().unwrap_or_default();
            let word = (if absent { !word } else { word }) >> (at % 64);
            if word != 0 {
                return Some(at + u64::from(word.trailing_zeros())).filter(|page| *page < self.end);
            }
            at = match part_is_passed_over {
                true => Sparse::<u64>::end_of_part(at / 64) * 64,
                false => (at / 64 + 1) * 64,
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn runs_join_across_words_and_end_at_gaps() {
        let mut set = PageSet::new(300);
        for page in (60..200).chain([299]) {
            set.insert(Pfn(page));
        }
        set.remove(Pfn(100));
        let runs: Vec<_> = set.runs().map(|(pfn, pages)| (pfn.0, pages)).collect();
        assert_eq!(runs, [(60, 40), (101, 99), (299, 1)]);
    }

    #[test]
    fn memory_that_begins_at_32_tib_costs_what_it_holds() {
        let first = 1 << 33;
        let mut set = PageSet::new(first + 100);
        set.insert(Pfn(first + 7));
        set.insert(Pfn(first + 100));
        assert!(set.contains(Pfn(first + 7)) && !set.contains(Pfn(7)));
        assert_eq!(set.runs().collect::<Vec<_>>(), [(Pfn(first + 7), 1)]);
        assert!(set.bytes() < 1 << 18, "{} bytes", set.bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_set_of_pages_is_a_sorted_list_of_numbers(
            pages in 1..300u64,
            changes in vec((0..320u64, any::<bool>()), 0..100),
            others in vec(0..320u64, 0..40),
        ) {
            let (mut set, mut list) = (PageSet::new(pages), BTreeSet::new());
            for (page, is_added) in changes {
                if is_added && page < pages {
                    list.insert(page);
                } else if !is_added {
                    list.remove(&page);
                }
                if is_added { set.insert(Pfn(page)) } else { set.remove(Pfn(page)) }
            }
            for page in 0..pages {
                prop_assert_eq!(set.contains(Pfn(page)), list.contains(&page));
            }
            prop_assert_eq!((set.len(), set.is_empty()), (list.len() as u64, list.is_empty()));
            let members = |set: &PageSet| -> Vec<u64> {
                set.runs().flat_map(|(first, pages)| first.0..first.0 + pages).collect()
            };
            prop_assert_eq!(members(&set), list.iter().copied().collect::<Vec<_>>());
            prop_assert!(set.runs().is_sorted_by(|a, b| a.0.0 + a.1 < b.0.0), "runs do not touch");
            let mut other = PageSet::new(64);
            others.iter().for_each(|page| other.insert(Pfn(*page)));
            let left = list.iter().copied().filter(|page| *page >= 64 || !others.contains(page));
            prop_assert_eq!(members(&set.without(&other)), left.collect::<Vec<_>>());
        }
    }
}
