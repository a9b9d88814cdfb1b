//! A growing row of bits, read up to 64 at a time from any place.
//!
//! Several threads may change it at once ([`Change`]): each bit is what one of them made it last.

use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// A growing row of bits.
#[derive(Debug, Default)]
pub struct Bits {
    words: Vec<AtomicU64>,
    len: u64,
}

/// How bits are changed through a shared reference.
pub(crate) trait Change {
    /// Sets some bits of a word, and gives what the word was before.
    fn set(word: &AtomicU64, bits: u64) -> u64;

    /// Clears some bits of a word, and gives what the word was before.
    fn clear(word: &AtomicU64, bits: u64) -> u64;
}

/// By one thread, while no other one changes the row. A change that another thread makes meanwhile may be lost.
pub(crate) struct Alone;

/// By several threads. All of them see these changes in one order: of two threads that each change one word and then
/// ask for the other's ([`Bits::test_now`]), one at least sees the other's change.
pub(crate) struct Together;

impl Change for Alone {
    #[inline(always)]
    fn set(word: &AtomicU64, bits: u64) -> u64 {
        let before = word.load(Relaxed);
        word.store(before | bits, Relaxed);
        before
    }

    #[inline(always)]
    fn clear(word: &AtomicU64, bits: u64) -> u64 {
        let before = word.load(Relaxed);
        word.store(before & !bits, Relaxed);
        before
    }
}

impl Change for Together {
    #[inline(always)]
    fn set(word: &AtomicU64, bits: u64) -> u64 {
        word.fetch_or(bits, SeqCst)
    }

    #[inline(always)]
    fn clear(word: &AtomicU64, bits: u64) -> u64 {
        word.fetch_and(!bits, SeqCst)
    }
}

impl Clone for Bits {
    fn clone(&self) -> Bits {
        let words = self.words.iter().map(|word| AtomicU64::new(word.load(Relaxed))).collect();
        Bits { words, len: self.len }
    }

    fn clone_from(&mut self, other: &Bits) {
        self.len = other.len;
        self.words.resize_with(other.words.len(), AtomicU64::default);
        for (word, theirs) in self.words.iter_mut().zip(&other.words) {
            *word.get_mut() = theirs.load(Relaxed);
        }
    }
}

impl Bits {
    /// How many bits there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no bit at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the row occupies.
    pub fn bytes(&self) -> u64 {
        self.words.capacity() as u64 * 8
    }

    /// Appends `many` bits of one value.
    pub fn grow(&mut self, many: u64, value: bool) {
        let start = self.len;
        self.len += many;
        self.words.resize_with(self.len.div_ceil(64) as usize, AtomicU64::default);
        if value {
            let mut at = start;
            while at < self.len {
                let take = (64 - at % 64).min(self.len - at);
                *self.words[(at / 64) as usize].get_mut() |= mask(take) << (at % 64);
                at += take;
            }
        }
    }

