//! Physical memory that lies in a file as it is, in pieces: ELF, LiME, and the files of hypervisors.
//!
//! Danger: the file may be forged or cut off.

use std::path::Path;

use sysak_arch::x86_64::MOST_PHYSICAL_BYTES;
use sysak_base::{PAGE_SIZE, Pa, PageState, PageStates, Pfn};

use super::bytes::FileBytes;
use super::facts::{FileFacts, FileFormat};
use super::{PhysicalPages, Replaced, Run, find_in_run};
use crate::OpenError;
use crate::elf::ElfError;

/// Bytes of RAM per byte of its dump, which has the array of `struct page`, a 64th of memory: 64 would do.
const MOST_RAM_PER_BYTE: u64 = 1024;

/// Such memory.
pub(super) struct FilePages {
    format: FileFormat,
    file: FileBytes,
    /// Ascending and disjoint; their offsets are places in the raw file.
    spans: Vec<Span>,
    /// The same before the file was cut off.
    claimed: Vec<Span>,
    /// All memory that it tells of, stored or not.
    memory: Vec<Span>,
    end: Pa,
}

/// A run of physical memory, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub start: u64,
    pub bytes: u64,
    pub offset: u64,
}

impl FilePages {
    /// The memory that `spans` describe, in any order, as far as the file has it. `memory` is what the machine has
    /// besides: a filter left that out.
    pub(super) fn new(
        path: &Path,
        format: FileFormat,
        file: FileBytes,
        spans: Vec<Span>,
        memory: Vec<Span>,
    ) -> Result<FilePages, OpenError> {
        let end = spans.iter().chain(&memory).map(|span| Pa(span.end())).max().unwrap_or(Pa(0));
        // What is counted by page must not grow with a forged address.
        if end.0 > MOST_PHYSICAL_BYTES {
            let why = ElfError::Damaged("it claims memory beyond 64 TiB".to_owned());
            return Err(OpenError::NotACore { path: path.to_owned(), why });
        }
        let claimed = disjoint(spans);
        let in_file = |span: &Span| {
            let Span { start, offset, .. } = *span;
            let pieces = file.pieces_of(offset, span.bytes).into_iter();
            pieces.map(move |piece| Span {
                start: start + (piece.at - offset),
                bytes: piece.bytes,
                offset: piece.in_file,
            })
        };
        let spans: Vec<_> = claimed.iter().flat_map(in_file).collect();
        let pages = FilePages { format, file, spans, claimed, memory: disjoint(memory), end };
        match pages.lost_bytes() {
            missing if missing > 0 && pages.spans.is_empty() => {
                Err(OpenError::Truncated { path: path.to_owned(), missing })
            }
            _ => Ok(pages),
        }
    }

    /// The format of the file.
    pub(super) fn format(&self) -> FileFormat {
        self.format
    }

    /// How much memory is missing because the file was cut off.
    pub(super) fn lost_bytes(&self) -> u64 {
        let total = |spans: &[Span]| spans.iter().map(|span| span.bytes).sum::<u64>();
        total(&self.claimed) - total(&self.spans)
    }

    /// Reads other words in some places from now on. The file stays as it is.
    pub(super) fn replace(&mut self, replaced: &[Replaced]) -> std::io::Result<()> {
        let place = |one: &Replaced| Some((self.place(one.at)?, one.word));
        let words: Vec<_> = replaced.iter().filter_map(place).collect();
        self.file.replace(&words)
    }

    /// Where in the file the word at an address lies, if it is there whole.
    fn place(&self, at: Pa) -> Option<usize> {
        let span = around(&self.spans, at).ok()?;
        let from = at.0 - span.start;
        (from.saturating_add(8) <= span.bytes).then_some((span.offset + from) as usize)
    }

    fn bytes_of(&self, span: &Span, from: u64) -> Option<&[u8]> {
        self.file.raw().lend(span.offset + from, (span.bytes - from) as usize)
    }
}

