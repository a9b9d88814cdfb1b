//! Walks SLUB's caches and slabs, and finds the allocated objects.
//!
//! On a live target other CPUs allocate and free meanwhile. A slab is read again if its list of free
//! objects does not agree with its own count, and then counted as torn. In a torn slab the objects
//! that no list named as free count as live.
//!
//! **Invariant:** an object counts as free only when a list of free objects
//! names it; a word that merely decodes as one proves nothing.

mod caches;
#[cfg(test)]
#[path = "tests/damaged.rs"]
mod damaged_tests;
mod heads;
mod percpu;
mod totals;

pub use caches::Caches;
pub use totals::object_totals;

use sysak_base::numbers::word;
use sysak_base::{Cancel, Memory, PAGE_SIZE, Pfn, Progress, Va};
use sysak_heap::{Heap, HeapBuilder, Object, PageSet, UnmarkedHeap};

use crate::shape::{PageKind, find_kfence_pool};
use crate::{Book, Coverage, Kernel, KernelError, Omitted, Reason};

use caches::FreePointer;
use heads::StructPages;
use percpu::Kept;

/// Where one in so many slabs of a running kernel is torn, the free objects of the others are in doubt too:
/// a busy machine has one in some thousands.
const MOST_TORN: u64 = 20;
/// So few torn slabs say nothing about the others.
const FEW_SLABS: u64 = 16;
/// How often a torn slab is read again.
const RETRIES: u32 = 4;
/// KFENCE's pool has two pages an object, and at most 65,535 objects (CONFIG_KFENCE_NUM_OBJECTS).
const MOST_KFENCE_BYTES: u64 = 512 << 20;
/// `MAX_OBJS_PER_PAGE`: the count is a field of 15 bits.
const MOST_OBJECTS: u64 = 32767;

/// The slabs of a kernel.
pub struct Slabs {
    /// Every slab and which of its objects are live.
    pub heap: UnmarkedHeap,
    /// Slab pages that are in no slab of the heap, with no known cache or KFENCE's: they belong to the roots.
    pub roots: Vec<(Pfn, u64)>,
    /// Slabs whose free objects did not add up even when read again. Nobody can say which of their objects are in
    /// use, so all of them count as reachable.
    pub torn: Vec<Pfn>,
    /// Arrays of free objects. Behind the free ones they keep the addresses of those that they gave
    /// out, which are no references.
    pub sheaves: Vec<Va>,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

impl Slabs {
    /// Whether free objects could be told from allocated ones: their places are known, and what most
    /// slabs say of theirs adds up.
    pub fn tells_free_objects(&self, kernel: &Kernel<'_>) -> bool {
        let slabs = self.heap.slabs.len() as u64;
        // In a dump the torn ones are known one by one.
        let few = (slabs / MOST_TORN).max(FEW_SLABS);
        let adds_up = !kernel.memory.is_live() || self.torn.len() as u64 <= few;
        kernel.shape.tells_free_objects() && !kernel.per_cpu_offsets.is_empty() && adds_up
    }

