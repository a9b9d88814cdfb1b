//! The bytes of a dump's file by their place in the dump: a file as it is, or makedumpfile's flattened format.
//!
//! makedumpfile writes the flattened format where it cannot seek, for example through ssh: records of a place, a length
//! and that many bytes, in any order. Later records replace what earlier ones said: the header is written last.
//!
//! **Invariant:** nothing is unpacked; a place is looked up in an index of the records, which is bounded.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;

use crate::elf::ElfError;

/// How a flattened file begins; its header takes this many bytes.
const FLATTENED: &[u8] = b"makedumpfile\0\0\0\0";
const HEADER_BYTES: usize = 4096;
/// Place and length of a record.
const RECORD_BYTES: usize = 16;
/// A file of more records is none of makedumpfile's, which writes many pages into one.
const MOST_RECORDS: usize = 1 << 24;

/// Whether a file is in the flattened format.
pub(crate) fn is_flattened(file: &[u8]) -> bool {
    file.starts_with(FLATTENED)
}

/// What a file has: mapped, or in memory where it is made by a test.
pub(crate) type Raw = Box<dyn Deref<Target = [u8]> + Send + Sync>;

/// The bytes of a dump.
pub(crate) enum FileBytes {
    /// The file as it is.
    Whole(Raw),
    /// A flattened file.
    Flattened(Raw, Index),
}

impl FileBytes {
    /// The bytes of a mapped file, flattened or not.
    pub(crate) fn of(file: Raw) -> Result<FileBytes, ElfError> {
        match is_flattened(&file) {
            true => {
                let index = Index::of(&file)?;
                Ok(FileBytes::Flattened(file, index))
            }
            false => Ok(FileBytes::Whole(file)),
        }
    }

    /// Bytes of the dump; none where the file does not have all of them.
    pub(crate) fn get(&self, at: u64, bytes: usize) -> Option<Cow<'_, [u8]>> {
        match self {
            FileBytes::Whole(file) => range(file, at, bytes).map(Cow::Borrowed),
            FileBytes::Flattened(file, index) => index.get(file, at, bytes),
        }
    }

    /// The same, where they lie in one piece.
    pub(crate) fn lend(&self, at: u64, bytes: usize) -> Option<&[u8]> {
        match self.get(at, bytes)? {
            Cow::Borrowed(bytes) => Some(bytes),
            Cow::Owned(_) => None,
        }
    }

    /// Whether it is a flattened file.
    pub(crate) fn is_flattened(&self) -> bool {
        matches!(self, FileBytes::Flattened(..))
    }

    /// The length of the file.
    pub(crate) fn file_len(&self) -> u64 {
        match self {
            FileBytes::Whole(file) | FileBytes::Flattened(file, _) => file.len() as u64,
        }
    }

    /// The length of the dump.
    pub(crate) fn len(&self) -> u64 {
        match self {
            FileBytes::Whole(file) => file.len() as u64,
            FileBytes::Flattened(_, index) => index.end,
        }
    }
}

fn range(file: &[u8], at: u64, bytes: usize) -> Option<&[u8]> {
    let start = usize::try_from(at).ok()?;
    file.get(start..start.checked_add(bytes)?)
}

/// Where the records of a flattened file are.
pub(crate) struct Index {
    /// Ascending by place, and disjoint.
    pieces: Vec<Piece>,
    end: u64,
}

/// Bytes of the dump that lie together in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    at: u64,
    bytes: u64,
    in_file: u64,
}

impl Index {
    fn of(file: &[u8]) -> Result<Index, ElfError> {
        let damaged = |what: &str| ElfError::Damaged(what.to_owned());
        let mut records = Vec::new();
        let mut next = HEADER_BYTES;
        loop {
            let word = |at: usize| -> Option<i64> {
                Some(i64::from_be_bytes(*file.get(at..)?.first_chunk()?))
            };
            let (at, bytes) = word(next)
                .zip(word(next.saturating_add(8)))
                .ok_or_else(|| damaged("the last of its flattened records is missing"))?;
            // The last record has neither a place nor bytes.
            if at < 0 || bytes < 0 {
                break;
            }
            next += RECORD_BYTES;
            records.push(Piece { at: at as u64, bytes: bytes as u64, in_file: next as u64 });
            next = usize::try_from(bytes).map_or(usize::MAX, |bytes| next.saturating_add(bytes));
            if next > file.len() || records.len() > MOST_RECORDS {
                return Err(damaged("a flattened record is incomplete"));
            }
        }
        let pieces = latest(records);
        let end = pieces.last().map_or(0, |last| last.at + last.bytes);
        Ok(Index { pieces, end })
    }