impl Span {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes)
    }
}

/// The span that an address lies in; else where the next one begins.
fn around(spans: &[Span], at: Pa) -> Result<&Span, u64> {
    let next = spans.partition_point(|span| span.start <= at.0);
    let before = spans[..next].last().filter(|span| at.0 < span.end());
    before.ok_or_else(|| spans.get(next).map_or(u64::MAX, |span| span.start))
}

impl PageStates for FilePages {
    fn state(&self, first: Pfn, end: Pfn) -> (PageState, Pfn) {
        let known = [
            (&self.spans, PageState::Present),
            (&self.claimed, PageState::Lost),
            (&self.memory, PageState::Excluded),
        ];
        let (mut state, mut until) = (PageState::Absent, u64::MAX);
        for (spans, inside) in known {
            match around(spans, first.pa()) {
                Ok(span) => {
                    (state, until) = (inside, until.min(span.end()));
                    break;
                }
                Err(next) => until = until.min(next),
            }
        }
        (state, Pfn(until / PAGE_SIZE).max(Pfn(first.0 + 1)).min(end))
    }
}

impl PhysicalPages for FilePages {
    fn read_piece(&self, at: Pa, buf: &mut [u8]) -> usize {
        let Ok(span) = around(&self.spans, at) else { return 0 };
        let from = at.0 - span.start;
        let len = buf.len().min(usize::try_from(span.bytes - from).unwrap_or(usize::MAX));
        self.file.raw().read(span.offset + from, &mut buf[..len])
    }

    fn borrow(&self, at: Pa) -> Option<&[u8]> {
        let span = around(&self.spans, at).ok()?;
        self.bytes_of(span, at.0 - span.start)
    }

    fn runs(&self) -> Vec<Run> {
        let run = |span: &Span| Run { start: Pa(span.start), bytes: span.bytes };
        self.spans.iter().map(run).collect()
    }

    fn end(&self) -> Pa {
        self.end
    }

    fn most_ram_bytes(&self) -> u64 {
        self.file.raw().len().saturating_mul(MOST_RAM_PER_BYTE)
    }

    fn facts(&self) -> FileFacts {
        FileFacts::of(self.format, self.file.is_flattened())
    }

    fn find(&self, needle: &[u8], from: Pa) -> Option<Pa> {
        let first = self.spans.partition_point(|span| span.start + span.bytes <= from.0);
        let mut window = Vec::new();
        self.spans[first..].iter().find_map(|span| {
            let start = from.max(Pa(span.start));
            match self.bytes_of(span, start.0 - span.start) {
                Some(bytes) => {
                    let found = memchr::memmem::find(bytes, needle)?;
                    Some(Pa(start.0 + found as u64))
                }
                None => {
                    let run = start..Pa(span.end());
                    find_in_run(needle, run, &mut window, |at, buf| self.read(at, buf))
                }
            }
        })
    }
}

/// Ascending spans, each byte of memory in one: kdump names the kernel's text twice, and
/// QEMU with `-p` every mapping of a page.
fn disjoint(mut spans: Vec<Span>) -> Vec<Span> {
    let fits = |span: &Span| span.start.checked_add(span.bytes).is_some();
    spans.retain(fits);
    spans.sort_unstable_by_key(|span| (span.start, u64::MAX - span.bytes));
    let mut covered = 0;
    spans.retain_mut(|span| {
        let known = covered.max(span.start) - span.start;
        if known >= span.bytes {
            return false;
        }
        span.start += known;
        span.bytes -= known;
        span.offset = span.offset.saturating_add(known);
        covered = span.start + span.bytes;
        true
    });
    spans
}

#[cfg(test)]
mod tests {
    use super::super::bytes::{Raw, tests::flatten};
    use super::super::{elf, proc_file};
    use super::*;
    use crate::files;

