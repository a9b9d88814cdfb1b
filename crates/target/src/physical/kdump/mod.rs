//! The physical memory in makedumpfile's and QEMU's own format: pages packed one by one.
//!
//! A page is found by counting: the descriptors stand in the order of the pages that the bitmap has. Pages that were
//! unpacked last are kept, a bounded number of them.
//!
//! **Invariant:** a page that does not become exactly one page is missing, never zeroes.

mod cache;
mod codec;
mod facts;
mod header;
mod map;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use sysak_arch::x86_64::MOST_PHYSICAL_BYTES;
use sysak_base::numbers::{half, word};
use sysak_base::{PAGE_SIZE, Pa, Pfn};

use super::bytes::{FileBytes, Raw};
use super::facts::FileFacts;
use super::{PhysicalPages, Replaced, Run};
use crate::OpenError;
use crate::elf::{self, Core, ElfError};
use cache::Cache;
use codec::{Page, Unpacker};
use header::Header;
use map::PageMap;

/// Bytes that a text is searched in at once.
const SEARCHED: usize = 1 << 20;
/// How files of this format begin.
const SIGNATURES: [&[u8]; 2] = [b"KDUMP   ", b"DISKDUMP"];
const SIGNATURE_BYTES: usize = 8;
/// Bytes of a page descriptor: place, length, flags, and eight bytes that nobody uses.
const DESCRIPTOR_BYTES: u64 = 24;
/// So many of the last pages are asked whether the file is whole: zero pages stand further ahead.
const ASKED: u64 = 1 << 12;
/// From so many bytes on, several threads read: they unpack some pages in turn.
const READ_TOGETHER: usize = 32 * PAGE_SIZE as usize;
const READ_IN_TURN: usize = 8 * PAGE_SIZE as usize;
/// More threads would take CPUs from those who need them.
const MOST_THREADS: usize = 4;
/// Stands in the cache for all pages that share the first place of the contents: makedumpfile and QEMU write a page of
/// zeros there.
const SHARED: Pfn = Pfn(u64::MAX);

/// Whether a file is in this format.
pub(super) fn is_kdump(file: &[u8]) -> bool {
    SIGNATURES.iter().any(|signature| file.starts_with(signature))
}

/// A dump in this format.
pub(super) struct KdumpPages {
    file: FileBytes,
    header: Header,
    map: PageMap,
    cache: Cache,
    /// Threads that read at once.
    threads: usize,
    /// By page: words that are read instead of the file's.
    replaced: BTreeMap<Pfn, Vec<(usize, u64)>>,
}

/// Where a page is in the file, and how it is packed.
#[derive(Clone, Copy)]
struct Descriptor {
    at: u64,
    bytes: u32,
    flags: u32,
}

impl KdumpPages {
    /// Reads the headers and the bitmap.
    ///
    /// Some words are read as others from now on; the file stays as it is.
    pub(super) fn open(
        path: &Path,
        file: Raw,
        replaced: &[Replaced],
    ) -> Result<(KdumpPages, Core), OpenError> {
        let no_core = |why| OpenError::NotACore { path: path.to_owned(), why };
        let damaged = |what: &str| no_core(ElfError::Damaged(what.to_owned()));
        let file = FileBytes::of(file).map_err(no_core)?;
        if !is_kdump(&file.get(0, SIGNATURE_BYTES).unwrap_or_default()) {
            return Err(no_core(ElfError::Flattened));
        }
        let header = header::parse(&file).map_err(no_core)?;
        if header.pages.saturating_mul(PAGE_SIZE) > MOST_PHYSICAL_BYTES {
            return Err(damaged("it claims memory beyond 64 TiB"));
        }
        let text = |range: &std::ops::Range<u64>| {
            file.get(range.start, (range.end - range.start) as usize).map(Cow::into_owned)
        };
        let mut core = Core::default();
        elf::read_note_bytes(&text(&header.notes).unwrap_or_default(), &mut core);
        let vmcoreinfo = text(&header.vmcoreinfo).filter(|text| !text.is_empty());
        core.vmcoreinfo = vmcoreinfo.or(core.vmcoreinfo);
        let map = PageMap::new(&file, header.bitmap.clone(), header.pages);
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
        let (cache, replaced) = (Cache::new(), by_page(replaced));
        let pages = KdumpPages { file, header, map, cache, threads, replaced };
        match pages.missing_bytes() {
            0 => Ok((pages, core)),
            missing => Err(OpenError::Truncated { path: path.to_owned(), missing }),
        }
    }

    /// How much of the file is missing, by its last pages.
    fn missing_bytes(&self) -> u64 {
        let total = self.map.total();
        let last = (total.saturating_sub(ASKED)..total).filter_map(|place| self.descriptor(place));
        let end = last.map(|one| one.at.saturating_add(one.bytes.into())).max().unwrap_or(0);
        end.max(self.descriptor_at(total)).saturating_sub(self.file.len())
    }

