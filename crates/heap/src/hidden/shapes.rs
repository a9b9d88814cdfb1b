//! Shapes of references, and how to read an address out of them.

use sysak_base::{PAGE_SHIFT, Va, VaRange};

use crate::Heap;

/// What a reference looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// A pointer off its alignment.
    Unaligned,
    /// A pointer that is shifted, complemented, or has other bits at its upper end.
    Encoded,
    /// A `struct page` with an offset near it.
    PageAndOffset,
    /// A physical address of 64 bits, or of 48 with other bits above, or in two halves.
    PhysicalAddress,
    /// 32 bits: a physical address, whole or shifted, which is a distance from the start of the direct map, too.
    Offset32,
}

/// Which shapes are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// All that seldom are an address by chance.
    Wide,
    /// Those of 32 bits.
    Narrow,
}

/// How exactly a reference is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Encoding {
    Unaligned,
    Complement,
    Shifted,
    Tagged,
    /// The offset stands so many times four bytes behind the word of the page.
    PageOffset(u8),
    Physical,
    Halves,
    /// Shifted right by so many bits.
    Narrow(u8),
}

/// A physical address may have other bits above this many.
const PHYSICAL: u64 = (1 << 48) - 1;
/// Bits that a pointer may have replaced at its upper end, or was shifted by.
const TAG: u32 = 16;
/// An offset into a block of pages is less.
const MOST_OFFSET: u64 = 4 << 20;
/// Where an offset may stand behind its page, in steps of four bytes from the end of the word.
pub(super) const OFFSET_PLACES: u8 = 4;
/// By how much an address of 32 bits may be shifted.
pub(super) const SHIFTS: [u8; 3] = [0, 3, 8];
/// Bytes that all parts of a reference lie in.
pub(super) const WIDEST: usize = 24;

/// Parts of the address space that references are read against.
#[derive(Clone, Copy)]
pub(super) struct Space {
    page_offset: u64,
    span: u64,
    memmap: VaRange,
    struct_page_bytes: u64,
}

impl Space {
    pub(super) fn of(heap: &Heap) -> Space {
        let (memmap, struct_page_bytes) = heap.memmap();
        Space { page_offset: heap.page_offset().0, span: heap.span, memmap, struct_page_bytes }
    }

    fn linear(&self, physical: u64) -> Option<u64> {
        (physical < self.span).then(|| self.page_offset.wrapping_add(physical))
    }

    /// The page that a word leads to by its `struct page`; the lower bits may be flags.
    #[inline]
    pub(super) fn page(&self, word: u64) -> Option<u64> {
        let word = word & !3;
        if !self.memmap.contains(Va(word)) {
            return None;
        }
        let offset = word - self.memmap.start().0;
        offset.is_multiple_of(self.struct_page_bytes).then(|| offset / self.struct_page_bytes)
    }

    /// The address that the bytes mean, whether anything lies there or not.
    #[inline]
    pub(super) fn decode(&self, encoding: Encoding, raw: &[u8]) -> Option<u64> {
        match encoding {
            Encoding::Unaligned => long(raw, 0),
            Encoding::Complement => long(raw, 0).map(|word| !word),
            Encoding::Shifted => long(raw, 0).map(shifted),
            Encoding::Tagged => long(raw, 0).map(tagged),
            Encoding::Physical => self.linear(physical(long(raw, 0)?)),
            Encoding::Halves => self.linear(halves(long(raw, 0)?)),
            Encoding::PageOffset(place) => {
                let page = self.page(long(raw, 0)?)?;
                let offset = u64::from(short(raw, 8 + 4 * usize::from(place))?);
                if offset >= MOST_OFFSET {
                    return None;
                }
                self.linear((page << PAGE_SHIFT) + offset)
            }
            Encoding::Narrow(shift) => self.linear(u64::from(short(raw, 0)?) << shift),
        }
    }
}

impl Encoding {
    pub(super) fn shape(self) -> Shape {
        match self {
            Encoding::Unaligned => Shape::Unaligned,
            Encoding::Complement | Encoding::Shifted | Encoding::Tagged => Shape::Encoded,
            Encoding::PageOffset(_) => Shape::PageAndOffset,
            Encoding::Physical | Encoding::Halves => Shape::PhysicalAddress,
            Encoding::Narrow(_) => Shape::Offset32,
        }
    }

    /// By how many bytes the address changes when the value changes by one; `None` for values that ordinary numbers do
    /// not look like.
    pub(super) fn step(self) -> Option<u64> {
        match self {
            Encoding::Physical | Encoding::Halves => Some(1),
            Encoding::Narrow(shift) => Some(1 << shift),
            Encoding::Unaligned
            | Encoding::Complement
            | Encoding::Shifted
            | Encoding::Tagged
            | Encoding::PageOffset(_) => None,
        }
    }

    /// Bytes from the start to the end of what is read.
    pub(super) fn reach(self) -> u64 {
        match self {
            Encoding::PageOffset(place) => 12 + 4 * u64::from(place),
            _ => self.bytes() as u64,
        }
    }

    /// Bytes of which not all are zero where a slot is in use.
    pub(super) fn bytes(self) -> usize {
        if let Encoding::Narrow(_) = self { 4 } else { 8 }
    }
}

/// A physical address below other bits.
#[inline]
pub(super) fn physical(word: u64) -> u64 {
    word & PHYSICAL
}

/// The same with its halves the other way round.
#[inline]
pub(super) fn halves(word: u64) -> u64 {
    physical(word.rotate_left(32))
}

/// A pointer that was shifted left to make room for a tag.
#[inline]
pub(super) fn shifted(word: u64) -> u64 {
    (word.cast_signed() >> TAG).cast_unsigned()
}

/// A pointer whose upper end was replaced.
#[inline]
pub(super) fn tagged(word: u64) -> u64 {
    word | u64::MAX << (64 - TAG)
}

#[inline]
pub(super) fn long(raw: &[u8], at: usize) -> Option<u64> {
    raw.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[inline]
pub(super) fn short(raw: &[u8], at: usize) -> Option<u32> {
    raw.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}
