//! `/proc/kcore`: the running kernel's memory as a file.
//!
//! Danger: every read is a system call that walks the kernel's own list of areas, so
//! small reads are slow; since Linux commit 0daa322b8ff9 ("fs/proc/kcore: don't read
//! offline sections, logically offline pages and hwpoisoned pages") (v5.14) it skips
//! what must not be touched, before that the caller has to.
//!
//! **Invariant:** the direct map is read only where "System RAM" says there is some.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use sysak_base::{Fault, Memory, Va, Why};

use crate::OpenError;
use crate::arch::x86_64::IMAGE_MAP;
use crate::elf::{self, Core, Segment};

const PATH: &str = "/proc/kcore";
/// Headers and notes lie before the first page of memory.
const MOST_HEADER_BYTES: u64 = 1 << 20;
/// A machine with all of its memory in one piece has two areas of a GiB and more.
const GIB: u64 = 1 << 30;

/// The running kernel's memory.
pub struct Kcore {
    file: File,
    segments: Vec<Segment>,
}

impl Kcore {
    /// Opens the file and reads its headers.
    pub fn open() -> Result<(Kcore, Core), OpenError> {
        let refused = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => OpenError::NoKcore,
            std::io::ErrorKind::PermissionDenied => OpenError::KcoreRefused,
            _ => OpenError::File { path: PATH.into(), source },
        };
        let file = File::open(PATH).map_err(refused)?;
        let mut head = Vec::new();
        // Reading on would go through all of memory: only as far as the headers reach.
        (&file).take(4096).read_to_end(&mut head).map_err(refused)?;
        let need = elf_header_bytes(&head).min(MOST_HEADER_BYTES);
        if need > head.len() as u64 {
            head.resize(need as usize, 0);
            file.read_exact_at(&mut head, 0).map_err(refused)?;
        }
        let core =
            elf::parse(&head).map_err(|why| OpenError::NotACore { path: PATH.into(), why })?;
        let mut segments = core.segments.clone();
        segments.sort_by_key(|segment| segment.vaddr);
        Ok((Kcore { file, segments }, core))
    }

    /// Where the direct map starts, from the areas that have physical addresses.
    pub fn find_page_offset(&self) -> Option<Va> {
        let has_pa = |s: &&Segment| s.paddr != u64::MAX && s.vaddr < IMAGE_MAP;
        let area = self.segments.iter().find(has_pa)?;
        area.vaddr.checked_sub(area.paddr).map(Va)
    }

    /// Where the array of `struct page` starts: the first area above vmalloc that is no
    /// RAM begins with the first pages, and the array starts at a GiB.
    pub fn find_vmemmap(&self) -> Option<Va> {
        let vmalloc = self.segments.iter().filter(|s| s.paddr == u64::MAX);
        let vmalloc = vmalloc.max_by_key(|segment| segment.bytes)?;
        let mut above = self
            .segments
            .iter()
            .filter(|s| s.paddr == u64::MAX && s.vaddr > vmalloc.vaddr && s.vaddr < IMAGE_MAP);
        above.next().map(|segment| Va(segment.vaddr & !(GIB - 1)))
    }

    fn offset_of(&self, va: u64, len: usize) -> Option<u64> {
        let next = self.segments.partition_point(|segment| segment.vaddr <= va);
        let segment = self.segments[..next].last()?;
        let inside = va - segment.vaddr;
        let end = inside.checked_add(len as u64)?;
        (end <= segment.bytes).then(|| segment.offset.checked_add(inside)).flatten()
    }
}

/// How far program headers and notes reach.
fn elf_header_bytes(head: &[u8]) -> u64 {
    let word = |at: usize| {
        let bytes = head.get(at..at + 8).unwrap_or(&[0; 8]);
        bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte))
    };
    let half = |at: usize| word(at) & 0xffff;
    let table = word(32).saturating_add(half(54) * half(56));
    // The note segment is the first one.
    let note = word(64 + 8).saturating_add(word(64 + 32));
    table.max(note)
}

impl Memory for Kcore {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let offset = self.offset_of(at.0, buf.len()).ok_or(Fault { at, why: Why::Unmapped })?;
        self.file.read_exact_at(buf, offset).map_err(|_| Fault { at, why: Why::Refused })
    }

    fn best_read_bytes(&self) -> usize {
        512 << 10
    }
}
