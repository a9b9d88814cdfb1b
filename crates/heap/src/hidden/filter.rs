//! Tells which blocks of memory may lead to a suspect.
//!
//! Nearly all memory is dismissed here, so this decides what a second opinion costs. The halves of a block's words are
//! compared with where suspects lie, four at once, with instructions that every x86-64 has. What may be the physical
//! address of a suspect is looked up by its page.
//!
//! **Invariant:** no reference to a suspect is dismissed.

use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pfn, VaRange};
use wide::{i8x16, i16x8, i16x16, i32x4, i32x8, u8x16, u64x2};

use super::shapes::{self, Encoding, SHIFTS, short};
use super::span::Span;
use crate::{Heap, PageSet};

/// Bytes that are dismissed at once.
pub(super) const BLOCK: usize = 64;
/// So many bytes behind a block are looked at, which references reach into.
pub(super) const BEYOND: usize = 16;

/// A block and the bytes that follow it.
pub(super) type Block = [u8; BLOCK + BEYOND];

/// The upper halves of pointers into the direct map, areas and `struct page`s. Those of the image could be numbers just
/// below zero as well.
const POINTERS: Span = Span::new(0xffff_8000, 0xffff_fdff);
/// The upper halves of pointers that have no tag.
const UNTAGGED: Span = Span::new(0xffff_0000, u32::MAX);
/// Parts of the direct map that suspects lie in, with the largest gap between them.
const PARTS: usize = 2;
/// Halves of a block, a bit each: all, and those that are the lower or the upper half of an aligned word.
const ALL: u32 = 0xffff;
const LOWER: u32 = 0x5555;
const UPPER: u32 = 0xaaaa;

/// What a block may hold.
#[derive(Clone, Copy, Default)]
pub(super) struct May {
    /// Whether a reference to a suspect, of any width but 32 bits.
    pub(super) wide: bool,
    /// How many 32-bit numbers in it are the address of a page with suspects, whole or shifted.
    pub(super) narrow: usize,
}

/// Where the suspects lie.
pub(super) struct Filter<'a> {
    /// Their pages in the direct map.
    pages: &'a PageSet,
    /// In the direct map, and outside: the start, and how many bytes.
    linear: [u64; 2],
    areas: [u64; 2],
    /// Their `struct page`s.
    struct_pages: [u64; 2],
    /// Their physical addresses.
    physical: [u64; 2],
    lanes: Lanes,
}

impl<'a> Filter<'a> {
    pub(super) fn new(
        heap: &Heap,
        pages: &'a PageSet,
        linear: VaRange,
        areas: VaRange,
    ) -> Filter<'a> {
        let bounds = |range: VaRange| [range.start().0, range.bytes()];
        let physical = linear.start().0.wrapping_sub(heap.page_offset().0);
        let (memmap, struct_page_bytes) = heap.memmap();
        let page = |address: u64| address / PAGE_SIZE * struct_page_bytes;
        let first_page = memmap.start().0.wrapping_add(page(physical));
        let struct_pages = match memmap.is_empty() {
            true => [0; 2],
            false => [first_page, page(linear.bytes() + PAGE_SIZE)],
        };
        let lanes = Lanes::new(pages, linear, areas, struct_pages);
        let physical = [physical, linear.bytes()];
        Filter {
            pages,
            linear: bounds(linear),
            areas: bounds(areas),
            struct_pages,
            physical,
            lanes,
        }
    }

    /// What the block may hold.
    #[inline]
    pub(super) fn may(&self, block: &Block) -> May {
        let lines = [line(block, 0), line(block, 16), line(block, 32), line(block, 48)];
        // A reference that begins in a block may have nothing but zeros there.
        let all = lines[0] | lines[1] | lines[2] | lines[3] | line(block, BLOCK);
        if all == i32x4::ZERO {
            return May::default();
        }
        let half = |at: u32| short(block, 4 * at as usize).unwrap_or_default();
        let found = self.lanes.of(block, lines, [half(16), half(17)]);
        let leads = |physical: u64| self.pages.contains(Pfn(physical >> PAGE_SHIFT));
        let is_whole = |low: u32, high: u32| leads(u64::from(low) | u64::from(high & 0xffff) << 32);
        let wide = found.others
            || bits(found.physical).any(|at| is_whole(half(at), half(at + 1)))
            || bits(found.halves).any(|at| is_whole(half(at + 1), half(at)));
        let mut narrow = 0;
        for (shift, halves) in SHIFTS.into_iter().zip(found.narrow) {
            for at in bits(halves) {
                narrow += usize::from(leads(u64::from(half(at)) << shift));
            }
        }
        May { wide, narrow }
    }

    /// Whether a word may be a pointer off its alignment.
    #[inline]
    pub(super) fn may_be_pointer(&self, word: u64) -> bool {
        is_in(self.linear, word) | is_in(self.areas, word)
    }

    /// How eight bytes at a multiple of four may be read.
    #[inline]
    pub(super) fn physical(&self, word: u64) -> impl Iterator<Item = Encoding> + use<> {
        let may = [
            (Encoding::Physical, is_in(self.physical, shapes::physical(word))),
            (Encoding::Halves, is_in(self.physical, shapes::halves(word))),
        ];
        may.into_iter().filter(|(_, may)| *may).map(|(encoding, _)| encoding)
    }

    /// How an aligned word may be read besides.
    #[inline]
    pub(super) fn encoded(&self, word: u64) -> impl Iterator<Item = Encoding> + use<> {
        let tagged = shapes::tagged(word);
        let may = [
            (Encoding::Complement, is_in(self.linear, !word)),
            (Encoding::Shifted, is_in(self.linear, shapes::shifted(word))),
            // A whole pointer was followed already.
            (Encoding::Tagged, is_in(self.linear, tagged) & (tagged != word)),
        ];
        may.into_iter().filter(|(_, may)| *may).map(|(encoding, _)| encoding)
    }

    /// Whether a word may be the address of the `struct page` of a suspect.
    #[inline]
    pub(super) fn may_be_page(&self, word: u64) -> bool {
        is_in(self.struct_pages, word & !3)
    }
}

