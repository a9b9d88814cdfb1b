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
use crate::elf::{self, Core, ElfError, Segment};

/// Memory ends here at the latest (`MAX_PHYSMEM_BITS` with four levels of page tables): what
/// is counted by page must not grow with a forged address.
const MOST_PHYSICAL: u64 = 1 << 46;

/// A run of physical memory in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    start: u64,
    bytes: u64,
    offset: u64,
}

/// A mapped crash dump.
pub struct Vmcore {
    file: Mmap,
    /// Ascending and disjoint.
    runs: Vec<Run>,
    /// End of physical memory: with KASLR other mappings follow close behind the direct map.
    end: u64,
    /// End of the mapping of the image: modules follow it, and they are not linear.
    pub(crate) image_end: u64,
    /// Where the image was loaded, less where it is linked.
    pub(crate) phys_base: u64,
    pub(crate) page_table: Option<PageTable>,
    pub(crate) page_offset: Option<u64>,
}

impl Vmcore {
    /// Maps the file and checks that all of it is there.
    pub fn open(path: &Path) -> Result<(Vmcore, Core), OpenError> {
        let at = |why| OpenError::File { path: path.to_owned(), why };
        // Asked before it is opened: a pipe would block.
        if !std::fs::metadata(path).map_err(at)?.is_file() {
            return Err(OpenError::NotACore { path: path.to_owned(), why: ElfError::NotElf });
        }
        let file = File::open(path).map_err(at)?;
        if file.metadata().map_err(at)?.len() == 0 {
            return Err(OpenError::Empty { path: path.to_owned() });
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
        let in_memory = || core.segments.iter().filter(|s| s.paddr != u64::MAX);
        let end = in_memory().map(|s| s.paddr.saturating_add(s.memory_bytes.max(s.bytes)));
        let end = end.max().unwrap_or(0);
        if end > MOST_PHYSICAL {
            let why = ElfError::Damaged("it claims memory beyond 64 TiB".to_owned());
            return Err(OpenError::NotACore { path: path.to_owned(), why });
        }
        let runs = disjoint(in_memory());
        let image_end = IMAGE_MAP_END;
        let (phys_base, page_table, page_offset) = (0, None, None);
        let vmcore = Vmcore { file, runs, end, image_end, phys_base, page_table, page_offset };
        Ok((vmcore, core))
    }

    /// The physical runs that the file holds, as start and length in bytes.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.runs.iter().map(|run| (run.start, run.bytes))
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file.len() as u64
    }

    /// End of physical memory, by the file.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// All bytes from a physical address to the end of its run.
    fn physical(&self, pa: u64) -> Option<&[u8]> {
        let next = self.runs.partition_point(|run| run.start <= pa);
        let run = self.runs[..next].last().filter(|run| pa - run.start < run.bytes)?;
        let inside = pa - run.start;
        self.file.get((run.offset + inside) as usize..(run.offset + run.bytes) as usize)
    }

