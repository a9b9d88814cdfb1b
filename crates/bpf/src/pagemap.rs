//! The page frames of our own memory.
//!
//! **Invariant:** frame numbers come from `/proc/self/pagemap`, which shows them as
//! zero to those who may not know them; zero is therefore never taken for a frame.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pfn};

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
        let mut entry = [0; 8];
        self.0.read_exact_at(&mut entry, (address >> PAGE_SHIFT) * 8).ok()?;
        let entry = u64::from_ne_bytes(entry);
        (entry & PRESENT != 0 && entry & FRAME != 0).then_some(Pfn(entry & FRAME))
    }

    /// The frames of a range of our addresses; pages that are not present are left out.
    pub fn frames(&self, start: u64, len: usize) -> impl Iterator<Item = Pfn> {
        let end = start.saturating_add(len as u64);
        (start..end).step_by(PAGE_SIZE as usize).filter_map(|address| self.find_frame(address))
    }
}
