//! Files that hold the physical memory of a machine.
//!
//! A dump is two things: its pages, which the file's format knows how to find (here), and the
//! kernel's address space above them ([`crate::vmcore`]). A new format is a new file here.
//!
//! **Invariant:** a read yields bytes of the file, never zeroes for what is missing; nothing here
//! knows virtual addresses.

mod bytes;
mod elf;
#[cfg(test)]
pub(crate) mod fake;
mod kdump;
mod without;

use std::path::Path;

use sysak_base::{PAGE_SIZE, Pa, PageStates, Pfn};

use crate::elf::Core;
use crate::{OpenError, Reader, files};

/// A run of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its first byte.
    pub start: Pa,
    /// Its length.
    pub bytes: u64,
}

/// The physical memory that a dump file holds.
pub(crate) trait PhysicalPages: PageStates + Send + Sync {
    /// Copies bytes from `at` on, as many as the file holds in one piece, and returns how many:
    /// 0 where it does not hold the first.
    fn read_piece(&self, at: Pa, buf: &mut [u8]) -> usize;

    /// The bytes from `at` to the end of the piece, where the file holds them ready to be lent.
    /// `None` says nothing about whether they can be read.
    fn borrow(&self, at: Pa) -> Option<&[u8]>;

    /// The runs that the file holds, ascending and disjoint.
    fn runs(&self) -> Vec<Run>;

    /// The end of physical memory, whether the file holds its last pages or not.
    fn end(&self) -> Pa;

    /// How much RAM a file of this size can be the dump of at most.
    fn most_ram_bytes(&self) -> u64;

    /// The lowest address from `from` on where `needle` lies in one run.
    fn find(&self, needle: &[u8], from: Pa) -> Option<Pa>;

    /// Fills `buf` from `at` up to the first byte that the file does not hold; returns how many
    /// bytes those are.
    fn read(&self, at: Pa, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            match self.read_piece(Pa(at.0.wrapping_add(done as u64)), &mut buf[done..]) {
                0 => break,
                len => done += len,
            }
        }
        done
    }

    /// The little-endian word at `at`.
    fn word(&self, at: Pa) -> Option<u64> {
        let mut word = [0; 8];
        (self.read_piece(at, &mut word) == word.len()).then(|| u64::from_le_bytes(word))
    }
}

/// A dump file, and what it says beside its memory.
pub(crate) struct Dump {
    pub pages: Box<dyn PhysicalPages>,
    /// Text of the VMCOREINFO note.
    pub vmcoreinfo: Option<Vec<u8>>,
    /// The general registers of the CPUs.
    pub registers: Vec<u64>,
    /// The format.
    pub reader: Reader,
}

/// A word of physical memory, and what is read there instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Where it lies.
    pub at: Pa,
    /// What is read there.
    pub word: u64,
}

/// What a dump is read without, or with instead: the file stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes<'a> {
    /// Words that are read instead of the file's.
    pub words: &'a [Replaced],
    /// Pages that the dump has not, as if a filter had left them out.
    pub without: &'a [Pfn],
}

/// Opens a dump file of any format that is known, as it would be with some changes.
pub(crate) fn open(path: &Path, changes: Changes<'_>) -> Result<Dump, OpenError> {
    let dump = open_replaced(path, changes.words)?;
    if changes.without.is_empty() {
        return Ok(dump);
    }
    let pages = without::Without::new(dump.pages, changes.without);
    Ok(Dump { pages: Box::new(pages), ..dump })
}

fn open_replaced(path: &Path, replaced: &[Replaced]) -> Result<Dump, OpenError> {
    let file = files::map(path)?;
    if bytes::is_flattened(&file) || kdump::is_kdump(&file) {
        let (mut pages, core) = kdump::KdumpPages::open(path, Box::new(file))?;
        pages.replace(replaced);
        return Ok(dump(Box::new(pages), core, Reader::Kdump));
    }
    let (mut pages, core) = elf::ElfPages::open(path, file)?;
    if !replaced.is_empty() {
        pages.replace(path, replaced)?;
    }
    Ok(dump(Box::new(pages), core, Reader::Elf))
}

fn dump(pages: Box<dyn PhysicalPages>, core: Core, reader: Reader) -> Dump {
    Dump { pages, vmcoreinfo: core.vmcoreinfo, registers: core.registers, reader }
}

/// Opens bytes as a file in makedumpfile's format, and counts the pages that can be read: for fuzzing.
pub fn count_kdump_pages(file: Vec<u8>) -> Result<u64, OpenError> {
    let (pages, _) = kdump::KdumpPages::open(Path::new("bytes"), Box::new(file))?;
    let in_run = |run: Run| (run.start.0..run.start.0 + run.bytes).step_by(PAGE_SIZE as usize);
    let pages =
        pages.runs().into_iter().flat_map(in_run).filter(|at| pages.word(Pa(*at)).is_some());
    Ok(pages.count() as u64)
}
