//! The bytes of a dump's file by their place in the dump: a file as it is, or makedumpfile's flattened format.
//!
//! makedumpfile writes the flattened format where it cannot seek, for example through ssh: records of a place, a length
//! and that many bytes, in any order. Later records replace what earlier ones said: the header is written last.
//!
//! **Invariant:** nothing is unpacked; a place is looked up in an index of the records, which is bounded.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::proc_file::ProcFile;
use crate::elf::ElfError;
use crate::files::Mapped;

/// How a flattened file begins; its header takes this many bytes.
const FLATTENED: &[u8] = b"makedumpfile\0\0\0\0";
const HEADER_BYTES: usize = 4096;
/// Bytes by which kinds of dumps are told apart.
const START_BYTES: u64 = 64;
/// Place and length of a record.
const RECORD_BYTES: usize = 16;
/// A file of more records is none of makedumpfile's, which writes many pages into one.
const MOST_RECORDS: usize = 1 << 24;

/// Whether a file is in the flattened format.
pub(crate) fn is_flattened(file: &[u8]) -> bool {
    file.starts_with(FLATTENED)
}

/// A dump's file.
pub(crate) enum Raw {
    /// Mapped: all that lies on a disk.
    Mapped(Mapped),
    /// Read piece by piece.
    Proc(ProcFile),
    /// Made by a test.
    Memory(Vec<u8>),
}

impl Raw {
    /// The length of the file.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Raw::Mapped(file) => file.len() as u64,
            Raw::Proc(file) => file.len(),
            Raw::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// The file as one slice; `None` where it is read piece by piece.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        match self {
            Raw::Mapped(file) => Some(file),
            Raw::Proc(_) => None,
            Raw::Memory(bytes) => Some(bytes),
        }
    }

    /// Some bytes of the file, where it lends them and has all of them.
    pub(crate) fn lend(&self, at: u64, bytes: usize) -> Option<&[u8]> {
        range(self.whole()?, at, bytes)
    }

    /// Copies bytes from a place on, as many as there are, and returns how many.
    pub(crate) fn read(&self, at: u64, buf: &mut [u8]) -> usize {
        if let Raw::Proc(file) = self {
            return file.read(at, buf);
        }
        let bytes = self.len().saturating_sub(at).min(buf.len() as u64) as usize;
        let found = self.lend(at, bytes).unwrap_or_default();
        buf[..found.len()].copy_from_slice(found);
        found.len()
    }

    /// Some bytes of the file; none where it does not have all of them.
    fn get(&self, at: u64, bytes: usize) -> Option<Cow<'_, [u8]>> {
        if self.whole().is_some() {
            return self.lend(at, bytes).map(Cow::Borrowed);
        }
        // No more is allocated than the file has.
        at.checked_add(bytes as u64).filter(|end| *end <= self.len())?;
        let mut copy = vec![0; bytes];
        (self.read(at, &mut copy) == bytes).then_some(Cow::Owned(copy))
    }
}

/// The bytes of a dump.
pub(crate) struct FileBytes {
    file: Raw,
    /// Of a flattened file.
    index: Option<Index>,
}

impl FileBytes {
    /// The bytes of a file, flattened or not.
    pub(crate) fn of(file: Raw) -> Result<FileBytes, ElfError> {
        let flattened = file.whole().filter(|whole| is_flattened(whole));
        let index = flattened.map(Index::of).transpose()?;
        match index.as_ref().is_some_and(|index| index.pieces_of(0, 1).is_empty()) {
            true => Err(ElfError::Damaged("the record with its header is missing".to_owned())),
            false => Ok(FileBytes { file, index }),
        }
    }

    /// Bytes of the dump; none where the file does not have all of them.
    pub(crate) fn get(&self, at: u64, bytes: usize) -> Option<Cow<'_, [u8]>> {
        match &self.index {
            None => self.file.get(at, bytes),
            Some(index) => index.get(self.file.whole()?, at, bytes),
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
        self.index.is_some()
    }

    /// Whether the file has all of some bytes.
    pub(crate) fn has(&self, at: u64, bytes: u64) -> bool {
        self.pieces_of(at, bytes).iter().map(|piece| piece.bytes).sum::<u64>() == bytes
    }

