//! The physical memory in makedumpfile's and QEMU's own format: pages packed one by one.
//!
//! A page is found by counting: the descriptors stand in the order of the pages that the bitmap has. Pages that were
//! unpacked last are kept, a bounded number of them.
//!
//! **Invariant:** a page that does not become exactly one page is missing, never zeroes.

mod codec;
mod facts;
mod header;
mod map;
mod parts;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use sysak_arch::x86_64::MOST_PHYSICAL_BYTES;
use sysak_base::{PAGE_SIZE, Pa, PageState, PageStates, Pfn};

use super::bytes::FileBytes;
use super::cache::{Cache, Page};
use super::facts::{FileFacts, FileFormat};
use super::{PhysicalPages, Replaced, Run, find_in_run};
use crate::OpenError;
use crate::elf::{self, Core, ElfError};
use codec::Unpacker;
use header::Header;
use map::PageMap;
use parts::{Descriptor, Part};

/// Pages that are kept: 92 MiB. What marking reads of a small machine fits, and the next pass unpacks nothing.
const KEPT_PAGES: u64 = 23 << 10;
/// How files of this format begin.
const SIGNATURES: [&[u8]; 2] = [b"KDUMP   ", b"DISKDUMP"];

/// Whether a file is in this format.
pub(super) fn is_kdump(file: &[u8]) -> bool {
    SIGNATURES.iter().any(|signature| file.starts_with(signature))
}

/// A dump in this format.
pub(super) struct KdumpPages {
    /// Its files, ascending by the pages that they have: more than one of a split dump.
    parts: Vec<Part>,
    /// The same in all of them, like the bitmaps.
    header: Header,
    map: PageMap,
    /// Pages that are missing although the bitmap has them.
    lost_pages: u64,
    /// Unpacked pages.
    cache: Cache<Unpacker>,
    /// By page: words that are read instead of the file's.
    replaced: BTreeMap<Pfn, Vec<(usize, u64)>>,
}

impl KdumpPages {
    /// Reads the headers and the bitmap of a dump in one file or in several, in any order.
    pub(super) fn open(files: Vec<(PathBuf, FileBytes)>) -> Result<(KdumpPages, Core), OpenError> {
        let parts = files.into_iter().map(|(path, file)| Part::open(path, file));
        let mut parts = parts::in_order(parts.collect::<Result<_, _>>()?)?;
        let first = &parts[0];
        let header = first.header.clone();
        if header.pages.saturating_mul(PAGE_SIZE) > MOST_PHYSICAL_BYTES {
            let why = ElfError::Damaged("it claims memory beyond 64 TiB".to_owned());
            return Err(OpenError::NotACore { path: first.path.clone(), why });
        }
        let mut core = Core::default();
        elf::read_note_bytes(&first.text(&header.notes), &mut core);
        let vmcoreinfo = Some(first.text(&header.vmcoreinfo)).filter(|text| !text.is_empty());
        core.vmcoreinfo = vmcoreinfo.or(core.vmcoreinfo);
        let map = PageMap::new(&first.file, &header);
        let bounds = |part: &Part| {
            let Range { start, end } = part.pages;
            [start, end].map(|page| map.pages_before(&first.file, Pfn(page)))
        };
        let bounds: Vec<_> = parts.iter().map(bounds).collect();
        for ((number, part), [start, end]) in (0..).zip(&mut parts).zip(bounds) {
            part.number(number, start..end, map.total());
        }
        let lost_pages = parts.iter().map(Part::lost_pages).sum();
        let (cache, replaced) = (Cache::of(KEPT_PAGES), BTreeMap::new());
        let pages = KdumpPages { parts, header, map, lost_pages, cache, replaced };
        if lost_pages > 0 && lost_pages == pages.map.total() {
            let path = pages.parts[0].path.clone();
            return Err(OpenError::Truncated { path, missing: pages.lost_bytes() });
        }
        Ok((pages, core))
    }

    /// The format of the files.
    pub(super) fn format(&self) -> FileFormat {
        FileFormat::Kdump { version: self.header.version }
    }

    /// How much memory the files were to have, and is missing because they were cut off.
    pub(super) fn lost_bytes(&self) -> u64 {
        self.lost_pages * PAGE_SIZE
    }

    /// Reads other words in some places from now on. The file stays as it is.
    pub(super) fn replace(&mut self, replaced: &[Replaced]) {
        for one in replaced.iter().filter(|one| one.at.0 % PAGE_SIZE <= PAGE_SIZE - 8) {
            let place = ((one.at.0 % PAGE_SIZE) as usize, one.word);
            self.replaced.entry(one.at.pfn()).or_default().push(place);
        }
    }

    /// The file with the bitmaps: all have them.
    fn mapped(&self) -> &FileBytes {
        &self.parts[0].file
    }

