//! A file without a name that has holes where zeroes were written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Zeroes are left out in pieces of this size.
const BLOCK_BYTES: usize = 64 << 10;
/// Room that is left to everybody else.
const RESERVE_BYTES: u64 = 256 << 20;
/// Free space is asked for after so many bytes: others write, too.
const ASKED_EVERY_BYTES: u64 = 64 << 20;

/// Such a file.
pub(super) struct SparseFile {
    file: File,
    at: u64,
    /// How much may be written before free space is asked for again.
    granted: u64,
}

/// There is not enough room.
#[derive(Debug)]
pub(super) struct NoRoom {
    pub needed: u64,
    pub free: u64,
}

impl SparseFile {
    /// A new file in a folder; it is gone as soon as nobody has it open.
    pub fn create(folder: &Path) -> io::Result<SparseFile> {
        Ok(SparseFile { file: tempfile::tempfile_in(folder)?, at: 0, granted: 0 })
    }

    /// Makes sure that there is room for so many bytes more.
    pub fn need(&mut self, bytes: u64) -> Result<(), NoRoom> {
        if bytes <= self.granted {
            return Ok(());
        }
        // A file system that does not tell says so when it is full.
        let Ok(room) = rustix::fs::fstatvfs(&self.file) else { return Ok(()) };
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        let needed = bytes.saturating_add(RESERVE_BYTES);
        if free < needed {
            return Err(NoRoom { needed, free });
        }
        self.granted = (free - RESERVE_BYTES).min(ASKED_EVERY_BYTES);
        Ok(())
    }

    /// Writes the next bytes; blocks of zeroes become holes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for block in bytes.chunks(BLOCK_BYTES) {
            if block.iter().any(|byte| *byte != 0) {
                self.file.write_all_at(block, self.at)?;
                self.granted = self.granted.saturating_sub(block.len() as u64);
            }
            self.at += block.len() as u64;
        }
        Ok(())
    }

    /// The file, as long as what was written.
    pub fn finish(self) -> io::Result<File> {
        self.file.set_len(self.at)?;
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn blocks_of_zeroes_take_no_room_and_the_rest_is_as_it_was() {
        let mut file = SparseFile::create(&std::env::temp_dir()).unwrap();
        let mut bytes = vec![0; 4 << 20];
        bytes[2 << 20] = 7;
        file.write(&bytes).unwrap();
        file.write(&bytes[..1000]).unwrap();
        let file = file.finish().unwrap();
        let mut read = vec![1; bytes.len() + 1000];
        file.read_exact_at(&mut read, 0).unwrap();
        assert!(read[..bytes.len()] == bytes && read[bytes.len()..].iter().all(|byte| *byte == 0));
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.len(), metadata.nlink()), (read.len() as u64, 0));
        assert!(metadata.blocks() * 512 < 1 << 20, "{}", metadata.blocks());
    }

    #[test]
    fn more_than_there_is_room_for_is_refused() {
        let mut file = SparseFile::create(&std::env::temp_dir()).unwrap();
        assert!(file.need(1).is_ok());
        let refused = file.need(1 << 60).unwrap_err();
        assert!(refused.needed > 1 << 60 && refused.free < 1 << 60);
    }
}
