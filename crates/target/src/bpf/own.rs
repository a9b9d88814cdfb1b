//! One page of our own with content that no other page has, to look for in the kernel's memory.

#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};
use sysak_base::PAGE_SIZE;

/// One locked page with content that no other page has.
pub struct MagicPage(NonNull<[u64; MAGIC_WORDS]>);

/// Words of the content, at the start of the page.
pub const MAGIC_WORDS: usize = 8;

impl MagicPage {
    pub fn new() -> io::Result<MagicPage> {
        let (len, access) = (PAGE_SIZE as usize, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping at a place of the kernel's choice aliases nothing.
        let start =
            unsafe { mmap_anonymous(std::ptr::null_mut(), len, access, MapFlags::PRIVATE) }?;
        let page = MagicPage(NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?);
        // SAFETY: the page is mapped, writable, aligned and larger than the words.
        unsafe { page.0.write(page.words()) };
        // Where locking is not allowed the page may move; whoever uses it looks again.
        // SAFETY: the range is our mapping.
        let _ = unsafe { mlock(start, len) };
        Ok(page)
    }

    pub fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    /// What the page holds: the process and the place tell it from any other.
    pub fn words(&self) -> [u64; MAGIC_WORDS] {
        let seed = self.address() ^ u64::from(std::process::id()).rotate_right(20);
        std::array::from_fn(|word| (seed + word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
}

impl Drop for MagicPage {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, one page, and nobody else knows it.
        let gone = unsafe { munmap(self.0.as_ptr().cast(), PAGE_SIZE as usize) };
        debug_assert!(gone.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_magic_page_holds_what_it_says_and_differs_from_another() {
        let (one, other) = (MagicPage::new().unwrap(), MagicPage::new().unwrap());
        // SAFETY: the page lives until the end of the test.
        assert_eq!(unsafe { one.0.read() }, one.words());
        assert_ne!(one.words(), other.words());
    }
}
