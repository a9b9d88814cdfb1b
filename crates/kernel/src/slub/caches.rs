//! The slab caches: names, sizes, and how each encodes its free pointers.

use std::collections::HashMap;

use sysak_base::numbers::{half, word};
use sysak_base::{PAGE_SIZE, Pfn, Va};
use sysak_heap::Cache;

use crate::list::walk_list;
use crate::read::read_string;
use crate::shape::{CacheShape, find_caches};
use crate::{Coverage, Kernel, KernelError, Omitted, Reason, aliases};

/// More caches than any kernel has; memory cgroups have none of their own since v5.9.
const MOST_CACHES: usize = 1 << 14;

/// How a cache's free objects point to the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct FreePointer {
    /// Where in the free object.
    pub offset: u64,
    /// The cache's secret, where free pointers are hardened.
    pub random: Option<u64>,
    /// Bytes from one object to the next.
    pub stride: u64,
    /// Bytes of red zone before each object.
    pub left_pad: u64,
}

impl FreePointer {
    /// The pointer stored as `stored` in the slot at `slot` (and the other way round).
    ///
    /// Linux commit 1ad53d9fa3f6 ("slub: improve bit diffusion for freelist ptr
    /// obfuscation") (v5.7).
    pub fn decode(&self, stored: u64, slot: Va) -> Va {
        match self.random {
            Some(random) => Va(stored ^ random ^ slot.0.swap_bytes()),
            None => Va(stored),
        }
    }

    /// Which object starts `offset` bytes into the slab.
    pub fn index_of(&self, offset: u64, objects: u64) -> Option<u16> {
        let offset = offset.checked_sub(self.left_pad)?;
        let index = offset / self.stride;
        (offset % self.stride == 0 && index < objects).then_some(index as u16)
    }
}

/// Every cache of the kernel.
pub struct Caches {
    /// As the heap holds them.
    pub caches: Vec<Cache>,
    pub(super) pointers: Vec<FreePointer>,
    by_address: HashMap<Va, Option<u16>>,
}

impl Caches {
    /// Reads the list of caches, from its symbol or from the cache of a slab. A dump may have neither.
    pub fn read(
        kernel: &Kernel<'_>,
        slab: Option<Pfn>,
        coverage: &mut Coverage,
    ) -> Result<Caches, KernelError> {
        let shape = &kernel.shape.cache;
        let head = match find_caches(kernel.symbols) {
            Some(head) => head,
            None => {
                let page = kernel.struct_page(slab.ok_or(KernelError::NoSlub)?);
                Va(kernel.memory.read_u64(page.at(kernel.shape.slab.cache))?).at(shape.list)
            }
        };
        let walk = walk_list(kernel.memory, head, MOST_CACHES);
        if let Some(stop) = walk.stopped {
            coverage.skip(Omitted::SomeCaches, Reason::Stopped(stop));
        }
        let mut caches =
            Caches { caches: Vec::new(), pointers: Vec::new(), by_address: HashMap::new() };
        // From a cache, the ring passes the list's head too: an address of the image.
        let links = walk.seen.into_iter().chain([head]);
        for link in links.filter(|link| kernel.direct_pfn(*link).is_some()) {
            let cache = Va(link.0.wrapping_sub(shape.list));
            let found = read_cache(kernel, cache);
            if found.is_none() {
                coverage.skip(Omitted::Cache(cache), Reason::Implausible);
            }
            caches.add(cache, found);
        }
        aliases::add(kernel, &mut caches.caches);
        Ok(caches)
    }

    /// The cache whose `struct kmem_cache` lies at `at`: on the list, or where a slab says that it is.
    ///
    /// Whoever destroys a cache of which objects are left leaves the cache behind: on the list in older kernels, in
    /// newer ones on none.
    pub(super) fn find_or_read(&mut self, kernel: &Kernel<'_>, at: Va) -> Option<u16> {
        if let Some(known) = self.by_address.get(&at) {
            return *known;
        }
        let found = kernel.direct_pfn(at).and_then(|_| read_cache(kernel, at));
        self.add(at, found.filter(|(cache, _)| is_clean(&cache.name)))
    }

