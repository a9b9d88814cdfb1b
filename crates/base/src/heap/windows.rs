//! Which words may be the address of an object: told for many at once.
//!
//! Most of memory is zeros, small numbers and text. Where the addresses lie is known, and halves
//! of words are compared sixteen at a time, with what every x86-64 has.
//!
//! **Invariant:** no word that is an address of an object is passed over.

use wide::{i16x8, i32x8};

/// Turns the order of unsigned numbers into that of signed ones.
const SIGN: u32 = 1 << 31;
/// Words that one mask tells.
const WORDS: usize = 32;
/// The bits of the upper halves.
const UPPER: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// Parts of the address space that the addresses of objects lie in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Windows {
    /// Start and bytes of each.
    all: [(u64, u64); 4],
    lanes: Lanes,
}

impl Windows {
    /// Of these, by start and bytes.
    pub(super) fn new(all: [(u64, u64); 4]) -> Windows {
        let used = || all.iter().filter(|one| one.1 > 0).map(|one| one.0..one.0 + (one.1 - 1));
        let upper = |address: u64| (address >> 32) as u32;
        let above = used().filter(|one| upper(one.end) > 0).map(|one| upper(one.start)).min();
        let below = || used().filter(|one| upper(one.start) == 0);
        let start = below().map(|one| one.start as u32).min().unwrap_or(0);
        let last = below().map(|one| one.end.min(u64::from(u32::MAX)) as u32).max();
        let bytes = last.map_or(0, |last| (last - start).saturating_add(1));
        Windows { all, lanes: Lanes::new(above.unwrap_or(u32::MAX).max(1), (start, bytes)) }
    }

    /// Whether an address lies in any.
    #[inline(always)]
    pub fn contain(&self, word: u64) -> bool {
        let [a, b, c, d] = self.all.map(|(start, bytes)| word.wrapping_sub(start) < bytes);
        a | b | c | d
    }

    /// Start and bytes of each.
    pub(super) fn all(&self) -> &[(u64, u64); 4] {
        &self.all
    }

    /// Calls `each` with every aligned word that lies in a window, and its place; and with some
    /// that lie in none.
    #[inline(always)]
    pub fn for_each_within(&self, bytes: &[u8], mut each: impl FnMut(usize, u64)) {
        let (words, _) = bytes.as_chunks();
        let lanes = self.lanes;
        for (block, words) in words.chunks(WORDS).enumerate() {
            let (lines, rest) = words.as_chunks();
            let mut mask =
                lines.iter().rev().fold(0u64, |mask, line| mask << 16 | lanes.mask(line));
            while mask != 0 {
                let index = mask.trailing_zeros() as usize / 2;
                each(8 * (WORDS * block + index), u64::from_le_bytes(words[index]));
                mask &= mask - 1;
            }
            for (index, word) in (8 * lines.len()..).zip(rest) {
                each(8 * (WORDS * block + index), u64::from_le_bytes(*word));
            }
        }
    }
}

/// The bounds, for each half of four words.
#[derive(Clone, Copy, Debug, Default)]
struct Lanes {
    sign: i32x8,
    least: i32x8,
    start: i32x8,
    bytes: i32x8,
}

impl Lanes {
    /// Words count whose upper half is no less than `from_upper`, or zero with a lower half in
    /// `below`, start and bytes.
    fn new(from_upper: u32, below: (u32, u32)) -> Lanes {
        let (start, bytes) = below;
        let twice = |lower: u32, upper: u32| {
            let [lower, upper] = [lower, upper].map(u32::cast_signed);
            i32x8::new([lower, upper, lower, upper, lower, upper, lower, upper])
        };
        Lanes {
            sign: twice(SIGN, SIGN),
            least: twice(!0 ^ SIGN, (from_upper - 1) ^ SIGN),
            start: twice(start.wrapping_add(SIGN), SIGN),
            bytes: twice(bytes ^ SIGN, 1 ^ SIGN),
        }
    }

    /// Two bits for each of eight words, of which the upper one counts.
    #[inline(always)]
    fn mask(&self, line: &[[u8; 8]; 8]) -> u64 {
        let (quads, _) = line.as_chunks();
        let [low, high] = [self.four(&quads[0]), self.four(&quads[1])];
        u64::from(low | high << 8) & UPPER
    }

    #[inline(always)]
    fn four(&self, words: &[[u8; 8]; 4]) -> u32 {
        let halves: i32x8 = bytemuck::cast(*words);
        let above = (halves ^ self.sign).simd_gt(self.least);
        let below = (halves - self.start).simd_lt(self.bytes);
        let bits = |lanes| i16x8::from_i32x8_saturate(lanes).to_bitmask();
        let below = bits(below);
        // The upper half is zero, and the lower one within.
        bits(above) | (below & below << 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of some memory that are told.
    fn told(windows: &Windows, words: &[u64]) -> Vec<u64> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut told = Vec::new();
        windows.for_each_within(&bytes, |at, word| {
            assert_eq!(words[at / 8], word, "where it stands");
            told.push(word);
        });
        told
    }

    #[test]
    fn all_words_within_are_told_in_order_wherever_they_stand() {
        let kernel = (0xffff_8880_0000_0000, 1 << 40);
        let image = (0xffff_ffff_c000_0000, 0x1000);
        let near = (0x3_0000, 0x8000);
        let far = (0x607f_0000_0000, 0x10_0000);
        let across = (0xffff_fff0, 0x20);
        let none = (0, 0);
        for all in [
            [kernel, image, near, far],
            [kernel, image, near, none],
            [kernel, none, none, none],
            [kernel, across, none, none],
            [(u64::MAX - 8, 8), near, none, none],
            [none; 4],
        ] {
            let windows = Windows::new(all);
            let around = |at: u64| [at.wrapping_sub(1), at, at.wrapping_add(1)];
            let edges = all.iter().flat_map(|one| [one.0, one.0.wrapping_add(one.1)]);
            let edges: Vec<u64> = edges.flat_map(around).chain([1 << 31, 1 << 32, 7]).collect();
            for len in [1, 7, 8, 9, 31, 32, 33, 100] {
                for (shift, edge) in edges.iter().enumerate() {
                    let mut words = vec![0u64; len];
                    words[shift % len] = *edge;
                    words[len - 1] = edges[(shift + 1) % edges.len()];
                    let within: Vec<u64> =
                        words.iter().copied().filter(|word| windows.contain(*word)).collect();
                    let mut told = told(&windows, &words);
                    told.retain(|word| windows.contain(*word));
                    assert_eq!(told, within, "{all:x?} {words:x?}");
                }
            }
        }
    }

    #[test]
    fn zeros_small_numbers_and_text_are_passed_over() {
        let windows = Windows::new([
            (0xffff_8880_0000_0000, 1 << 40),
            (0xffff_ffff_c000_0000, 0x1000),
            (0x3_0000, 0x8000),
            (0, 0),
        ]);
        let text = u64::from_le_bytes(*b"hostname");
        let words = [0, 17, 0x2_ffff, 0x3_8000, 0xffff_ffff, 0x1_0000_0000, text, 1 << 47];
        assert_eq!(told(&windows, &words), []);
    }
}
