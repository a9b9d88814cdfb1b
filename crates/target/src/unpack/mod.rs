//! Dumps that were packed as a whole: they are unpacked to a file without a name.
//!
//! A packed file can only be read from its start to its end, and a dump is read anywhere. The unpacked file is sparse,
//! and it is gone when the program ends, however that is. Nothing large is kept in memory.
//!
//! **Invariant:** a file in which no dump begins is refused before more than its first bytes are unpacked.

mod avml;
mod packing;
mod sparse;

use std::cell::Cell;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use sysak_base::{Cancel, Progress};

use crate::elf::ElfError;
use crate::files::{self, Mapped};
use crate::physical::{self, RamMap};
use crate::{OpenError, Options};

pub(crate) use packing::Packing;
use packing::Source;
use sparse::{NoRoom, SparseFile};

/// Bytes that are unpacked at once, and by which it is known whether they are a dump's.
const CHUNK_BYTES: usize = 1 << 20;
/// Where the caller names no folder: dumps are too large for a /tmp that lies in memory.
const USUAL_FOLDERS: [&str; 2] = ["/var/tmp", "/tmp"];

/// What opening a dump needs besides its files.
pub(crate) struct Opening<'a> {
    /// The folder for the unpacked file, if the user named one.
    pub folder: Option<&'a Path>,
    /// Where the bytes of a raw image belong.
    pub ram_map: Option<&'a RamMap>,
    pub cancel: &'a Cancel,
    pub progress: &'a dyn Progress,
}

impl<'a> Opening<'a> {
    /// As the user wants it.
    pub(crate) fn new(
        options: &'a Options,
        cancel: &'a Cancel,
        progress: &'a dyn Progress,
    ) -> Opening<'a> {
        let (folder, ram_map) = (options.scratch.as_deref(), options.ram_map.as_ref());
        Opening { folder, ram_map, cancel, progress }
    }

    /// The file as it is, or what is inside where it is packed.
    pub(crate) fn unpacked(
        &self,
        path: &Path,
        names: &Path,
        file: Mapped,
    ) -> Result<Mapped, OpenError> {
        let Some(packing) = Packing::of(&file) else { return Ok(file) };
        let failed = |why: ElfError| OpenError::NotACore { path: path.to_owned(), why };
        let no_scratch = |why: io::Error| OpenError::NoScratch {
            path: path.to_owned(),
            folder: self.folder(),
            why,
        };
        let done = Cell::new(0);
        let mut reader = packing.reader(Source::new(&file, &done));
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut len = fill(&mut *reader, &mut chunk).map_err(|why| failed(damaged(&why)))?;
        if len == 0 {
            return Err(failed(ElfError::Damaged(
                "it ends before anything can be unpacked".to_owned(),
            )));
        }
        if self.ram_map.is_none() && !physical::is_known(&chunk[..len]) {
            return Err(failed(ElfError::Packed(packing.name())));
        }
        let least = packing.least_bytes(&file).max(file.len() as u64);
        let mut out = SparseFile::create(&self.folder()).map_err(no_scratch)?;
        let no_room = |NoRoom { needed, free }: NoRoom| OpenError::NoRoom {
            path: path.to_owned(),
            folder: self.folder(),
            needed,
            free,
        };
        out.need(least).map_err(no_room)?;
        while len > 0 {
            if self.cancel.is_set() {
                return Err(OpenError::Cancelled);
            }
            out.need(CHUNK_BYTES as u64).map_err(no_room)?;
            out.write(&chunk[..len]).map_err(no_scratch)?;
            self.progress.tell(done.get() as u64, file.len() as u64);
            len = fill(&mut *reader, &mut chunk).map_err(|why| failed(damaged(&why)))?;
        }
        let unpacked = out.finish().map_err(no_scratch)?;
        files::map_file(names, unpacked).map_err(no_scratch)
    }

    fn folder(&self) -> PathBuf {
        let usual = || USUAL_FOLDERS.iter().map(Path::new).find(|folder| folder.is_dir());
        self.folder.or_else(usual).unwrap_or(Path::new("/tmp")).to_owned()
    }
}

/// Reads until a chunk is full or nothing follows. A packed file that was cut off ends where it ends: what its dump
/// lacks is counted there.
fn fill(reader: &mut dyn Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < chunk.len() {
        match reader.read(&mut chunk[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(why) if why.kind() == ErrorKind::UnexpectedEof => break,
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(len)
}

/// Unpacks bytes, at most so many, and counts what comes out: for fuzzing. `None` where they are not packed.
pub fn count_unpacked(file: &[u8], most: u64) -> Option<u64> {
    let packing = Packing::of(file)?;
    packing.least_bytes(file);
    let done = Cell::new(0);
    let mut reader = packing.reader(Source::new(file, &done));
    let (mut chunk, mut bytes) = (vec![0; CHUNK_BYTES], 0);
    while bytes < most {
        match fill(&mut *reader, &mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(more) => bytes += more as u64,
        }
    }
    Some(bytes)
}

fn damaged(why: &io::Error) -> ElfError {
    ElfError::Damaged(format!("it cannot be unpacked ({why})"))
}

#[cfg(test)]
mod tests;
