//! Lists of objects, one on each line, for whoever goes on with other tools.

use std::io::{self, Write};

use sysak_heap::{Class, Heap, Object};
use sysak_report::clean;

/// Writes the cache and the address of every allocated slab object.
pub fn write_live(heap: &Heap, out: &mut dyn Write) -> io::Result<()> {
    let is_wanted = |class| class == Class::Slab;
    write(heap, out, &is_wanted, |slab, each| heap.for_each_live(slab, each))
}

/// Writes the cache, or the class, and the address of everything unreachable.
pub fn write_lost(heap: &Heap, out: &mut dyn Write) -> io::Result<()> {
    write(heap, out, &|_| true, |slab, each| heap.for_each_white(slab, each))
}

fn write(
    heap: &Heap,
    out: &mut dyn Write,
    is_wanted: &dyn Fn(Class) -> bool,
    objects: impl Fn(u32, &mut dyn FnMut(u16)),
) -> io::Result<()> {
    let mut written = Ok(());
    for slab in 0..heap.slabs.len() as u32 {
        let cache = &heap.caches[usize::from(heap.slabs[slab as usize].cache)];
        if !is_wanted(cache.class) {
            continue;
        }
        // One line each, whatever the name holds.
        let name = clean(&cache.name);
        objects(slab, &mut |index| {
            if written.is_ok() {
                let at = heap.object_va(Object { slab, index });
                written = writeln!(out, "{name} {at}");
            }
        });
    }
    written
}
