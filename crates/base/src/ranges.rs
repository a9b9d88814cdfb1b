//! Ranges of addresses, and sets of them.
//!
//! Starts and lengths come from a target, so a sum may lie beyond the end of the address space.
//! A range is cut there when it is made, and no sum is formed anywhere else.

use crate::{PAGE_SIZE, Va};

/// Addresses from a start on. The last byte of the address space is in none: no word fits there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaRange {
    start: Va,
    bytes: u64,
}

impl VaRange {
    /// So many bytes from an address on, as far as the address space reaches.
    pub const fn new(start: Va, bytes: u64) -> VaRange {
        let most = u64::MAX - start.0;
        VaRange { start, bytes: if bytes < most { bytes } else { most } }
    }

    /// The addresses from `start` to before `end`; none where that lies below.
    pub const fn between(start: Va, end: Va) -> VaRange {
        VaRange { start, bytes: end.0.saturating_sub(start.0) }
    }

    /// The first address.
    pub const fn start(self) -> Va {
        self.start
    }

    /// How many there are.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// The address behind the last one.
    pub const fn end(self) -> Va {
        Va(self.start.0 + self.bytes)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.bytes == 0
    }

    /// Whether an address lies in it.
    #[inline]
    pub const fn contains(self, at: Va) -> bool {
        at.0.wrapping_sub(self.start.0) < self.bytes
    }

    /// What two ranges have in common.
    pub fn intersection(self, other: VaRange) -> VaRange {
        VaRange::between(self.start.max(other.start), self.end().min(other.end()))
    }

    /// The same addresses in pieces of at most so many bytes.
    pub fn pieces(self, most: u64) -> impl Iterator<Item = VaRange> {
        self.cut(move |_| most.max(1))
    }

    /// The same addresses in pieces that end where a page ends.
    pub fn pages(self) -> impl Iterator<Item = VaRange> {
        self.cut(|start| PAGE_SIZE - start.0 % PAGE_SIZE)
    }

    fn cut(self, most: impl Fn(Va) -> u64) -> impl Iterator<Item = VaRange> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let piece = VaRange { bytes: most(rest.start).min(rest.bytes), ..rest };
            rest = VaRange::between(piece.end(), rest.end());
            (!piece.is_empty()).then_some(piece)
        })
    }
}

/// A set of addresses: ranges that ascend and neither overlap nor touch, none of them empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranges(Vec<VaRange>);

impl Ranges {
    /// No address.
    pub const fn new() -> Ranges {
        Ranges(Vec::new())
    }

    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = VaRange> + '_ {
        self.0.iter().copied()
    }

    /// Those that share an address with `range`.
    pub fn overlapping(&self, range: VaRange) -> &[VaRange] {
        if range.is_empty() {
            return &[];
        }
        let first = self.0.partition_point(|one| one.end() <= range.start);
        let rest = &self.0[first..];
        &rest[..rest.partition_point(|one| one.start < range.end())]
    }

    /// Whether any of the addresses is in the set.
    pub fn overlaps(&self, range: VaRange) -> bool {
        !self.overlapping(range).is_empty()
    }

    /// The parts of `range` that are not in the set, ascending.
    pub fn gaps(&self, range: VaRange) -> impl Iterator<Item = VaRange> + '_ {
        let covered = self.overlapping(range);
        let starts = [range.start].into_iter().chain(covered.iter().map(|one| one.end()));
        let ends = covered.iter().map(|one| one.start).chain([range.end()]);
        starts
            .zip(ends)
            .map(|(start, end)| VaRange::between(start, end))
            .filter(|gap| !gap.is_empty())
    }

    /// The addresses that are in this set or in the other one.
    pub fn union(&self, other: &Ranges) -> Ranges {
        self.iter().chain(other.iter()).collect()
    }
}

impl FromIterator<VaRange> for Ranges {
    /// Brings ranges into order; those that overlap or touch become one.
    fn from_iter<I: IntoIterator<Item = VaRange>>(ranges: I) -> Ranges {
        let mut all: Vec<VaRange> = ranges.into_iter().filter(|one| !one.is_empty()).collect();
        all.sort_unstable();
        all.dedup_by(|next, before| {
            let joins = next.start <= before.end();
            if joins {
                *before = VaRange::between(before.start, before.end().max(next.end()));
            }
            joins
        });
        Ranges(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Small numbers and the end of the address space, so that ranges meet.
    fn address() -> impl Strategy<Value = u64> {
        prop_oneof![0..96u64, (u64::MAX - 96)..=u64::MAX]
    }

    fn range() -> impl Strategy<Value = VaRange> {
        let bytes = prop_oneof![4 => 0..24u64, 1 => Just(u64::MAX)];
        (address(), bytes).prop_map(|(start, bytes)| VaRange::new(Va(start), bytes))
    }

    fn addresses() -> impl Iterator<Item = Va> {
        (0..130).chain(u64::MAX - 130..=u64::MAX).map(Va)
    }

    #[test]
    fn a_range_ends_where_the_address_space_does() {
        let range = VaRange::new(Va(u64::MAX - 7), 4096);
        assert_eq!((range.bytes(), range.end()), (7, Va(u64::MAX)));
        assert!(range.contains(Va(u64::MAX - 1)) && !range.contains(Va(u64::MAX)));
        assert!(!range.contains(Va(0)) && VaRange::between(Va(9), Va(3)).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_set_has_exactly_the_addresses_of_its_ranges(
            all in vec(range(), 0..8), more in vec(range(), 0..4), asked in range(),
        ) {
            let set: Ranges = all.iter().copied().collect();
            let both = set.union(&more.iter().copied().collect());
            for at in addresses() {
                let one = VaRange::new(at, 1);
                let is_in = all.iter().any(|range| range.contains(at));
                prop_assert_eq!(set.overlaps(one), is_in, "{}", at);
                let is_in_both = is_in || more.iter().any(|range| range.contains(at));
                prop_assert_eq!(both.overlaps(one), is_in_both, "{}", at);
                let is_left = set.gaps(asked).any(|gap| gap.contains(at));
                prop_assert_eq!(is_left, asked.contains(at) && !is_in, "{}", at);
            }
            let ends: Vec<Va> = both.iter().flat_map(|one| [one.start(), one.end()]).collect();
            prop_assert!(ends.is_sorted_by(|a, b| a < b), "{:?}", both);
        }

        #[test]
        fn overlapping_ranges_are_those_that_share_an_address(
            all in vec(range(), 0..8), asked in range(),
        ) {
            let set: Ranges = all.into_iter().collect();
            let expected: Vec<_> =
                set.iter().filter(|one| !one.intersection(asked).is_empty()).collect();
            prop_assert_eq!(set.overlapping(asked), expected);
        }

        #[test]
        fn pieces_are_the_whole_in_order(range in range(), most in 1..5000u64) {
            let range = VaRange { bytes: range.bytes.min(20_000), ..range };
            for pieces in [range.pieces(most).collect::<Vec<_>>(), range.pages().collect()] {
                let mut at = range.start();
                for piece in pieces {
                    prop_assert!(piece.start() == at && !piece.is_empty());
                    at = piece.end();
                }
                prop_assert_eq!(at, range.end());
            }
            prop_assert!(range.pieces(most).all(|piece| piece.bytes() <= most));
            prop_assert!(range.pages().all(|one| one.start().0 / 4096 == (one.end().0 - 1) / 4096));
        }
    }
}