    #[test]
    fn overlapping_runs_become_disjoint() {
        let span = |start, bytes, offset| Span { start, bytes, offset };
        let spans = [
            span(0x2000, 0x1000, 0x9000),
            span(0x1000, 0x4000, 0x100),
            span(0x4000, 0x2000, 0xa000),
            span(0x8000, 0, 0),
        ];
        let expected = [span(0x1000, 0x4000, 0x100), span(0x5000, 0x1000, 0xb000)];
        assert_eq!(disjoint(spans.to_vec()), expected);
    }

    /// A dump of two runs, 0x1000..0x3000 and 0x3000..0x4000, in the wrong order in the file.
    fn file() -> Vec<u8> {
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
        file
    }

    fn open(file: Vec<u8>) -> Result<FilePages, OpenError> {
        open_raw(Raw::Memory(file))
    }

    fn open_raw(file: Raw) -> Result<FilePages, OpenError> {
        let file = FileBytes::of(file).unwrap();
        elf::open(Path::new("dump"), file).map(|(pages, _)| pages)
    }

    /// The dump without its last bytes.
    fn dump(cut: usize) -> Result<FilePages, OpenError> {
        let mut file = file();
        file.truncate(file.len() - cut);
        open(file)
    }

    #[test]
    fn reads_go_on_in_the_next_piece_and_end_where_the_file_holds_nothing() {
        let pages = dump(0).unwrap();
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
        let path = std::env::temp_dir().join(format!("sysak-replaced-{}", std::process::id()));
        std::fs::write(&path, file()).unwrap();
        let mapped = files::map(&path, &path).unwrap();
        let bytes = FileBytes::of(Raw::Mapped(mapped)).unwrap();
        let (mut pages, _) = elf::open(&path, bytes).unwrap();
        let words = [(0x1ff8, 7), (0x2000, 8), (0x3ffc, 9), (0x9000, 10)];
        pages.replace(&words.map(|(at, word)| Replaced { at: Pa(at), word })).unwrap();
        let unchanged = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let word = |at| pages.word(Pa(at));
        assert_eq!([word(0x1ff8), word(0x2000)], [Some(7), Some(8)]);
        assert_eq!(word(0x3ff8), Some(0x0303_0303_0303_0303), "half of the word is missing");
        assert_eq!(unchanged, file());
    }

    #[test]
    fn bytes_are_found_by_ascending_address_wherever_they_lie_in_the_file() {
        let pages = dump(0).unwrap();
        assert_eq!(pages.find(&[1, 2], Pa(0)), Some(Pa(0x1fff)));
        assert_eq!(pages.find(&[3, 3], Pa(0)), Some(Pa(0x3000)));
        assert_eq!(pages.find(&[3, 3], Pa(0x3ffe)), Some(Pa(0x3ffe)));
        assert_eq!(pages.find(&[3, 3], Pa(0x3fff)), None);
        assert_eq!(pages.find(&[1, 2], Pa(0x2000)), None);
    }

    #[test]
    fn a_file_that_is_not_mapped_has_the_same_memory_and_lends_none() {
        let mut file = file();
        // The last run ends at 0x202000 instead, and a text lies across the border of two pieces that are searched.
        let (at, bytes) = (0x1000, 0x1ff000u64);
        let header = 64 + 56;
        file[header + 32..header + 48].copy_from_slice(&[bytes; 2].map(u64::to_le_bytes).concat());
        file[64 + 8..64 + 16].copy_from_slice(&(at + bytes).to_le_bytes());
        file.resize((at + bytes + 0x2000) as usize, 5);
        file[(at + (1 << 20) - 3) as usize..][..6].copy_from_slice(b"needle");
        let pages = open_raw(Raw::Proc(proc_file::tests::with(&file))).unwrap();
        let mapped = open(file).unwrap();
        assert_eq!(pages.runs(), mapped.runs());
        assert_eq!((pages.end(), pages.lost_bytes()), (mapped.end(), 0));
        assert_eq!(pages.most_ram_bytes(), mapped.most_ram_bytes());
        for at in (0..0x20_4000).step_by(0xff8) {
            assert_eq!(pages.word(Pa(at)), mapped.word(Pa(at)), "{at:#x}");
            assert_eq!(pages.borrow(Pa(at)), None);
        }
        let (mut copy, mut expected) = (vec![0; 0x20_0000], vec![0; 0x20_0000]);
        let from = Pa(0x1080);
        assert_eq!(pages.read(from, &mut copy), mapped.read(from, &mut expected));
        assert!(copy == expected);
        let found = Some(Pa(0x3000 + (1 << 20) - 3));
        assert_eq!((pages.find(b"needle", Pa(0)), mapped.find(b"needle", Pa(0))), (found, found));
        assert_eq!(pages.find(b"needle", Pa(0x3000 + (1 << 20))), None);
    }

