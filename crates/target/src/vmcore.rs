//! A crash dump as memory: the file mapped, addresses translated.
//!
//! Danger: the dump may be forged or cut off; page tables come out of it.
//!
//! **Invariant:** a read yields bytes of the file or an error, never zeroes for what is missing.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use sysak_base::{Fault, Memory, PAGE_SIZE, Va, Why};

use crate::OpenError;
use crate::arch::x86_64::{IMAGE_MAP, IMAGE_MAP_END, PageTable};
use crate::elf::{self, Core, ElfError};

/// A mapped crash dump.
pub struct Vmcore {
    file: Mmap,
    /// Physical runs, ascending: start, bytes, offset in the file.
    runs: Vec<(u64, u64, u64)>,
    /// End of physical memory: with KASLR other mappings follow close behind the direct map.
    end: u64,
    /// Where the image was loaded, less where it is linked.
    pub(crate) phys_base: u64,
    pub(crate) page_table: Option<PageTable>,
    pub(crate) page_offset: Option<u64>,
}

impl Vmcore {
    /// Maps the file and checks that all of it is there.
    pub fn open(path: &Path) -> Result<(Vmcore, Core), OpenError> {
        let at = |source| OpenError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(at)?;
        let meta = file.metadata().map_err(at)?;
        if !meta.is_file() {
            return Err(OpenError::NotACore { path: path.to_owned(), why: ElfError::NotElf });
        }
        if meta.len() == 0 {
            return Err(OpenError::Truncated { path: path.to_owned(), missing: 0 });
        }
        // SAFETY: the mapping is read-only and private; a file that is cut off while it is
        // mapped ends the process with SIGBUS, which harms nothing but this diagnosis.
        let file = unsafe { Mmap::map(&file) }.map_err(at)?;
        let core =
            elf::parse(&file).map_err(|why| OpenError::NotACore { path: path.to_owned(), why })?;
        let end = core.segments.iter().map(|s| s.offset.saturating_add(s.bytes)).max();
        let missing = end.unwrap_or(0).saturating_sub(file.len() as u64);
        if missing > 0 {
            return Err(OpenError::Truncated { path: path.to_owned(), missing });
        }
        let mut runs: Vec<_> = core
            .segments
            .iter()
            .filter(|s| s.paddr != u64::MAX && s.paddr.checked_add(s.bytes).is_some())
            .map(|s| (s.paddr, s.bytes, s.offset))
            .collect();
        runs.sort_unstable();
        let end = runs.iter().map(|(start, bytes, _)| start + bytes).max().unwrap_or(0);
        let vmcore = Vmcore { file, runs, end, phys_base: 0, page_table: None, page_offset: None };
        Ok((vmcore, core))
    }

    /// The physical runs that the file holds, as start and length in bytes.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.runs.iter().map(|(start, bytes, _)| (*start, *bytes))
    }

    /// All bytes from a physical address to the end of its run.
    fn physical(&self, pa: u64) -> Option<&[u8]> {
        let next = self.runs.partition_point(|(start, ..)| *start <= pa);
        // kdump's file names the kernel's text twice: runs may overlap.
        let (start, bytes, offset) =
            self.runs[..next].iter().rev().take(4).find(|(start, bytes, _)| pa - start < *bytes)?;
        let inside = pa - start;
        self.file.get((offset + inside) as usize..(offset + bytes) as usize)
    }

    /// A little-endian word at a physical address.
    pub fn physical_word(&self, pa: u64) -> Option<u64> {
        let bytes = self.physical(pa)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// Finds bytes in all of RAM; the physical address of the first match.
    pub fn search(&self, needle: &[u8]) -> Option<(u64, &[u8])> {
        let finder = memchr::memmem::Finder::new(needle);
        self.runs.iter().find_map(|(start, bytes, offset)| {
            let run = self.file.get(*offset as usize..(offset + bytes) as usize)?;
            let at = finder.find(run)?;
            Some((start + at as u64, &run[at..]))
        })
    }

    /// The physical address of `va`, and for how many bytes that holds.
    fn translate(&self, va: u64) -> Option<(u64, u64)> {
        if let Some(base) = self.page_offset
            && let Some(pa) = va.checked_sub(base)
            && pa < self.end
        {
            return Some((pa, self.end - pa));
        }
        if (IMAGE_MAP..IMAGE_MAP_END).contains(&va) {
            let pa = (va - IMAGE_MAP).wrapping_add(self.phys_base);
            return Some((pa, IMAGE_MAP_END - va));
        }
        self.page_table.as_ref()?.translate(va, |pa| self.physical_word(pa))
    }

    /// The bytes from `va` on that lie together in the file.
    fn bytes_at(&self, va: u64) -> Result<&[u8], Why> {
        let (pa, alike) = self.translate(va).ok_or(Why::Unmapped)?;
        let bytes = self.physical(pa).ok_or(Why::Absent)?;
        Ok(&bytes[..bytes.len().min(alike as usize)])
    }
}

impl Memory for Vmcore {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < buf.len() {
            let va = at.0.wrapping_add(done as u64);
            let bytes = self.bytes_at(va).map_err(|why| Fault { at, why })?;
            let len = bytes.len().min(buf.len() - done);
            buf[done..done + len].copy_from_slice(&bytes[..len]);
            done += len;
        }
        Ok(())
    }

    fn view<'a>(&'a self, at: Va, len: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Fault> {
        if let Ok(bytes) = self.bytes_at(at.0)
            && let Some(bytes) = bytes.get(..len)
        {
            return Ok(bytes);
        }
        scratch.resize(len, 0);
        self.read(at, &mut scratch[..len])?;
        Ok(&scratch[..len])
    }

    fn best_read_bytes(&self) -> usize {
        (PAGE_SIZE as usize) << 10
    }
}
