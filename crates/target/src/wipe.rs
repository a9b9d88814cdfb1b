//! Memory that is given back is wiped first.
//!
//! What we read is full of addresses of kernel objects. The kernel hands our freed pages out
//! again, without cleaning them where it uses them itself: inside some buffer of the kernel
//! old copies of ours would make lost objects look reachable, in this run or in the next one.
//! In a 6.12 guest that hid one in forty lost per-CPU allocations.
//!
//! A block that grows may move, and the old block is free then. glibc does not say whether it
//! copies a block (and leaves it full) or moves its pages: the limit between the two changes while
//! the program runs. So it is decided here, by size alone. Blocks below [`MAPPED_BYTES`] are
//! copied, wiped and freed; larger ones are mappings of their own, whose pages `mremap` gives
//! another address: nothing is copied, so nothing is left behind, and growing costs little.
//!
//! **Invariant:** a block of [`LARGE_BYTES`] or more holds nothing of ours once it is free.

#![allow(unsafe_code)] // An allocator is unsafe to implement.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;

use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};

/// Smaller blocks hold few words, and are mostly used again by ourselves.
const LARGE_BYTES: usize = 512;
/// Blocks from here on are mappings of their own. glibc does the same from this size on at the
/// latest (`DEFAULT_MMAP_THRESHOLD_MAX`), so they cost no more than before.
const MAPPED_BYTES: usize = 32 << 20;
/// No mapping is aligned better than to a page.
const MOST_ALIGNED_BYTES: usize = 4096;

/// An allocator that wipes what it gives back to the one inside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wiping<A = System>(A);

impl Wiping {
    /// The system's allocator, but clean.
    pub const fn new() -> Wiping {
        Wiping(System)
    }
}

