//! Which pages a dump has, and which are RAM: two bits for each page, which stay in the file.
//!
//! **Invariant:** no page behind the end of physical memory is found, whatever its bit says.

use std::borrow::Cow;
use std::ops::Range;

use sysak_base::numbers::{word, words};
use sysak_base::{PageState, Pfn};

use super::header::Header;
use crate::physical::bytes::FileBytes;

/// The set bits before every so many bytes are counted once.
const COUNTED_BYTES: u64 = 512;

/// The bitmaps.
pub(super) struct PageMap {
    /// Of the pages that the dump has, and of those that are RAM.
    dumped: Range<u64>,
    ram: Range<u64>,
    pages: u64,
    /// Pages before every [`COUNTED_BYTES`] of the bitmap of the dumped ones, and at last all of them.
    counts: Vec<u64>,
}

impl PageMap {
    /// Counts the pages of a dump. Bitmaps are as long as whole blocks, at least.
    pub(super) fn new(file: &FileBytes, header: &Header) -> PageMap {
        let (dumped, ram) = (header.bitmap.clone(), header.ram.clone());
        let mut map = PageMap { dumped, ram, pages: header.pages, counts: vec![0] };
        let mut before = 0;
        for byte in (0..map.pages.div_ceil(8)).step_by(COUNTED_BYTES as usize) {
            before += ones(&map.block(file, &map.dumped, byte));
            map.counts.push(before);
        }
        map
    }

    /// Pages that the dump has.
    pub(super) fn total(&self) -> u64 {
        self.counts.last().copied().unwrap_or(0)
    }

    /// Whether the dump has a page.
    pub(super) fn has(&self, file: &FileBytes, page: Pfn) -> bool {
        let bits = file.get(self.dumped.start + page.0 / 8, 1);
        page.0 < self.pages && bits.is_some_and(|bits| bits[0] >> (page.0 % 8) & 1 != 0)
    }

    /// How many pages of the dump come before a page; `None` where the dump does not have it.
    pub(super) fn place(&self, file: &FileBytes, page: Pfn) -> Option<u64> {
        let (before, is_there) = self.look_up(file, page)?;
        is_there.then_some(before)
    }

    /// How many pages of the dump come before a page, whether it has that or not.
    pub(super) fn pages_before(&self, file: &FileBytes, page: Pfn) -> u64 {
        self.look_up(file, page).map_or(self.total(), |(before, _)| before)
    }

    /// How many pages come before one, and whether that is there.
    fn look_up(&self, file: &FileBytes, page: Pfn) -> Option<(u64, bool)> {
        if page.0 >= self.pages {
            return None;
        }
        let counted = page.0 / 8 / COUNTED_BYTES;
        let block = self.block(file, &self.dumped, counted * COUNTED_BYTES);
        let bit = page.0 % (8 * COUNTED_BYTES);
        let (before, rest) = block.split_at_checked((bit / 64 * 8) as usize)?;
        let word = word(rest, 0);
        let below = (word & ((1 << (bit % 64)) - 1)).count_ones();
        let known = self.counts.get(counted as usize)?;
        Some((known + ones(before) + u64::from(below), word >> (bit % 64) & 1 != 0))
    }

    /// Why the dump does not have a page, and where the run of such pages ends, at `end` at the latest.
    pub(super) fn missing(&self, file: &FileBytes, page: Pfn, end: Pfn) -> (PageState, Pfn) {
        let is_ram = file.get(self.ram.start + page.0 / 8, 1);
        let is_ram = is_ram.is_some_and(|bits| bits[0] >> (page.0 % 8) & 1 != 0);
        let (state, alike) = match is_ram {
            true => (PageState::Excluded, u64::MAX),
            false => (PageState::Absent, 0),
        };
        let first_block = page.0 / 8 / COUNTED_BYTES * COUNTED_BYTES;
        for byte in (first_block..end.0.div_ceil(8)).step_by(COUNTED_BYTES as usize) {
            let (dumped, ram) =
                (self.block(file, &self.dumped, byte), self.block(file, &self.ram, byte));
            for ((first, dumped), ram) in
                (byte * 8..).step_by(64).zip(words(&dumped)).zip(words(&ram))
            {
                if let Some(found) = first_set(dumped | (ram ^ alike), first, page.0) {
                    return (state, Pfn(found).min(end));
                }
            }
        }
        (state, end)
    }

    /// The runs of pages that the dump has, from a page on.
    pub(super) fn runs(&self, file: &FileBytes, from: Pfn) -> impl Iterator<Item = Range<Pfn>> {
        let mut from = from.0;
        std::iter::from_fn(move || {
            let start = self.next(file, from, true)?;
            let end = self.next(file, start, false).unwrap_or(self.pages);
            from = end;
            Some(Pfn(start)..Pfn(end))
        })
    }

    /// The next page from one on that the dump has, or has not.
    fn next(&self, file: &FileBytes, from: u64, is_there: bool) -> Option<u64> {
        let first_block = from / 8 / COUNTED_BYTES * COUNTED_BYTES;
        for byte in (first_block..self.pages.div_ceil(8)).step_by(COUNTED_BYTES as usize) {
            let block = self.block(file, &self.dumped, byte);
            for (first, bits) in (byte * 8..).step_by(64).zip(words(&block)) {
                let bits = if is_there { bits } else { !bits };
                if let Some(found) = first_set(bits, first, from) {
                    return Some(found).filter(|found| *found < self.pages);
                }
            }
        }
        None
    }

    /// The bytes of a bitmap that are counted together, up to the word of the last page.
    fn block<'f>(&self, file: &'f FileBytes, bitmap: &Range<u64>, byte: u64) -> Cow<'f, [u8]> {
        let end = (self.pages.div_ceil(64) * 8).min(byte + COUNTED_BYTES);
        file.touch(COUNTED_BYTES);
        file.get(bitmap.start + byte, end.saturating_sub(byte) as usize).unwrap_or_default()
    }
}

/// The first page from one on whose bit is set in the word that begins with page `first`.
fn first_set(bits: u64, first: u64, from: u64) -> Option<u64> {
    let skipped = from.saturating_sub(first).min(63);
    let bits = bits >> skipped << skipped;
    let found = first + u64::from(bits.trailing_zeros());
    (bits != 0 && found >= from).then_some(found)
}

/// How many bits are set.
fn ones(bytes: &[u8]) -> u64 {
    words(bytes).map(|word| u64::from(word.count_ones())).sum()
}
