//! Files that the user names: dumps, types and symbols.
//!
//! **Invariant:** only regular files are opened; a pipe would block, and a device may never end.

#![allow(unsafe_code)] // Maps files.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use memmap2::{Mmap, MmapMut, MmapOptions};
use object::{Object, ObjectSection};
use sysak_symbols::{Kallsyms, TypeInfo};

use crate::OpenError;

/// No list of kernel symbols is larger: a kernel with all of its modules has 300,000, 20 MiB.
const MOST_SYMBOL_BYTES: u64 = 256 << 20;
/// No kernel's own BTF is larger; a file that cannot be mapped is read up to here.
const MOST_BTF_BYTES: u64 = 256 << 20;

/// A BTF file, or an ELF file with a `.BTF` section, of which nothing else is read.
pub(crate) fn types(path: &Path) -> Result<TypeInfo, OpenError> {
    let file = open(path)?;
    match map_file(&file) {
        Ok(bytes) => parse_types(path, &bytes),
        // Files below /sys cannot be mapped before Linux 6.16.
        Err(_) => parse_types(path, &read(path, &file, MOST_BTF_BYTES)?),
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

/// Maps a file that is not empty.
pub(crate) fn map(path: &Path) -> Result<Mmap, OpenError> {
    map_file(&open_filled(path)?).map_err(|why| OpenError::File { path: path.to_owned(), why })
}

/// Maps a file that is not empty, to be changed in memory alone: the file stays as it is.
pub(crate) fn map_to_change(path: &Path) -> Result<MmapMut, OpenError> {
    let file = open_filled(path)?;
    // SAFETY: as in `map_file`; what is written goes to pages of our own.
    let mapped = unsafe { MmapOptions::new().map_copy(&file) };
    mapped.map_err(|why| OpenError::File { path: path.to_owned(), why })
}

fn open_filled(path: &Path) -> Result<File, OpenError> {
    let file = open(path)?;
    let failed = |why| OpenError::File { path: path.to_owned(), why };
    match file.metadata().map_err(failed)?.len() {
        0 => Err(OpenError::Empty { path: path.to_owned() }),
        _ => Ok(file),
    }
}

fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is read-only and private; a file that is cut off while it is
    // mapped ends the process with SIGBUS, which harms nothing but this diagnosis.
    unsafe { Mmap::map(file) }
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