#[inline]
fn is_in([first, many]: [u64; 2], word: u64) -> bool {
    word.wrapping_sub(first) < many
}

/// The bits of a word that are set.
#[inline]
pub(super) fn bits(word: impl Into<u64>) -> impl Iterator<Item = u32> {
    let mut word: u64 = word.into();
    std::iter::from_fn(move || {
        let next = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(next)
    })
}

#[inline(always)]
fn line(block: &Block, at: usize) -> i32x4 {
    let bytes: [u8; 16] = block[at..].first_chunk().copied().unwrap_or_default();
    bytemuck::cast(bytes)
}

/// What the halves of a block are compared with.
struct Lanes {
    /// Lower and upper halves of physical addresses, of the latter 16 bits.
    low: [Span; PARTS],
    high: Span,
    /// The upper halves of complements, of shifted pointers, of pages; the lower 16 bits of those of tagged pointers.
    complements: Span,
    shifted: Span,
    struct_pages: Span,
    tagged: Span,
    /// Numbers of 32 bits: whole ones, where they are not all of `low`, and shifted ones.
    whole: Option<Span>,
    narrow: [Span; 2],
    /// Pointers off their alignment: in the direct map, and outside.
    pairs: [Option<Pair>; 2],
}

/// Halves of a block that may be or begin a reference, a bit each.
struct Found {
    physical: u32,
    halves: u32,
    /// By [`SHIFTS`].
    narrow: [u32; SHIFTS.len()],
    /// Whether any other shape may be among them.
    others: bool,
}

impl Lanes {
    fn new(pages: &PageSet, linear: VaRange, areas: VaRange, struct_pages: [u64; 2]) -> Lanes {
        let (first, last) = ends(linear);
        let parts = parts(pages);
        let [lowest, highest] = [parts[0].0, parts[PARTS - 1].1];
        let low = |(first, last): (u64, u64)| match first >> 32 == last >> 32 {
            true => Span::new(first as u32, last as u32),
            // Zero stands everywhere, and is half of an address only where that is a multiple of 4 GiB.
            false => Span::new(1, u32::MAX),
        };
        let is_beyond = highest >> 32 != lowest >> 32;
        let untagged = |address: u64| address & !(0xffff << 48);
        let complements = Span::of_upper(!last, !first);
        Lanes {
            low: parts.map(low),
            high: Span::of_upper(lowest, highest),
            complements,
            shifted: Span::of_upper(first << 16, last << 16 | 0xffff),
            // Where no page is described, one shape less is looked for.
            struct_pages: match struct_pages[1] {
                0 => complements,
                bytes => Span::of_upper(struct_pages[0], struct_pages[0].saturating_add(bytes)),
            },
            tagged: Span::of_upper(untagged(first), untagged(last)),
            whole: is_beyond.then(|| Span::of_shifted(lowest, highest, SHIFTS[0])),
            narrow: [SHIFTS[1], SHIFTS[2]].map(|shift| Span::of_shifted(lowest, highest, shift)),
            pairs: [linear, areas].map(|range| (!range.is_empty()).then(|| Pair::of(range))),
        }
    }