    /// An interrupted walk without any slab.
    pub fn none(kernel: &Kernel<'_>) -> Slabs {
        let heap = HeapBuilder::new(kernel.page_offset(), 0, Vec::new()).seal();
        Slabs { heap, roots: Vec::new(), torn: Vec::new(), sheaves: Vec::new(), interrupted: true }
    }
}

/// Walks every slab whose first page the census found; `pages` are the pages of all of them.
///
/// No kernel is without slabs, so finding none is an error; but not where `has_holes`: a dump may lack them all.
pub fn walk(
    kernel: &Kernel<'_>,
    heads: &PageSet,
    pages: u64,
    has_holes: bool,
    coverage: &mut Coverage,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Slabs, KernelError> {
    let first = heads.runs().next().map(|(first, _)| first);
    if first.is_none() && !has_holes {
        return Err(KernelError::NoSlub);
    }
    let caches = Caches::read(kernel, first, coverage)?;
    let kept = Kept::find(kernel, &caches, coverage);
    let builder = HeapBuilder::new(kernel.page_offset(), kernel.end_pfn().0, caches.caches.clone());
    let mut walker = Walker {
        kernel,
        listed: caches.caches.len(),
        caches,
        builder,
        kept,
        torn: Vec::new(),
        roots: Vec::new(),
        interrupted: false,
        counts: Counts::default(),
        buffer: Vec::new(),
    };
    walker.all(heads, progress, cancel);
    let Walker { mut builder, kept, mut torn, roots, interrupted, mut counts, .. } = walker;
    let (listed, caches) = (walker.listed, walker.caches);
    kept.free.into_iter().for_each(|address| builder.set_free_at(address));
    let (heap, sheaves) = (builder.seal(), kept.sheaves);
    for object in kept.broken.iter().filter_map(|at| heap.find_object(at.0)) {
        let slab = &heap.slabs[object.slab as usize];
        if !torn.contains(&slab.pfn) {
            torn.push(slab.pfn);
            counts.torn_pages += u64::from(slab.pages);
        }
    }
    let slabs = Slabs { heap, roots, torn, sheaves, interrupted };
    if slabs.heap.slabs.is_empty() && !slabs.interrupted && !has_holes {
        return Err(KernelError::NoSlub);
    }
    let unlisted = caches.caches.len() - listed;
    counts.tell(kernel, &slabs, unlisted as u64, pages, coverage);
    Ok(slabs)
}

/// Slabs that are not in the heap, or not judged.
#[derive(Clone, Copy, Default)]
struct Counts {
    /// Given back since the census saw them.
    vanished: u64,
    /// KFENCE's.
    guarded: u64,
    /// Of a cache that is not known.
    unknown: u64,
    /// Pages of the unknown ones.
    unknown_pages: u64,
    /// Pages of those that are torn.
    torn_pages: u64,
}

impl Counts {
    fn tell(
        self,
        kernel: &Kernel<'_>,
        slabs: &Slabs,
        unlisted_caches: u64,
        pages: u64,
        coverage: &mut Coverage,
    ) {
        let (walked, torn) = (slabs.heap.slabs.len() as u64, slabs.torn.len() as u64);
        let is_live = kernel.memory.is_live();
        coverage.slabs_total = walked + self.guarded + self.unknown + self.vanished;
        coverage.slabs_walked = walked - torn;
        coverage.objects_walked = slabs.heap.objects();
        // A busy machine changes a few slabs as often as they are read: that is no damage.
        let is_usual = is_live && torn * MOST_TORN <= walked;
        let torn_pages = if is_usual { 0 } else { self.torn_pages };
        let unjudged_pages = self.unknown_pages + torn_pages;
        let is_missing = !slabs.tells_free_objects(kernel) || pages == 0;
        coverage.books.slab = Book { pages, unjudged_pages, is_missing };
        if kernel.shape.tells_free_objects() && is_missing {
            let why = match kernel.per_cpu_offsets.is_empty() {
                true => Reason::NoPerCpuAreas,
                false => Reason::ChangedOrDamaged,
            };
            coverage.skip(Omitted::SlabObjects, why);
        }
        let mut skip = |many: u64, what: fn(u64) -> Omitted, why| {
            if many > 0 {
                coverage.skip(what(many), why);
            }
        };
        skip(torn, Omitted::Slabs, if is_live { Reason::Changed } else { Reason::Damaged });
        skip(self.vanished, Omitted::Slabs, Reason::GivenBack);
        skip(self.unknown, Omitted::UnknownSlabs, Reason::Implausible);
        skip(self.guarded, Omitted::Slabs, Reason::Foreign);
        skip(unlisted_caches, Omitted::UnlistedCaches, Reason::OnNoList);
    }
}

/// The live objects of a cache, ascending.
pub fn live_objects(heap: &Heap, cache: &str) -> Vec<Va> {
    let mut at = Vec::new();
    for (slab, _) in heap.slabs_of(cache) {
        heap.for_each_live(slab, |index| at.push(heap.object_va(Object { slab, index })));
    }
    at.sort_unstable();
    at
}

struct Walker<'a, 'k> {
    kernel: &'a Kernel<'k>,
    caches: Caches,
    /// How many of the caches are on the kernel's list.
    listed: usize,
    builder: HeapBuilder,
    /// Free objects that the slabs count as used.
    kept: Kept,
    torn: Vec<Pfn>,
    roots: Vec<(Pfn, u64)>,
    interrupted: bool,
    counts: Counts,
    buffer: Vec<u8>,
}

/// What a slab's bookkeeping says.
struct Head {
    cache: u16,
    freelist: Va,
    in_use: u64,
    objects: u64,
    order: u8,
}

impl Walker<'_, '_> {
    fn all(&mut self, heads: &PageSet, progress: &dyn Progress, cancel: &Cancel) {
        let (total, mut done, kernel) = (heads.len(), 0, self.kernel);
        let (array, size) = (kernel.struct_page(Pfn(0)), kernel.shape.page.size);
        let read = |memory: &dyn Memory, (): &mut (), window| {
            StructPages::read(memory, array, size, window)
        };
        let windows = heads::windows(heads, &kernel.ram).take_while(|_| !cancel.is_set());
        kernel.readers.in_order(windows, read, |pages| {
            for (index, pfn) in pages.heads.iter().enumerate() {
                self.slab(*pfn, pages.of(index));
            }
            done += pages.heads.len() as u64;
            progress.tell(done, total);
        });
        self.interrupted = done < total;
    }

    fn slab(&mut self, pfn: Pfn, bytes: &[u8]) {
        let known = self.head(pfn, bytes);
        let added = match known {
            Ok(head) => self.add(pfn, head),
            Err(no) => Err(no),
        };
        // A running kernel may have made another slab of the page meanwhile.
        let added = match added {
            Err(_) if self.kernel.memory.is_live() => {
                self.head_again(pfn).and_then(|head| self.add(pfn, head))
            }
            added => added,
        };
        match added {
            Ok(()) => {}
            Err(NoSlab::GivenBack) => self.counts.vanished += 1,
            Err(NoSlab::Guarded) => {
                self.counts.guarded += 1;
                self.roots.push((pfn, 1));
            }
            Err(NoSlab::Unknown { pages }) => {
                self.counts.unknown += 1;
                self.counts.unknown_pages += pages;
                self.roots.push((pfn, pages));
            }
        }
    }

    /// Adds a slab to the heap, if it is cut up as its cache wants it.
    fn add(&mut self, pfn: Pfn, head: Head) -> Result<(), NoSlab> {
        let cache = &self.caches.caches[head.cache as usize];
        let pages = 1 << head.order;
        let expected = (PAGE_SIZE << head.order) / u64::from(cache.stride);
        if head.objects == 0 || head.objects != expected.min(MOST_OBJECTS) {
            let guarded = head.order == 0 && head.objects <= 1 && self.may_be_guarded(pfn);
            return Err(if guarded { NoSlab::Guarded } else { NoSlab::Unknown { pages } });
        }
        let slab = self.builder.push(pfn, head.order, head.cache, head.objects as u16);
        let slab = slab.map_err(|_| NoSlab::Unknown { pages })?;
        if head.freelist != Va(0) || head.in_use != head.objects {
            let torn = self.torn.len();
            self.free_objects(slab, pfn, head);
            if self.torn.len() > torn {
                self.counts.torn_pages += pages;
            }
        }
        Ok(())
    }

    /// Whether a page can be one of KFENCE's pool.
    fn may_be_guarded(&self, pfn: Pfn) -> bool {
        let Some(pool) = find_kfence_pool(self.kernel.memory, self.kernel.symbols) else {
            return true;
        };
        let place = self.kernel.page_va(pfn).checked_sub(pool);
        place.is_some_and(|place| place < MOST_KFENCE_BYTES)
    }

    /// Takes the objects on the slab's own freelist out of the live ones.
    fn free_objects(&mut self, slab: u32, pfn: Pfn, mut head: Head) {
        let base = self.kernel.page_va(pfn);
        let mut free = Vec::new();
        for attempt in 0..=RETRIES {
            let pointer = self.caches.pointers[head.cache as usize];
            let len = (PAGE_SIZE << head.order) as usize;
            let whole = match self.kernel.memory.view(base, len, &mut self.buffer) {
                Ok(bytes) => pointer.chain(bytes, base, head.freelist, head.objects, &mut free),
                Err(_) => false,
            };
            if whole && free.len() as u64 == head.objects.saturating_sub(head.in_use) {
                break;
            }
            let again = match self.kernel.memory.is_live() && attempt < RETRIES {
                true => self.head_again(pfn).ok(),
                false => None,
            };
            match again.filter(|now| now.cache == head.cache && now.order == head.order) {
                Some(now) => head = now,
                None => {
                    self.torn.push(pfn);
                    break;
                }
            }
        }
        for index in free {
            self.builder.set_free(Object { slab, index });
        }
    }

    /// Reads a slab's bookkeeping.
    fn head(&mut self, pfn: Pfn, bytes: &[u8]) -> Result<Head, NoSlab> {
        let (page, shape) = (&self.kernel.shape.page, &self.kernel.shape.slab);
        let flags = word(bytes, page.flags);
        let is_slab = match page.bits.slab {
            Some(bit) => flags >> bit & 1 != 0,
            None => {
                page.types.kind(sysak_base::numbers::half(bytes, page.page_type)) == PageKind::Slab
            }
        };
        let order = if flags >> page.bits.head & 1 != 0 { page.compound_order(bytes) } else { 0 };
        let pages = (1 << order).min(self.kernel.end_pfn().0 - pfn.0);
        if !is_slab {
            return Err(match self.kernel.memory.is_live() {
                true => NoSlab::GivenBack,
                false => NoSlab::Unknown { pages },
            });
        }
        let at = Va(word(bytes, shape.cache));
        // Pages of KFENCE's pool are slabs from the start, and get a cache with their first object.
        if at == Va(0) && order == 0 && self.may_be_guarded(pfn) {
            return Err(NoSlab::Guarded);
        }
        let known = self.caches.caches.len();
        let cache = self.caches.find_or_read(self.kernel, at).ok_or(NoSlab::Unknown { pages })?;
        if self.caches.caches.len() > known {
            let index = usize::from(cache);
            self.kept.add_cache(self.kernel, &self.caches, index);
            self.builder.add_cache(self.caches.caches[index].clone());
        }
        let counters = word(bytes, shape.counters);
        let head = Head {
            cache,
            freelist: Va(word(bytes, shape.freelist)),
            in_use: counters & 0xffff,
            objects: counters >> 16 & 0x7fff,
            order,
        };
        if pages == 1 << order { Ok(head) } else { Err(NoSlab::Unknown { pages }) }
    }

    fn head_again(&mut self, pfn: Pfn) -> Result<Head, NoSlab> {
        let mut bytes = vec![0; 2 * self.kernel.shape.page.size as usize];
        let read = self.kernel.memory.read(self.kernel.struct_page(pfn), &mut bytes);
        read.map_err(|_| NoSlab::Unknown { pages: 1 })?;
        self.head(pfn, &bytes)
    }
}

/// Why a slab of the census is none in the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoSlab {
    /// The kernel took its page back.
    GivenBack,
    /// It is one of KFENCE's.
    Guarded,
    /// Its cache is not known, or the two contradict each other.
    Unknown {
        /// How long it is.
        pages: u64,
    },
}

impl FreePointer {
    /// Follows a chain of free objects through a slab's bytes; false when it leaves the
    /// slab, meets no object's start, or is longer than the slab has objects.
    fn chain(&self, slab: &[u8], base: Va, first: Va, objects: u64, free: &mut Vec<u16>) -> bool {
        free.clear();
        let mut at = first;
        while at != Va(0) {
            let index = at.checked_sub(base).and_then(|offset| self.index_of(offset, objects));
            let (Some(index), true) = (index, (free.len() as u64) < objects) else {
                return false;
            };
            free.push(index);
            let slot = at.0.wrapping_sub(base.0) + self.offset;
            if slot + 8 > slab.len() as u64 {
                return false;
            }
            at = self.decode(word(slab, slot), base.at(slot));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Va = Va(0xffff_8880_0010_0000);

    fn slab_with_chain(pointer: &FreePointer, chain: &[u64]) -> Vec<u8> {
        let mut slab = vec![0u8; 4096];
        for (at, next) in chain.iter().zip(chain[1..].iter().map(|n| BASE.0 + n).chain([0])) {
            let slot = at + pointer.offset;
            let stored = pointer.decode(next, BASE.at(slot));
            slab[slot as usize..slot as usize + 8].copy_from_slice(&stored.0.to_le_bytes());
        }
        slab
    }

    fn hardened() -> FreePointer {
        FreePointer { offset: 32, random: Some(0x1234_5678_9abc_def0), stride: 64, left_pad: 0 }
    }

    #[test]
    fn a_hardened_chain_is_followed_to_its_end() {
        let pointer = hardened();
        let slab = slab_with_chain(&pointer, &[640, 0, 4032]);
        let mut free = Vec::new();
        assert!(pointer.chain(&slab, BASE, BASE.at(640), 64, &mut free));
        assert_eq!(free, [10, 0, 63]);
    }

    #[test]
    fn self_linked_freelist_reports_the_cycle() {
        let pointer = hardened();
        let mut slab = slab_with_chain(&pointer, &[0, 64]);
        let slot = BASE.at(64 + pointer.offset);
        let stored = pointer.decode(BASE.0, slot).0;
        slab[96..104].copy_from_slice(&stored.to_le_bytes());
        assert!(!pointer.chain(&slab, BASE, BASE, 64, &mut Vec::new()));
    }

    #[test]
    fn a_chain_that_leaves_the_slab_or_hits_the_middle_of_an_object_is_torn() {
        let pointer = FreePointer { random: None, ..hardened() };
        for bad in [4096, 4096 * 20, 8] {
            let slab = slab_with_chain(&pointer, &[0, bad % 4096, bad][..1]);
            assert!(!pointer.chain(&slab, BASE, BASE.at(bad), 64, &mut Vec::new()), "{bad}");
        }
    }

    #[test]
    fn the_left_red_zone_is_part_of_the_slot() {
        let pointer = FreePointer { left_pad: 16, stride: 96, ..hardened() };
        assert_eq!(pointer.index_of(16 + 96, 42), Some(1));
        assert_eq!(pointer.index_of(96, 42), None);
    }
}
