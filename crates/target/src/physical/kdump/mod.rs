//! The physical memory in makedumpfile's and QEMU's own format: pages packed one by one.
//!
//! A page is found by counting: the descriptors stand in the order of the pages that the bitmap has. Pages that were
//! unpacked last are kept, a bounded number of them.
//!
//! **Invariant:** a page that does not become exactly one page is missing, never zeroes.

mod cache;
mod codec;
mod header;
mod parts;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use sysak_arch::x86_64::MOST_PHYSICAL_BYTES;
use sysak_base::{PAGE_SIZE, Pa, PageState, PageStates, Pfn};

use super::bytes::FileBytes;
use super::{PhysicalPages, Replaced, Run};
use crate::OpenError;
use crate::elf::{self, Core, ElfError};
use cache::Cache;
use codec::Page;
use header::Header;
use parts::Part;

/// Bytes that a text is searched in at once.
const SEARCHED: usize = 1 << 20;
/// How files of this format begin.
const SIGNATURES: [&[u8]; 2] = [b"KDUMP   ", b"DISKDUMP"];
/// Bytes of a page descriptor: place, length, flags, and eight bytes that nobody uses.
const DESCRIPTOR_BYTES: u64 = 24;
/// The set bits before every so many bytes of the bitmap are counted once.
const COUNTED_BYTES: u64 = 512;
/// So many of the last pages are asked whether the file is whole: zero pages stand further ahead.
const ASKED: u64 = 1 << 12;

/// Whether a file is in this format.
pub(super) fn is_kdump(file: &[u8]) -> bool {
    SIGNATURES.iter().any(|signature| file.starts_with(signature))
}

/// A dump in this format.
pub(super) struct KdumpPages {
    /// Its files, ascending by the pages that they have: more than one of a split dump.
    parts: Vec<Part>,
    /// The same in all of them, like the bitmap.
    header: Header,
    /// By [`COUNTED_BYTES`] of the bitmap: pages before them.
    counts: Vec<u64>,
    /// All pages that the bitmap has, and those that are missing although it has them.
    counted: u64,
    lost_pages: u64,
    cache: Cache,
    /// By page: words that are read instead of the file's.
    replaced: BTreeMap<Pfn, Vec<(usize, u64)>>,
}

impl KdumpPages {
    /// Reads the headers and the bitmap of a dump in one file or in several, in any order.
    pub(super) fn open(files: Vec<(PathBuf, FileBytes)>) -> Result<(KdumpPages, Core), OpenError> {
        let parts = files.into_iter().map(|(path, file)| Part::open(path, file));
        let parts = parts::in_order(parts.collect::<Result<_, _>>()?)?;
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
        let (counts, replaced, counted) = (Vec::new(), BTreeMap::new(), 0);
        let cache = Cache::new();
        let mut pages =
            KdumpPages { parts, header, counts, counted, cache, replaced, lost_pages: 0 };
        pages.count();
        pages.lost_pages = pages.parts.iter().map(|part| pages.lost_pages_of(part)).sum();
        if pages.lost_pages > 0 && pages.lost_pages == pages.counted {
            let path = pages.parts[0].path.clone();
            return Err(OpenError::Truncated { path, missing: pages.lost_bytes() });
        }
        Ok((pages, core))
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

    /// Counts the pages that the file has.
    fn count(&mut self) {
        let mut pages = 0;
        for byte in (0..self.header.pages.div_ceil(8)).step_by(COUNTED_BYTES as usize) {
            self.counts.push(pages);
            pages += ones(&self.bits(&self.header.bitmap, byte, COUNTED_BYTES));
        }
        self.counted = pages;
        for number in 0..self.parts.len() {
            self.parts[number].before = self.pages_before(Pfn(self.parts[number].pages.start));
            self.parts[number].zeroes = self.zeroes_of(&self.parts[number]);
        }
    }

    /// How many pages a file has.
    fn pages_of(&self, part: &Part) -> u64 {
        self.pages_before(Pfn(part.pages.end)).saturating_sub(part.before)
    }

    /// Where a file has the contents of all its zero pages, if it has some: who writes it puts a page of zeroes behind
    /// the descriptors first, if any page is zero.
    fn zeroes_of(&self, part: &Part) -> Option<u64> {
        let descriptors = self.pages_of(part).saturating_mul(DESCRIPTOR_BYTES);
        let at = part.header.descriptors.checked_add(descriptors)?;
        let page = part.file.get(at, PAGE_SIZE as usize)?;
        page.iter().all(|byte| *byte == 0).then_some(at)
    }

    /// How many pages of a file are missing because it was cut off, or the disk was full.
    fn lost_pages_of(&self, part: &Part) -> u64 {
        let is_there = |number: u64| {
            let packed = self.descriptor_of(part, number);
            packed.is_some_and(|(at, bytes, _)| part.has(at, bytes))
        };
        let end = self.pages_of(part);
        let may_be_cut = part.header.is_incomplete || part.file.is_cut();
        // Pages stand in the file in the order of their numbers, but for pages of zeroes, which share one place.
        if !may_be_cut && (end.saturating_sub(ASKED)..end).all(is_there) {
            return 0;
        }
        let described = part.file.len().saturating_sub(part.header.descriptors) / DESCRIPTOR_BYTES;
        let described = end.min(described);
        end - described + (0..described).filter(|number| !is_there(*number)).count() as u64
    }

    /// Some bytes of a bitmap, as far as there are pages.
    fn bits(&self, bitmap: &Range<u64>, byte: u64, bytes: u64) -> Cow<'_, [u8]> {
        let bytes = bytes.min(self.header.pages.div_ceil(8).saturating_sub(byte));
        let bytes_of = self.parts[0].file.get(bitmap.start.saturating_add(byte), bytes as usize);
        bytes_of.unwrap_or_default()
    }