    /// What the halves of a block may be; `lines` are the block, and the two halves `behind` it count, too.
    #[inline(always)]
    fn of(&self, block: &Block, lines: [i32x4; 4], behind: [u32; 2]) -> Found {
        let lower_bits = i32x4::splat(0xffff);
        let [one, two] = self.low;
        let low = mask(each(lines, |halves| one.out(halves) & two.out(halves)));
        let high = mask(each(lines, |halves| self.high.out(halves & lower_bits)));
        let is_low = self.low.iter().fold(false, |any, part| any | part.has(behind[0]));
        let low = !low & ALL | u32::from(is_low) << 16;
        let high = !high & ALL | u32::from(self.high.has(behind[0] & 0xffff)) << 16;
        let pointers = !mask(each(lines, |halves| POINTERS.out(halves))) & ALL;
        let pointers = pointers | u32::from(POINTERS.has(behind[1])) << 17;
        let [a, b, c, d] = lines;
        let encoded = self.is_encoded(uppers(a, b)) || self.is_encoded(uppers(c, d));
        let is_pair = |pair: &Option<Pair>| pair.as_ref().is_some_and(|pair| pair.is_in(block));
        let others = encoded || is_pair(&self.pairs[0]) || is_pair(&self.pairs[1]);
        // The lower half of a pointer is no number of 32 bits.
        let numbers = !(pointers >> 1 & LOWER) & ALL;
        let whole = |span: Span| !mask(each(lines, |halves| span.out(halves)));
        let by_none = low & self.whole.map_or(ALL, whole);
        let [three_bits, eight_bits] = self.narrow;
        let by_three = !mask(each(lines, |halves| three_bits.out(halves)));
        let by_eight = !mask(each(lines, |halves| eight_bits.out(halves)));
        Found {
            physical: low & high >> 1 & ALL,
            // Across two words a whole pointer looks like a lower half wherever zero comes before it.
            halves: low >> 1 & high & !(pointers >> 2 & UPPER) & ALL,
            narrow: [by_none & numbers, by_three & numbers, by_eight & numbers],
            others,
        }
    }

    /// Whether any of some upper halves may be that of a complement, a shifted or tagged pointer, or a page.
    #[inline(always)]
    fn is_encoded(&self, halves: i32x4) -> bool {
        let tagged = self.tagged.out(halves & i32x4::splat(0xffff)) | !UNTAGGED.out(halves);
        let out = self.complements.out(halves) & self.shifted.out(halves) & tagged;
        (out & self.struct_pages.out(halves)).to_bitmask() != 0xf
    }
}

/// The upper halves of four words.
#[inline(always)]
fn uppers(two: i32x4, more: i32x4) -> i32x4 {
    let [two, more]: [u64x2; 2] = bytemuck::cast([two, more]);
    bytemuck::cast(two >> 32u32 | more & u64x2::splat(!0 << 32))
}

/// The first and the last address of a range.
fn ends(range: VaRange) -> (u64, u64) {
    let first = range.start().0;
    (first, first.saturating_add(range.bytes().saturating_sub(1)))
}

/// The parts of physical memory that some pages lie in, with the largest gaps between them: the first and the last
/// address of each. Where there are fewer parts, the last one stands for the others.
fn parts(pages: &PageSet) -> [(u64, u64); PARTS] {
    let mut gaps: Vec<(u64, u64, u64)> = Vec::new();
    let mut ends: Option<(u64, u64)> = None;
    for (first, many) in pages.runs() {
        if let Some((_, before)) = ends {
            gaps.push((first.0 - before, before, first.0));
            // Only the largest are needed.
            gaps.sort_unstable_by_key(|(pages, ..)| std::cmp::Reverse(*pages));
            gaps.truncate(PARTS - 1);
        }
        ends = Some((ends.map_or(first.0, |(start, _)| start), first.0 + many));
    }
    gaps.sort_unstable_by_key(|(_, before, _)| *before);
    let (start, end) = ends.unwrap_or((0, 1));
    let starts = [start].into_iter().chain(gaps.iter().map(|(_, _, after)| *after));
    let ends = gaps.iter().map(|(_, before, _)| *before).chain([end]);
    let bytes = |(start, end): (u64, u64)| (start << PAGE_SHIFT, (end << PAGE_SHIFT) - 1);
    let all: Vec<(u64, u64)> = starts.zip(ends).map(bytes).collect();
    std::array::from_fn(|part| all[part.min(all.len() - 1)])
}

