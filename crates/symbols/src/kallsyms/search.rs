//! Finds the compressed tables by their shape, where nothing tells their places.
//!
//! The token index is 256 rising numbers, each of which must point behind a zero
//! byte of the table before it; the markers, read backwards from there, must fall
//! to 0 and agree with the names that they count. A match is a proof, not a guess.
//!
//! **Invariant:** what a forged image can make us try is counted and ends.

use super::image::{name_len, starts};
use super::{KERNEL_HALF, KallsymsPlaces};
use crate::le;
use sysak_base::{Memory, PAGE_SIZE, Va};

/// Larger than any kernel's image.
const MAX_IMAGE_BYTES: u64 = 512 << 20;
const PIECE_BYTES: usize = 1 << 20;
/// Every table starts on a multiple of this.
const ALIGN: u64 = 8;
/// Symbols between two markers.
const PER_MARKER: usize = 256;
const INDEX_BYTES: usize = 512;
const MAX_MARKERS: usize = (8 << 20) / PER_MARKER;
/// Looks at whole tables before a forged image is given up.
const MAX_CANDIDATES: usize = 256;
const MAX_PROOFS: usize = 64;
/// The order of a million names.
const MAX_ORDER_BYTES: u64 = 3 << 20;

impl KallsymsPlaces {
    /// Finds the tables by their shape in the image `start..end`.
    ///
    /// The caller checks the symbols that come of it: [`super::Kallsyms::agrees_with`].
    pub fn search(memory: &dyn Memory, start: Va, end: Va) -> Option<KallsymsPlaces> {
        let end = Va(end.0.min(start.0.saturating_add(MAX_IMAGE_BYTES)));
        let mut at = Va(start.0 & !(PAGE_SIZE - 1));
        let wanted = end.checked_sub(at)?.min(PIECE_BYTES as u64) as usize;
        let mut piece = vec![0; wanted + INDEX_BYTES];
        let mut candidates = 0;
        while at < end && candidates < MAX_CANDIDATES {
            let len = (end.0 - at.0).min(piece.len() as u64) as usize;
            piece.fill(0);
            read_with_holes(memory, at, &mut piece[..len]);
            for offset in (0..len.min(PIECE_BYTES)).step_by(ALIGN as usize) {
                if !may_be_index(&piece[offset..]) {
                    continue;
                }
                let Some(starts) = starts(&piece[offset..]) else { continue };
                candidates += 1;
                let candidate = Candidate { memory, image: (start, end) };
                if let Some(found) = candidate.check(at.at(offset as u64), &starts) {
                    return Some(found);
                }
            }
            at = at.checked_add(PIECE_BYTES as u64)?;
        }
        None
    }
}

/// A cheap look before the dear one: the first tokens are short.
fn may_be_index(raw: &[u8]) -> bool {
    let mut last = 0;
    raw[..2] == [0, 0]
        && (1..8).all(|at| {
            let here = le::u16(raw, at * 2).unwrap_or_default();
            let step = here.wrapping_sub(last);
            last = here;
            (2..64).contains(&step)
        })
}

/// Reads a piece; pages that cannot be read stay zero.
fn read_with_holes(memory: &dyn Memory, at: Va, piece: &mut [u8]) {
    if memory.read(at, piece).is_ok() {
        return;
    }
    for (page, chunk) in piece.chunks_mut(PAGE_SIZE as usize).enumerate() {
        if memory.read(at.at(page as u64 * PAGE_SIZE), chunk).is_err() {
            chunk.fill(0);
        }
    }
}

/// What looks like a token index, on its way to be proven.
struct Candidate<'a> {
    memory: &'a dyn Memory,
    image: (Va, Va),
}