// SAFETY: blocks come from the inner allocator or from `mmap`, the layout says from which, and
// they go back there with the layout that they have then.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return map(layout);
        }
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return map(layout);
        }
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() >= LARGE_BYTES {
            // SAFETY: the block is ours until it is given back, and has that size.
            unsafe { wipe(block, layout.size()) };
        }
        if is_mapped(layout) {
            // SAFETY: a block of this layout is a mapping of that length, and nobody uses it any more.
            let gone = unsafe { munmap(block.cast(), layout.size()) };
            debug_assert!(gone.is_ok());
            return;
        }
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size is not too large for the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(new_bytes, layout.align()) };
        if layout.size() < LARGE_BYTES && !is_mapped(new) {
            // SAFETY: the caller's promises are those that are asked for.
            return unsafe { self.0.realloc(block, layout, new_bytes) };
        }
        if is_mapped(layout) && is_mapped(new) {
            // SAFETY: a block of this layout is a mapping of that length.
            return unsafe { remap(block, layout.size(), new_bytes) };
        }
        // SAFETY: the new size is not 0, as the caller promises.
        let moved = unsafe { self.alloc(new) };
        if !moved.is_null() {
            // SAFETY: both blocks have that many bytes, and they are two.
            unsafe { moved.copy_from_nonoverlapping(block, layout.size().min(new_bytes)) };
            // SAFETY: the caller gives the block up, and this is its layout.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

/// Whether a block of this layout is a mapping of its own.
fn is_mapped(layout: Layout) -> bool {
    layout.size() >= MAPPED_BYTES && layout.align() <= MOST_ALIGNED_BYTES
}

/// A new mapping, which the kernel fills with zeroes; null where there is no memory.
fn map(layout: Layout) -> *mut u8 {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at a place of the kernel's choice aliases nothing.
    let mapped = unsafe { mmap_anonymous(null_mut(), layout.size(), access, MapFlags::PRIVATE) };
    mapped.map_or(null_mut(), <*mut _>::cast)
}

/// Gives a mapping another size; null where it cannot grow.
///
/// # Safety
/// `block` must be a mapping of `bytes` bytes that only the caller uses.
unsafe fn remap(block: *mut u8, bytes: usize, new_bytes: usize) -> *mut u8 {
    if new_bytes < bytes {
        // SAFETY: the bytes lie inside the mapping, and the caller gives them up.
        unsafe { wipe(block.add(new_bytes), bytes - new_bytes) };
    }
    // SAFETY: the mapping is the caller's; its old address is not used again.
    let moved = unsafe { mremap(block.cast(), bytes, new_bytes, MremapFlags::MAYMOVE) };
    match moved {
        Ok(moved) => moved.cast(),
        // Large enough as it is; the rest is wiped.
        Err(_) if new_bytes < bytes => block,
        Err(_) => null_mut(),
    }
}

/// Writes zeroes that the compiler may not leave out.
///
/// # Safety
/// `len` bytes from `start` on must be the caller's to write.
unsafe fn wipe(start: *mut u8, len: usize) {
    // SAFETY: as the caller promises.
    unsafe { start.write_bytes(0, len) };
    // Else the compiler leaves out what nobody reads.
    std::hint::black_box(start);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// An allocator that moves every block that is to grow or shrink, as any may, and counts
    /// large blocks that come back with something in them.
    #[derive(Default)]
    struct Moving {
        given_back: AtomicUsize,
        full: AtomicUsize,
    }

    // SAFETY: all blocks come from the system's allocator and go back there. What it does not
    // define copies to a new block.
    unsafe impl GlobalAlloc for Moving {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            assert!(layout.size() < MAPPED_BYTES);
            // SAFETY: the caller's promises are those that are asked for.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the tests fill their blocks before they give them back.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            let is_full = layout.size() >= LARGE_BYTES && bytes.iter().any(|byte| *byte != 0);
            self.given_back.fetch_add(1, Relaxed);
            self.full.fetch_add(usize::from(is_full), Relaxed);
            // SAFETY: the caller's promises are those that are asked for.
            unsafe { System.dealloc(block, layout) }
        }
    }

    /// Fills a block, gives it another size, checks what must be kept, and gives it back.
    fn resize(memory: &impl GlobalAlloc, bytes: usize, new_bytes: usize) {
        let layout = |bytes| Layout::from_size_align(bytes, 8).unwrap();
        // SAFETY: the layouts are not empty; the block is used within its size and freed once.
        unsafe {
            let block = memory.alloc(layout(bytes));
            block.write_bytes(7, bytes);
            let block = memory.realloc(block, layout(bytes), new_bytes);
            let kept = std::slice::from_raw_parts(block, bytes.min(new_bytes));
            assert!(kept.iter().all(|byte| *byte == 7), "{bytes} to {new_bytes}");
            block.write_bytes(7, new_bytes);
            memory.dealloc(block, layout(new_bytes));
        }
    }

    #[test]
    fn a_large_block_that_moves_leaves_nothing_behind() {
        let memory = Wiping(Moving::default());
        for (bytes, new_bytes) in [(512, 4096), (1 << 16, 1 << 17), (4096, 600), (4096, 64)] {
            resize(&memory, bytes, new_bytes);
        }
        assert_eq!(memory.0.given_back.load(Relaxed), 8);
        assert_eq!(memory.0.full.load(Relaxed), 0);
    }

    #[test]
    fn very_large_blocks_grow_and_shrink_without_a_copy() {
        let memory = Wiping(Moving::default());
        resize(&memory, MAPPED_BYTES, 2 * MAPPED_BYTES);
        resize(&memory, 2 * MAPPED_BYTES + 5, MAPPED_BYTES + 1);
        assert_eq!(memory.0.given_back.load(Relaxed), 0, "the inner allocator has no part in it");
    }

    #[test]
    fn blocks_that_become_very_large_or_cease_to_be_are_wiped_too() {
        let memory = Wiping(Moving::default());
        resize(&memory, 1 << 20, MAPPED_BYTES);
        resize(&memory, MAPPED_BYTES, 1 << 20);
        resize(&memory, 8, MAPPED_BYTES);
        assert_eq!(memory.0.given_back.load(Relaxed), 3);
        assert_eq!(memory.0.full.load(Relaxed), 0);
    }

    #[test]
    fn blocks_start_with_zeroes_where_that_is_asked_for() {
        for bytes in [1 << 16, MAPPED_BYTES] {
            let layout = Layout::from_size_align(bytes, 8).unwrap();
            // SAFETY: the layout is not empty; the block is used within its size and freed once.
            unsafe {
                let block = Wiping::new().alloc_zeroed(layout);
                assert_eq!((block.read(), block.add(bytes - 1).read()), (0, 0));
                Wiping::new().dealloc(block, layout);
            }
        }
    }
}
