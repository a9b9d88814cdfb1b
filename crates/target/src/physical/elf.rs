//! The physical memory in an ELF core file, flattened or not.
//!
//! Danger: the file may be forged or cut off.

use std::path::Path;

use super::bytes::FileBytes;
use super::pieces::{FilePages, Span};
use super::xen;
use crate::OpenError;
use crate::elf::{self, Core, Segment};

use sysak_base::Pa;

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
        && let Some(spans) = xen::spans(file.raw()).map_err(failed)?
    {
        return Ok((FilePages::new(path, file, spans, Pa(0))?, core));
    }
    let in_memory = || core.segments.iter().filter(|s| s.paddr != u64::MAX);
    let end = in_memory().map(|s| Pa(s.paddr.saturating_add(s.memory_bytes.max(s.bytes))));
    let end = end.max().unwrap_or(Pa(0));
    let span = |s: &Segment| Span { start: s.paddr, bytes: s.bytes, offset: s.offset };
    let pages = FilePages::new(path, file, in_memory().map(span).collect(), end)?;
    Ok((pages, core))
}
