//! `/proc/vmcore`: what a kernel that crashed has left, read in place by the kernel that was started for that.
//!
//! It could be mapped, but Linux makes all page tables of such a mapping at once (`mmap_vmcore`): 2 MiB for each GiB of
//! the memory that crashed, out of the 256 MiB that the crash kernel has. So it is read. Each page costs Linux a
//! mapping of its own (`copy_oldmem_page`); those that were read last are kept.
//!
//! Its length is that of the memory and what stands before it (`vmcore_init`), although it lies in `/proc`.
//!
//! **Invariant:** a byte that cannot be read is missing, never zero.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{PROC_SUPER_MAGIC, statfs};
use sysak_base::{PAGE_SIZE, Pfn};

use super::cache::{Cache, Page};
use crate::elf::ElfError;
use crate::{OpenError, files};

/// Pages that are kept: 32 MiB, an eighth of what a crash kernel has.
const KEPT_PAGES: u64 = 1 << 13;
/// The running kernel's memory.
const KCORE: &str = "/proc/kcore";

/// Such a file.
pub(crate) struct ProcFile {
    file: File,
    bytes: u64,
    cache: Cache<()>,
}

impl ProcFile {
    /// Opens a file in `/proc`; `None` for one that lies elsewhere.
    pub(super) fn open(path: &Path) -> Result<Option<ProcFile>, OpenError> {
        // What is wrong with a path is told by whoever opens it.
        if !statfs(path).is_ok_and(|system| system.f_type == PROC_SUPER_MAGIC) {
            return Ok(None);
        }
        // Read like a dump it would be one of many moments.
        if is_same(path, Path::new(KCORE)) {
            return Err(OpenError::NotACore { path: path.to_owned(), why: ElfError::Running });
        }
        let file = files::open_filled(path)?;
        let failed = |why| OpenError::File { path: path.to_owned(), why };
        ProcFile::of(file).map(Some).map_err(failed)
    }

    /// A file that is open, and knows its length.
    pub(super) fn of(file: File) -> std::io::Result<ProcFile> {
        let bytes = file.metadata()?.len();
        Ok(ProcFile { file, bytes, cache: Cache::of(KEPT_PAGES) })
    }

    /// The length of the file.
    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    /// Copies bytes from a place on, up to the first that cannot be read, and returns how many.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> usize {
        // A sweep would throw out of the cache what is read again and again.
        if buf.len() > PAGE_SIZE as usize {
            return read_at(&self.file, at, buf);
        }
        let mut done = 0;
        while done < buf.len() {
            match self.read_kept(at.saturating_add(done as u64), &mut buf[done..]) {
                0 => break,
                more => done += more,
            }
        }
        done
    }

    /// Copies bytes of one page.
    fn read_kept(&self, at: u64, buf: &mut [u8]) -> usize {
        let (page, from) = (at / PAGE_SIZE, (at % PAGE_SIZE) as usize);
        let there = self.bytes.saturating_sub(page * PAGE_SIZE).min(PAGE_SIZE) as usize;
        if from >= there {
            return 0;
        }
        let fill = |(): &mut (), bytes: &mut Page| {
            (read_at(&self.file, page * PAGE_SIZE, &mut bytes[..there]) == there).then_some(())
        };
        let copied = self.cache.with(Pfn(page), fill, |bytes| {
            let found = &bytes[from..there.min(from + buf.len())];
            buf[..found.len()].copy_from_slice(found);
            found.len()
        });
        copied.unwrap_or(0)
    }
}

/// Reads until all is there or no more can be read.
fn read_at(file: &File, at: u64, buf: &mut [u8]) -> usize {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], at.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    done
}

/// Whether two paths refer to the same file.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| std::fs::metadata(path).ok().map(|of| (of.dev(), of.ino()));
    place(one).is_some() && place(one) == place(other)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    /// A file with these bytes, read as if it lay in `/proc`.
    pub(in super::super) fn with(bytes: &[u8]) -> ProcFile {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        ProcFile::of(file).unwrap()
    }

    #[test]
    fn reads_of_any_length_end_where_the_file_ends() {
        let bytes: Vec<u8> = (0..20_000u32).map(|at| (at / 100) as u8).collect();
        let file = with(&bytes);
        for at in [0usize, 1, 4_090, 8_192, 16_380, 19_990, 19_999, 20_000, 30_000] {
            for len in [0, 1, 8, 100, 4_096, 4_097, 9_000, 30_000] {
                let mut buf = vec![0xee; len];
                let there = file.read(at as u64, &mut buf);
                let expected = &bytes[at.min(20_000)..(at + len).min(20_000).max(at.min(20_000))];
                assert_eq!(&buf[..there], expected, "{len} bytes from {at}");
                assert!(buf[there..].iter().all(|byte| *byte == 0xee), "nothing is made up");
            }
        }
        assert_eq!((file.len(), file.read(u64::MAX, &mut [0; 8])), (20_000, 0));
    }

    #[test]
    fn a_word_is_read_from_the_file_once() {
        let file = with(&[7; 8_192]);
        let mut word = [0; 8];
        assert_eq!((file.read(4_096, &mut word), word), (8, [7; 8]));
        file.file.write_all_at(&[9; 8_192], 0).unwrap();
        assert_eq!((file.read(4_104, &mut word), word), (8, [7; 8]), "its page is kept");
        assert_eq!((file.read(0, &mut word), word), (8, [9; 8]));
        let mut sweep = [0; 8_192];
        assert_eq!((file.read(0, &mut sweep), sweep), (8_192, [9; 8_192]));
    }

    #[test]
    fn only_files_in_proc_are_read_and_not_the_running_kernels_memory() {
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        assert!(ProcFile::open(elsewhere.path()).unwrap().is_none());
        let empty = ProcFile::open(Path::new("/proc/self/maps")).map(|_| ()).unwrap_err();
        assert!(matches!(empty, OpenError::Empty { .. }), "{empty}");
        // Where it is not hidden.
        if Path::new(KCORE).is_file() {
            let link = elsewhere.path().with_extension("kcore");
            std::os::unix::fs::symlink(KCORE, &link).unwrap();
            let refused = ProcFile::open(&link).map(|_| ()).unwrap_err().to_string();
            std::fs::remove_file(&link).unwrap();
            assert!(refused.contains("leave --vmcore out"), "{refused}");
        }
    }
}
