//! The headers of makedumpfile's and QEMU's own format: where its bitmap, its page descriptors and its notes are.
//!
//! ```text
//! block 0                     header: signature, version, machine, sizes
//! block 1 …                   sub header: offsets of VMCOREINFO and of the CPUs' notes
//! block 1 + sub blocks …      two bitmaps of equal size: pages of RAM, pages that were dumped
//! behind the bitmaps          one descriptor of 24 bytes for each page that was dumped, then their contents
//! ```
//!
//! The file is hostile input. **Invariant:** what is returned lies within what the file can have: no count is believed
//! that is not backed by its bytes.

use std::ops::Range;

use crate::elf::ElfError;

use super::super::bytes::FileBytes;

/// Bytes of a page, and of a block on x86-64.
const BLOCK: u64 = 4096;
/// Bytes of the header and of the sub header that are read.
const HEADER_BYTES: usize = 464;
const SUB_BYTES: usize = 104;
/// Version, machine and time: the same in all parts of a split dump.
pub(super) const SAME_BYTES: usize = 424;
/// Notes larger than this are not a kernel's.
const MOST_NOTE_BYTES: u64 = 16 << 20;
/// `DUMP_DH_COMPRESSED_INCOMPLETE`: the disk was full.
const INCOMPLETE: u32 = 0x8;
/// The versions since which the sub header has these.
const WITH_SPLIT: u32 = 2;
const WITH_VMCOREINFO: u32 = 3;
const WITH_NOTES: u32 = 4;
const WITH_64_BITS: u32 = 6;
/// The highest version that is known.
const NEWEST: u32 = 6;

/// Where things are in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The bitmap of pages that are RAM.
    pub(super) ram: Range<u64>,
    /// The bitmap of pages that were dumped.
    pub(super) bitmap: Range<u64>,
    /// The first page descriptor.
    pub(super) descriptors: u64,
    /// The number of pages that the bitmap is for.
    pub(super) pages: u64,
    /// The pages that one part of a split dump has; none where the dump is one file.
    pub(super) part: Option<Range<u64>>,
    /// Whether the disk was full when it was written.
    pub(super) is_incomplete: bool,
    /// Text of VMCOREINFO, and the CPUs' notes.
    pub(super) vmcoreinfo: Range<u64>,
    pub(super) notes: Range<u64>,
}

/// Parses the headers.
pub(crate) fn parse(file: &FileBytes) -> Result<Header, ElfError> {
    let damaged = |what: &str| ElfError::Damaged(what.to_owned());
    let cut = || damaged("its header is incomplete");
    let header = file.get(0, HEADER_BYTES).ok_or_else(cut)?;
    let number = |at: usize| u32_at(&header, at);
    let machine = String::from_utf8_lossy(&header[272..337]);
    let machine = machine.split('\0').next().unwrap_or_default();
    if !machine.is_empty() && machine != "x86_64" && machine != "Unknown" {
        return Err(ElfError::WrongArchitecture(machine.chars().take(32).collect()));
    }
    let version = number(8);
    if !(1..=NEWEST).contains(&version) {
        return Err(damaged("the version of its header is not known"));
    }
    if u64::from(number(428)) != BLOCK {
        return Err(damaged("its blocks are not of 4,096 bytes"));
    }
    let (sub_blocks, bitmap_blocks) = (u64::from(number(432)), u64::from(number(436)));
    let bitmaps = (1 + sub_blocks) * BLOCK;
    let half = bitmap_blocks / 2 * BLOCK;
    let (ram, bitmap) = (bitmaps..bitmaps + half, bitmaps + half..bitmaps + 2 * half);
    if bitmap.end > file.len() {
        return Err(damaged("its bitmap of pages is incomplete"));
    }
    let sub = match sub_blocks {
        0 => vec![0; SUB_BYTES].into(),
        _ => file.get(BLOCK, SUB_BYTES).ok_or_else(cut)?,
    };
    let word = |at: usize| u64_at(&sub, at);
    let most = if version >= WITH_64_BITS { word(96) } else { u64::from(number(440)) };
    let pages = most.min(half * 8);
    let bounds = if version >= WITH_64_BITS { (80, 88) } else { (16, 24) };
    let part = || word(bounds.0).min(pages)..word(bounds.1).min(pages);
    let is_split = version >= WITH_SPLIT && u32_at(&sub, 12) != 0;
    let range = |since: u32, at: usize| {
        let (start, bytes) = (word(at), word(at + 8));
        let is_sane = version >= since && start > 0 && bytes <= MOST_NOTE_BYTES;
        if is_sane { start..start.saturating_add(bytes) } else { 0..0 }
    };
    Ok(Header {
        descriptors: bitmaps + bitmap_blocks * BLOCK,
        ram,
        bitmap,
        pages,
        is_incomplete: number(424) & INCOMPLETE != 0,
        part: is_split.then(part),
        vmcoreinfo: range(WITH_VMCOREINFO, 32),
        notes: range(WITH_NOTES, 48),
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |raw| u32::from_le_bytes(*raw))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |raw| u64::from_le_bytes(*raw))
}
