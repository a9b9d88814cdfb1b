//! A set of few among hundreds of millions of bits: it takes memory where it has any.

use crate::sparse::Sparse;

/// A set of bits.
#[derive(Clone, Debug, Default)]
pub(crate) struct BitSet(Sparse<u64>);

impl BitSet {
    /// An empty set of bits below `end`.
    pub(crate) fn new(end: u64) -> BitSet {
        BitSet(Sparse::new(end.div_ceil(64)))
    }

    /// Adds a bit.
    pub(crate) fn add(&mut self, bit: u64) {
        if let Some(word) = self.0.add(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    /// Whether the set has a bit.
    #[inline]
    pub(crate) fn has(&self, bit: u64) -> bool {
        self.0.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bits_of_many_take_little_memory() {
        let mut set = BitSet::new(419_440_512);
        let added = [0, 63, 64, 209_000_001, 419_440_511];
        added.iter().for_each(|bit| set.add(*bit));
        assert!(added.iter().all(|bit| set.has(*bit) && !set.has(bit ^ 2)));
        assert!(!set.has(500_000_000) && set.0.bytes() < 1 << 18, "{} bytes", set.0.bytes());
    }
}
