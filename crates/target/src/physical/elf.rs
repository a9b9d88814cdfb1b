//! The physical memory in an ELF core file, which is mapped.
//!
//! Danger: the file may be forged or cut off.

use std::path::Path;

use sysak_arch::x86_64::MOST_PHYSICAL_BYTES;
use sysak_base::Pa;

use super::{PhysicalPages, Replaced, Run};
use crate::OpenError;
use crate::elf::{self, Core, ElfError, Segment};
use crate::files::{self, Mapped};

/// Bytes of RAM per byte of its dump, which has the array of `struct page`, a 64th of memory: 64 would do.
const MOST_RAM_PER_BYTE: u64 = 1024;

/// A mapped ELF core file.
pub(super) struct ElfPages {
    file: Mapped,
    /// Ascending and disjoint.
    pieces: Vec<Piece>,
    end: Pa,
}

/// A run of physical memory, and where it lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    start: u64,
    bytes: u64,
    offset: u64,
}

impl ElfPages {
    /// Maps the file and checks that all of it is there.
    pub(super) fn open(path: &Path, file: Mapped) -> Result<(ElfPages, Core), OpenError> {
        let no_core = |why| OpenError::NotACore { path: path.to_owned(), why };
        let core = elf::parse(&file).map_err(no_core)?;
        let end = core.segments.iter().map(|s| s.offset.saturating_add(s.bytes)).max();
        let missing = end.unwrap_or(0).saturating_sub(file.len() as u64);
        if missing > 0 {
            return Err(OpenError::Truncated { path: path.to_owned(), missing });
        }
        let in_memory = || core.segments.iter().filter(|s| s.paddr != u64::MAX);
        let end = in_memory().map(|s| s.paddr.saturating_add(s.memory_bytes.max(s.bytes)));
        let end = end.max().unwrap_or(0);
        // What is counted by page must not grow with a forged address.
        if end > MOST_PHYSICAL_BYTES {
            return Err(no_core(ElfError::Damaged("it claims memory beyond 64 TiB".to_owned())));
        }
        let pieces = disjoint(in_memory());
        Ok((ElfPages { file, pieces, end: Pa(end) }, core))
    }

    /// Reads other words in some places from now on. The file stays as it is.
    pub(super) fn replace(&mut self, path: &Path, replaced: &[Replaced]) -> Result<(), OpenError> {
        let place = |one: &Replaced| Some((self.place(one.at)?, one.word));
        let words: Vec<_> = replaced.iter().filter_map(place).collect();
        self.file = files::map_replaced(path, &words)?;
        Ok(())
    }

    /// Where in the file the word at an address lies, if it is there whole.
    fn place(&self, at: Pa) -> Option<usize> {
        let next = self.pieces.partition_point(|piece| piece.start <= at.0);
        let piece = self.pieces[..next].last()?;
        let from = at.0 - piece.start;
        (from.saturating_add(8) <= piece.bytes).then_some((piece.offset + from) as usize)
    }

    fn bytes_of(&self, piece: &Piece, from: u64) -> Option<&[u8]> {
        self.file.get((piece.offset + from) as usize..(piece.offset + piece.bytes) as usize)
    }
}

impl PhysicalPages for ElfPages {
    fn read_piece(&self, at: Pa, buf: &mut [u8]) -> usize {
        let bytes = self.borrow(at).unwrap_or_default();
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        len
    }

    fn borrow(&self, at: Pa) -> Option<&[u8]> {
        let next = self.pieces.partition_point(|piece| piece.start <= at.0);
        let piece = self.pieces[..next].last().filter(|piece| at.0 - piece.start < piece.bytes)?;
        self.bytes_of(piece, at.0 - piece.start)
    }

    fn runs(&self) -> Vec<Run> {
        let run = |piece: &Piece| Run { start: Pa(piece.start), bytes: piece.bytes };
        self.pieces.iter().map(run).collect()
    }

    fn end(&self) -> Pa {
        self.end
    }

    fn most_ram_bytes(&self) -> u64 {
        (self.file.len() as u64).saturating_mul(MOST_RAM_PER_BYTE)
    }

    fn find(&self, needle: &[u8], from: Pa) -> Option<Pa> {
        let first = self.pieces.partition_point(|piece| piece.start + piece.bytes <= from.0);
        self.pieces[first..].iter().find_map(|piece| {
            let skipped = from.0.saturating_sub(piece.start);
            let found = memchr::memmem::find(self.bytes_of(piece, skipped)?, needle)?;
            Some(Pa(piece.start + skipped + found as u64))
        })
    }
}

