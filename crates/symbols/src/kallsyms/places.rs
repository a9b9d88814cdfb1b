//! Where the compressed tables lie in the image.
//!
//! VMCOREINFO tells since Linux commit 5fd8fea935a1 ("vmcoreinfo: include
//! kallsyms symbols") (v6.0). Before, they are found by their shape: the token
//! index is 256 rising numbers, each of which must point behind a zero byte of
//! the table before it, and the markers must agree with the names they count.

use super::KERNEL_HALF;
use super::image::{name_len, starts};
use crate::le;
use crate::vmcoreinfo::Vmcoreinfo;
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

/// Addresses of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KallsymsPlaces {
    /// `kallsyms_num_syms`
    pub num_syms: Va,
    /// `kallsyms_names`
    pub names: Va,
    /// `kallsyms_token_table`
    pub token_table: Va,
    /// `kallsyms_token_index`
    pub token_index: Va,
    /// `kallsyms_offsets`
    pub offsets: Va,
    /// `kallsyms_relative_base`; `None` where offsets count from their own place.
    pub relative_base: Option<Va>,
}

impl KallsymsPlaces {
    /// The places as the kernel tells them.
    pub fn from_vmcoreinfo(info: &Vmcoreinfo) -> Option<KallsymsPlaces> {
        Some(KallsymsPlaces {
            num_syms: info.find_symbol("kallsyms_num_syms")?,
            names: info.find_symbol("kallsyms_names")?,
            token_table: info.find_symbol("kallsyms_token_table")?,
            token_index: info.find_symbol("kallsyms_token_index")?,
            offsets: info.find_symbol("kallsyms_offsets")?,
            relative_base: info.find_symbol("kallsyms_relative_base"),
        })
    }

    /// Finds the tables by their shape in the image `start..end`.
    ///
    /// The caller checks the symbols that come of it: [`super::Kallsyms::agrees_with`].
    pub fn search(memory: &dyn Memory, start: Va, end: Va) -> Option<KallsymsPlaces> {
        let end = Va(end.0.min(start.0.saturating_add(MAX_IMAGE_BYTES)));
        let mut piece = vec![0; PIECE_BYTES + INDEX_BYTES];
        let mut at = Va(start.0 & !(PAGE_SIZE - 1));
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
        let (markers, counts) = self.markers(token_table)?;
        let (num_syms, names) = self.names(markers, &counts)?;
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
        (last + 2..last + 64).map(|len| len.next_multiple_of(ALIGN)).find_map(|len| {
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