    /// Where a descriptor is: they stand in the order of the pages that the file has.
    fn descriptor_at(&self, place: u64) -> u64 {
        self.header.descriptors.saturating_add(place.saturating_mul(DESCRIPTOR_BYTES))
    }

    /// A descriptor; `None` where it is damaged.
    fn descriptor(&self, place: u64) -> Option<Descriptor> {
        let raw = self.file.get(self.descriptor_at(place), DESCRIPTOR_BYTES as usize)?;
        let found = Descriptor { at: word(&raw, 0), bytes: half(&raw, 8), flags: half(&raw, 12) };
        (found.bytes <= codec::MOST_PACKED).then_some(found)
    }

    /// Where a page is; `None` where the file does not have it.
    fn find_page(&self, page: Pfn) -> Option<Descriptor> {
        self.descriptor(self.map.place(&self.file, page)?)
    }

    /// Whether a page has the contents that come first in the file.
    fn is_shared(&self, found: Descriptor) -> bool {
        found.at == self.descriptor_at(self.map.total())
    }

    /// Unpacks a page of the file.
    fn unpack(
        &self,
        page: Pfn,
        found: Descriptor,
        unpacker: &mut Unpacker,
        into: &mut Page,
    ) -> Option<()> {
        unpacker.unpack(found.flags, &self.file.get(found.at, found.bytes as usize)?, into)?;
        for (place, word) in self.replaced.get(&page).into_iter().flatten() {
            into[*place..*place + 8].copy_from_slice(&word.to_le_bytes());
        }
        Some(())
    }

    /// Calls `read` with a page; `None` where the file does not have it whole.
    fn with_page<T>(&self, page: Pfn, read: impl FnOnce(&Page) -> T) -> Option<T> {
        let found = self.find_page(page)?;
        let is_shared = self.is_shared(found) && !self.replaced.contains_key(&page);
        let kept_as = if is_shared { SHARED } else { page };
        self.cache.with(kept_as, |unpacker, bytes| self.unpack(page, found, unpacker, bytes), read)
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

    /// Reads page by page, up to the first that is missing.
    fn read_in_turn(&self, at: Pa, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            match self.copy(Pa(at.0.wrapping_add(done as u64)), &mut buf[done..]) {
                0 => break,
                len => done += len,
            }
        }
        done
    }
}

/// By page: places in it, and the words that are read there. No word lies in two pages.
fn by_page(replaced: &[Replaced]) -> BTreeMap<Pfn, Vec<(usize, u64)>> {
    let mut pages: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for one in replaced.iter().filter(|one| one.at.0 % PAGE_SIZE <= PAGE_SIZE - 8) {
        pages.entry(one.at.pfn()).or_default().push(((one.at.0 % PAGE_SIZE) as usize, one.word));
    }
    pages
}

impl PhysicalPages for KdumpPages {
    fn read_piece(&self, at: Pa, buf: &mut [u8]) -> usize {
        self.copy(at, buf)
    }

    fn read(&self, at: Pa, buf: &mut [u8]) -> usize {
        if buf.len() < READ_TOGETHER {
            return self.read_in_turn(at, buf);
        }
        let end = AtomicUsize::new(buf.len());
        let pieces = Mutex::new((0..).step_by(READ_IN_TURN).zip(buf.chunks_mut(READ_IN_TURN)));
        let read_some = || loop {
            let next = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((start, piece)) = next else { break };
            if start > end.load(Ordering::Relaxed) {
                break;
            }
            let read = self.read_in_turn(Pa(at.0.wrapping_add(start as u64)), piece);
            if read < piece.len() {
                end.fetch_min(start + read, Ordering::Relaxed);
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.threads {
                // Where no thread can be started, the others read more.
                let _ = thread::Builder::new().spawn_scoped(scope, read_some);
            }
            read_some();
        });
        end.into_inner()
    }

    fn borrow(&self, at: Pa) -> Option<&[u8]> {
        let found = self.find_page(at.pfn())?;
        if !codec::is_raw(found.flags, found.bytes) || self.replaced.contains_key(&at.pfn()) {
            return None;
        }
        self.file.lend(found.at, found.bytes as usize)?.get((at.0 % PAGE_SIZE) as usize..)
    }

    fn runs(&self) -> Vec<Run> {
        let runs = self.map.runs(&self.file, Pfn(0));
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
        self.count_pages()
    }

    fn find(&self, needle: &[u8], from: Pa) -> Option<Pa> {
        let mut window = Vec::new();
        for run in self.map.runs(&self.file, from.pfn()) {
            let start = run.start.pa().0.max(from.0);
            let end = run.end.pa().0;
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
