//! Memory that BPF programs and we share.
//!
//! Danger: the kernel writes to the mapped pages while a program runs, so they
//! are touched through raw pointers only and never lent out as slices.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use libbpf_rs::{Map, MapCore, Object, ObjectBuilder, OpenObject};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::LoadError;

/// An object file in our binary, aligned as ELF wants its headers.
#[repr(align(8))]
pub struct Aligned<const N: usize>(pub [u8; N]);

/// Opens an object file that is part of our binary.
pub fn open<const N: usize>(object: &'static Aligned<N>) -> Result<OpenObject, LoadError> {
    // libbpf would write to stderr; its reasons are in the error number.
    libbpf_rs::set_print(None);
    ObjectBuilder::default().open_memory(&object.0).map_err(|error| LoadError::load(&error))
}

/// Memory that a BPF map shares with us.
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is mapped for the whole process, and whoever has the `Mapping` is the only one to touch it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of a map that was made with BPF_F_MMAPABLE. The name of a section
    /// (`.bss`) stands for the map that libbpf made of it.
    pub fn of_map(object: &Object, name: &str, len: usize) -> io::Result<Mapping> {
        let is_it = |map: &Map<'_>| {
            // libbpf puts the object's name before the section's.
            let known = map.name().to_string_lossy();
            known == name || (name.starts_with('.') && known.ends_with(name))
        };
        let map = object.maps().find(is_it).ok_or(io::ErrorKind::NotFound)?;
        let len = len.next_multiple_of(rustix::param::page_size());
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice aliases nothing.
        let start =
            unsafe { mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, map.as_fd(), 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, len })
    }

    /// Where it lies in our address space, and how many bytes it has.
    pub fn place(&self) -> (u64, usize) {
        (self.start.as_ptr() as u64, self.len)
    }

    /// Copies out, from `offset` on.
    pub fn get(&self, offset: usize, to: &mut [u8]) {
        assert!(offset <= self.len && to.len() <= self.len - offset);
        // SAFETY: the range was checked, `to` is ours alone, and a program that writes meanwhile
        // tears the copy, nothing else.
        unsafe { self.start.as_ptr().add(offset).copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) }
    }

    /// Copies in, from `offset` on.
    pub fn put(&self, offset: usize, from: &[u8]) {
        assert!(offset <= self.len && from.len() <= self.len - offset);
        // SAFETY: the range was checked, and no reference into the mapping exists.
        unsafe {
            self.start.as_ptr().add(offset).copy_from_nonoverlapping(from.as_ptr(), from.len())
        }
    }
}

impl Drop for Mapping {
    /// Wipes the memory first: it holds addresses and contents of kernel memory. The kernel uses
    /// the pages again without cleaning them, and old copies would make lost objects look reachable.
    fn drop(&mut self) {
        // SAFETY: mapped by `of_map` with this length for writing, and no reference into it exists.
        unsafe { self.start.as_ptr().write_bytes(0, self.len) };
        // SAFETY: mapped by `of_map` with this length, and nobody else knows it.
        let gone = unsafe { munmap(self.start.as_ptr().cast::<c_void>(), self.len) };
        debug_assert!(gone.is_ok());
    }
}
