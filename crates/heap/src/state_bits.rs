//! Two bits for each object, side by side: whoever asks for the state of one of hundreds of millions waits for memory
//! once.
//!
//! | | high | low |
//! |---|---|---|
//! | free | 0 | 0 |
//! | white: live, and not reached | 0 | 1 |
//! | grey: reached, its words not followed yet | 1 | 0 |
//! | black: done | 1 | 1 |

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use crate::bits::{Change, mask};

/// The states of 64 objects.
#[derive(Debug, Default)]
struct Word {
    high: AtomicU64,
    low: AtomicU64,
}

/// The states of all objects, by their bits.
#[derive(Debug, Default)]
pub(crate) struct StateBits {
    words: Vec<Word>,
    len: u64,
}

/// The states of up to 64 objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Some64 {
    pub(crate) high: u64,
    pub(crate) low: u64,
}

impl Some64 {
    pub(crate) fn live(self) -> u64 {
        self.high | self.low
    }

    pub(crate) fn white(self) -> u64 {
        self.low & !self.high
    }

    pub(crate) fn grey(self) -> u64 {
        self.high & !self.low
    }
}

impl Word {
    /// The lower bits first: white becomes grey by setting the higher bit before the lower one is cleared, so no live
    /// object ever looks free while another thread marks it.
    #[inline(always)]
    fn load(&self) -> Some64 {
        let low = self.low.load(SeqCst);
        Some64 { high: self.high.load(SeqCst), low }
    }
}

impl Clone for Word {
    fn clone(&self) -> Word {
        let Some64 { high, low } = self.load();
        Word { high: high.into(), low: low.into() }
    }
}

impl Clone for StateBits {
    fn clone(&self) -> StateBits {
        StateBits { words: self.words.clone(), len: self.len }
    }

    fn clone_from(&mut self, other: &StateBits) {
        self.len = other.len;
        self.words.clone_from(&other.words);
    }
}

impl StateBits {
    /// How many objects there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that they occupy.
    pub(crate) fn bytes(&self) -> u64 {
        (self.words.capacity() * size_of::<Word>()) as u64
    }

    /// Appends so many white objects.
    pub(crate) fn grow(&mut self, many: u64) {
        let start = self.len;
        self.len += many;
        self.words.resize_with(self.len.div_ceil(64) as usize, Word::default);
        let mut at = start;
        while at < self.len {
            let take = (64 - at % 64).min(self.len - at);
            *self.words[(at / 64) as usize].low.get_mut() |= mask(take) << (at % 64);
            at += take;
        }
    }

    /// Whether an object is white.
    #[inline(always)]
    pub(crate) fn is_white(&self, bit: u64) -> bool {
        self.words[(bit / 64) as usize].load().white() >> (bit % 64) & 1 != 0
    }

    /// The states of up to 64 objects from one on, the first in the lowest place.
    #[inline]
    pub(crate) fn get(&self, from: u64, many: u64) -> Some64 {
        let (index, shift) = ((from / 64) as usize, from % 64);
        let mut found = self.words[index].load();
        (found.high, found.low) = (found.high >> shift, found.low >> shift);
        if shift + many > 64 {
            let more = self.words[index + 1].load();
            found.high |= more.high << (64 - shift);
            found.low |= more.low << (64 - shift);
        }
        Some64 { high: found.high & mask(many), low: found.low & mask(many) }
    }

    /// White becomes grey, as several threads may do it: only one of them is told that it was white.
    #[inline(always)]
    pub(crate) fn mark<C: Change>(&self, bit: u64) -> bool {
        let (word, mask) = (&self.words[(bit / 64) as usize], 1 << (bit % 64));
        // Between the two an object looks black. Nobody follows it then, before its slab waits for that.
        let is_first = word.load().white() & mask != 0 && C::set(&word.high, mask) & mask == 0;
        if is_first {
            C::clear(&word.low, mask);
        }
        is_first
    }

