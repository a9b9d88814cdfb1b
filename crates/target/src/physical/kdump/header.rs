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

use sysak_base::numbers::{half, word};

use super::codec;
use crate::elf::ElfError;
use crate::physical::bytes::FileBytes;
use crate::physical::facts::{Packing, Uname};

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
    /// Whether the dump says that its pages are packed.
    pub(super) is_packed: bool,
    /// Text of VMCOREINFO, and the CPUs' notes.
    pub(super) vmcoreinfo: Range<u64>,
    pub(super) notes: Range<u64>,
    /// Version of the header.
    pub(super) version: u32,
    /// Which pages makedumpfile left out.
    pub(super) filter_level: u32,
    /// When the file was written, in seconds since 1970.
    pub(super) written_s: Option<u64>,
    /// How many CPUs the machine has.
    pub(super) cpus: Option<u32>,
    pub(super) uname: Uname,
}

/// Parses the headers.
pub(crate) fn parse(file: &FileBytes) -> Result<Header, ElfError> {
    let damaged = |what: &str| ElfError::Damaged(what.to_owned());
    let cut = || damaged("its header is incomplete");
    let header = file.get(0, HEADER_BYTES).ok_or_else(cut)?;
    let number = |at: u64| half(&header, at);
    let uname = uname(&header);
    if let Some(machine) = uname.machine.as_deref().filter(|machine| *machine != "x86_64") {
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
    let bitmap_bytes = bitmap_blocks / 2 * BLOCK;
    let ram = bitmaps..bitmaps + bitmap_bytes;
    let bitmap = ram.end..ram.end + bitmap_bytes;
    if bitmap.end > file.len() {
        return Err(damaged("its bitmap of pages is incomplete"));
    }
    let sub = match sub_blocks {
        0 => vec![0; SUB_BYTES].into(),
        _ => file.get(BLOCK, SUB_BYTES).ok_or_else(cut)?,
    };
    let most = if version >= WITH_64_BITS { word(&sub, 96) } else { number(440).into() };
    let pages = most.min(bitmap_bytes * 8);
    let bounds = if version >= WITH_64_BITS { (80, 88) } else { (16, 24) };
    let part = || word(&sub, bounds.0).min(pages)..word(&sub, bounds.1).min(pages);
    let is_split = version >= WITH_SPLIT && half(&sub, 12) != 0;
    let range = |since: u32, at: u64| {
        let (start, bytes) = (word(&sub, at), word(&sub, at + 8));
        let is_sane = version >= since && start > 0 && bytes <= MOST_NOTE_BYTES;
        if is_sane { start..start.saturating_add(bytes) } else { 0..0 }
    };
    let known = |number: u64| Some(number).filter(|number| *number > 0);
    Ok(Header {
        descriptors: bitmaps + bitmap_blocks * BLOCK,
        ram,
        bitmap,
        pages,
        part: is_split.then(part),
        is_incomplete: number(424) & INCOMPLETE != 0,
        is_packed: codec::packing(number(424)) != Packing::Raw,
        vmcoreinfo: range(WITH_VMCOREINFO, 32),
        notes: range(WITH_NOTES, 48),
        version,
        filter_level: half(&sub, 8),
        written_s: known(word(&header, 408)),
        cpus: known(number(460).into()).map(|cpus| cpus as u32),
        uname,
    })
}

/// The machine's names, in fields of 65 bytes; `None` where QEMU did not know them.
fn uname(header: &[u8]) -> Uname {
    let field = |at: usize| {
        let text = header.get(at..at + 65)?.split(|byte| *byte == 0).next()?;
        let text = String::from_utf8_lossy(text).into_owned();
        (!text.is_empty() && text != "Unknown").then_some(text)
    };
    Uname { hostname: field(77), release: field(142), machine: field(272) }
}