#[inline(always)]
fn each([a, b, c, d]: [i32x4; 4], is: impl Fn(i32x4) -> i32x4) -> [i32x4; 4] {
    [is(a), is(b), is(c), is(d)]
}

/// One bit for each of sixteen halves.
#[inline(always)]
fn mask(lines: [i32x4; 4]) -> u32 {
    let [first, last]: [i32x8; 2] = bytemuck::cast(lines);
    let packed = [i16x8::from_i32x8_saturate(first), i16x8::from_i32x8_saturate(last)];
    let halves: i16x16 = bytemuck::cast(packed);
    i8x16::from_i16x16_saturate(halves).to_bitmask()
}

/// Two neighbouring bytes that all pointers into a range have in the same place. In the lower one they may differ: a
/// range of terabytes has several.
#[derive(Clone, Copy)]
struct Pair {
    /// The least lower byte, and how many more there are.
    low: u8,
    more: u8,
    high: u8,
    /// Whether the ranges' ends differ in the higher byte, too.
    is_open: bool,
}

/// The offset of the lower one in an aligned pointer. Higher ones are those of numbers below zero, too.
const PLACE: usize = 5;

impl Pair {
    fn of(range: VaRange) -> Pair {
        let [first, last] = [ends(range).0, ends(range).1].map(u64::to_le_bytes);
        let is_open = first[PLACE + 1..] != last[PLACE + 1..];
        let (low, more) = (first[PLACE], last[PLACE].wrapping_sub(first[PLACE]));
        Pair { low, more, high: first[PLACE + 1], is_open }
    }

