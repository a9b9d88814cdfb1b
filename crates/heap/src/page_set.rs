//! A set of page frames, one bit each, that can count its members below a page.

use sysak_base::Pfn;

/// A set of page frames.
#[derive(Clone, Debug, Default)]
pub struct PageSet {
    words: Vec<u64>,
}

impl PageSet {
    /// The set that has room for no frame.
    pub const fn empty() -> PageSet {
        PageSet { words: Vec::new() }
    }

    /// An empty set for the frames below `pages`.
    pub fn new(pages: u64) -> PageSet {
        PageSet { words: vec![0; pages.div_ceil(64) as usize] }
    }

    /// Adds a page; one beyond the set's size is left out.
    pub fn insert(&mut self, pfn: Pfn) {
        if let Some(word) = self.words.get_mut((pfn.0 / 64) as usize) {
            *word |= 1 << (pfn.0 % 64);
        }
    }

    /// Takes a page out.
    pub fn remove(&mut self, pfn: Pfn) {
        if let Some(word) = self.words.get_mut((pfn.0 / 64) as usize) {
            *word &= !(1 << (pfn.0 % 64));
        }
    }

    /// Whether the page is in the set.
    #[inline]
    pub fn contains(&self, pfn: Pfn) -> bool {
        self.words.get((pfn.0 / 64) as usize).is_some_and(|w| w >> (pfn.0 % 64) & 1 != 0)
    }

    /// How many pages are in the set.
    pub fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether the set has no page.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The members that are none of `other`'s.
    pub fn without(&self, other: &PageSet) -> PageSet {
        let theirs = other.words.iter().chain(std::iter::repeat(&0));
        PageSet { words: self.words.iter().zip(theirs).map(|(own, other)| own & !other).collect() }
    }

    /// Bytes that the set occupies.
    pub fn bytes(&self) -> u64 {
        self.words.len() as u64 * 8
    }

    /// Members below each word, for [`PageSet::rank`].
    pub(crate) fn ranks(&self) -> Vec<u32> {
        let mut before = 0;
        let count = |word: &u64| {
            let here = before;
            before += word.count_ones();
            here
        };
        self.words.iter().map(count).collect()
    }

    /// How many members are at or below `pfn`.
    #[inline]
    pub(crate) fn rank(&self, ranks: &[u32], pfn: Pfn) -> u32 {
        let index = (pfn.0 / 64) as usize;
        let (Some(word), Some(before)) = (self.words.get(index), ranks.get(index)) else {
            return 0;
        };
        before + (word & (u64::MAX >> (63 - pfn.0 % 64))).count_ones()
    }

    /// Runs of neighbouring members as `(first, pages)`, ascending.
    pub fn runs(&self) -> impl Iterator<Item = (Pfn, u64)> + '_ {
        let end = self.words.len() as u64 * 64;
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next(at, end, false)?;
            let stop = self.next(start, end, true).unwrap_or(end);
            at = stop;
            Some((Pfn(start), stop - start))
        })
    }

    /// The first page from `at` on that is a member, or with `absent` is none.
    fn next(&self, mut at: u64, end: u64, absent: bool) -> Option<u64> {
        while at < end {
            let word = self.words[(at / 64) as usize];
            let word = (if absent { !word } else { word }) >> (at % 64);
            if word != 0 {
                return Some(at + u64::from(word.trailing_zeros()));
            }
            at = (at / 64 + 1) * 64;
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
    fn rank_counts_the_page_itself() {
        let mut set = PageSet::new(200);
        for page in [0, 63, 64, 130] {
            set.insert(Pfn(page));
        }
        let ranks = set.ranks();
        let rank = |page| set.rank(&ranks, Pfn(page));
        assert_eq!(
            [rank(0), rank(62), rank(63), rank(64), rank(129), rank(199)],
            [1, 1, 2, 3, 3, 4]
        );
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
            let room = pages.div_ceil(64) * 64;
            for (page, is_added) in changes {
                if is_added && page < room {
                    list.insert(page);
                } else if !is_added {
                    list.remove(&page);
                }
                if is_added { set.insert(Pfn(page)) } else { set.remove(Pfn(page)) }
            }
            let ranks = set.ranks();
            for page in 0..room {
                prop_assert_eq!(set.contains(Pfn(page)), list.contains(&page));
                prop_assert_eq!(set.rank(&ranks, Pfn(page)) as usize, list.range(..=page).count());
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
