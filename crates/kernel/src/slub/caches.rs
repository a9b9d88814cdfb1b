//! The slab caches: names, sizes, and how each encodes its free pointers.

use std::collections::HashMap;

use sysak_base::{Pfn, Va};
use sysak_heap::Cache;

use crate::list::walk_list;
use crate::read::{half, read_string, word};
use crate::shape::find_caches;
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
    by_address: HashMap<Va, u16>,
}

impl Caches {
    /// Reads the list of caches, from its symbol or from the cache of a slab.
    pub fn read(
        kernel: &Kernel<'_>,
        slab: Pfn,
        coverage: &mut Coverage,
    ) -> Result<Caches, KernelError> {
        let shape = &kernel.shape.cache;
        let head = match find_caches(kernel.symbols) {
            Some(head) => head,
            None => {
                let page = kernel.struct_page(slab);
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
            if !caches.add(kernel, cache) {
                coverage.skip(Omitted::Cache(cache), Reason::Implausible);
            }
        }
        if caches.caches.is_empty() {
            return Err(KernelError::NoSlub);
        }
        aliases::add(kernel, &mut caches.caches);
        Ok(caches)
    }

    /// The cache whose `struct kmem_cache` lies at `at`.
    pub(super) fn find(&self, at: Va) -> Option<u16> {
        self.by_address.get(&at).copied()
    }

    fn add(&mut self, kernel: &Kernel<'_>, at: Va) -> bool {
        let shape = &kernel.shape.cache;
        let mut bytes = vec![0; shape.read_bytes.min(4096) as usize];
        if kernel.memory.read(at, &mut bytes).is_err() || self.caches.len() > u16::MAX as usize {
            return false;
        }
        let name = read_string(kernel.memory, Va(word(&bytes, shape.name)), 256);
        let (stride, size) = (half(&bytes, shape.size), half(&bytes, shape.object_size));
        let cache = name.and_then(|name| Cache::new(at, name, stride, size));
        let Some(mut cache) = cache else { return false };
        cache.left_pad = shape.left_pad.map_or(0, |offset| half(&bytes, offset)).min(stride);
        let flags = shape.flags.map_or(0, |flags| match flags.bytes {
            4 => u64::from(half(&bytes, flags.at)),
            _ => word(&bytes, flags.at),
        });
        cache.reclaimable = flags & shape.reclaimable_bit != 0;
        self.pointers.push(FreePointer {
            offset: u64::from(half(&bytes, shape.free_pointer)),
            random: shape.random.map(|offset| word(&bytes, offset)),
            stride: u64::from(stride),
            left_pad: u64::from(cache.left_pad),
        });
        self.by_address.insert(at, self.caches.len() as u16);
        self.caches.push(cache);
        true
    }
}