/// Ascending pieces, each byte of memory in one: kdump names the kernel's text twice, and
/// QEMU with `-p` every mapping of a page.
fn disjoint<'a>(segments: impl Iterator<Item = &'a Segment>) -> Vec<Piece> {
    let mut pieces: Vec<_> = segments
        .filter(|s| s.paddr.checked_add(s.bytes).is_some())
        .map(|s| Piece { start: s.paddr, bytes: s.bytes, offset: s.offset })
        .collect();
    pieces.sort_unstable_by_key(|piece| (piece.start, u64::MAX - piece.bytes));
    let mut covered = 0;
    pieces.retain_mut(|piece| {
        let known = covered.max(piece.start) - piece.start;
        if known >= piece.bytes {
            return false;
        }
        piece.start += known;
        piece.bytes -= known;
        piece.offset += known;
        covered = piece.start + piece.bytes;
        true
    });
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(paddr: u64, bytes: u64, offset: u64) -> Segment {
        Segment { vaddr: 0, paddr, offset, bytes, memory_bytes: bytes }
    }

    #[test]
    fn overlapping_segments_become_disjoint_pieces() {
        let segments = [
            segment(0x2000, 0x1000, 0x9000),
            segment(0x1000, 0x4000, 0x100),
            segment(0x4000, 0x2000, 0xa000),
            segment(0x8000, 0, 0),
        ];
        let piece = |start, bytes, offset| Piece { start, bytes, offset };
        let expected = [piece(0x1000, 0x4000, 0x100), piece(0x5000, 0x1000, 0xb000)];
        assert_eq!(disjoint(segments.iter()), expected);
    }

    /// A dump of two runs, 0x1000..0x3000 and 0x3000..0x4000, in the wrong order in the file.
    fn dump(name: &str, cut: usize) -> Result<ElfPages, OpenError> {
        let mut file = vec![0; 64];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16] = 4;
        file[18] = 62;
        file[20] = 1;
        file[32] = 64;
        file[52] = 64;
        file[54] = 56;
        file[56] = 2;
        let runs =
            [[1, 0x2000, 0, 0x1000, 0x2000, 0x2000, 0], [1, 0x1000, 0, 0x3000, 0x1000, 0x1000, 0]];
        runs.as_flattened().iter().for_each(|word: &u64| file.extend(word.to_le_bytes()));
        file.resize(0x1000, 0);
        for page in [3, 1, 2] {
            file.extend([page; 0x1000]);
        }
        file.truncate(file.len() - cut);
        let path = std::env::temp_dir().join(format!("sysak-{name}-{}", std::process::id()));
        std::fs::write(&path, file).unwrap();
        let opened = files::map(&path, &path).and_then(|file| ElfPages::open(&path, file));
        std::fs::remove_file(&path).unwrap();
        opened.map(|(pages, _)| pages)
    }

    #[test]
    fn reads_go_on_in_the_next_piece_and_end_where_the_file_holds_nothing() {
        let pages = dump("pieces", 0).unwrap();
        assert_eq!((pages.end(), pages.most_ram_bytes()), (Pa(0x4000), 0x4000 * 1024));
        assert_eq!(pages.borrow(Pa(0x1800)).unwrap()[0x7ff..0x801], [1, 2]);
        assert_eq!(pages.borrow(Pa(0x2fff)), Some(&[2][..]));
        assert_eq!(pages.borrow(Pa(0xfff)), None);
        let mut bytes = [0; 3];
        assert_eq!((pages.read(Pa(0x2ffe), &mut bytes), bytes), (3, [2, 2, 3]));
        assert_eq!(pages.read(Pa(0x3ffe), &mut bytes), 2);
        assert_eq!(pages.read(Pa(0xfff), &mut bytes), 0);
        assert_eq!(pages.word(Pa(0x3ff8)), Some(0x0303_0303_0303_0303));
        assert_eq!(pages.word(Pa(0x3ff9)), None);
    }

    #[test]
    fn replaced_words_are_read_and_the_file_is_not_changed() {
        let mut pages = dump("unused", 0).unwrap();
        let path = std::env::temp_dir().join(format!("sysak-replaced-{}", std::process::id()));
        std::fs::write(&path, &pages.file[..]).unwrap();
        let words = [(0x1ff8, 7), (0x2000, 8), (0x3ffc, 9), (0x9000, 10)];
        pages.replace(&path, &words.map(|(at, word)| Replaced { at: Pa(at), word })).unwrap();
        let unchanged = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let word = |at| pages.word(Pa(at));
        assert_eq!([word(0x1ff8), word(0x2000)], [Some(7), Some(8)]);
        assert_eq!(word(0x3ff8), Some(0x0303_0303_0303_0303), "half of the word is missing");
        assert_eq!(unchanged, dump("again", 0).unwrap().file[..]);
    }

    #[test]
    fn bytes_are_found_by_ascending_address_wherever_they_lie_in_the_file() {
        let pages = dump("find", 0).unwrap();
        assert_eq!(pages.find(&[1, 2], Pa(0)), Some(Pa(0x1fff)));
        assert_eq!(pages.find(&[3, 3], Pa(0)), Some(Pa(0x3000)));
        assert_eq!(pages.find(&[3, 3], Pa(0x3ffe)), Some(Pa(0x3ffe)));
        assert_eq!(pages.find(&[3, 3], Pa(0x3fff)), None);
        assert_eq!(pages.find(&[1, 2], Pa(0x2000)), None);
    }

    #[test]
    fn missing_bytes_are_counted() {
        let missing = dump("cut", 5).map(|_| ()).unwrap_err();
        assert!(matches!(missing, OpenError::Truncated { missing: 5, .. }), "{missing}");
    }
}
