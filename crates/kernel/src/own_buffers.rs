//! Buffers that the kernel keeps for our own reads of `/proc/kcore`.
//!
//! The kernel copies each page into a buffer of the open file first (fs/proc/kcore.c,
//! `file->private_data`). The buffer holds a copy of the page that was read last, so its words are
//! no references.

use sysak_base::numbers::word;
use sysak_base::{PAGE_SIZE, Va};
use sysak_heap::{Class, Heap, Object};

use crate::Kernel;
use crate::read::gather;
use crate::shape::OpenShape;
use crate::user_memory::{Process, open_files};

/// The buffers of our own open files; none where the target is not the kernel that we run on.
pub fn find(kernel: &Kernel<'_>, heap: &Heap) -> Vec<Object> {
    let (Some(ours), Some(shape)) = (&kernel.own_process, &kernel.shape.user_memory.open) else {
        return Vec::new();
    };
    let is_ours = |one: &Process| one.pid == ours.pid && one.name.as_bytes() == ours.name;
    buffers(kernel, heap, shape, &open_files(kernel, heap, is_ours))
}

fn buffers(kernel: &Kernel<'_>, heap: &Heap, shape: &OpenShape, files: &[Va]) -> Vec<Object> {
    let mut found = Vec::new();
    gather(kernel.memory, files, shape.file_bytes, |_, raw| {
        let at = word(raw, shape.private);
        let is_buffer = |object: &Object| {
            let cache = heap.cache_of(*object);
            cache.class == Class::Slab
                && u64::from(cache.object_size) == PAGE_SIZE
                && heap.object_va(*object).0 == at
        };
        found.extend(heap.find_object(at).filter(is_buffer));
    });
    found
}
