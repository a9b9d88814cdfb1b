//! How a file is packed as a whole, by its first bytes.

use std::cell::Cell;
use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder as Lz4Decoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use sysak_base::numbers::half;

use super::avml::AvmlReader;

/// Memory that unpacking may take: `xz -9` takes 64 MiB.
const MOST_MEMORY_KIB: u32 = 256 << 10;
/// What Zstandard may look back; more takes `zstd --long` with a number beyond its default.
const MOST_WINDOW_BYTES: u64 = 128 << 20;
/// Frames of Zstandard and LZ4 that hold no data begin with a number of which the last four bits may be any.
const SKIPPABLE: u32 = 0x184d_2a50;

/// A way to pack files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Xz,
    Zstd,
    Lz4,
    Bzip2,
    /// AVML's own: each record of memory is packed for itself.
    Avml,
}

impl Packing {
    /// How a file is packed, if it is.
    pub(crate) fn of(file: &[u8]) -> Option<Packing> {
        const STARTS: [(&[u8], Packing); 7] = [
            (b"\x1f\x8b", Packing::Gzip),
            (b"\xfd7zXZ\0", Packing::Xz),
            (b"\x28\xb5\x2f\xfd", Packing::Zstd),
            (b"\x04\x22\x4d\x18", Packing::Lz4),
            (b"\x02\x21\x4c\x18", Packing::Lz4),
            (b"BZh", Packing::Bzip2),
            (b"AVML\x02\0\0\0", Packing::Avml),
        ];
        let known = STARTS.iter().find(|(start, _)| file.starts_with(start));
        known.map(|(_, packing)| *packing).or_else(|| {
            // pzstd begins with a frame without data, of four bytes.
            let is_pzstd =
                file.len() > 12 && is_skippable(file) && file[12..].starts_with(STARTS[2].0);
            is_pzstd.then_some(Packing::Zstd)
        })
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Xz => "xz",
            Packing::Zstd => "zstd",
            Packing::Lz4 => "lz4",
            Packing::Bzip2 => "bzip2",
            Packing::Avml => "AVML",
        }
    }

    /// The unpacked bytes.
    pub(super) fn reader<'f>(self, source: Source<'f>) -> Box<dyn Read + 'f> {
        match self {
            Packing::Gzip => Box::new(MultiGzDecoder::new(source)),
            Packing::Xz => Box::new(XzReader::new_mem_limit(source, true, MOST_MEMORY_KIB)),
            Packing::Zstd => Box::new(ZstdReader { source, frame: None }),
            Packing::Lz4 => Box::new(Lz4Reader(Lz4Decoder::new(source))),
            Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
            Packing::Avml => Box::new(AvmlReader::new(source)),
        }
    }

    /// How many bytes there are at least once it is unpacked, as far as its packer has written that down.
    pub(super) fn least_bytes(self, file: &[u8]) -> u64 {
        let number = |at: Option<usize>, bytes: usize| {
            let field = at.and_then(|at| file.get(at..)?.get(..bytes)).unwrap_or_default();
            field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        match self {
            // The last four bytes: the length modulo 4 GiB.
            Packing::Gzip => number(file.len().checked_sub(4), 4),
            // The frame's header has it where its flags say so.
            Packing::Lz4 if file.get(4).is_some_and(|flags| flags & 8 != 0) => number(Some(6), 8),
            Packing::Zstd => {
                let flags = file.get(4).copied().unwrap_or(0);
                let window = usize::from(flags & 0x20 == 0);
                let at = 5 + window + [0, 1, 2, 4][usize::from(flags & 3)];
                match flags >> 6 {
                    2 => number(Some(at), 4),
                    3 => number(Some(at), 8),
                    _ => 0,
                }
            }
            _ => 0,
        }
    }
}

fn is_skippable(file: &[u8]) -> bool {
    half(file, 0) & !0xf == SKIPPABLE
}

/// A packed file, and how much of it was read.
#[derive(Clone, Copy)]
pub(super) struct Source<'f> {
    file: &'f [u8],
    done: &'f Cell<usize>,
}

impl<'f> Source<'f> {
    pub(super) fn new(file: &'f [u8], done: &'f Cell<usize>) -> Source<'f> {
        Source { file, done }
    }

    fn rest(&self) -> &'f [u8] {
        &self.file[self.done.get()..]
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.rest().read(buf)?;
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.rest())
    }

    fn consume(&mut self, len: usize) {
        self.done.set((self.done.get() + len).min(self.file.len()));
    }
}

/// Zstandard's frames one behind the other, as pzstd and `cat` make them.
struct ZstdReader<'f> {
    source: Source<'f>,
    frame: Option<StreamingDecoder<Source<'f>, ruzstd::decoding::FrameDecoder>>,
}

impl ZstdReader<'_> {
    /// Begins the next frame that holds data; false at the end of the file.
    fn next_frame(&mut self) -> io::Result<bool> {
        while is_skippable(self.source.rest()) {
            let mut header = [0; 8];
            self.source.read_exact(&mut header)?;
            let [.., a, b, c, d] = header;
            self.source.consume(u32::from_le_bytes([a, b, c, d]) as usize);
        }
        if self.source.rest().is_empty() {
            return Ok(false);
        }
        let frame = StreamingDecoder::new_with_max_window_size(self.source, MOST_WINDOW_BYTES);
        self.frame = Some(frame.map_err(|why| self.failed(&why))?);
        Ok(true)
    }

    /// The library's error, told apart from an end that comes too early.
    fn failed(&self, why: &dyn std::fmt::Display) -> io::Error {
        match self.source.rest().is_empty() {
            true => ErrorKind::UnexpectedEof.into(),
            false => io::Error::new(ErrorKind::InvalidData, why.to_string()),
        }
    }
}

impl Read for ZstdReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                match frame.read(buf) {
                    Ok(0) => self.frame = None,
                    Ok(len) => return Ok(len),
                    Err(why) => return Err(self.failed(&why)),
                }
            }
            if !self.next_frame()? {
                return Ok(0);
            }
        }
    }
}

/// LZ4's frames one behind the other: the library ends a read at the end of each.
struct Lz4Reader<'f>(Lz4Decoder<Source<'f>>);

impl Read for Lz4Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let len = self.0.read(buf)?;
            if len > 0 || self.0.get_ref().rest().is_empty() {
                return Ok(len);
            }
        }
    }
}
