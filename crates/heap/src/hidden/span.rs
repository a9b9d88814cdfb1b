//! Ranges of numbers of 32 bits that four numbers are compared with at once.

use wide::i32x4;

/// Numbers of 32 bits from one to another, made ready for comparing signed ones.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// What is added to a number, and the largest that it is then if it is among them.
    added: i32,
    most: i32,
}

impl Span {
    pub(super) const fn new(first: u32, last: u32) -> Span {
        Span { added: ordered(first.wrapping_neg()), most: ordered(last.wrapping_sub(first)) }
    }

    /// The upper halves of the words from the first to the last; all where they go round.
    pub(super) fn of_upper(first: u64, last: u64) -> Span {
        let [from, to] = [first, last].map(|word| (word >> 32) as u32);
        if first > last { Span::new(0, u32::MAX) } else { Span::new(from, to) }
    }

    /// The numbers that are from the first to the last, once they are shifted left.
    pub(super) fn of_shifted(first: u64, last: u64, shift: u8) -> Span {
        let [first, last] =
            [first, last].map(|word| u32::try_from(word >> shift).unwrap_or(u32::MAX));
        Span::new(first, last)
    }

    pub(super) fn has(self, half: u32) -> bool {
        half.cast_signed().wrapping_add(self.added) <= self.most
    }

    /// All ones for each number that is not among them.
    #[inline(always)]
    pub(super) fn out(self, halves: i32x4) -> i32x4 {
        (halves + i32x4::splat(self.added)).simd_gt(i32x4::splat(self.most))
    }
}

/// A signed number that is among signed ones where the number is among unsigned ones.
const fn ordered(number: u32) -> i32 {
    (number ^ 1 << 31).cast_signed()
}
