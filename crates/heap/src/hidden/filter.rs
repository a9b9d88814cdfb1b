//! Tells which blocks of memory may lead to a suspect.
//!
//! Nearly all memory is dismissed here, so this decides what a second opinion costs. What is asked first is cheap and
//! lets some blocks pass that lead nowhere; only these are looked at word by word.

use sysak_base::{PAGE_SIZE, VaRange};

use super::shapes::{self, SHIFTS, Width, long, short};
use crate::Heap;

/// Bytes that are dismissed at once.
pub(super) const BLOCK: usize = 64;
/// A reference reaches so far beyond its block.
pub(super) const BEYOND: usize = 8;

/// The upper halves of the kernel's pointers.
const POINTERS_FROM: u32 = 0xffff_8000;
const WORDS: usize = (BLOCK + BEYOND) / 8;
const HALVES: usize = (BLOCK + BEYOND) / 4;

/// Where the suspects lie.
pub(super) struct Filter {
    /// In the direct map, and outside: the start, and how many bytes.
    linear: [u64; 2],
    areas: [u64; 2],
    /// Their `struct page`s.
    pages: [u64; 2],
    /// Their physical addresses.
    physical: [u64; 2],
    halves: Halves,
    /// The upper ends of pointers to them.
    ends: [End; 2],
}

impl Filter {
    pub(super) fn new(heap: &Heap, linear: VaRange, areas: VaRange) -> Filter {
        let bounds = |range: VaRange| [range.start().0, range.bytes()];
        let physical = linear.start().0.wrapping_sub(heap.page_offset().0);
        let (memmap, struct_page_bytes) = heap.memmap();
        let page = |address: u64| address / PAGE_SIZE * struct_page_bytes;
        let pages = memmap.start().0.wrapping_add(page(physical));
        let end = |range: VaRange| (!range.is_empty()).then(|| End::of(range));
        let ends = end(linear).into_iter().chain(end(areas)).collect::<Vec<_>>();
        Filter {
            linear: bounds(linear),
            areas: bounds(areas),
            pages: [pages, page(linear.bytes() + PAGE_SIZE)],
            physical: [physical, linear.bytes()],
            halves: Halves::of(physical, linear.bytes()),
            ends: [ends.first(), ends.last()].map(|end| end.copied().unwrap_or_default()),
        }
    }

    /// Whether a reference to a suspect may stand in the block.
    #[inline]
    pub(super) fn may(&self, block: &[u8; BLOCK + BEYOND], width: Width) -> bool {
        let words: [u64; WORDS] =
            std::array::from_fn(|word| long(block, word * 8).unwrap_or_default());
        if words.iter().fold(0, |all, word| all | word) == 0 {
            return false;
        }
        match width {
            Width::Wide => {
                self.may_words(&words)
                    || self.halves.may(block)
                    || self.may_unaligned(block, &words)
            }
            Width::Narrow => self.may_narrow(block),
        }
    }

    fn may_narrow(&self, block: &[u8; BLOCK + BEYOND]) -> bool {
        let short = |at| u64::from(short(block, at).unwrap_or_default());
        (0..BLOCK).step_by(4).fold(false, |any, at| {
            SHIFTS.iter().fold(any, |any, shift| any | is_in(self.physical, short(at) << shift))
        })
    }

    /// In the shapes that aligned words have.
    #[inline]
    fn may_words(&self, words: &[u64; WORDS]) -> bool {
        words[..WORDS - 1].iter().fold(false, |any, word| {
            let tagged = shapes::tagged(*word);
            any | is_in(self.linear, !word)
                | is_in(self.linear, shapes::shifted(*word))
                | (is_in(self.linear, tagged) & (tagged != *word))
                | is_in(self.pages, word & !3)
        })
    }

    #[inline]
    fn may_unaligned(&self, block: &[u8; BLOCK + BEYOND], words: &[u64; WORDS]) -> bool {
        let [first, last] = &self.ends;
        if !first.may(words) && (first == last || !last.may(words)) {
            return false;
        }
        let off_alignment = (0..BLOCK).filter(|at| !at.is_multiple_of(8));
        off_alignment.fold(false, |any, at| {
            let word = long(block, at).unwrap_or_default();
            any | is_in(self.linear, word) | is_in(self.areas, word)
        })
    }
}

#[inline]
fn is_in([first, many]: [u64; 2], word: u64) -> bool {
    word.wrapping_sub(first) < many
}

/// Physical addresses by their halves, so that four of them are compared at once.
struct Halves {
    /// The least lower half, and how far the others are from it; all where the upper halves differ.
    low: [u32; 2],
    /// The same of the upper halves.
    high: [u32; 2],
}

impl Halves {
    fn of(first: u64, bytes: u64) -> Halves {
        let last = first.saturating_add(bytes.saturating_sub(1));
        let high = [(first >> 32) as u32, ((last >> 32) - (first >> 32)) as u32];
        let low = match high[1] {
            0 => [first as u32, (last - first) as u32],
            _ => [0, u32::MAX],
        };
        Halves { low, high }
    }