    /// The bits of the eight pages around one.
    fn eight(&self, bitmap: &Range<u64>, page: Pfn) -> u8 {
        self.bits(bitmap, page.0 / 8, 1).first().copied().unwrap_or(0)
    }

    fn has(&self, page: Pfn) -> bool {
        let bits = self.eight(&self.header.bitmap, page);
        page.0 < self.header.pages && bits >> (page.0 % 8) & 1 != 0
    }

    /// The state of a page that the bitmaps have room for.
    fn state_of(&self, page: Pfn) -> PageState {
        if !self.has(page) {
            let is_ram = self.eight(&self.header.ram, page) >> (page.0 % 8) & 1 != 0;
            return if is_ram { PageState::Excluded } else { PageState::Absent };
        }
        match self.descriptor(page) {
            Some((part, at, bytes, flags)) if part.has(at, bytes) => match (part.zeroes, flags) {
                (Some(zeroes), 0) if zeroes == at => PageState::Zero,
                _ => PageState::Present,
            },
            _ => PageState::Lost,
        }
    }

    /// The pages behind one that the dump has not, as far as whole bytes of both bitmaps say the same of them.
    fn skip_alike(&self, page: Pfn, state: PageState, end: Pfn) -> Pfn {
        let ram = if state == PageState::Excluded { 0xff } else { 0 };
        let mut next = page;
        let is_alike = |page| {
            self.eight(&self.header.bitmap, page) == 0 && self.eight(&self.header.ram, page) == ram
        };
        while next.0.is_multiple_of(8) && next.0 + 8 <= end.0 && is_alike(next) {
            next.0 += 8;
        }
        next
    }

    /// How many pages the dump has before one.
    fn pages_before(&self, page: Pfn) -> u64 {
        let byte = page.0 / 8;
        let counted = byte / COUNTED_BYTES;
        let first = counted * COUNTED_BYTES;
        let before = self.bits(&self.header.bitmap, first, byte - first);
        let below = self.eight(&self.header.bitmap, page) & ((1 << (page.0 % 8)) - 1);
        let known = self.counts.get(counted as usize).copied().unwrap_or(0);
        known + ones(&before) + u64::from(below.count_ones())
    }

