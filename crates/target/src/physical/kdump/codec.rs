//! How a page is packed in a dump.

use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::FrameDecoder;
use sysak_base::PAGE_SIZE;

use crate::physical::cache::Page;
use crate::physical::facts::Packing;

/// Flags of a page descriptor.
const ZLIB: u32 = 0x1;
const LZO: u32 = 0x2;
const SNAPPY: u32 = 0x4;
const ZSTD: u32 = 0x20;

/// How many bytes a packed page may have: a page that does not get smaller is stored as it is.
pub(super) const MOST_PACKED: u32 = 2 * PAGE_SIZE as u32;

/// The largest window of a Zstandard frame that is accepted. A page needs only its own length, and the decoder keeps
/// the memory that it allocated for the largest window so far.
const MOST_WINDOW: u64 = 1 << 20;

/// How a page with these flags is packed.
pub(super) fn packing(flags: u32) -> Packing {
    match flags & (ZLIB | LZO | SNAPPY | ZSTD) {
        0 => Packing::Raw,
        ZLIB => Packing::Zlib,
        LZO => Packing::Lzo,
        SNAPPY => Packing::Snappy,
        ZSTD => Packing::Zstd,
        _ => Packing::Unknown,
    }
}

/// Whether a page is stored as it is, and whole.
pub(super) fn is_raw(flags: u32, bytes: u32) -> bool {
    packing(flags) == Packing::Raw && u64::from(bytes) == PAGE_SIZE
}

/// Unpacks pages. What zlib and Zstandard need for it is made once: that costs as much as a page.
pub(super) struct Unpacker {
    inflate: Decompress,
    zstd: FrameDecoder,
}

impl Default for Unpacker {
    fn default() -> Unpacker {
        let mut zstd = FrameDecoder::new();
        zstd.set_max_window_size(MOST_WINDOW);
        Unpacker { inflate: Decompress::new(true), zstd }
    }
}

impl Unpacker {
    /// Unpacks a page; `None` where it does not become exactly one.
    pub(super) fn unpack(&mut self, flags: u32, packed: &[u8], page: &mut Page) -> Option<()> {
        let bytes = match packing(flags) {
            Packing::Raw => {
                page.copy_from_slice(packed.first_chunk::<{ PAGE_SIZE as usize }>()?);
                packed.len()
            }
            Packing::Zlib => self.inflate(packed, page)?,
            Packing::Lzo => lzokay::decompress::decompress(packed, page).ok()?,
            Packing::Snappy => snap::raw::Decoder::new().decompress(packed, page).ok()?,
            Packing::Zstd => self.zstd.decode_all(packed, page).ok()?,
            Packing::Unknown => return None,
        };
        (bytes == page.len()).then_some(())
    }

    fn inflate(&mut self, packed: &[u8], page: &mut Page) -> Option<usize> {
        self.inflate.reset(true);
        let status = self.inflate.decompress(packed, page, FlushDecompress::Finish).ok()?;
        (status == Status::StreamEnd).then(|| self.inflate.total_out() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    /// Packs bytes.
    type Pack<'p> = &'p dyn Fn(&[u8]) -> Vec<u8>;

    #[test]
    fn what_does_not_become_exactly_one_page_is_damaged() {
        let zlib = |bytes: &[u8]| {
            let mut packer =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(bytes).unwrap();
            packer.finish().unwrap()
        };
        let snappy = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
        let text: Vec<u8> = (0..=PAGE_SIZE).map(|byte| (byte / 7) as u8).collect();
        let zstd = |bytes: &[u8]| compress_to_vec(bytes, CompressionLevel::Fastest);
        let packers: [(u32, Pack<'_>); 3] = [(ZLIB, &zlib), (SNAPPY, &snappy), (ZSTD, &zstd)];
        // One for all: what a damaged page leaves behind must not matter to the next.
        let mut unpacker = Unpacker::default();
        let mut unpack =
            |flags, packed: &[u8], page: &mut Page| unpacker.unpack(flags, packed, page);
        for (flags, pack) in packers {
            let mut page = [0; PAGE_SIZE as usize];
            let packed = pack(&text[..4096]);
            assert_eq!(unpack(flags, &packed, &mut page), Some(()));
            assert_eq!(page[..], text[..4096]);
            assert_eq!(unpack(flags, &pack(&text[..4095]), &mut page), None, "too little");
            assert_eq!(unpack(flags, &pack(&text), &mut page), None, "too much");
            assert_eq!(unpack(flags, &packed[..packed.len() / 2], &mut page), None, "cut off");
        }
        for flags in [ZLIB, LZO, SNAPPY, ZSTD, ZLIB | LZO, 0] {
            assert_eq!(unpack(flags, &[0x5a; 100], &mut [0; PAGE_SIZE as usize]), None);
        }
    }
}
