//! The address filter: finds the words that may be the address of an object, many at once.
//!
//! Most of memory is zeros, small numbers and text. Where the addresses lie is known, and the halves
//! of words, cut down to 16 bits, are compared eight at a time, with instructions that every x86-64 has.
//!
//! **Invariant:** no word that is an address of an object is passed over.

use sysak_base::{Va, VaRange};
use wide::{i8x16, i16x8, i16x16, i32x4, i32x8};

/// Turns the order of unsigned numbers into that of signed ones.
const SIGN: i16 = i16::MIN;
/// Words that one mask covers.
const WORDS: usize = 32;

/// Parts of the address space that the addresses of objects lie in.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddressFilter {
    all: [VaRange; 4],
    lanes: Lanes,
}

impl AddressFilter {
    /// The filter for these parts of the address space.
    pub(crate) fn new(all: [VaRange; 4]) -> AddressFilter {
        let used = all.iter().filter(|one| !one.is_empty());
        let used = used.map(|one| (one.start().0, one.end().0 - 1));
        let (mut near, mut far, mut kernel) = (None, None, None);
        for (first, last) in used {
            let half = |bits: u64| (bits as u32).cast_signed();
            let (from, to) = (half(first >> 32), half(last >> 32));
            if from == 0 {
                let (low, high) = (half(first), half(last.min(u64::from(u32::MAX))));
                near = join(near, if low <= high { (low, high) } else { (i32::MIN, i32::MAX) });
            }
            if from >= 0 && to != 0 {
                far = join(far, (from.max(1), if to > 0 { to } else { i32::MAX }));
            }
            if to < 0 {
                kernel = join(kernel, (if from < 0 { from } else { i32::MIN }, -1));
            }
        }
        AddressFilter { all, lanes: Lanes::new(near, far, kernel) }
    }

    /// Whether an address lies in any.
    #[inline(always)]
    pub fn contains(&self, word: u64) -> bool {
        let [a, b, c, d] = self.all.map(|range| range.contains(Va(word)));
        a | b | c | d
    }

    pub(crate) fn all(&self) -> &[VaRange; 4] {
        &self.all
    }

    /// Calls `each` with every aligned word that lies in one of the parts, and its place; and with some
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

/// Numbers from the first to the last.
type Span = (i32, i32);

/// What reaches over both.
fn join(one: Option<Span>, other: Span) -> Option<Span> {
    Some(one.map_or(other, |one| (one.0.min(other.0), one.1.max(other.1))))
}

/// Which words count, by their halves as signed numbers.
///
/// All halves are shifted right as far as the bounds need it to fit into 16 bits, and what does not fit then
/// becomes the largest or the smallest number: a few more words count, and no fewer.
#[derive(Clone, Copy, Debug, Default)]
struct Lanes {
    shift: u32,
    /// The upper half is zero: pointers of the first per-CPU chunk. Both halves must hold.
    near: Bounds,
    /// The upper half is positive: pointers of the other per-CPU chunks.
    far: Bounds,
    /// The upper half is negative: addresses of the kernel.
    kernel: Bounds,
}

/// Where lower and upper halves start to count, and how many do from there; four of each.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    start: i16x8,
    many: i16x8,
}

impl Bounds {
    fn new(lower: Option<Span>, upper: Option<Span>, shift: u32) -> Bounds {
        let eight = |of: &dyn Fn(Span) -> i32| {
            let of = |span: Option<Span>| span.map_or(0, of) as i16 ^ SIGN;
            let [lower, upper] = [lower, upper].map(of);
            i16x8::new([lower, upper, lower, upper, lower, upper, lower, upper])
        };
        Bounds {
            start: eight(&|(first, _)| first >> shift),
            many: eight(&|(first, last)| (last >> shift) - (first >> shift) + 1),
        }
    }

    #[inline(always)]
    fn hold(&self, halves: i16x8) -> i16x8 {
        (halves - self.start).simd_lt(self.many)
    }
}

impl Lanes {
    fn new(near: Option<Span>, far: Option<Span>, kernel: Option<Span>) -> Lanes {
        let fits = |shift: &u32| {
            let inside = i32::from(i16::MIN) + 1..i32::from(i16::MAX);
            let fits = |(first, last): &Span| {
                inside.contains(&(first >> shift)) && inside.contains(&(last >> shift))
            };
            [near, far, kernel].iter().flatten().all(fits)
        };
        // Whatever they are, after 17 bits they do.
        let shift = (0..17).find(fits).unwrap_or(17);
        Lanes {
            shift,
            near: Bounds::new(near, Some((0, 0)), shift),
            far: Bounds::new(None, far, shift),
            kernel: Bounds::new(None, kernel, shift),
        }
    }

