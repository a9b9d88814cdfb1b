//! Files that the user names: dumps, types and symbols.
//!
//! **Invariant:** only regular files are opened; a pipe would block, and a device may never end.

#![allow(unsafe_code)] // Maps files, and answers the signal of one that is cut off.

mod patterns;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::Deref;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Mmap, MmapOptions, UncheckedAdvice};
use object::{Object, ObjectSection};
use signal_hook::SigId;
use signal_hook::consts::SIGBUS;
use sysak_base::PAGE_SIZE;
use sysak_symbols::{Kallsyms, TypeInfo};

use crate::OpenError;

pub(crate) use patterns::expand;

/// No list of kernel symbols is larger: a kernel with all of its modules has 300,000, 20 MiB.
const MOST_SYMBOL_BYTES: u64 = 256 << 20;
/// No kernel's own BTF is larger; a file that cannot be mapped is read up to here.
const MOST_BTF_BYTES: u64 = 256 << 20;

/// A BTF file, or an ELF file with a `.BTF` section, of which nothing else is read.
pub(crate) fn types(path: &Path) -> Result<TypeInfo, OpenError> {
    match map_file(path, open(path)?) {
        Ok(bytes) => parse_types(path, &bytes),
        // Files below /sys cannot be mapped before Linux 6.16.
        Err(_) => parse_types(path, &read(path, &open(path)?, MOST_BTF_BYTES)?),
    }
}

fn parse_types(path: &Path, bytes: &[u8]) -> Result<TypeInfo, OpenError> {
    let bytes = match object::File::parse(bytes) {
        Ok(elf) => elf.section_by_name(".BTF").and_then(|section| section.data().ok()),
        Err(_) => Some(bytes),
    };
    let bytes =
        bytes.ok_or_else(|| OpenError::NoTypeInfo { object: path.display().to_string() })?;
    TypeInfo::parse(bytes).map_err(|why| OpenError::BadTypeInfo { path: path.to_owned(), why })
}

/// A copy of `/proc/kallsyms` (or a System.map, which has the same three columns).
pub(crate) fn symbols(path: &Path) -> Result<Kallsyms, OpenError> {
    let bytes = read(path, &open(path)?, MOST_SYMBOL_BYTES)?;
    Kallsyms::parse_proc(&bytes).map_err(|why| OpenError::BadSymbols { path: path.to_owned(), why })
}

/// A mapped file.
///
/// One that is cut off while it is mapped, or whose disk fails, answers a read with SIGBUS: then nothing that was read
/// is worth a report, and the process says so and ends. Reading instead of mapping would cost every pointer that is
/// followed a system call.
pub(crate) struct Mapped {
    bytes: Mmap,
    file: File,
    on_cut: SigId,
    /// Whether words were replaced, so that some pages are not the file's.
    is_changed: bool,
    /// Bytes that were touched since somebody looked how much of the file is in our memory.
    touched: AtomicU64,
}

/// What is mapped of files counts as our memory until the kernel needs it for others. This much may; a little more is
/// touched between two looks.
const MOST_RESIDENT_BYTES: u64 = 96 << 20;
const TOUCHED_BYTES: u64 = 16 << 20;

impl Mapped {
    /// Counts bytes that were accessed. If too much of the file is resident, drops all its pages from our mapping
    /// (`MADV_DONTNEED`). They stay in the page cache unless memory is short, and are mapped again on the next access.
    pub(crate) fn touch(&self, bytes: u64) {
        if self.touched.fetch_add(bytes, Ordering::Relaxed) < TOUCHED_BYTES {
            return;
        }
        self.touched.store(0, Ordering::Relaxed);
        let is_much = resident_bytes().is_some_and(|bytes| bytes > MOST_RESIDENT_BYTES);
        if is_much && !self.is_changed {
            // SAFETY: no page of this mapping was ever written, so that each is read from the file again. Where that
            // fails, nothing is lost but memory.
            let _ = unsafe { self.bytes.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }

    /// Puts other words at some places; the file stays as it is.
    pub(crate) fn replace(&mut self, words: &[(usize, u64)]) -> std::io::Result<()> {
        // SAFETY: as in `map_file`; what is written goes to pages of our own.
        let mut own = unsafe { MmapOptions::new().map_copy(&self.file) }?;
        for (at, word) in words {
            if let Some(place) = own.get_mut(*at..at.saturating_add(8)) {
                place.copy_from_slice(&word.to_le_bytes());
            }
        }
        self.bytes = own.make_read_only()?;
        self.is_changed = true;
        Ok(())
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        signal_hook::low_level::unregister(self.on_cut);
    }
}

/// How much of mapped files is in our memory.
fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split(' ').nth(2)?.parse::<u64>().ok()? * PAGE_SIZE)
}

/// Could not tell.
const UNDETERMINED: i32 = 2;

/// Maps a file that is not empty, one of those of a dump. Which of them was cut off is not known later: their `names`
/// are told together.
pub(crate) fn map(path: &Path, names: &Path) -> Result<Mapped, OpenError> {
    let file = open_filled(path)?;
    map_file(names, file).map_err(|why| OpenError::File { path: path.to_owned(), why })
}

/// Opens a file that is not empty.
pub(crate) fn open_filled(path: &Path) -> Result<File, OpenError> {
    let file = open(path)?;
    let failed = |why| OpenError::File { path: path.to_owned(), why };
    match file.metadata().map_err(failed)?.len() {
        0 => Err(OpenError::Empty { path: path.to_owned() }),
        _ => Ok(file),
    }
}

/// Maps a file; `path` is told if it is cut off later.
pub(crate) fn map_file(path: &Path, file: File) -> std::io::Result<Mapped> {
    let message = format!("sysak: {}\n", OpenError::CutWhileRead { path: path.to_owned() });
    let tell = move || {
        // Nobody is left to hear of a failure.
        let _ = rustix::io::write(rustix::stdio::stderr(), message.as_bytes());
        signal_hook::low_level::exit(UNDETERMINED);
    };
    // SAFETY: the action makes two system calls, write and exit: both may be made in a signal's handler.
    let on_cut = unsafe { signal_hook::low_level::register(SIGBUS, tell) }?;
    // SAFETY: the mapping is read-only and private; what a file that is cut off does is told above.
    match unsafe { Mmap::map(&file) } {
        Ok(bytes) => {
            let touched = AtomicU64::new(0);
            Ok(Mapped { bytes, file, on_cut, is_changed: false, touched })
        }
        Err(error) => {
            signal_hook::low_level::unregister(on_cut);
            Err(error)
        }
    }
}

fn open(path: &Path) -> Result<File, OpenError> {
    let failed = |why| OpenError::File { path: path.to_owned(), why };
    // Asked before it is opened: that alone makes a pipe block and some devices act.
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    let what = match kind {
        _ if kind.is_file() => return File::open(path).map_err(failed),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(OpenError::NotAFile { path: path.to_owned(), what })
}

/// All of a file, which may not know its size, up to a limit.
fn read(path: &Path, file: &File, most_bytes: u64) -> Result<Vec<u8>, OpenError> {
    let failed = |why| OpenError::File { path: path.to_owned(), why };
    let too_large = || failed(ErrorKind::FileTooLarge.into());
    let known = file.metadata().map_err(failed)?.len();
    if known > most_bytes {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(known as usize);
    file.take(most_bytes + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most_bytes { Err(too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests;
