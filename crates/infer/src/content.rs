//! Which symbols most objects of a group lead to.
//!
//! An operations table or a callback shows which subsystem objects belong to. A pointer to another
//! slab object is followed into that object, two hops deep.
//!
//! **Invariant:** a bounded sample is read, and a bounded part of each object that is passed.

use std::collections::HashMap;

use sysak_base::numbers;
use sysak_base::{Memory, Va};
use sysak_heap::Heap;
use sysak_kernel::Kernel;

use crate::fingerprint::{self, IMAGE_FROM};

/// A symbol that the objects' pointers lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentSymbol {
    /// Offset of the pointer in the object.
    pub offset: u64,
    /// Slab objects passed before it: the cache and the offset of the pointer.
    pub path: Vec<(u16, u64)>,
    /// The address at the end.
    pub address: Va,
    /// How many of the objects looked at lead there.
    pub objects: u64,
}

/// Slab objects passed: the cache and the offset of the pointer.
type Path = Vec<(u16, u64)>;
/// Named addresses, and the objects passed before them.
type Ends = Vec<(Path, Va)>;

/// Objects of a sample: enough to find what most objects share.
pub const SAMPLE: usize = 1000;
/// Slab objects passed at most.
const HOPS: usize = 2;
/// Bytes of a passed object that are searched for named addresses.
const SEARCHED_BYTES: u64 = 512;
/// Symbols that are returned.
const MOST: usize = 8;

/// Objects of one cache with the same fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FingerprintGroup {
    /// Index into the heap's caches.
    pub cache: u16,
    /// The fingerprint.
    pub fingerprint: u64,
    /// Whether only unreachable objects count.
    pub only_unreachable: bool,
}

/// Constant strings and the like lie far behind the last symbol of their section. A symbol names
/// only what lies within this distance.
const NEAR_BYTES: u64 = 4096;

/// Whether a symbol names what lies at an address.
pub fn is_named(kernel: &Kernel<'_>, at: Va) -> bool {
    kernel.symbols.symbolize(at).is_some_and(|symbol| symbol.offset < NEAR_BYTES)
}

/// Up to [`SAMPLE`] objects of a group, from all over its cache.
pub fn sample(heap: &Heap, memory: &dyn Memory, group: &FingerprintGroup) -> Vec<Va> {
    let FingerprintGroup { cache, fingerprint: print, only_unreachable } = *group;
    let slabs = || heap.slabs.iter().enumerate().filter(|(_, slab)| slab.cache == cache);
    let info = &heap.caches[usize::from(cache)];
    let (stride, pad) = (info.stride as usize, info.left_pad as usize);
    let size = (info.object_size as usize).min(stride - pad);
    let every = (slabs().count() / SAMPLE).max(1);
    let mut found = Vec::new();
    let mut buffer = Vec::new();
    for (index, _) in slabs().step_by(every) {
        if found.len() >= SAMPLE {
            break;
        }
        let Some((start, bytes)) = heap.contents(index as u32) else { continue };
        let Ok(bytes) = memory.view(start, bytes, &mut buffer) else { continue };
        let mut take = |object: u16| {
            let at = usize::from(object) * stride + pad;
            if found.len() < SAMPLE && fingerprint::of(heap, &bytes[at..at + size]) == print {
                found.push(start.at(at as u64));
            }
        };
        match only_unreachable {
            true => heap.for_each_white(index as u32, &mut take),
            false => heap.for_each_live(index as u32, &mut take),
        }
    }
    found
}

/// The symbols that most of `objects`, all of `size` bytes, lead to; the shortest paths first.
///
/// `is_named` says whether an address lies in something that has a name.
pub fn symbols(
    heap: &Heap,
    memory: &dyn Memory,
    objects: &[Va],
    size: u64,
    is_named: &dyn Fn(Va) -> bool,
) -> Vec<ContentSymbol> {
    let shared = shared_offsets(heap, memory, objects, size);
    let mut counts: HashMap<(u64, Path, Va), u64> = HashMap::new();
    let mut inside: HashMap<u64, Ends> = HashMap::new();
    let mut buffer = Vec::new();
    for object in objects {
        let Ok(bytes) = memory.view(*object, size as usize, &mut buffer) else { continue };
        let words: Vec<u64> = numbers::words(bytes).collect();
        for (slot, word) in words.iter().enumerate().filter(|(slot, _)| shared[*slot]) {
            let offset = slot as u64 * 8;
            if *word >= IMAGE_FROM && is_named(Va(*word)) {
                *counts.entry((offset, Vec::new(), Va(*word))).or_insert(0) += 1;
            } else if heap.find_object(*word).is_some() {
                let ends = inside
                    .entry(*word)
                    .or_insert_with(|| follow(heap, memory, *word, is_named, HOPS));
                for (path, address) in ends {
                    *counts.entry((offset, path.clone(), *address)).or_insert(0) += 1;
                }
            }
        }
    }
    let most = objects.len() as u64;
    let mut found: Vec<_> = counts
        .into_iter()
        .filter(|(_, objects)| objects * 2 > most)
        .map(|((offset, path, address), objects)| ContentSymbol { offset, path, address, objects })
        .collect();
    found.sort_by_key(|h| (h.path.len(), h.offset, h.path.clone(), h.address));
    found.truncate(MOST);
    found
}