    fn get<'f>(&self, file: &'f [u8], at: u64, bytes: usize) -> Option<Cow<'f, [u8]>> {
        let end = at.checked_add(bytes as u64)?;
        let mut next = self.pieces.partition_point(|piece| piece.at + piece.bytes <= at);
        let mut copy = Vec::new();
        let mut from = at;
        while from < end || bytes == 0 {
            let piece = self.pieces.get(next).filter(|piece| piece.at <= from)?;
            let many = (piece.at + piece.bytes).min(end) - from;
            let part = range(file, piece.in_file + (from - piece.at), many as usize)?;
            if many == bytes as u64 {
                return Some(Cow::Borrowed(part));
            }
            copy.extend_from_slice(part);
            from += many;
            next += 1;
        }
        Some(Cow::Owned(copy))
    }
}

/// The pieces that later records have not replaced, ascending by place.
fn latest(records: Vec<Piece>) -> Vec<Piece> {
    let mut pieces: BTreeMap<u64, Piece> = BTreeMap::new();
    for new in records.into_iter().filter(|record| record.bytes > 0) {
        let Some(end) = new.at.checked_add(new.bytes) else { continue };
        let is_behind =
            pieces.last_key_value().is_none_or(|(_, last)| last.at + last.bytes <= new.at);
        if !is_behind {
            cut(&mut pieces, new.at, end);
        }
        pieces.insert(new.at, new);
    }
    pieces.into_values().collect()
}

/// Takes what lies in a range out of some pieces.
fn cut(pieces: &mut BTreeMap<u64, Piece>, start: u64, end: u64) {
    let before = pieces.range(..start).next_back().map(|(_, piece)| *piece);
    let inside: Vec<Piece> = pieces.range(start..end).map(|(_, piece)| *piece).collect();
    for piece in before.into_iter().chain(inside) {
        let piece_end = piece.at + piece.bytes;
        if piece_end <= start {
            continue;
        }
        pieces.remove(&piece.at);
        if piece.at < start {
            pieces.insert(piece.at, Piece { bytes: start - piece.at, ..piece });
        }
        if piece_end > end {
            let skipped = end - piece.at;
            let rest = Piece { at: end, bytes: piece_end - end, in_file: piece.in_file + skipped };
            pieces.insert(end, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flattened(records: &[(i64, &[u8])]) -> Vec<u8> {
        let mut file = FLATTENED.to_vec();
        file.resize(HEADER_BYTES, 0);
        for (at, bytes) in records {
            file.extend(at.to_be_bytes());
            file.extend((bytes.len() as i64).to_be_bytes());
            file.extend(*bytes);
        }
        file.extend([0xff; RECORD_BYTES]);
        file
    }

    #[test]
    fn records_in_any_order_are_one_dump() {
        let file = flattened(&[(4, b"efgh"), (0, b"abcd"), (10, b"xyz")]);
        let index = Index::of(&file).unwrap();
        let get = |at, bytes| index.get(&file, at, bytes).map(Cow::into_owned);
        assert_eq!(index.end, 13);
        assert_eq!(get(0, 8).as_deref(), Some(&b"abcdefgh"[..]));
        assert_eq!(get(11, 2).as_deref(), Some(&b"yz"[..]));
        assert_eq!((get(7, 4), get(12, 2)), (None, None), "nothing is there");
        assert!(matches!(index.get(&file, 5, 3), Some(Cow::Borrowed(b"fgh"))));
        assert!(matches!(index.get(&file, 3, 2), Some(Cow::Owned(_))));
    }

    #[test]
    fn later_records_replace_earlier_ones_wherever_they_overlap() {
        let file =
            flattened(&[(0, b"aaaaaaaaaa"), (3, b"bb"), (8, b"cccc"), (2, b"dd"), (0, b"e")]);
        let index = Index::of(&file).unwrap();
        assert_eq!(index.get(&file, 0, 12).as_deref(), Some(&b"eaddbaaacccc"[..]));
    }

    #[test]
    fn a_flattened_file_cut_anywhere_is_refused() {
        let file = flattened(&[(0, b"abcd"), (4, b"efgh")]);
        for len in HEADER_BYTES..file.len() {
            assert!(Index::of(&file[..len]).is_err(), "{len}");
        }
        assert!(Index::of(&file).is_ok());
    }
}
