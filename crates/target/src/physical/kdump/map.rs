//! Which pages a dump has: a bit for each page, which stays in the file.
//!
//! **Invariant:** no page behind the end of physical memory is found, whatever its bit says.

use std::borrow::Cow;
use std::ops::Range;

use sysak_base::Pfn;
use sysak_base::numbers::{word, words};

use crate::physical::bytes::FileBytes;

/// The set bits before every so many bytes are counted once.
const COUNTED_BYTES: u64 = 512;

/// The bitmap.
pub(super) struct PageMap {
    bitmap: Range<u64>,
    pages: u64,
    /// Pages before every [`COUNTED_BYTES`] of the bitmap, and at last all of them.
    counts: Vec<u64>,
}

impl PageMap {
    /// Counts the bits for so many pages. The bitmap is as long as whole blocks, at least.
    pub(super) fn new(file: &FileBytes, bitmap: Range<u64>, pages: u64) -> PageMap {
        let mut map = PageMap { bitmap, pages, counts: vec![0] };
        let mut before = 0;
        for byte in (0..pages.div_ceil(8)).step_by(COUNTED_BYTES as usize) {
            before += ones(&map.block(file, byte));
            map.counts.push(before);
        }
        map
    }

    /// Pages that the file has.
    pub(super) fn total(&self) -> u64 {
        self.counts.last().copied().unwrap_or(0)
    }

    /// How many pages of the file come before a page; `None` where the file does not have it.
    pub(super) fn place(&self, file: &FileBytes, page: Pfn) -> Option<u64> {
        if page.0 >= self.pages {
            return None;
        }
        let counted = page.0 / 8 / COUNTED_BYTES;
        let block = self.block(file, counted * COUNTED_BYTES);
        let bit = page.0 % (8 * COUNTED_BYTES);
        let (before, rest) = block.split_at_checked((bit / 64 * 8) as usize)?;
        let word = word(rest, 0);
        let below = (word & ((1 << (bit % 64)) - 1)).count_ones();
        let known = self.counts.get(counted as usize)?;
        (word >> (bit % 64) & 1 != 0).then(|| known + ones(before) + u64::from(below))
    }

    /// The runs of pages that the file has, from a page on.
    pub(super) fn runs(&self, file: &FileBytes, from: Pfn) -> impl Iterator<Item = Range<Pfn>> {
        let mut from = from.0;
        std::iter::from_fn(move || {
            let start = self.next(file, from, true)?;
            let end = self.next(file, start, false).unwrap_or(self.pages);
            from = end;
            Some(Pfn(start)..Pfn(end))
        })
    }

    /// The next page from one on that the file has, or has not.
    fn next(&self, file: &FileBytes, from: u64, is_there: bool) -> Option<u64> {
        let first_block = from / 8 / COUNTED_BYTES * COUNTED_BYTES;
        for byte in (first_block..self.pages.div_ceil(8)).step_by(COUNTED_BYTES as usize) {
            let block = self.block(file, byte);
            for (first, bits) in (byte * 8..).step_by(64).zip(words(&block)) {
                let bits = if is_there { bits } else { !bits };
                let skipped = from.saturating_sub(first).min(63);
                let bits = bits >> skipped << skipped;
                let found = first + u64::from(bits.trailing_zeros());
                if bits != 0 && found >= from {
                    return Some(found).filter(|found| *found < self.pages);
                }
            }
        }
        None
    }

    /// The bytes of the bitmap that are counted together, up to the word of the last page.
    fn block<'f>(&self, file: &'f FileBytes, byte: u64) -> Cow<'f, [u8]> {
        let end = (self.pages.div_ceil(64) * 8).min(byte + COUNTED_BYTES);
        file.get(self.bitmap.start + byte, end.saturating_sub(byte) as usize).unwrap_or_default()
    }
}

/// How many bits are set.
fn ones(bytes: &[u8]) -> u64 {
    words(bytes).map(|word| u64::from(word.count_ones())).sum()
}
