//! AVML's packed files: records as LiME has them, the memory of each in a stream of Snappy frames.
//!
//! ```text
//! "AVML", version 2, first address, last address, eight bytes     32 bytes, as in LiME
//! Snappy frames                                                   until the memory of the record is complete
//! length of the frames                                            8 bytes
//! ```
//!
//! Source: `src/image.rs` of AVML.

use std::io::{self, ErrorKind, Read};

use snap::read::FrameDecoder;
use sysak_base::numbers::word;

use super::packing::Source;

/// Bytes of a record's header, and of the length behind it.
const HEADER_BYTES: usize = 32;
const LENGTH_BYTES: usize = 8;
/// How a record of LiME begins: its name and its version.
const LIME: &[u8; 8] = b"EMiL\x01\0\0\0";
const AVML: &[u8; 8] = b"AVML\x02\0\0\0";

/// Makes a LiME file of it.
pub(super) struct AvmlReader<'f> {
    source: Source<'f>,
    /// What of the record's header was not read yet.
    header: Vec<u8>,
    frames: Option<FrameDecoder<Source<'f>>>,
    /// Bytes of the record's memory that are to come.
    left: u64,
}

impl AvmlReader<'_> {
    pub(super) fn new(source: Source<'_>) -> AvmlReader<'_> {
        AvmlReader { source, header: Vec::new(), frames: None, left: 0 }
    }

    /// Begins the next record; false at the end of the file.
    fn next_record(&mut self) -> io::Result<bool> {
        if self.frames.take().is_some() {
            self.source.read_exact(&mut [0; LENGTH_BYTES])?;
        }
        let mut header = [0; HEADER_BYTES];
        if self.source.read(&mut header[..1])? == 0 {
            return Ok(false);
        }
        self.source.read_exact(&mut header[1..])?;
        let (start, last) = (word(&header, 8), word(&header, 16));
        let bytes = last.checked_sub(start).and_then(|last| last.checked_add(1));
        match bytes.filter(|_| header.starts_with(AVML)) {
            Some(bytes) => self.left = bytes,
            None => return Err(ErrorKind::InvalidData.into()),
        }
        header[..LIME.len()].copy_from_slice(LIME);
        self.header = header.to_vec();
        self.frames = Some(FrameDecoder::new(self.source));
        Ok(true)
    }
}

impl Read for AvmlReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && self.header.is_empty() && !self.next_record()? {
            return Ok(0);
        }
        if !self.header.is_empty() {
            let len = self.header.len().min(buf.len());
            buf[..len].copy_from_slice(&self.header[..len]);
            self.header.drain(..len);
            return Ok(len);
        }
        let Some(frames) = &mut self.frames else { return Ok(0) };
        let most = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match frames.read(&mut buf[..most])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            len => {
                self.left -= len as u64;
                Ok(len)
            }
        }
    }
}