    #[test]
    fn what_was_cut_off_is_counted_and_the_rest_is_read() {
        assert_eq!(dump(0).unwrap().lost_bytes(), 0);
        let pages = dump(0x1005).unwrap();
        assert_eq!(pages.lost_bytes(), 0x1005);
        assert_eq!(
            (pages.word(Pa(0x1ff0)), pages.word(Pa(0x1ff8))),
            (Some(0x0101_0101_0101_0101), None)
        );
        assert_eq!(
            (pages.word(Pa(0x2000)), pages.word(Pa(0x3000))),
            (None, Some(0x0303_0303_0303_0303))
        );
        let nothing = dump(0x3000).map(|_| ()).unwrap_err();
        assert!(matches!(nothing, OpenError::Truncated { missing: 0x3000, .. }), "{nothing}");
    }

    #[test]
    fn memory_beyond_the_part_in_the_file_was_left_out_and_what_is_cut_off_is_lost() {
        let span = |start, bytes| Span { start, bytes, offset: start };
        let file = FileBytes::of(Raw::Memory(vec![1; 0x7000])).unwrap();
        let stored = vec![span(0x1000, 0x2000), span(0x3000, 0x1000), span(0x6000, 0x2000)];
        let memory = vec![span(0x1000, 0x8000), span(0xb000, 0x1800)];
        let pages =
            FilePages::new(Path::new("dump"), FileFormat::Elf, file, stored, memory).unwrap();
        let mut at = Pfn(0);
        let mut states = Vec::new();
        while at < Pfn(14) {
            let (state, end) = pages.state(at, Pfn(14));
            states.push((state, end.0 - at.0));
            at = end;
        }
        use PageState::{Absent, Excluded, Lost, Present};
        let expected = [
            (Absent, 1),
            (Present, 2),
            (Present, 1),
            (Excluded, 2),
            (Present, 1),
            (Lost, 1),
            (Excluded, 1),
            (Absent, 2),
            (Excluded, 1),
            (Excluded, 1),
            (Absent, 1),
        ];
        assert_eq!(states, expected);
    }

    #[test]
    fn a_flattened_elf_file_is_read_in_place_whatever_the_order_of_its_records() {
        let file = file();
        let flattened = flatten(&file, 0x900);
        let (pages, whole) = (open(flattened.clone()).unwrap(), open(file).unwrap());
        assert_eq!((pages.end(), pages.lost_bytes()), (Pa(0x4000), 0));
        for at in (0x1000..0x4000).step_by(8) {
            assert!(pages.word(Pa(at)).is_some());
            assert_eq!(pages.word(Pa(at)), whole.word(Pa(at)), "{at:#x}");
        }
        assert_eq!(pages.find(&[1, 2], Pa(0)), Some(Pa(0x1fff)));
        // The records of the file's end come first.
        let cut = flattened[..flattened.len() - 0xa00].to_vec();
        let why = FileBytes::of(Raw::Memory(cut)).map(|_| ()).unwrap_err().to_string();
        assert!(why.contains("the record with its header is missing"), "{why}");
    }
}
