//! The files of one dump: `makedumpfile --split` writes several.
//!
//! Each part has the headers and the bitmaps of the whole dump, and the descriptors of its own pages.
//!
//! **Invariant:** parts of different dumps are never read as one.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;

use sysak_base::numbers::{half, word};
use sysak_base::{PAGE_SIZE, PageState, Pfn};

use super::super::bytes::FileBytes;
use super::super::cache::Page;
use super::codec::{self, Unpacker};
use super::header::{self, Header};
use crate::OpenError;

/// Bytes of the bitmaps that are compared at once.
const COMPARED_BYTES: u64 = 1 << 20;
/// With the page of a file that is touched, the kernel maps those around it.
const TOUCHED_AROUND: u64 = 16 * PAGE_SIZE;
/// Bytes of a page descriptor: place, length, flags, and eight bytes that nobody uses.
pub(super) const DESCRIPTOR_BYTES: u64 = 24;
/// So many of the last pages are asked whether the file is whole: zero pages stand further ahead.
const ASKED: u64 = 1 << 12;
/// Stands in the cache for the pages of the first file that share the first place of the contents; those of the next
/// files come before it. No page of memory has such a number.
const SHARED: Pfn = Pfn(u64::MAX);

/// Where a page is in a file, and how it is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub at: u64,
    pub bytes: u32,
    pub flags: u32,
}

/// One file of a dump.
pub(super) struct Part {
    pub path: PathBuf,
    pub file: FileBytes,
    pub header: Header,
    /// The pages whose descriptors it has.
    pub pages: Range<u64>,
    /// The same pages by how many the dump has before each.
    pub places: Range<u64>,
    /// Where the first contents stand. Each part of a split dump leaves room for the descriptors of all pages of the
    /// dump, see `write_kdump_pages_and_bitmap_cyclic` in makedumpfile.
    first_contents: u64,
    /// What stands in the cache for the pages that share the first contents of the file.
    pub shared_as: Pfn,
    /// The descriptor of those pages, which is the same for all, and whether they are zero: makedumpfile and QEMU write
    /// a page of zeroes there. Known once one was asked for.
    shared: OnceLock<(Descriptor, bool)>,
}

impl Part {
    /// Reads the headers of a file.
    pub fn open(path: PathBuf, file: FileBytes) -> Result<Part, OpenError> {
        let header = match header::parse(&file) {
            Ok(header) => header,
            Err(why) => return Err(OpenError::NotACore { path, why }),
        };
        let pages = header.part.clone().unwrap_or(0..header.pages);
        let (places, first_contents, shared) = (0..0, 0, OnceLock::new());
        Ok(Part { path, file, header, pages, places, first_contents, shared_as: SHARED, shared })
    }

    /// Notes which file of the dump it is, the places of its pages, and how many pages the dump has.
    pub fn number(&mut self, number: u64, places: Range<u64>, pages_of_dump: u64) {
        self.places = places;
        self.first_contents = self.descriptor_at(pages_of_dump);
        self.shared_as = Pfn(SHARED.0 - number);
    }

    /// Where a descriptor is: they stand in the order of the pages that the file has.
    fn descriptor_at(&self, number: u64) -> u64 {
        self.header.descriptors.saturating_add(number.saturating_mul(DESCRIPTOR_BYTES))
    }

    /// The descriptor of a page by its place among those of the dump; `None` where it is damaged.
    pub fn descriptor(&self, place: u64) -> Option<Descriptor> {
        let number = place.saturating_sub(self.places.start);
        self.file.touch(DESCRIPTOR_BYTES);
        let raw = self.file.get(self.descriptor_at(number), DESCRIPTOR_BYTES as usize)?;
        let found = Descriptor { at: word(&raw, 0), bytes: half(&raw, 8), flags: half(&raw, 12) };
        (found.bytes <= codec::MOST_PACKED).then_some(found)
    }

    /// Unpacks a page.
    pub fn unpack(
        &self,
        found: Descriptor,
        unpacker: &mut Unpacker,
        into: &mut Page,
    ) -> Option<()> {
        self.file.touch(TOUCHED_AROUND);
        unpacker.unpack(found.flags, &self.file.get(found.at, found.bytes as usize)?, into)
    }

    /// Whether a page has the contents that come first in the file, and if so, whether they are zeroes.
    fn shared(&self, found: Descriptor) -> Option<bool> {
        if found.at != self.first_contents {
            return None;
        }
        let (first, is_zero) = self.shared.get_or_init(|| (found, self.is_zero(found)));
        (*first == found).then_some(*is_zero)
    }

    /// Whether a page has the contents that come first in the file.
    pub fn is_shared(&self, found: Descriptor) -> bool {
        self.shared(found).is_some()
    }

    /// Whether a page is nothing but zeroes.
    fn is_zero(&self, found: Descriptor) -> bool {
        let mut page = [0; PAGE_SIZE as usize];
        let unpacked = self.unpack(found, &mut Unpacker::default(), &mut page);
        unpacked.is_some() && page.iter().all(|byte| *byte == 0)
    }

    /// The state of a page by its place among those of the dump.
    pub fn state(&self, place: u64) -> PageState {
        match self.descriptor(place).filter(|found| self.has(*found)) {
            None => PageState::Lost,
            Some(found) if self.shared(found) == Some(true) => PageState::Zero,
            Some(_) => PageState::Present,
        }
    }

    /// How many pages are missing because the file was cut off, or the disk was full.
    pub fn lost_pages(&self) -> u64 {
        let is_there = |place: &u64| self.descriptor(*place).is_some_and(|found| self.has(found));
        let Range { start, end } = self.places;
        let may_be_cut = self.header.is_incomplete || self.file.is_cut();
        // Pages stand in the file in the order of their numbers, but for pages of zeroes, which share one place.
        let last = start.max(end.saturating_sub(ASKED))..end;
        if !may_be_cut && last.clone().all(|place| is_there(&place)) {
            return 0;
        }
        let described = self.file.len().saturating_sub(self.header.descriptors) / DESCRIPTOR_BYTES;
        let described = end.min(start.saturating_add(described));
        end - described + (start..described).filter(|place| !is_there(place)).count() as u64
    }

    /// Whether what a page's descriptor leads to is in the file.
    fn has(&self, found: Descriptor) -> bool {
        found.bytes > 0 && self.file.has(found.at, found.bytes.into())
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
            part.file.touch(bytes);
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
        if number > 0 && !part.is_of_one_dump_with(first) {
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
