//! The physical memory in an ELF core file, flattened or not.
//!
//! Danger: the file may be forged or cut off.

use std::path::Path;

use super::bytes::FileBytes;
use super::facts::FileFormat;
use super::pieces::{FilePages, Span};
use super::xen;
use crate::OpenError;
use crate::elf::{self, Core, Segment};

/// How an ELF file begins.
pub(super) const START: &[u8] = b"\x7fELF";
/// Headers and notes of a flattened file lie in so many of its first bytes.
const HEAD_BYTES: u64 = 32 << 20;

/// Reads the headers; the memory stays in the file.
pub(super) fn open(path: &Path, file: FileBytes) -> Result<(FilePages, Core), OpenError> {
    let core = elf::parse(&file.head(HEAD_BYTES));
    let failed = |why| OpenError::NotACore { path: path.to_owned(), why };
    let core = core.map_err(failed)?;
    if core.segments.is_empty()
        && let Some(whole) = file.raw().whole()
        && let Some(spans) = xen::spans(whole).map_err(failed)?
    {
        return Ok((FilePages::new(path, FileFormat::Xen, file, spans, Vec::new())?, core));
    }
    let in_memory = || core.segments.iter().filter(|s| s.paddr != u64::MAX);
    let span = |s: &Segment, bytes| Span { start: s.paddr, bytes, offset: s.offset };
    let stored = in_memory().map(|s| span(s, s.bytes)).collect();
    let memory = in_memory().map(|s| span(s, s.memory_bytes.max(s.bytes))).collect();
    let pages = FilePages::new(path, FileFormat::Elf, file, stored, memory)?;
    Ok((pages, core))
}