    /// Two bits for each of eight words, of which the upper one counts.
    #[inline(always)]
    fn mask(&self, line: &[[u8; 8]; 8]) -> u64 {
        let (quads, _) = line.as_chunks();
        let eight: i16x16 = bytemuck::cast([self.four(&quads[0]), self.four(&quads[1])]);
        u64::from(i8x16::from_i16x16_saturate(eight).to_bitmask())
    }

    /// All ones in the upper half of each word that counts.
    #[inline(always)]
    fn four(&self, words: &[[u8; 8]; 4]) -> i16x8 {
        let halves = bytemuck::cast::<_, i32x8>(*words) >> self.shift;
        let halves = i16x8::from_i32x8_saturate(halves);
        let near = self.near.hold(halves);
        let lower: i16x8 = bytemuck::cast(bytemuck::cast::<_, i32x4>(near) << 16);
        self.kernel.hold(halves) | self.far.hold(halves) | (near & lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(all: [(u64, u64); 4]) -> AddressFilter {
        AddressFilter::new(all.map(|(start, bytes)| VaRange::new(Va(start), bytes)))
    }

    /// The words of some memory that pass.
    fn passed(filter: &AddressFilter, words: &[u64]) -> Vec<u64> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut passed = Vec::new();
        filter.for_each_within(&bytes, |at, word| {
            assert_eq!(words[at / 8], word, "where it stands");
            passed.push(word);
        });
        passed
    }

    #[test]
    fn all_words_within_pass_in_order_wherever_they_stand() {
        let kernel = (0xffff_8880_0000_0000, 1 << 40);
        let image = (0xffff_ffff_c000_0000, 0x1000);
        let near = (0x3_0000, 0x8000);
        let far = (0x607f_0000_0000, 0x10_0000);
        let across = (0xffff_fff0, 0x20);
        let half = (0x7fff_fff0, 0x20);
        let all_signs = (0x7fff_ffff_ffff_f000, 0x2000);
        let five_levels = (0xff11_0000_0000_0000, 1 << 44);
        let far_of_five = (0x8c_0000_0000_0000, 1 << 30);
        let none = (0, 0);
        for all in [
            [kernel, image, near, far],
            [kernel, image, near, none],
            [kernel, none, none, none],
            [kernel, across, none, none],
            [kernel, half, none, none],
            [all_signs, near, none, none],
            [five_levels, image, near, far_of_five],
            [(u64::MAX - 8, 8), near, none, none],
            [none; 4],
        ] {
            let filter = filter(all);
            let around = |at: u64| [at.wrapping_sub(1), at, at.wrapping_add(1)];
            let edges = all.iter().flat_map(|one| [one.0, one.0.wrapping_add(one.1)]);
            let edges: Vec<u64> = edges.flat_map(around).chain([1 << 31, 1 << 32, 7]).collect();
            for len in [1, 7, 8, 9, 31, 32, 33, 100] {
                for (shift, edge) in edges.iter().enumerate() {
                    let mut words = vec![0u64; len];
                    words[shift % len] = *edge;
                    words[len - 1] = edges[(shift + 1) % edges.len()];
                    let within: Vec<u64> =
                        words.iter().copied().filter(|word| filter.contains(*word)).collect();
                    let mut passed = passed(&filter, &words);
                    passed.retain(|word| filter.contains(*word));
                    assert_eq!(passed, within, "{all:x?} {words:x?}");
                }
            }
        }
    }

    #[test]
    fn zeros_small_numbers_and_text_are_passed_over() {
        let near = (0x3_0000, 0x8000);
        // Four and five levels of page tables, with one per-CPU chunk and with several; since Linux v6.15
        // per-CPU pointers look like the image's addresses.
        let four =
            [(0xffff_8880_0000_0000, 1 << 40), (0xffff_ffff_c000_0000, 0x1000), near, (0, 0)];
        let far = [four[0], four[1], near, (0x607f_0000_0000, 0x10_0000)];
        let five =
            [(0xff11_0000_0000_0000, 1 << 44), four[1], near, (0x8c_0000_0000_0000, 1 << 30)];
        let newer = [four[0], four[1], (0xffff_ffff_a000_0000, 0x8000), (0, 0)];
        let text = u64::from_le_bytes(*b"hostname");
        let code = 0x8948_0000_0000_1043;
        let program = [0x7ffc_1234_5678, 0x55d0_1234_5678, 0x1234_0000_5678, 3 << 32 | 7];
        let words = [0, 17, 0x2_f000, 0x3_9000, 0xffff_ffff, 0x1_0000_0000, text, 1 << 47];
        let other = [code, 0xcccc_cccc_cccc_cccc, 0xdead_0000_0000_0100, u64::from(u32::MAX) << 31];
        // Two whole lines: of a shorter one all words pass.
        let words = [&words[..], &program, &other].concat();
        for all in [four, far, five, newer] {
            assert_eq!(passed(&filter(all), &words), [], "{all:x?}");
        }
    }
}