    /// Whether any two neighbours are the halves of such an address, in either order; above it there may be 16 other
    /// bits.
    #[inline]
    fn may(&self, block: &[u8; BLOCK + BEYOND]) -> bool {
        let halves: [u32; HALVES] =
            std::array::from_fn(|half| short(block, half * 4).unwrap_or_default());
        let is_in = |[first, most]: [u32; 2], half: u32| half.wrapping_sub(first) <= most;
        let mut any = false;
        for at in 0..BLOCK / 4 {
            let (one, next) = (halves[at], halves[at + 1]);
            any |= is_in(self.low, one) & is_in(self.high, next & 0xffff);
            // Across two words a whole pointer looks like a lower half wherever zero comes before it.
            let is_pointer = (at % 2 == 1) & (halves[at + 2] >= POINTERS_FROM);
            any |= is_in(self.low, next) & is_in(self.high, one & 0xffff) & !is_pointer;
        }
        any
    }
}

/// The two upper bytes of pointers into a range, each in every byte of a word.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct End {
    top: u64,
    below: u64,
    /// Whether some pointers have other ends.
    is_open: bool,
}

const EACH: u64 = 0x0101_0101_0101_0101;
const SIGNS: u64 = 0x8080_8080_8080_8080;
/// The pair of bytes that ends an aligned word.
const ALIGNED: u64 = 0x80 << 48;

impl End {
    fn of(range: VaRange) -> End {
        let end = |address: u64| address >> 48;
        let [below, top, ..] = end(range.start().0).to_le_bytes();
        let last = range.start().0.saturating_add(range.bytes().saturating_sub(1));
        End {
            top: u64::from(top) * EACH,
            below: u64::from(below) * EACH,
            is_open: end(range.start().0) != end(last),
        }
    }

    /// Whether both bytes stand together anywhere but at the end of an aligned word.
    #[inline]
    fn may(&self, words: &[u64; WORDS]) -> bool {
        // The sign of each byte that equals; of some others, too.
        let equal = |word: u64, bytes: u64| {
            let differs = word ^ bytes;
            differs.wrapping_sub(EACH) & !differs & SIGNS
        };
        let mut pairs = 0;
        for at in 0..WORDS - 1 {
            let (below, top) = (equal(words[at], self.below), equal(words[at], self.top));
            let next = equal(words[at + 1], self.top);
            pairs |= below & (top >> 8 | next << 56) & !ALIGNED;
        }
        // Of the last word only the pairs of references that start before it.
        let (below, top) = (equal(words[WORDS - 1], self.below), equal(words[WORDS - 1], self.top));
        self.is_open || (pairs | below & (top >> 8) & !ALIGNED) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sysak_base::Va;

    const LINEAR: VaRange = VaRange::new(Va(0xffff_8880_1234_5000), 0x8000);

    fn filter(linear: VaRange) -> Filter {
        let heap = crate::HeapBuilder::new(Va(0xffff_8880_0000_0000), 1 << 20, Vec::new());
        Filter::new(&heap.seal().never_marked(), linear, VaRange::default())
    }

    fn block(at: usize, word: u64) -> [u8; BLOCK + BEYOND] {
        let mut block = [0; BLOCK + BEYOND];
        block[at..at + 8].copy_from_slice(&word.to_le_bytes());
        block
    }

    #[test]
    fn a_pointer_passes_wherever_it_stands_off_its_alignment_and_no_other_does() {
        let filter = filter(LINEAR);
        for at in (0..BLOCK).filter(|at| at % 8 != 0) {
            let inside = LINEAR.start().0 + 0x18;
            assert!(filter.may(&block(at, inside), Width::Wide), "at {at}");
            assert!(!filter.may(&block(at, LINEAR.end().0), Width::Wide), "at {at}");
        }
        let mut aligned = [0x55; BLOCK + BEYOND];
        aligned[8..16].copy_from_slice(&LINEAR.start().0.to_le_bytes());
        assert!(!filter.may(&aligned, Width::Wide), "marking saw it");
        assert!(!filter.may(&block(16, u64::MAX), Width::Wide));
    }

    proptest! {
        #[test]
        fn physical_addresses_pass_in_either_order_of_halves(
            first in 1u64 << 12..1 << 40,
            bytes in 8u64..1 << 34,
            inside in 0u64..1 << 34,
            tag in 0u64..1 << 16,
            at in 0usize..BLOCK / 4,
        ) {
            let linear = VaRange::new(Va(0xffff_8880_0000_0000 + first), bytes);
            let physical = first + inside % bytes;
            let filter = filter(linear);
            for word in [physical | tag << 48, physical.rotate_left(32)] {
                prop_assert!(filter.may(&block(at * 4, word), Width::Wide));
            }
        }
    }
}
