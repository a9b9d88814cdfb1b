//! What the kernel keeps for us while we read it.
//!
//! `/proc/kcore` copies each page into a buffer of its own first (fs/proc/kcore.c, `file->private_data`).
//! Whoever reads that buffer sees the page that was read before it, and all that this leads to.

use sysak_base::PAGE_SIZE;
use sysak_heap::{Class, Heap, Object};

use super::{gather, open, processes};
use crate::Kernel;
use crate::list::word;
use crate::shape::OpenShape;

/// The buffers that our own open files have; none where the target is not the kernel that we run on.
pub fn own_buffers(kernel: &Kernel<'_>, heap: &Heap) -> Vec<Object> {
    let (Some(ours), Some(shape)) = (&kernel.own_process, &kernel.shape.held.open) else {
        return Vec::new();
    };
    let mut processes = processes::find(kernel, heap);
    processes.retain(|one| one.pid == ours.pid && one.name.as_bytes() == ours.name);
    let mut files: Vec<_> = open::files_of(kernel, &processes).into_keys().collect();
    files.sort_unstable();
    buffers(kernel, heap, shape, &files)
}

fn buffers(
    kernel: &Kernel<'_>,
    heap: &Heap,
    shape: &OpenShape,
    files: &[sysak_base::Va],
) -> Vec<Object> {
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