    /// Place, length and flags of a file's page by its number among the pages that the file has.
    fn descriptor_of(&self, part: &Part, number: u64) -> Option<(u64, u32, u32)> {
        let at = part.header.descriptors.saturating_add(number.saturating_mul(DESCRIPTOR_BYTES));
        let raw = part.file.get(at, DESCRIPTOR_BYTES as usize)?;
        let number = |at: usize| raw.get(at..)?.first_chunk().map(|raw| u32::from_le_bytes(*raw));
        let at = u64::from_le_bytes(*raw.first_chunk()?);
        let (bytes, flags) = (number(8)?, number(12)?);
        (bytes <= codec::MOST_PACKED).then_some((at, bytes, flags))
    }

    /// The file that has a page.
    fn part(&self, page: Pfn) -> Option<&Part> {
        let next = self.parts.partition_point(|part| part.pages.start <= page.0);
        self.parts[..next].iter().rfind(|part| part.pages.contains(&page.0))
    }

    /// Place, length and flags of a page, and the file; `None` where none has it.
    fn descriptor(&self, page: Pfn) -> Option<(&Part, u64, u32, u32)> {
        let part = self.part(page).filter(|_| self.has(page))?;
        let number = self.pages_before(page).saturating_sub(part.before);
        let (at, bytes, flags) = self.descriptor_of(part, number)?;
        Some((part, at, bytes, flags))
    }

    /// Unpacks a page of the file.
    fn unpack(&self, page: Pfn, into: &mut Page) -> Option<()> {
        let (part, at, bytes, flags) = self.descriptor(page)?;
        codec::unpack(flags, &part.file.get(at, bytes as usize)?, into)?;
        for (place, word) in self.replaced.get(&page).into_iter().flatten() {
            into[*place..*place + 8].copy_from_slice(&word.to_le_bytes());
        }
        Some(())
    }
}

fn ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from(u64::from_le_bytes(*word).count_ones()));
    words.sum::<u64>() + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

impl PageStates for KdumpPages {
    fn state(&self, first: Pfn, end: Pfn) -> (PageState, Pfn) {
        let last = end.min(Pfn(self.header.pages));
        if first >= last {
            return (PageState::Absent, end);
        }
        let state = self.state_of(first);
        let mut next = Pfn(first.0 + 1);
        if matches!(state, PageState::Excluded | PageState::Absent) {
            next = self.skip_alike(next, state, last);
        }
        (state, next)
    }
}

impl PhysicalPages for KdumpPages {
    fn read_piece(&self, at: Pa, buf: &mut [u8]) -> usize {
        let from = (at.0 % PAGE_SIZE) as usize;
        let read = self.cache.with(
            at.pfn(),
            |page| self.unpack(at.pfn(), page),
            |page| {
                let bytes = &page[from..page.len().min(from + buf.len())];
                buf[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            },
        );
        read.unwrap_or(0)
    }

    fn borrow(&self, at: Pa) -> Option<&[u8]> {
        let (part, place, bytes, flags) = self.descriptor(at.pfn())?;
        if !codec::is_raw(flags, bytes) || self.replaced.contains_key(&at.pfn()) {
            return None;
        }
        part.file.lend(place, bytes as usize)?.get((at.0 % PAGE_SIZE) as usize..)
    }

    fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for page in (0..self.header.pages).map(Pfn).filter(|page| self.has(*page)) {
            match runs.last_mut().filter(|run| run.start.0 + run.bytes == page.pa().0) {
                Some(run) => run.bytes += PAGE_SIZE,
                None => runs.push(Run { start: page.pa(), bytes: PAGE_SIZE }),
            }
        }
        runs
    }

    fn end(&self) -> Pa {
        Pfn(self.header.pages).pa()
    }

    fn most_ram_bytes(&self) -> u64 {
        // The bitmap has a bit for each page.
        self.header.pages * PAGE_SIZE
    }

    fn find(&self, needle: &[u8], from: Pa) -> Option<Pa> {
        let mut window = Vec::new();
        for run in self.runs() {
            let start = run.start.0.max(from.0);
            let end = run.start.0 + run.bytes;
            // Pieces overlap by what a text across their border needs.
            for at in (start..end).step_by(SEARCHED) {
                let bytes = (end - at).min((SEARCHED + needle.len()) as u64) as usize;
                window.resize(bytes, 0);
                let read = self.read(Pa(at), &mut window);
                if let Some(found) = memchr::memmem::find(&window[..read], needle) {
                    return Some(Pa(at + found as u64));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