    fn add(&mut self, at: Va, found: Option<(Cache, FreePointer)>) -> Option<u16> {
        let index = u16::try_from(self.caches.len()).ok().filter(|index| *index < u16::MAX - 8);
        let added = index.zip(found).map(|(index, (cache, pointer))| {
            self.caches.push(cache);
            self.pointers.push(pointer);
            index
        });
        self.by_address.insert(at, added);
        added
    }
}

/// A cache whose name cannot be read has slabs all the same.
const UNNAMED: &str = "(unnamed)";

/// Whether a name was read, and every character is one that names are made of.
fn is_clean(name: &str) -> bool {
    name != UNNAMED && !name.contains(char::REPLACEMENT_CHARACTER)
}

/// A name as it may be shown: what no name contains is replaced.
fn cleaned(name: &str) -> String {
    let clean = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    name.chars().map(clean).collect()
}

/// The cache at an address; `None` where what lies there contradicts itself.
fn read_cache(kernel: &Kernel<'_>, at: Va) -> Option<(Cache, FreePointer)> {
    let shape = &kernel.shape.cache;
    let mut bytes = vec![0; shape.read_bytes.min(4096) as usize];
    kernel.memory.read(at, &mut bytes).ok()?;
    let name = read_string(kernel.memory, Va(word(&bytes, shape.name)), 256);
    let name = name.filter(|name| !name.is_empty()).map(|name| cleaned(&name));
    let size = Size::read(shape, &bytes);
    let stride = size.agreed()?;
    let left_pad = shape.left_pad.map_or(0, |offset| half(&bytes, offset));
    let object = half(&bytes, shape.object_size);
    let used = shape.used_bytes.map(|offset| half(&bytes, offset));
    let has_room = left_pad.is_multiple_of(8) && left_pad.saturating_add(object) <= stride;
    let is_sure = size.said == stride && used.is_none_or(|used| is_object_size(object, used));
    // What is looked at must not become less: references in the rest of an object would count for nothing.
    let (left_pad, object) = if is_sure && has_room { (left_pad, object) } else { (0, stride) };
    let mut cache = Cache::new(at, name.unwrap_or(UNNAMED.to_owned()), stride, object)?;
    cache.left_pad = left_pad;
    let flags = shape.flags.map_or(0, |flags| match flags.bytes {
        4 => u64::from(half(&bytes, flags.at)),
        _ => word(&bytes, flags.at),
    });
    cache.reclaimable = flags & shape.reclaimable_bit != 0;
    cache.destroyed = shape.owners.is_some_and(|offset| half(&bytes, offset) == 0);
    let pointer = FreePointer {
        offset: u64::from(half(&bytes, shape.free_pointer)),
        random: shape.random.map(|offset| word(&bytes, offset)),
        stride: u64::from(stride),
        left_pad: u64::from(cache.left_pad),
    };
    Some((cache, pointer))
}

/// Whether a cache's `inuse` follows from its `object_size`: that, up to the next word, and another one where a red
/// zone would have no room (`calculate_sizes` of mm/slub.c).
fn is_object_size(object: u32, used: u32) -> bool {
    (object.saturating_add(7) / 8 * 8..=object.saturating_add(15)).contains(&used)
}

/// The distance between a cache's objects, as three of its members tell it.
struct Size {
    /// `size`
    said: u32,
    /// By the multiplier that the kernel divides by it with.
    divided: Option<u32>,
    /// Bytes of a slab, and objects in it.
    slab: Option<(u64, u64)>,
}