/// Which words are followed: those that in most objects are an address of the image, or lead into
/// objects of one cache.
fn shared_offsets(heap: &Heap, memory: &dyn Memory, objects: &[Va], size: u64) -> Vec<bool> {
    let mut counts: Vec<HashMap<u16, usize>> = vec![HashMap::new(); size as usize / 8];
    let mut buffer = Vec::new();
    // No cache has this number: there are fewer of them.
    const IMAGE: u16 = u16::MAX;
    for object in objects {
        let Ok(bytes) = memory.view(*object, size as usize, &mut buffer) else { continue };
        for (count, word) in counts.iter_mut().zip(numbers::words(bytes)) {
            let kind = match heap.find_object(word) {
                Some(object) => heap.slabs[object.slab as usize].cache,
                None if word >= IMAGE_FROM => IMAGE,
                None => continue,
            };
            *count.entry(kind).or_insert(0) += 1;
        }
    }
    counts.iter().map(|count| count.values().any(|n| n * 2 > objects.len())).collect()
}

/// Named addresses inside the slab object at `word`, or inside the objects that it points to.
fn follow(
    heap: &Heap,
    memory: &dyn Memory,
    word: u64,
    is_named: &dyn Fn(Va) -> bool,
    hops: usize,
) -> Ends {
    let Some(object) = heap.find_object(word).filter(|object| heap.is_live(*object)) else {
        return Vec::new();
    };
    let Some(start) = heap.content_va(object) else { return Vec::new() };
    let cache = heap.slabs[object.slab as usize].cache;
    let size = u64::from(heap.cache_of(object).object_size).min(SEARCHED_BYTES);
    let mut bytes = vec![0; size as usize];
    if memory.read(start, &mut bytes).is_err() {
        return Vec::new();
    }
    let mut ends = Vec::new();
    let mut further = Vec::new();
    for (slot, word) in numbers::words(&bytes).enumerate() {
        let step = (cache, slot as u64 * 8);
        if word >= IMAGE_FROM && is_named(Va(word)) {
            ends.push((vec![step], Va(word)));
        } else if hops > 1 && heap.find_object(word).is_some_and(|next| next != object) {
            further.push((step, word));
        }
    }
    // The nearest named addresses say most: go on only where there are none.
    if ends.is_empty() {
        for (step, word) in further.into_iter().take(8) {
            for (path, address) in follow(heap, memory, word, is_named, hops - 1) {
                ends.push(([vec![step], path].concat(), address));
            }
        }
    }
    ends.truncate(MOST);
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_heap::Object;
    use sysak_heap::testing::Ram;

    const OPS: u64 = 0xffff_ffff_c012_3400;

    #[test]
    fn a_pointer_to_an_object_with_an_ops_table_names_the_table() {
        let mut ram = Ram::new(16);
        let heap = ram.heap(&[(4, 0), (5, 1)]);
        let group = heap.object_va(Object { slab: 1, index: 3 }).0;
        ram.put_va(group + 8, OPS);
        let objects: Vec<_> =
            (0..10).map(|index| heap.object_va(Object { slab: 0, index })).collect();
        for (n, object) in objects.iter().enumerate() {
            ram.put_va(object.0 + 16, group);
            ram.put_va(object.0 + 24, n as u64);
        }
        let found = symbols(&heap, &ram, &objects, 64, &|at| at.0 == OPS);
        assert_eq!(
            found,
            [ContentSymbol { offset: 16, path: vec![(1, 8)], address: Va(OPS), objects: 10 }]
        );
    }

    #[test]
    fn what_only_a_few_objects_hold_is_left_out() {
        let mut ram = Ram::new(16);
        let heap = ram.heap(&[(4, 0)]);
        let objects: Vec<_> =
            (0..10).map(|index| heap.object_va(Object { slab: 0, index })).collect();
        for object in &objects[..5] {
            ram.put_va(object.0, OPS);
        }
        assert_eq!(symbols(&heap, &ram, &objects, 64, &|_| true), []);
    }

    #[test]
    fn objects_that_point_at_each_other_end_the_search() {
        let mut ram = Ram::new(16);
        let heap = ram.heap(&[(4, 0), (5, 1)]);
        let (a, b) = (Object { slab: 0, index: 0 }, Object { slab: 1, index: 0 });
        let (a, b) = (heap.object_va(a), heap.object_va(b));
        ram.put_va(a.0, b.0);
        ram.put_va(b.0, a.0);
        assert_eq!(symbols(&heap, &ram, &[a], 64, &|_| true), []);
    }
}