    /// How many bits are set.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum()
    }

    /// The bit's value.
    #[inline]
    pub fn test(&self, bit: u64) -> bool {
        self.words[(bit / 64) as usize].load(Relaxed) >> (bit % 64) & 1 != 0
    }

    /// Sets a bit.
    #[inline]
    pub fn set(&mut self, bit: u64) {
        *self.words[(bit / 64) as usize].get_mut() |= 1 << (bit % 64);
    }

    /// Clears a bit.
    #[inline]
    pub fn clear(&mut self, bit: u64) {
        *self.words[(bit / 64) as usize].get_mut() &= !(1 << (bit % 64));
    }

    /// The bit's value while several threads change it, in the order of their changes.
    #[inline(always)]
    pub(crate) fn test_now(&self, bit: u64) -> bool {
        self.words[(bit / 64) as usize].load(SeqCst) >> (bit % 64) & 1 != 0
    }

    /// Sets a bit, as several threads may; true where it was not set before.
    #[inline(always)]
    pub(crate) fn set_as<C: Change>(&self, bit: u64) -> bool {
        let mask = 1 << (bit % 64);
        C::set(&self.words[(bit / 64) as usize], mask) & mask == 0
    }

    /// Clears a bit in the same way; true where it was set before.
    #[inline(always)]
    pub(crate) fn clear_as<C: Change>(&self, bit: u64) -> bool {
        let mask = 1 << (bit % 64);
        C::clear(&self.words[(bit / 64) as usize], mask) & mask != 0
    }

    /// Bits `from..from + many` (at most 64), the first in the lowest place.
    #[inline]
    pub fn word(&self, from: u64, many: u64) -> u64 {
        let (index, shift) = ((from / 64) as usize, from % 64);
        let mut word = self.words[index].load(Relaxed) >> shift;
        if shift + many > 64 {
            word |= self.words[index + 1].load(Relaxed) << (64 - shift);
        }
        word & mask(many)
    }

    /// Sets those of the 64 bits from `from` on that `word` has set.
    #[inline]
    pub fn set_word(&mut self, from: u64, word: u64) {
        let (index, shift) = ((from / 64) as usize, from % 64);
        *self.words[index].get_mut() |= word << shift;
        if shift > 0 && word >> (64 - shift) != 0 {
            *self.words[index + 1].get_mut() |= word >> (64 - shift);
        }
    }

    /// The first set bit at or after `from`.
    pub fn next_set(&self, from: u64) -> Option<u64> {
        self.next_set_in(from..self.len)
    }

    /// The first set bit among some.
    #[inline]
    pub(crate) fn next_set_in(&self, bits: Range<u64>) -> Option<u64> {
        let mut index = (bits.start / 64) as usize;
        let mut word = self.words.get(index)?.load(Relaxed) & (u64::MAX << (bits.start % 64));
        while word == 0 {
            index += 1;
            if index as u64 * 64 >= bits.end {
                return None;
            }
            word = self.words.get(index)?.load(Relaxed);
        }
        let next = index as u64 * 64 + u64::from(word.trailing_zeros());
        (next < bits.end).then_some(next)
    }
}

/// The lowest `many` bits.
pub(crate) fn mask(many: u64) -> u64 {
    if many >= 64 { u64::MAX } else { (1 << many) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn a_word_across_a_boundary_keeps_its_order() {
        let mut bits = Bits::default();
        bits.grow(60, false);
        bits.grow(10, true);
        bits.grow(70, false);
        assert_eq!(bits.word(58, 20), 0b1111_1111_1100);
        assert_eq!(bits.word(60, 64), 0x3ff);
        assert_eq!(bits.word(139, 1), 0);
        bits.clear(64);
        assert_eq!((bits.next_set(65), bits.next_set(70)), (Some(65), None));
        assert!(bits.test(63) && !bits.test(64) && bits.test(65));
        bits.set_word(120, 0b1000_0000_0101);
        assert_eq!(bits.word(100, 40), 0b1000_0000_0101 << 20);
        bits.set_word(139, 1);
        assert_eq!(bits.next_set(132), Some(139));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_row_of_bits_is_a_list_of_booleans(
            parts in vec((0..150u64, any::<bool>()), 1..5),
            changes in vec((any::<u16>(), any::<u64>(), 0..4u8), 0..20),
            asked in vec((any::<u16>(), 0..=64u64), 10),
        ) {
            let (mut bits, mut list) = (Bits::default(), Vec::new());
            for (many, value) in parts {
                bits.grow(many, value);
                list.resize(list.len() + many as usize, value);
            }
            let len = list.len();
            prop_assume!(len > 0);
            for (at, word, kind) in changes {
                let at = usize::from(at) % len;
                let many = (len - at).min(64);
                match kind {
                    0 => {
                        bits.set(at as u64);
                        list[at] = true;
                    }
                    1 => {
                        bits.clear(at as u64);
                        list[at] = false;
                    }
                    _ => {
                        let word = word & mask(many as u64);
                        bits.set_word(at as u64, word);
                        (0..many).for_each(|bit| list[at + bit] |= word >> bit & 1 != 0);
                    }
                }
            }
            let all: Vec<bool> = (0..len as u64).map(|bit| bits.test(bit)).collect();
            prop_assert_eq!(&all, &list);
            for (at, many) in asked {
                let at = usize::from(at) % len;
                let many = many.min((len - at) as u64);
                let bit = |bit: usize| u64::from(list[at + bit]) << bit;
                let word = (0..many as usize).map(bit).sum::<u64>();
                prop_assert_eq!(bits.word(at as u64, many), word);
                let next = (at..len).find(|bit| list[*bit]).map(|bit| bit as u64);
                prop_assert_eq!(bits.next_set(at as u64), next);
            }
        }
    }
}
