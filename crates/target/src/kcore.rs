//! `/proc/kcore`: the running kernel's memory as a file.
//!
//! Danger: every read is a system call that walks the kernel's own list of areas, so
//! small reads are slow; since Linux commit 0daa322b8ff9 ("fs/proc/kcore: don't read
//! offline sections, logically offline pages and hwpoisoned pages") (v5.14) it skips
//! what must not be touched, before that the caller has to.
//!
//! Danger: the kernel copies each page through a buffer that belongs to the open file (`file->private_data`), under a
//! lock that readers share (`kclist_lock`). Two threads that read one open file get each other's pages. So a file is
//! read by one thread at a time, and there are several.
//!
//! **Invariant:** the direct map is read only where "System RAM" says there is some.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sysak_arch::x86_64::{DIRECT_MAP_ALIGNMENT, IMAGE_MAP};
use sysak_base::{Anchors, Fault, Memory, Va, Why};
use sysak_symbols::{Kallsyms, Vmcoreinfo};

use crate::elf::{self, Core, Segment};
use crate::in_turns::InTurns;
use crate::{OpenError, TargetMemory, anchors, live};

const PATH: &str = "/proc/kcore";
/// Headers and notes lie before the first page of memory.
const MOST_HEADER_BYTES: u64 = 1 << 20;

/// Opens the running kernel for so many threads; `given` is the file that the symbols come from, where it is not the
/// kernel's own.
pub fn open(
    symbols: &Kallsyms,
    given: Option<&Path>,
    threads: usize,
) -> Result<(TargetMemory, Anchors), OpenError> {
    let (kcore, core) = Kcore::open(threads)?;
    // Since Linux commit 23c85094fe18 ("proc/kcore: add vmcoreinfo note to /proc/kcore") (v4.19).
    let info = core.vmcoreinfo.and_then(|note| Vmcoreinfo::parse(&note).ok());
    if let (Some(info), Some(path)) = (&info, given)
        && !symbols.agrees_with(info)
    {
        return Err(OpenError::ForeignSymbols { path: path.to_owned() });
    }
    let word = |name: &str| kcore.read_u64(symbols.find(name)?).ok().map(Va);
    let by_sections = || anchors::vmemmap(&kcore, info.as_ref()?);
    let noted = || info.as_ref()?.find_symbol("swapper_pg_dir");
    let anchors = Anchors {
        page_offset: word("page_offset_base").or_else(|| kcore.find_page_offset()),
        vmemmap: word("vmemmap_base").or_else(by_sections).or_else(|| kcore.find_vmemmap()),
        per_cpu_offsets: anchors::per_cpu_offsets(&kcore, symbols, crate::live::possible_cpus()),
        page_table: symbols.find("init_top_pgt").or_else(noted),
        ..Anchors::default()
    };
    Ok((Box::new(kcore), anchors))
}

/// The running kernel's memory.
pub struct Kcore {
    files: InTurns<File>,
    segments: Vec<Segment>,
}

