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

use std::path::PathBuf;

use sysak_base::{PAGE_SIZE, Pa};

use crate::elf::Core;
use crate::files::Mapped;
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
pub(crate) trait PhysicalPages: Send + Sync {
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

/// Opens a dump of any format that is known, as it would be with some words replaced. Several files are the parts of
/// one dump, in any order.
pub(crate) fn open(paths: &[PathBuf], replaced: &[Replaced]) -> Result<Dump, OpenError> {
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    let names = PathBuf::from(names.join(", "));
    let map = |path: &PathBuf| Ok((path.clone(), files::map(path, &names)?));
    let files = paths.iter().map(map).collect::<Result<Vec<_>, OpenError>>()?;
    let is_kdump = |file: &[u8]| bytes::is_flattened(file) || kdump::is_kdump(file);
    if files.iter().all(|(_, file)| is_kdump(file)) {
        let files = files.into_iter().map(|(path, file)| (path, Box::new(file) as bytes::Raw));
        let (mut pages, core) = kdump::KdumpPages::open(files.collect())?;
        pages.replace(replaced);
        return Ok(dump(Box::new(pages), core, Reader::Kdump));
    }
    let [(path, file)] = <[_; 1]>::try_from(files).map_err(not_one_dump)?;
    let (mut pages, core) = elf::ElfPages::open(&path, file)?;
    if !replaced.is_empty() {
        pages.replace(&path, replaced)?;
    }
    Ok(dump(Box::new(pages), core, Reader::Elf))
}

/// Several files, at least one of which is of no format that has parts.
fn not_one_dump(files: Vec<(PathBuf, Mapped)>) -> OpenError {
    let mut paths = files.into_iter().map(|(path, _)| path);
    let (other, path) = (paths.next().unwrap_or_default(), paths.next().unwrap_or_default());
    OpenError::NotOneDump { path, other }
}

fn dump(pages: Box<dyn PhysicalPages>, core: Core, reader: Reader) -> Dump {
    Dump { pages, vmcoreinfo: core.vmcoreinfo, registers: core.registers, reader }
}

/// Opens bytes as a file in makedumpfile's format, and counts the pages that can be read: for fuzzing.
pub fn count_kdump_pages(file: Vec<u8>) -> Result<u64, OpenError> {
    let (pages, _) = kdump::KdumpPages::open(vec![("bytes".into(), Box::new(file))])?;
    let in_run = |run: Run| (run.start.0..run.start.0 + run.bytes).step_by(PAGE_SIZE as usize);
    let pages =
        pages.runs().into_iter().flat_map(in_run).filter(|at| pages.word(Pa(*at)).is_some());
    Ok(pages.count() as u64)
}
