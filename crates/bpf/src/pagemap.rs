//! The page frames of our own memory.
//!
//! Format: Documentation/admin-guide/mm/pagemap.rst of Linux; a word for each page.
//!
//! **Invariant:** frame numbers come from `/proc/self/pagemap`, which shows them as
//! zero to those who may not know them; zero is therefore never taken for a frame.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pfn};

/// Entries that are read at once.
const AT_ONCE: u64 = 4096;
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// The page tables of this process, as the kernel shows them.
pub struct Pagemap(File);

impl Pagemap {
    /// Opens our own.
    pub fn open() -> io::Result<Pagemap> {
        File::open("/proc/self/pagemap").map(Pagemap)
    }

    /// The frame of one of our addresses; `None` where the kernel does not say.
    pub fn find_frame(&self, address: u64) -> Option<Pfn> {
        self.entries(address >> PAGE_SHIFT, 1).pop()
    }

    /// The frames of a range of our addresses; pages that are not present are left out.
    pub fn frames(&self, start: u64, len: usize) -> impl Iterator<Item = Pfn> {
        let (first, end) =
            (start >> PAGE_SHIFT, start.saturating_add(len as u64).div_ceil(PAGE_SIZE));
        let firsts = (first..end).step_by(AT_ONCE as usize);
        firsts.flat_map(move |first| self.entries(first, (end - first).min(AT_ONCE)))
    }

    /// The frames of all memory that this process can write to and shares with nobody, at this moment.
    pub fn private_frames(&self) -> Vec<Pfn> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        maps.lines()
            .filter_map(private)
            .flat_map(|(start, end)| self.frames(start, (end - start) as usize))
            .collect()
    }

    /// The frames of some pages, the first of them by its number.
    fn entries(&self, first: u64, pages: u64) -> Vec<Pfn> {
        let mut raw = vec![0; pages as usize * 8];
        // Beyond the end of user space it gives fewer bytes.
        let read = self.0.read_at(&mut raw, first * 8).unwrap_or(0);
        let entries = raw[..read].as_chunks().0.iter().map(|entry| u64::from_ne_bytes(*entry));
        let is_told = |entry: &u64| entry & PRESENT != 0 && entry & FRAME != 0;
        entries.filter(is_told).map(|entry| Pfn(entry & FRAME)).collect()
    }
}

/// The range of a line of `/proc/self/maps`, if it is private and can be written to.
fn private(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (range, access) = (words.next()?, words.next()?);
    let (start, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let range = (number(start)?, number(end)?);
    (access.starts_with("rw") && access.ends_with('p') && range.0 < range.1).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_our_own_is_private_and_can_be_written_to() {
        let line = |access| format!("7f10a000-7f10c000 {access} 00000000 00:00 0    [heap]");
        assert_eq!(private(&line("rw-p")), Some((0x7f10_a000, 0x7f10_c000)));
        for access in ["r--p", "r-xp", "rw-s", "---p"] {
            assert_eq!(private(&line(access)), None, "{access}");
        }
        for bad in ["", "7f10a000 rw-p", "7f10c000-7f10a000 rw-p", "x-y rw-p", "1-2"] {
            assert_eq!(private(bad), None, "{bad}");
        }
    }

    #[test]
    fn frames_of_pages_in_use_are_found_one_by_one_and_together() {
        let pagemap = Pagemap::open().unwrap();
        let block = vec![1u8; 64 * PAGE_SIZE as usize];
        let start = (block.as_ptr() as u64).next_multiple_of(PAGE_SIZE);
        let together: Vec<_> = pagemap.frames(start, 63 * PAGE_SIZE as usize).collect();
        let alone: Vec<_> =
            (0..63).filter_map(|page| pagemap.find_frame(start + page * PAGE_SIZE)).collect();
        // Only root is told the numbers of frames.
        assert!(together.len() == 63 || together.is_empty());
        assert_eq!(together, alone);
        let all = pagemap.private_frames();
        assert!(together.iter().all(|frame| all.contains(frame)));
    }
}