impl Kcore {
    /// Opens the file for so many threads, and reads its headers.
    pub fn open(threads: usize) -> Result<(Kcore, Core), OpenError> {
        let refused = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => OpenError::NoKcore,
            std::io::ErrorKind::PermissionDenied => {
                live::why_no_kcore(live::capabilities(), rustix::process::geteuid().is_root())
            }
            _ => OpenError::File { path: PATH.into(), why: source },
        };
        let file = File::open(PATH).map_err(refused)?;
        let mut head = Vec::new();
        // Reading on would go through all of memory: only as far as the headers reach.
        (&file).take(4096).read_to_end(&mut head).map_err(refused)?;
        // Containers put an empty file over it.
        if head.is_empty() {
            return Err(OpenError::NoKcore);
        }
        let need = elf_header_bytes(&head).min(MOST_HEADER_BYTES);
        if need > head.len() as u64 {
            head.resize(need as usize, 0);
            file.read_exact_at(&mut head, 0).map_err(refused)?;
        }
        let core =
            elf::parse(&head).map_err(|why| OpenError::NotACore { path: PATH.into(), why })?;
        let mut segments = core.segments.clone();
        segments.sort_by_key(|segment| segment.vaddr);
        let others = (1..threads).map_while(|_| File::open(PATH).ok());
        let files = InTurns::new(std::iter::once(file).chain(others));
        Ok((Kcore { files, segments }, core))
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
        above.next().map(|segment| Va(segment.vaddr & !(DIRECT_MAP_ALIGNMENT - 1)))
    }

    /// Where `va` lies in the file, and how many bytes from it on lie behind it.
    fn place(&self, va: u64) -> Option<(u64, u64)> {
        let next = self.segments.partition_point(|segment| segment.vaddr <= va);
        let segment = self.segments[..next].last()?;
        let inside = va - segment.vaddr;
        let rest = segment.bytes.checked_sub(inside).filter(|rest| *rest > 0)?;
        Some((segment.offset.checked_add(inside)?, rest))
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
    fn is_live(&self) -> bool {
        true
    }

    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = |why| Fault { at, why };
        let mut done = 0;
        // RAM that was plugged in later is an area of its own, right behind the one before.
        while done < buf.len() {
            let va = at.0.checked_add(done as u64).ok_or(fault(Why::Unmapped))?;
            let (offset, rest) = self.place(va).ok_or(fault(Why::Unmapped))?;
            let len = (buf.len() - done).min(usize::try_from(rest).unwrap_or(usize::MAX));
            let part = &mut buf[done..done + len];
            let read = self.files.with(|file| file.read_exact_at(part, offset));
            read.map_err(|_| fault(Why::Refused))?;
            done += len;
        }
        Ok(())
    }

    fn best_read_bytes(&self) -> usize {
        512 << 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kcore(segments: &[(u64, u64, u64, u64)]) -> Kcore {
        let segment = |&(vaddr, paddr, offset, bytes): &(u64, u64, u64, u64)| Segment {
            vaddr,
            paddr,
            offset,
            bytes,
            memory_bytes: bytes,
        };
        let file = File::open("/dev/zero").unwrap();
        let files = InTurns::new(std::iter::once(file));
        Kcore { files, segments: segments.iter().map(segment).collect() }
    }

    const NONE: u64 = u64::MAX;

    #[test]
    fn reads_cross_into_the_next_area_but_not_into_a_hole() {
        let kcore = kcore(&[(0x1000, 0, 0x10, 0x1000), (0x2000, 0x1000, 0x9000, 0x1000)]);
        assert_eq!(kcore.place(0x1fff), Some((0x100f, 1)));
        assert!(kcore.read(Va(0x1ff0), &mut [0; 0x20]).is_ok());
        assert_eq!(kcore.read(Va(0x2ff0), &mut [0; 0x20]).unwrap_err().why, Why::Unmapped);
        assert_eq!(kcore.read(Va(0xfff), &mut [0; 1]).unwrap_err().why, Why::Unmapped);
    }

    #[test]
    fn the_program_headers_tell_the_direct_map_and_struct_page() {
        let kcore = kcore(&[
            (0xffff_9cec_8000_1000, 0x1000, 0, 0x9e000),
            (0xffff_b844_4000_0000, NONE, 0, 0x1fff_ffff_ffff),
            (0xffff_d844_8000_0000, NONE, 0, 0x3000),
            (0xffff_d844_8000_4000, NONE, 0, 0x1ff_c000),
            (IMAGE_MAP, 0x5be0_0000, 0, 1 << 30),
        ]);
        assert_eq!(kcore.find_page_offset(), Some(Va(0xffff_9cec_8000_0000)));
        assert_eq!(kcore.find_vmemmap(), Some(Va(0xffff_d844_8000_0000)));
    }
}