    /// Grey ones of up to 64 objects become black, in the same way; gives those that did.
    #[inline]
    pub(crate) fn take_grey<C: Change>(&self, from: u64, many: u64) -> u64 {
        let grey = self.get(from, many).grey();
        if grey == 0 {
            return 0;
        }
        let (index, shift) = ((from / 64) as usize, from % 64);
        let mut before = C::set(&self.words[index].low, grey << shift) >> shift;
        if shift > 0 && grey >> (64 - shift) != 0 {
            before |= C::set(&self.words[index + 1].low, grey >> (64 - shift)) << (64 - shift);
        }
        grey & !before
    }

    /// Sets the state of one object.
    pub(crate) fn set(&mut self, bit: u64, high: bool, low: bool) {
        let (word, mask) = (&mut self.words[(bit / 64) as usize], 1 << (bit % 64));
        for (bits, is_set) in [(word.high.get_mut(), high), (word.low.get_mut(), low)] {
            *bits = if is_set { *bits | mask } else { *bits & !mask };
        }
    }

    /// Every live object becomes white.
    pub(crate) fn whiten(&mut self) {
        for word in &mut self.words {
            *word.low.get_mut() |= std::mem::take(word.high.get_mut());
        }
    }

    /// Every grey object becomes white.
    pub(crate) fn forget_grey(&mut self) {
        for word in &mut self.words {
            let grey = word.load().grey();
            *word.low.get_mut() |= grey;
            *word.high.get_mut() &= !grey;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::bits::{Alone, Together};

    /// A state as its two bits.
    type State = (bool, bool);

    const WHITE: State = (false, true);
    const GREY: State = (true, false);
    const BLACK: State = (true, true);

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

        #[test]
        fn the_states_are_a_list_of_pairs(
            parts in vec(0..90u64, 1..5),
            changes in vec((any::<u16>(), 0..7u8), 0..40),
            asked in vec((any::<u16>(), 0..=64u64), 10),
        ) {
            let (mut states, mut list) = (StateBits::default(), Vec::<State>::new());
            for many in parts {
                states.grow(many);
                list.resize(list.len() + many as usize, WHITE);
            }
            prop_assume!(!list.is_empty());
            for (at, kind) in changes {
                let at = usize::from(at) % list.len();
                let (bit, many) = (at as u64, (list.len() - at).min(64));
                match kind {
                    0 => {
                        states.set(bit, false, false);
                        list[at] = (false, false);
                    }
                    1 => {
                        states.set(bit, true, true);
                        list[at] = BLACK;
                    }
                    2 | 3 => {
                        let is_first = list[at] == WHITE;
                        let marked = if kind == 2 { states.mark::<Alone>(bit) } else { states.mark::<Together>(bit) };
                        prop_assert_eq!(marked, is_first);
                        list[at] = if is_first { GREY } else { list[at] };
                    }
                    4 => {
                        let taken = states.take_grey::<Together>(bit, many as u64);
                        for (index, state) in list[at..at + many].iter_mut().enumerate() {
                            prop_assert_eq!(taken >> index & 1 != 0, *state == GREY);
                            *state = if *state == GREY { BLACK } else { *state };
                        }
                    }
                    5 => {
                        states.forget_grey();
                        list.iter_mut().filter(|one| **one == GREY).for_each(|one| *one = WHITE);
                    }
                    _ => {
                        states.whiten();
                        list.iter_mut().filter(|one| one.0).for_each(|one| *one = WHITE);
                    }
                }
            }
            let mut copy = StateBits::default();
            copy.clone_from(&states);
            for (at, many) in asked {
                let at = usize::from(at) % list.len();
                let many = many.min((list.len() - at) as u64);
                let bits = |of: &dyn Fn(&State) -> bool| {
                    let bit = |bit: usize| u64::from(of(&list[at + bit])) << bit;
                    (0..many as usize).map(bit).sum::<u64>()
                };
                let expected = Some64 { high: bits(&|state| state.0), low: bits(&|state| state.1) };
                prop_assert_eq!(states.get(at as u64, many), expected);
                prop_assert_eq!(copy.get(at as u64, many), expected);
                prop_assert_eq!(states.is_white(at as u64), list[at] == WHITE);
            }
        }
    }
}