    /// The file that has a page.
    fn part(&self, page: Pfn) -> Option<&Part> {
        let next = self.parts.partition_point(|part| part.pages.start <= page.0);
        self.parts[..next].iter().rfind(|part| part.pages.contains(&page.0))
    }

    /// Where a page is; `None` where no file has it.
    fn find_page(&self, page: Pfn) -> Option<(&Part, Descriptor)> {
        let place = self.map.place(self.mapped(), page)?;
        let part = self.part(page)?;
        Some((part, part.descriptor(place)?))
    }

    /// Unpacks a page of a file.
    fn unpack(
        &self,
        page: Pfn,
        (part, found): (&Part, Descriptor),
        unpacker: &mut Unpacker,
        into: &mut Page,
    ) -> Option<()> {
        part.unpack(found, unpacker, into)?;
        for (place, word) in self.replaced.get(&page).into_iter().flatten() {
            into[*place..*place + 8].copy_from_slice(&word.to_le_bytes());
        }
        Some(())
    }

    /// Calls `read` with a page; `None` where no file has it whole.
    fn with_page<T>(&self, page: Pfn, mut read: impl FnMut(&Page) -> T) -> Option<T> {
        // Where it lies need not be known of a page that is kept.
        if let Some(read) = self.cache.kept(page, &mut read) {
            return Some(read);
        }
        let (part, found) = self.find_page(page)?;
        let is_shared = part.is_shared(found) && !self.replaced.contains_key(&page);
        let kept_as = if is_shared { part.shared_as } else { page };
        let unpack = |unpacker: &mut Unpacker, bytes: &mut Page| {
            self.unpack(page, (part, found), unpacker, bytes)
        };
        self.cache.with(kept_as, unpack, read)
    }

    /// Copies bytes of one page; 0 where the file does not have it.
    fn copy(&self, at: Pa, buf: &mut [u8]) -> usize {
        let from = (at.0 % PAGE_SIZE) as usize;
        let read = self.with_page(at.pfn(), |page| {
            let bytes = &page[from..page.len().min(from + buf.len())];
            buf[..bytes.len()].copy_from_slice(bytes);
            bytes.len()
        });
        read.unwrap_or(0)
    }
}

impl PageStates for KdumpPages {
    fn state(&self, first: Pfn, end: Pfn) -> (PageState, Pfn) {
        let last = end.min(Pfn(self.header.pages));
        if first >= last {
            return (PageState::Absent, end);
        }
        let Some(place) = self.map.place(self.mapped(), first) else {
            return self.map.missing(self.mapped(), first, last);
        };
        let Some(part) = self.part(first) else { return (PageState::Lost, Pfn(first.0 + 1)) };
        let state = part.state(place);
        let alike = |page: &u64| {
            self.map.has(self.mapped(), Pfn(*page)) && part.state(place + (page - first.0)) == state
        };
        let next = (first.0 + 1..last.0.min(part.pages.end)).find(|page| !alike(page));
        (state, next.map_or(last.min(Pfn(part.pages.end)), Pfn))
    }
}

impl PhysicalPages for KdumpPages {
    fn read_piece(&self, at: Pa, buf: &mut [u8]) -> usize {
        self.copy(at, buf)
    }

    fn borrow(&self, at: Pa) -> Option<&[u8]> {
        // Few pages are stored as they are where others are packed: they are copied, too.
        if self.header.is_packed {
            return None;
        }
        let (part, found) = self.find_page(at.pfn())?;
        if !codec::is_raw(found.flags, found.bytes) || self.replaced.contains_key(&at.pfn()) {
            return None;
        }
        part.file.lend(found.at, found.bytes as usize)?.get((at.0 % PAGE_SIZE) as usize..)
    }

    fn runs(&self) -> Vec<Run> {
        let runs = self.map.runs(self.mapped(), Pfn(0));
        runs.map(|run| Run { start: run.start.pa(), bytes: (run.end.0 - run.start.0) * PAGE_SIZE })
            .collect()
    }

    fn end(&self) -> Pa {
        Pfn(self.header.pages).pa()
    }

    fn most_ram_bytes(&self) -> u64 {
        // The bitmap has a bit for each page.
        self.header.pages * PAGE_SIZE
    }

    fn facts(&self) -> FileFacts {
        self.file_facts()
    }

    fn find(&self, needle: &[u8], from: Pa) -> Option<Pa> {
        let mut window = Vec::new();
        self.map.runs(self.mapped(), from.pfn()).find_map(|run| {
            let start = run.start.pa().max(from);
            find_in_run(needle, start..run.end.pa(), &mut window, |at, buf| self.read(at, buf))
        })
    }
}

#[cfg(test)]
mod tests;
