//! Cuts a crash dump to what reports need, so that it can be kept as a fixture:
//! `cargo run --release --example cut -- VMCORE OUT`, and OUT is then compressed.
//!
//! Zeroes take the place of pages that are free, belong to programs and files or are no RAM, of an
//! index that only the kernel itself reads, and of the kernel's text except functions that call
//! an allocator with a small constant size. All addresses stay, and so does what is reported.

mod dump;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sysak_base::{Cancel, PAGE_SIZE, Pfn, Va};
use sysak_kernel::Kernel;
use sysak_kernel::page::{self, Owner};
use sysak_target::Target;
use sysak_target::elf::{self, Segment};

/// Calls that ask for more make none of the objects that the fixture's modules lose.
const LARGEST_LOST: u64 = 64;

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from);
    let vmcore = words.next().context("which crash dump?")?;
    let out = words.next().context("where does the cut one go?")?;
    let target = dump::open(&vmcore)?;
    let kernel =
        Kernel::new(target.memory.as_ref(), &target.anchors, &target.types, &target.symbols)?;
    let mut dump = std::fs::read(&vmcore).context("cannot read the dump")?;
    let segments = elf::parse(&dump)?.segments;
    let mut cut = Cut { dump: &mut dump, segments, zeroed_bytes: 0 };
    pages(&kernel, &mut cut);
    text(&target, &kernel, &mut cut)?;
    index_of_names(&target, &mut cut)?;
    println!("{} KiB zeroed", cut.zeroed_bytes >> 10);
    write_sparse(&out, &dump).with_context(|| format!("cannot write {}", out.display()))
}

/// The dump that is being cut.
struct Cut<'d> {
    dump: &'d mut [u8],
    segments: Vec<Segment>,
    zeroed_bytes: u64,
}

impl Cut<'_> {
    /// Zeroes physical memory that lies in one segment.
    fn zero(&mut self, start: u64, bytes: u64) {
        let holds = |one: &&Segment| {
            one.paddr <= start && start.saturating_add(bytes) <= one.paddr + one.bytes
        };
        if let Some(segment) = self.segments.iter().find(holds) {
            let from = (segment.offset + start - segment.paddr) as usize;
            self.dump[from..from + bytes as usize].fill(0);
            self.zeroed_bytes += bytes;
        }
    }
}

/// Pages that no report reads: free ones, those of programs and files, and firmware.
fn pages(kernel: &Kernel<'_>, cut: &mut Cut<'_>) {
    let frames = |one: &Segment| one.paddr / PAGE_SIZE..(one.paddr + one.bytes) / PAGE_SIZE;
    let all: Vec<u64> = cut.segments.iter().flat_map(frames).collect();
    for pfn in all.into_iter().map(Pfn) {
        let owner = page::owner_of(kernel, pfn);
        if matches!(owner, None | Some(Owner::Free | Owner::Anon | Owner::File | Owner::Shmem)) {
            cut.zero(pfn.pa().0, PAGE_SIZE);
        }
    }
}

/// Functions of the kernel's image that make no small object; modules keep their text.
fn text(target: &Target, kernel: &Kernel<'_>, cut: &mut Cut<'_>) -> Result<()> {
    let (start, end) = (symbol(target, "_stext")?, symbol(target, "_etext")?);
    let sites = sysak_callsites::find(kernel.readers, kernel.symbols, &Cancel::default());
    let is_small = |size: Option<u64>| size.is_some_and(|size| size <= LARGEST_LOST);
    let mut kept: Vec<(Va, Va)> = sites
        .list
        .iter()
        .filter(|site| is_small(site.size) && (start..end).contains(&site.function))
        .filter_map(|site| {
            let bytes = target.symbols.symbolize(site.function)?.size?;
            Some((site.function, site.function.at(bytes)))
        })
        .collect();
    kept.sort_unstable();
    kept.push((end, end));
    let mut at = start;
    for (from, to) in kept {
        if at < from {
            cut.zero(physical(target, at)?, from.0 - at.0);
        }
        at = at.max(to);
    }
    Ok(())
}

/// The kernel's own index from names to symbols: as random as it is large.
fn index_of_names(target: &Target, cut: &mut Cut<'_>) -> Result<()> {
    const INDEX_BYTES: u64 = 3;
    let index = physical(target, symbol(target, "kallsyms_seqs_of_names")?)?;
    let many = target.memory.as_ref().read_u32(symbol(target, "kallsyms_num_syms")?)?;
    cut.zero(index, u64::from(many) * INDEX_BYTES);
    Ok(())
}

fn symbol(target: &Target, name: &str) -> Result<Va> {
    target.symbols.find(name).with_context(|| format!("no symbol {name}"))
}

/// Where an address of the kernel's image lies in RAM.
fn physical(target: &Target, va: Va) -> Result<u64> {
    let image = target.anchors.image.first().context("the image lies nowhere")?;
    Ok(va.0 - symbol(target, "_text")?.0 + image.start.pa().0)
}

/// Leaves holes in the file where a page is all zeroes.
fn write_sparse(out: &Path, dump: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(out)?;
    for page in dump.chunks(PAGE_SIZE as usize) {
        match page.iter().all(|byte| *byte == 0) {
            true => file.seek(SeekFrom::Current(page.len() as i64)).map(drop)?,
            false => file.write_all(page)?,
        }
    }
    file.set_len(dump.len() as u64)
}