    /// A little-endian word at a physical address.
    pub fn physical_word(&self, pa: u64) -> Option<u64> {
        let bytes = self.physical(pa)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// Finds bytes in all of RAM; what follows each match, to the end of its run.
    pub fn search<'a>(&'a self, needle: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.runs.iter().flat_map(move |run| {
            let bytes = self.file.get(run.offset as usize..(run.offset + run.bytes) as usize);
            let bytes = bytes.unwrap_or_default();
            memchr::memmem::find_iter(bytes, needle).map(move |at| &bytes[at..])
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
        if (IMAGE_MAP..self.image_end).contains(&va) {
            let pa = (va - IMAGE_MAP).wrapping_add(self.phys_base);
            return Some((pa, self.image_end - va));
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

/// Ascending runs, each byte of memory in one: kdump names the kernel's text twice, and
/// QEMU with `-p` every mapping of a page.
fn disjoint<'a>(segments: impl Iterator<Item = &'a Segment>) -> Vec<Run> {
    let mut runs: Vec<_> = segments
        .filter(|s| s.paddr.checked_add(s.bytes).is_some())
        .map(|s| Run { start: s.paddr, bytes: s.bytes, offset: s.offset })
        .collect();
    runs.sort_unstable_by_key(|run| (run.start, u64::MAX - run.bytes));
    let mut covered = 0;
    runs.retain_mut(|run| {
        let known = covered.max(run.start) - run.start;
        if known >= run.bytes {
            return false;
        }
        *run =
            Run { start: run.start + known, bytes: run.bytes - known, offset: run.offset + known };
        covered = run.start + run.bytes;
        true
    });
    runs
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
        if scratch.len() < len {
            scratch.resize(len, 0);
        }
        self.read(at, &mut scratch[..len])?;
        Ok(&scratch[..len])
    }

    fn best_read_bytes(&self) -> usize {
        (PAGE_SIZE as usize) << 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(paddr: u64, bytes: u64, offset: u64) -> Segment {
        Segment { vaddr: 0, paddr, offset, bytes, memory_bytes: bytes }
    }

    #[test]
    fn overlapping_segments_become_disjoint_runs() {
        let segments = [
            segment(0x2000, 0x1000, 0x9000),
            segment(0x1000, 0x4000, 0x100),
            segment(0x4000, 0x2000, 0xa000),
            segment(0x8000, 0, 0),
        ];
        let run = |start, bytes, offset| Run { start, bytes, offset };
        let expected = [run(0x1000, 0x4000, 0x100), run(0x5000, 0x1000, 0xb000)];
        assert_eq!(disjoint(segments.iter()), expected);
    }

    /// A dump of two runs, 0x1000..0x3000 and 0x3000..0x4000, in the wrong order in the file.
    fn dump(name: &str, cut: usize) -> Result<(Vmcore, Core), OpenError> {
        let mut file = vec![0; 64];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16] = 4;
        file[18] = 62;
        file[20] = 1;
        file[32] = 64;
        file[52] = 64;
        file[54] = 56;
        file[56] = 2;
        let runs =
            [[1, 0x2000, 0, 0x1000, 0x2000, 0x2000, 0], [1, 0x1000, 0, 0x3000, 0x1000, 0x1000, 0]];
        runs.as_flattened().iter().for_each(|word: &u64| file.extend(word.to_le_bytes()));
        file.resize(0x1000, 0);
        for page in [3, 1, 2] {
            file.extend([page; 0x1000]);
        }
        file.truncate(file.len() - cut);
        let path = std::env::temp_dir().join(format!("sysak-{name}-{}", std::process::id()));
        std::fs::write(&path, file).unwrap();
        let opened = Vmcore::open(&path);
        std::fs::remove_file(&path).unwrap();
        opened.map(|(mut vmcore, core)| {
            vmcore.page_offset = Some(0xffff_8880_0000_0000);
            (vmcore, core)
        })
    }

    #[test]
    fn reads_go_on_in_the_next_run_and_views_copy_only_there() {
        let (vmcore, _) = dump("runs", 0).unwrap();
        let at = |pa: u64| Va(0xffff_8880_0000_0000 + pa);
        let mut scratch = Vec::new();
        assert_eq!(vmcore.view(at(0x1800), 0x1000, &mut scratch).unwrap()[0x7ff..0x801], [1, 2]);
        assert!(scratch.is_empty(), "one run needs no copy");
        assert_eq!(vmcore.view(at(0x2fff), 2, &mut scratch), Ok(&[2, 3][..]));
        let absent = Fault { at: at(0xfff), why: Why::Absent };
        assert_eq!(vmcore.view(at(0xfff), 2, &mut scratch), Err(absent));
        assert_eq!(vmcore.read(at(0x3fff), &mut [0; 2]).unwrap_err().why, Why::Unmapped);
    }

    #[test]
    fn missing_bytes_are_counted() {
        let missing = dump("cut", 5).map(|_| ()).unwrap_err();
        assert!(matches!(missing, OpenError::Truncated { missing: 5, .. }), "{missing}");
    }
}