impl Size {
    fn read(shape: &CacheShape, bytes: &[u8]) -> Size {
        let divided = shape.reciprocal.map(|[multiplier, shift]| {
            let shift = bytes.get(shift as usize).copied().unwrap_or(0);
            divisor(half(bytes, multiplier), shift).unwrap_or(0)
        });
        let slab = shape.slab_objects.map(|offset| {
            let packed = u64::from(half(bytes, offset));
            (PAGE_SIZE << (packed >> 16).min(MOST_ORDER), packed & 0xffff)
        });
        Size { said: half(bytes, shape.size), divided, slab }
    }

    /// What two of them say; `None` where no two agree. Only one number has such a reciprocal, and many fit into a slab
    /// as often.
    fn agreed(&self) -> Option<u32> {
        let fits_slab = |size: u32| {
            let count = |(bytes, objects)| bytes / u64::from(size.max(1)) == objects;
            size.is_multiple_of(8) && self.slab.is_none_or(count)
        };
        match self.divided {
            Some(divided) if divided == self.said => Some(divided).filter(|size| *size != 0),
            Some(divided) => [divided, self.said].into_iter().find(|size| fits_slab(*size)),
            None => Some(self.said).filter(|size| fits_slab(*size)),
        }
    }
}

/// The largest order that a slab can have.
const MOST_ORDER: u64 = 10;

/// What a multiplication by a reciprocal divides by, from its multiplier and the last of its shifts
/// (lib/math/reciprocal_div.c).
fn divisor(multiplier: u32, shift: u8) -> Option<u32> {
    let log = u32::from(shift) + 1;
    let divisor =
        (1u128 << (32 + log.min(32))) / (u128::from(multiplier).saturating_sub(1) + (1 << 32));
    let size = u32::try_from(divisor).ok().filter(|size| *size > 1)?;
    (reciprocal(size) == (multiplier, shift)).then_some(size)
}

/// The multiplier and the last shift for a division by `size`.
fn reciprocal(size: u32) -> (u32, u8) {
    let log = u32::BITS - (size - 1).leading_zeros();
    let multiplier = ((1u64 << 32) * ((1u64 << log) - u64::from(size))) / u64::from(size) + 1;
    (multiplier as u32, log.saturating_sub(1) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 1120;

    fn size() -> Size {
        let (multiplier, shift) = reciprocal(SIZE);
        Size { said: SIZE, divided: divisor(multiplier, shift), slab: Some((32768, 29)) }
    }

    #[test]
    fn a_size_is_found_again_from_its_reciprocal() {
        for size in (8..70_000).step_by(8) {
            let (multiplier, shift) = reciprocal(size);
            assert_eq!(divisor(multiplier, shift), Some(size));
        }
        // As Linux 6.1 has it for objects of 192 bytes.
        assert_eq!(reciprocal(192), (0x5555_5556, 7));
    }

    #[test]
    fn one_damaged_member_of_three_does_not_change_the_size() {
        for damaged in [
            Size { said: SIZE ^ 64, ..size() },
            // So many fit into a slab, too.
            Size { said: SIZE ^ 8, ..size() },
            Size { divided: Some(0), ..size() },
            Size { slab: Some((4096, 29)), ..size() },
        ] {
            assert_eq!(damaged.agreed(), Some(SIZE));
        }
    }

    #[test]
    fn an_object_ends_where_the_used_bytes_do_or_a_word_before() {
        for (object, used) in [(192, 192), (190, 192), (192, 200), (1, 8)] {
            assert!(is_object_size(object, used), "{object} {used}");
        }
        for (object, used) in [(64, 512), (512, 64), (192, 208), (0x2040, 0x40), (u32::MAX, 64)] {
            assert!(!is_object_size(object, used), "{object} {used}");
        }
    }

    #[test]
    fn a_size_that_nothing_confirms_is_none() {
        let damaged = Size { said: 2000, slab: Some((32768, 3)), ..size() };
        assert_eq!(damaged.agreed(), None);
        assert_eq!(Size { said: 1121, divided: None, slab: None }.agreed(), None, "not aligned");
    }
}