impl Candidate<'_> {
    fn check(&self, token_index: Va, starts: &[u16]) -> Option<KallsymsPlaces> {
        let token_table = self.token_table(token_index, starts)?;
        let found = self.markers(token_table).and_then(|(at, counts)| self.names(at, &counts));
        let (num_syms, names) = found.or_else(|| self.behind_order(token_table))?;
        let count = u64::from(self.memory.read_u32(num_syms).ok()?);
        let offsets_bytes = (count * 4).next_multiple_of(ALIGN);
        // Before Linux commit 404bad70fcf7 ("scripts/kallsyms: change the output order")
        // (v6.4) the addresses came first, since then they come last.
        let before = Va(num_syms.0.wrapping_sub(8));
        let offsets_before = Va(before.0.wrapping_sub(offsets_bytes));
        let offsets_after = token_index.at(INDEX_BYTES as u64);
        let after = offsets_after.at(offsets_bytes);
        [(before, offsets_before), (after, offsets_after)].into_iter().find_map(
            |(base, offsets)| {
                let value = self.memory.read_u64(base).ok()?;
                let (start, end) = self.image;
                let in_image = value >= KERNEL_HALF
                    && (start.0.saturating_sub(PAGE_SIZE)..end.0).contains(&value);
                let relative_base = in_image.then_some(base)?;
                Some(KallsymsPlaces {
                    num_syms,
                    names,
                    token_table,
                    token_index,
                    offsets,
                    relative_base: Some(relative_base),
                })
            },
        )
    }

    /// The table ends right before its index, padded to the alignment.
    fn token_table(&self, index: Va, starts: &[u16]) -> Option<Va> {
        let last = u64::from(*starts.last()?);
        (0..8).map(|step| (last + 2).next_multiple_of(ALIGN) + step * ALIGN).find_map(|len| {
            let table = Va(index.0.checked_sub(len)?);
            let mut bytes = vec![0; len as usize];
            self.memory.read(table, &mut bytes).ok()?;
            let behind_zero = |&start: &u16| bytes.get(usize::from(start) - 1) == Some(&0);
            let ended = bytes.iter().filter(|&&byte| byte == 0).count() >= starts.len();
            let padded = bytes[last as usize..].split_once_zero()?.iter().all(|&byte| byte == 0);
            (starts[1..].iter().all(behind_zero) && ended && padded).then_some(table)
        })
    }

    /// Markers lie right before the token table: read backwards, they fall to 0.
    fn markers(&self, token_table: Va) -> Option<(Va, Vec<u32>)> {
        let mut counts = Vec::new();
        let mut at = token_table;
        while counts.len() < MAX_MARKERS {
            at = Va(at.0.checked_sub(4)?);
            let value = self.memory.read_u32(at).ok()?;
            match counts.last() {
                // Padding between the last marker and the table.
                None if value == 0 && token_table.0 - at.0 == 4 => {}
                Some(&above) if value >= above => return None,
                _ => counts.push(value),
            }
            if value == 0 && counts.len() > 1 {
                counts.reverse();
                return Some((at, counts));
            }
        }
        None
    }

    /// Between markers and tokens lay the order of the names, three bytes a symbol, from Linux
    /// commit 60443c88f3a8 ("kallsyms: Improve the performance of kallsyms_lookup_name()")
    /// (v6.2, and 6.1.y) until v6.4. Tries every length of it.
    fn behind_order(&self, token_table: Va) -> Option<(Va, Va)> {
        let room = token_table.checked_sub(self.image.0)?.min(MAX_ORDER_BYTES) & !(ALIGN - 1);
        let base = Va(token_table.0 - room);
        let mut window = vec![0; room as usize];
        read_with_holes(self.memory, base, &mut window);
        let number = |at: usize| le::u32(&window, at).unwrap_or_default();
        for len in (ALIGN..room).step_by(ALIGN as usize) {
            let fewest = ((len - ALIGN) / 3 + 1).div_ceil(PER_MARKER as u64);
            let most = (len / 3).div_ceil(PER_MARKER as u64);
            for markers in fewest.max(2)..=most {
                let bytes = (markers * 4).next_multiple_of(ALIGN);
                let Some(start) = (room - len).checked_sub(bytes) else { continue };
                let first = start as usize;
                let full = (PER_MARKER as u32 * 2)..(PER_MARKER as u32 * 256);
                if number(first) != 0 || !full.contains(&number(first + 4)) {
                    continue;
                }
                let counts: Vec<_> = (0..markers as usize).map(|n| number(first + n * 4)).collect();
                let rises = counts.windows(2).all(|pair| pair[0] < pair[1]);
                let found = rises.then(|| self.names(base.at(start), &counts)).flatten();
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Names lie right before the markers and behind their number: try every length
    /// that the markers allow, and prove it with all of them.
    fn names(&self, markers: Va, counts: &[u32]) -> Option<(Va, Va)> {
        let last = u64::from(*counts.last()?);
        let longest = last + (PER_MARKER as u64) * 256;
        let mut len = (last + 2).next_multiple_of(ALIGN);
        let mut proofs = 0;
        while len <= longest && proofs < MAX_PROOFS {
            let names = Va(markers.0.checked_sub(len)?);
            let num_syms = Va(names.0.checked_sub(8)?);
            let count = self.memory.read_u32(num_syms).ok()? as usize;
            if count.div_ceil(PER_MARKER) == counts.len()
                && self.memory.read_u32(num_syms.at(4)) == Ok(0)
            {
                proofs += 1;
                if self.agree(names, len, counts, count) {
                    return Some((num_syms, names));
                }
            }
            len += ALIGN;
        }
        None
    }

    /// Whether walking `count` names meets every marker and ends where the markers begin.
    fn agree(&self, names: Va, len: u64, counts: &[u32], count: usize) -> bool {
        let mut bytes = vec![0; len as usize];
        if self.memory.read(names, &mut bytes).is_err() {
            return false;
        }
        let mut at = 0;
        for symbol in 0..count {
            if symbol % PER_MARKER == 0 && counts.get(symbol / PER_MARKER) != Some(&(at as u32)) {
                return false;
            }
            match bytes.get(at..).and_then(name_len) {
                Some((name, head)) if name != 0 => at += head + name,
                _ => return false,
            }
        }
        (at as u64).next_multiple_of(ALIGN) == len
    }
}

trait SplitOnceZero {
    /// What follows the first zero byte.
    fn split_once_zero(&self) -> Option<&[u8]>;
}

impl SplitOnceZero for [u8] {
    fn split_once_zero(&self) -> Option<&[u8]> {
        let zero = self.iter().position(|&byte| byte == 0)?;
        self.get(zero + 1..)
    }
}