    /// The dump from its start on, as far as it lies together; not more than so many bytes where it must be copied.
    pub(crate) fn head(&self, most_bytes: u64) -> Cow<'_, [u8]> {
        let Some(index) = &self.index else {
            let there = most_bytes.min(self.file.len()) as usize;
            let copy = || self.file.get(0, there).unwrap_or_default();
            return self.file.whole().map_or_else(copy, Cow::Borrowed);
        };
        let whole = index.pieces_of(0, most_bytes);
        let parts = whole.iter().scan(0, |end, piece| {
            (piece.at == std::mem::replace(end, piece.at + piece.bytes)).then_some(piece)
        });
        let parts = parts.filter_map(|part| self.file.lend(part.in_file, part.bytes as usize));
        Cow::Owned(parts.collect::<Vec<_>>().concat())
    }

    /// Where in [`FileBytes::raw`] some bytes of the dump lie, as far as the file has them.
    pub(crate) fn pieces_of(&self, at: u64, bytes: u64) -> Vec<Piece> {
        match &self.index {
            Some(index) => index.pieces_of(at, bytes),
            None => {
                let bytes = bytes.min(self.file.len().saturating_sub(at));
                let piece = Piece { at, bytes, in_file: at };
                if bytes > 0 { vec![piece] } else { Vec::new() }
            }
        }
    }

    /// What the dump begins with: what kind it is.
    pub(crate) fn start(&self) -> Cow<'_, [u8]> {
        self.head(START_BYTES)
    }

    /// Notes how many bytes were touched in place: a mapped file must not take ever more of our memory.
    pub(crate) fn touch(&self, bytes: u64) {
        if let Raw::Mapped(file) = &self.file {
            file.touch(bytes);
        }
    }

    /// The file as it is.
    pub(crate) fn raw(&self) -> &Raw {
        &self.file
    }

    /// Puts other words at some places of the raw file from now on. The file on the disk stays as it is.
    pub(crate) fn replace(&mut self, words: &[(usize, u64)]) -> std::io::Result<()> {
        match &mut self.file {
            Raw::Mapped(file) => file.replace(words),
            Raw::Proc(_) => Err(std::io::ErrorKind::Unsupported.into()),
            Raw::Memory(bytes) => {
                for (at, word) in words {
                    bytes[*at..*at + 8].copy_from_slice(&word.to_le_bytes());
                }
                Ok(())
            }
        }
    }

    /// The length of the dump.
    pub(crate) fn len(&self) -> u64 {
        match &self.index {
            None => self.file.len(),
            Some(index) => index.end,
        }
    }

    /// Whether it is known that something is missing, wherever it belongs.
    pub(crate) fn is_cut(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.is_cut)
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
    /// Whether the last record is missing, or the one before it is incomplete.
    is_cut: bool,
}

/// Bytes of the dump that lie together in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Their place in the dump.
    pub at: u64,
    pub bytes: u64,
    /// Their place in the file.
    pub in_file: u64,
}

impl Index {
    fn of(file: &[u8]) -> Result<Index, ElfError> {
        let mut records = Vec::new();
        let mut next = HEADER_BYTES;
        let is_cut = loop {
            let word = |at: usize| -> Option<i64> {
                Some(i64::from_be_bytes(*file.get(at..)?.first_chunk()?))
            };
            let Some((at, bytes)) = word(next).zip(word(next.saturating_add(8))) else {
                break true;
            };
            // The last record has neither a place nor bytes.
            if at < 0 || bytes < 0 {
                break false;
            }
            next += RECORD_BYTES;
            let left = file.len() - next;
            let there = (bytes as u64).min(left as u64);
            records.push(Piece { at: at as u64, bytes: there, in_file: next as u64 });
            next += there as usize;
            if there < bytes as u64 {
                break true;
            }
            if records.len() > MOST_RECORDS {
                return Err(ElfError::Damaged("it has too many flattened records".to_owned()));
            }
        };
        let pieces = latest(records);
        let end = pieces.last().map_or(0, |last| last.at + last.bytes);
        Ok(Index { pieces, end, is_cut })
    }

    /// The pieces of some bytes of the dump, as far as they are there.
    fn pieces_of(&self, at: u64, bytes: u64) -> Vec<Piece> {
        let end = at.saturating_add(bytes);
        let first = self.pieces.partition_point(|piece| piece.at + piece.bytes <= at);
        let inside = self.pieces[first..].iter().take_while(|piece| piece.at < end);
        let part = |piece: &Piece| {
            let skipped = at.saturating_sub(piece.at);
            let bytes = (piece.at + piece.bytes).min(end) - piece.at - skipped;
            Piece { at: piece.at + skipped, bytes, in_file: piece.in_file + skipped }
        };
        inside.map(part).collect()
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
pub(crate) mod tests {
    use super::*;

    /// A dump in the flattened format, in records of one size, the first last.
    pub(crate) fn flatten(dump: &[u8], record_bytes: usize) -> Vec<u8> {
        let records = dump.chunks(record_bytes).enumerate().rev();
        let records = records.map(|(number, bytes)| ((number * record_bytes) as i64, bytes));
        flattened(&records.collect::<Vec<_>>())
    }

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
    fn a_flattened_file_cut_anywhere_has_what_is_there_and_says_that_it_is_cut() {
        let file = flattened(&[(0, b"abcd"), (4, b"efgh")]);
        for len in HEADER_BYTES..=file.len() {
            let index = Index::of(&file[..len]).unwrap();
            assert_eq!(index.is_cut, len < file.len(), "{len}");
            let there = (len - HEADER_BYTES).saturating_sub(RECORD_BYTES);
            let expected = there.min(4) + there.saturating_sub(4 + RECORD_BYTES).min(4);
            assert_eq!(index.end, expected as u64, "{len}");
        }
    }

    #[test]
    fn the_head_of_a_dump_is_what_lies_together_and_pieces_lead_into_the_file() {
        let file = flattened(&[(4, b"efgh"), (0, b"abcd"), (10, b"xyz")]);
        let bytes = FileBytes::of(Raw::Memory(file)).unwrap();
        assert_eq!((&*bytes.head(100), &*bytes.head(6)), (&b"abcdefgh"[..], &b"abcdef"[..]));
        let pieces = bytes.pieces_of(2, 9);
        let part = |piece: &Piece| bytes.raw().lend(piece.in_file, piece.bytes as usize).unwrap();
        assert_eq!(pieces.iter().map(part).collect::<Vec<_>>(), [&b"cd"[..], b"efgh", b"x"]);
        assert_eq!(pieces.iter().map(|piece| piece.at).collect::<Vec<_>>(), [2, 4, 10]);
    }
}
