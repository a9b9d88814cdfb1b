//! Writes a dump in makedumpfile's format, page by page.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compress, Compression, FlushCompress, Status};
use sysak_base::numbers::{half, word};
use sysak_base::{PAGE_SIZE, PfnRange};

use crate::machine::Further;

/// Bytes of a page descriptor, and its flag for zlib.
const DESCRIPTOR_BYTES: u64 = 24;
const ZLIB: u32 = 1;
/// Zeroes and memory of programs are left out.
const FILTER_LEVEL: u32 = 9;
/// Pages that a block of the bitmap is for.
const BLOCK_BITS: u64 = 8 * PAGE_SIZE;
/// Type of the notes among an ELF file's segments.
const PT_NOTE: u32 = 4;

/// A dump that is being written.
pub struct DumpFile {
    descriptors: BufWriter<File>,
    contents: BufWriter<File>,
    /// Where the next page's contents stand.
    next: u64,
    /// Where the page of zeroes stands.
    zeroes: u64,
}

impl DumpFile {
    /// Writes all that comes before the descriptors. The bitmaps are holes of the file where no memory is.
    pub fn create(
        path: &Path,
        guest: &[PfnRange],
        further: &Further,
        notes: &[u8],
    ) -> Result<DumpFile> {
        let pages = further.ram.end.0;
        let bitmap_blocks = pages.div_ceil(8).div_ceil(PAGE_SIZE);
        let mut file = File::create(path)?;
        let mut header = vec![0; 2 * PAGE_SIZE as usize];
        let mut put = |at: u64, bytes: &[u8]| {
            header[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        };
        let note_blocks = (notes.len() as u64).div_ceil(PAGE_SIZE);
        put(0, b"KDUMP   ");
        put(272, b"x86_64");
        let numbers = [
            (8, 6),
            (428, PAGE_SIZE as u32),
            (432, 1 + note_blocks as u32),
            (436, 2 * bitmap_blocks as u32),
            (440, u32::try_from(pages).unwrap_or(u32::MAX)),
            (PAGE_SIZE + 8, FILTER_LEVEL),
        ];
        numbers.iter().for_each(|(at, number)| put(*at, &number.to_le_bytes()));
        let words = [(48, 2 * PAGE_SIZE), (56, notes.len() as u64), (96, pages)];
        words.iter().for_each(|(at, word)| put(PAGE_SIZE + at, &word.to_le_bytes()));
        file.write_all(&header)?;
        file.write_all(notes)?;

        let bitmap = (2 + note_blocks) * PAGE_SIZE;
        let dumped = bitmap + bitmap_blocks * PAGE_SIZE;
        let descriptors = dumped + bitmap_blocks * PAGE_SIZE;
        let of_guest = || guest.iter().flat_map(|run| run.start.0..run.end.0);
        set_bits(&file, bitmap, of_guest())?;
        set_bits(&file, dumped, of_guest())?;
        set_bits(&file, bitmap, further.ram.start.0..pages)?;
        set_bits(&file, dumped, further.dumped())?;

        let count = (of_guest().count() + further.dumped().count()) as u64;
        let zeroes = descriptors + count * DESCRIPTOR_BYTES;
        let mut contents =
            BufWriter::with_capacity(1 << 20, File::options().write(true).open(path)?);
        contents.seek(SeekFrom::Start(zeroes))?;
        contents.write_all(&[0; PAGE_SIZE as usize])?;
        file.seek(SeekFrom::Start(descriptors))?;
        let descriptors = BufWriter::with_capacity(1 << 20, file);
        Ok(DumpFile { descriptors, contents, next: zeroes + PAGE_SIZE, zeroes })
    }

    /// Adds the next page.
    pub fn add(&mut self, page: &[u8; PAGE_SIZE as usize]) -> Result<()> {
        match page.iter().all(|byte| *byte == 0) {
            true => self.describe(self.zeroes, PAGE_SIZE as u32, 0),
            false => self.add_packed(&pack(page)?),
        }
    }

    /// Adds the next page, which is packed already.
    pub fn add_packed(&mut self, packed: &[u8]) -> Result<()> {
        let flags = if packed.len() as u64 == PAGE_SIZE { 0 } else { ZLIB };
        self.describe(self.next, packed.len() as u32, flags)?;
        self.contents.write_all(packed)?;
        self.next += packed.len() as u64;
        Ok(())
    }

    fn describe(&mut self, at: u64, bytes: u32, flags: u32) -> Result<()> {
        self.descriptors.write_all(&at.to_le_bytes())?;
        self.descriptors.write_all(&bytes.to_le_bytes())?;
        self.descriptors.write_all(&flags.to_le_bytes())?;
        Ok(self.descriptors.write_all(&[0; 8])?)
    }

    pub fn finish(mut self) -> Result<()> {
        self.descriptors.flush()?;
        Ok(self.contents.flush()?)
    }
}

/// Sets the bits of some pages, ascending, in a bitmap that begins at a place of the file.
fn set_bits(file: &File, bitmap: u64, pages: impl Iterator<Item = u64>) -> Result<()> {
    let mut pages = pages.peekable();
    while let Some(first) = pages.peek().map(|page| page / BLOCK_BITS) {
        let mut block = [0u8; PAGE_SIZE as usize];
        while let Some(page) = pages.next_if(|page| page / BLOCK_BITS == first) {
            block[(page % BLOCK_BITS / 8) as usize] |= 1 << (page % 8);
        }
        file.write_all_at(&block, bitmap + first * PAGE_SIZE)?;
    }
    Ok(())
}

/// A page as makedumpfile packs it; a page that does not get smaller stays as it is.
pub fn pack(page: &[u8; PAGE_SIZE as usize]) -> Result<Vec<u8>> {
    let mut packed = vec![0; PAGE_SIZE as usize];
    let mut packer = Compress::new(Compression::fast(), true);
    let status = packer.compress(page, &mut packed, FlushCompress::Finish)?;
    match packer.total_out() {
        bytes if status == Status::StreamEnd && bytes < PAGE_SIZE => {
            packed.truncate(bytes as usize)
        }
        _ => packed.copy_from_slice(page),
    }
    Ok(packed)
}

/// The notes of an ELF file: VMCOREINFO, and the registers.
pub fn notes(vmcore: &Path) -> Result<Vec<u8>> {
    let file = File::open(vmcore)?;
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).context("not an ELF file")?;
    let (table, bytes, count) =
        (word(&header, 32), half(&header, 54) & 0xffff, half(&header, 56) & 0xffff);
    let mut notes = Vec::new();
    for number in 0..u64::from(count) {
        let mut segment = [0; 56];
        file.read_exact_at(&mut segment, table + number * u64::from(bytes))?;
        if half(&segment, 0) == PT_NOTE {
            let (at, bytes) = (word(&segment, 8), word(&segment, 32));
            anyhow::ensure!(bytes <= fs::metadata(vmcore)?.len(), "the notes are cut off");
            let start = notes.len();
            notes.resize(start + bytes as usize, 0);
            file.read_exact_at(&mut notes[start..], at)?;
        }
    }
    Ok(notes)
}