    /// Whether a pointer off its alignment may begin in a block.
    #[inline(always)]
    fn is_in(&self, block: &Block) -> bool {
        let [low, more, high] = [self.low, self.more, self.high].map(u8x16::splat);
        let pairs = |at: usize| -> i8x16 {
            let here: u8x16 = bytemuck::cast(line(block, at));
            let behind: u8x16 = bytemuck::cast(line(block, at + 1));
            let is_low = (here - low).saturating_sub(more).simd_eq(u8x16::ZERO);
            bytemuck::cast(is_low & behind.simd_eq(high))
        };
        let aligned = 0x0101 << PLACE;
        let inside = pairs(0) | pairs(16) | pairs(32) | pairs(48);
        // Of those behind the block all bytes that a reference has there.
        let behind = pairs(BLOCK - 1).to_bitmask() & !(aligned << 1);
        self.is_open || inside.to_bitmask() & !aligned & 0xffff != 0 || behind & 0xffff != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sysak_base::Va;

    const DIRECT: u64 = 0xffff_8880_0000_0000;
    const LINEAR: VaRange = VaRange::new(Va(DIRECT + 0x1234_5000), 0x8000);

    /// What some block may hold, if suspects lie on all pages of a range.
    fn may(linear: VaRange, block: &Block) -> May {
        let heap = crate::HeapBuilder::new(Va(DIRECT), 1 << 20, Vec::new()).seal().never_marked();
        let pages = pages(linear);
        Filter::new(&heap, &pages, linear, VaRange::default()).may(block)
    }

    fn pages(linear: VaRange) -> PageSet {
        let [first, end] =
            [linear.start().0, linear.end().0 - 1].map(|at| (at - DIRECT) >> PAGE_SHIFT);
        let mut pages = PageSet::new(end + 1);
        (first..=end).for_each(|page| pages.insert(Pfn(page)));
        pages
    }

    fn block(at: usize, word: u64) -> Block {
        let mut block = [0; BLOCK + BEYOND];
        block[at..at + 8].copy_from_slice(&word.to_le_bytes());
        block
    }

    #[test]
    fn a_pointer_passes_wherever_it_stands_off_its_alignment_and_no_other_does() {
        for at in (0..BLOCK).filter(|at| at % 8 != 0) {
            let inside = LINEAR.start().0 + 0x18;
            assert!(may(LINEAR, &block(at, inside)).wide, "at {at}");
            let other = LINEAR.start().0 + (1 << 40) + (1 << 20);
            assert!(!may(LINEAR, &block(at, other)).wide, "at {at}");
        }
        let mut aligned = [0x55; BLOCK + BEYOND];
        aligned[8..16].copy_from_slice(&LINEAR.start().0.to_le_bytes());
        assert!(!may(LINEAR, &aligned).wide, "marking saw it");
        assert!(!may(LINEAR, &block(16, u64::MAX)).wide);
    }

    #[test]
    fn in_terabytes_pointers_off_their_alignment_pass_and_those_to_the_image_do_not() {
        let range = VaRange::new(Va(DIRECT + (3 << 38)), 5 << 39);
        let pair = Pair::of(range);
        let addresses = [range.start().0, range.start().0 + (1 << 40), range.end().0 - 1];
        for at in (0..BLOCK).filter(|at| at % 8 != 0) {
            for inside in addresses {
                assert!(pair.is_in(&block(at, inside)), "{inside:#x} at {at}");
            }
            for outside in [DIRECT + (1 << 38), range.end().0 + (1 << 40), 0xffff_ffff_8200_1040] {
                assert!(!pair.is_in(&block(at, outside)), "{outside:#x} at {at}");
            }
        }
    }

    #[test]
    fn physical_addresses_of_pages_without_suspects_are_dismissed() {
        let mut pages = PageSet::new(0x100);
        [0x10, 0x11, 0x30, 0x50, 0xf0, 0xff].into_iter().for_each(|page| pages.insert(Pfn(page)));
        let bytes = |first: u64, last: u64| (first << PAGE_SHIFT, (last << PAGE_SHIFT) + 0xfff);
        assert_eq!(parts(&pages), [bytes(0x10, 0x50), bytes(0xf0, 0xff)]);
        assert_eq!(parts(&PageSet::empty()), [bytes(0, 0); PARTS]);
        let heap = crate::HeapBuilder::new(Va(DIRECT), 1 << 20, Vec::new()).seal().never_marked();
        let linear = VaRange::new(Va(DIRECT + 0x1_0000), 0xf_0000);
        let filter = Filter::new(&heap, &pages, linear, VaRange::default());
        let may = |page: u64| filter.may(&block(24, page << PAGE_SHIFT | 0x40));
        for page in 0..0x120 {
            assert_eq!(may(page).wide, pages.contains(Pfn(page)), "page {page:#x}");
            assert!(!pages.contains(Pfn(page)) || may(page).narrow > 0, "page {page:#x}");
        }
    }

    #[test]
    fn zeros_are_no_addresses_in_memory_of_more_than_4_gib() {
        let linear = VaRange::new(Va(DIRECT + (1 << 30)), 8 << 30);
        let pages = pages(linear);
        let lanes = Lanes::new(&pages, linear, VaRange::default(), [0; 2]);
        let found = |word: u64| {
            let block = block(24, word);
            lanes.of(&block, [0, 16, 32, 48].map(|at| line(&block, at)), [0; 2])
        };
        for small in [5, 0xffff, 5 << 32] {
            let Found { physical, halves, narrow, .. } = found(small);
            assert!(physical.count_ones() <= 1 && halves.count_ones() <= 1, "{small:#x}");
            assert_eq!(narrow[0], 0, "{small:#x}");
        }
        assert_eq!(found(0x5000_0000).narrow[0], 1 << 6);
        assert_ne!(found(0x1_5000_0000).physical & 1 << 6, 0);
    }

    proptest! {
        #[test]
        fn physical_addresses_pass_in_either_order_of_halves(
            first in 1u64 << 12..1 << 34,
            bytes in 8u64..1 << 34,
            inside in 0u64..1 << 34,
            tag in 0u64..1 << 16,
            at in 0usize..BLOCK / 4,
        ) {
            let linear = VaRange::new(Va(DIRECT + first), bytes);
            let physical = first + inside % bytes;
            for word in [physical | tag << 48, physical.rotate_left(32)] {
                prop_assert!(may(linear, &block(at * 4, word)).wide);
            }
        }

        #[test]
        fn encoded_pointers_and_numbers_of_32_bits_pass(
            first in 1u64 << 12..1 << 33,
            bytes in 0x1000u64..1 << 30,
            inside in 0u64..1 << 30,
            tag in 0u64..0xffff,
            at in 0usize..BLOCK / 8,
        ) {
            let linear = VaRange::new(Va(DIRECT + first), bytes);
            let pointer = linear.start().0 + inside % bytes;
            for word in [!pointer, pointer << 16 | tag, pointer & !(0xffff << 48) | tag << 48] {
                prop_assert!(may(linear, &block(at * 8, word)).wide);
            }
            for shift in SHIFTS {
                let number = (first + inside % bytes) >> shift;
                if u32::try_from(number).is_ok() && number << shift >= first {
                    prop_assert!(may(linear, &block(at * 8, number)).narrow > 0, "shifted by {}", shift);
                }
            }
        }
    }
}
