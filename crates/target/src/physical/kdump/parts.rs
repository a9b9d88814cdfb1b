//! The files of one dump: `makedumpfile --split` writes several.
//!
//! Each part has the headers and the bitmaps of the whole dump, and the descriptors of its own pages.
//!
//! **Invariant:** parts of different dumps are never read as one.

use std::ops::Range;
use std::path::PathBuf;

use super::super::bytes::FileBytes;
use super::header::{self, Header};
use crate::OpenError;

/// Bytes of the bitmaps that are compared at once.
const COMPARED_BYTES: u64 = 1 << 20;

/// One file of a dump.
pub(super) struct Part {
    pub path: PathBuf,
    pub file: FileBytes,
    pub header: Header,
    /// The pages whose descriptors it has.
    pub pages: Range<u64>,
    /// How many pages of the dump other files have before them.
    pub before: u64,
    /// Where the contents of all its zero pages are, if they share them.
    pub zeroes: Option<u64>,
}

impl Part {
    /// Reads the headers of a file.
    pub fn open(path: PathBuf, file: FileBytes) -> Result<Part, OpenError> {
        let header = match header::parse(&file) {
            Ok(header) => header,
            Err(why) => return Err(OpenError::NotACore { path, why }),
        };
        let pages = header.part.clone().unwrap_or(0..header.pages);
        Ok(Part { path, file, header, pages, before: 0, zeroes: None })
    }

    /// Whether what a page's descriptor leads to is in the file.
    pub fn has(&self, at: u64, bytes: u32) -> bool {
        bytes > 0 && self.file.has(at, bytes.into())
    }

    /// Text of VMCOREINFO, or the CPUs' notes.
    pub fn text(&self, range: &Range<u64>) -> Vec<u8> {
        let bytes = (range.end - range.start) as usize;
        self.file.get(range.start, bytes).unwrap_or_default().into_owned()
    }

    /// Whether two files are of one dump: the same machine, pages and VMCOREINFO, which tells the time of the crash.
    fn is_of_one_dump_with(&self, other: &Part) -> bool {
        let (mine, its) = (&self.header, &other.header);
        let bitmap = |part: &Part, at: u64| {
            let range = &part.header.bitmap;
            let bytes = COMPARED_BYTES.min(range.end - at);
            part.file.get(at, bytes as usize).map(|bytes| bytes.into_owned())
        };
        let mut bitmaps = mine.bitmap.clone().step_by(COMPARED_BYTES as usize);
        mine.pages == its.pages
            && mine.bitmap == its.bitmap
            && mine.part.is_some() == its.part.is_some()
            && self.file.get(0, header::SAME_BYTES) == other.file.get(0, header::SAME_BYTES)
            && self.text(&mine.vmcoreinfo) == other.text(&its.vmcoreinfo)
            && bitmaps.all(|at| bitmap(self, at) == bitmap(other, at))
    }
}

/// Puts the files of a dump in order, and checks that each is there once.
pub(super) fn in_order(mut parts: Vec<Part>) -> Result<Vec<Part>, OpenError> {
    parts.sort_by_key(|part| (part.pages.start, part.pages.end));
    let mut covered = 0;
    for (number, part) in parts.iter().enumerate() {
        let first = &parts[0];
        let previous = &parts[number.saturating_sub(1)];
        let (path, other) = (part.path.clone(), previous.path.clone());
        if !part.is_of_one_dump_with(first) {
            return Err(OpenError::NotOneDump { path, other: first.path.clone() });
        }
        if number > 0 && part.header.part.is_none() {
            return Err(OpenError::NotOneDump { path, other });
        }
        if part.pages.start < covered && !part.pages.is_empty() {
            return Err(OpenError::SamePart { path, other });
        }
        if part.pages.start > covered {
            return Err(missing(part, covered..part.pages.start));
        }
        covered = covered.max(part.pages.end);
    }
    match parts.last() {
        Some(last) if covered < last.header.pages => Err(missing(last, covered..last.header.pages)),
        _ => Ok(parts),
    }
}

/// Says which part is missing, by its pages.
fn missing(beside: &Part, pages: Range<u64>) -> OpenError {
    OpenError::MissingPart { path: beside.path.clone(), first: pages.start, last: pages.end - 1 }
}
