//! Walks SLUB's caches and slabs, and finds the allocated objects.
//!
//! On a live target other CPUs allocate and free meanwhile. A slab is read again if its list of free
//! objects does not agree with its own count, and then counted as torn. In a torn slab the objects
//! that no list named as free count as live.
//!
//! **Invariant:** an object counts as free only when a list of free objects
//! names it; a word that merely decodes as one proves nothing.

mod caches;
mod percpu;
mod totals;

pub use caches::Caches;
pub use totals::object_totals;

use sysak_base::{Cancel, PAGE_SIZE, Pfn, Progress, Va};
use sysak_heap::{Heap, HeapBuilder, Object, PageSet, UnmarkedHeap};

use crate::read::word;
use crate::shape::PageKind;
use crate::{Coverage, Kernel, KernelError, Omitted, Reason};

use caches::FreePointer;
use percpu::Kept;

/// Where one in so many slabs is torn, the free objects of the others are in doubt too: a busy machine
/// has one in some thousands.
const MOST_TORN: u64 = 20;
/// So few torn slabs say nothing about the others.
const FEW_SLABS: u64 = 16;
/// How often a torn slab is read again.
const RETRIES: u32 = 4;
/// Pages whose `struct page`s are read at once.
const WINDOW_PAGES: u64 = 4096;
/// `MAX_OBJS_PER_PAGE`: the count is a field of 15 bits.
const MOST_OBJECTS: u64 = 32767;

/// The slabs of a kernel.
pub struct Slabs {
    /// Every slab and which of its objects are live.
    pub heap: UnmarkedHeap,
    /// Slabs whose free objects did not add up even when read again.
    pub torn: u64,
    /// Slab pages that SLUB does not manage (KFENCE): they belong to the roots.
    pub foreign: Vec<(Pfn, u64)>,
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
        let adds_up = self.torn <= (slabs / MOST_TORN).max(FEW_SLABS);
        kernel.shape.tells_free_objects() && !kernel.per_cpu_offsets.is_empty() && adds_up
    }

    /// An interrupted walk without any slab.
    pub fn none(kernel: &Kernel<'_>) -> Slabs {
        let heap = HeapBuilder::new(kernel.page_offset(), 0, Vec::new()).seal();
        Slabs { heap, torn: 0, foreign: Vec::new(), sheaves: Vec::new(), interrupted: true }
    }
}

/// Walks every slab whose first page the census found.
pub fn walk(
    kernel: &Kernel<'_>,
    heads: &PageSet,
    coverage: &mut Coverage,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Slabs, KernelError> {
    let first = heads.runs().next().ok_or(KernelError::NoSlub)?.0;
    let caches = Caches::read(kernel, first, coverage)?;
    let kept = Kept::find(kernel, &caches, coverage);
    let builder = HeapBuilder::new(kernel.page_offset(), kernel.end_pfn().0, caches.caches.clone());
    let mut walker = Walker {
        kernel,
        caches,
        builder,
        torn: 0,
        foreign: Vec::new(),
        interrupted: false,
        vanished: 0,
        buffer: Vec::new(),
    };
    walker.all(heads, progress, cancel);
    let Walker { mut builder, torn, foreign, interrupted, vanished, .. } = walker;
    kept.free.into_iter().for_each(|address| builder.set_free_at(address));
    let (heap, sheaves) = (builder.seal(), kept.sheaves);
    let slabs = Slabs { heap, torn, foreign, sheaves, interrupted };
    coverage.slabs_total = slabs.heap.slabs.len() as u64 + slabs.foreign.len() as u64 + vanished;
    coverage.slabs_walked = slabs.heap.slabs.len() as u64 - slabs.torn;
    coverage.objects_walked = slabs.heap.objects();
    if slabs.torn > 0 {
        coverage.skip(Omitted::Slabs(slabs.torn), Reason::Changed);
    }
    if kernel.shape.tells_free_objects() && !slabs.tells_free_objects(kernel) {
        let why = match kernel.per_cpu_offsets.is_empty() {
            true => Reason::NoPerCpuAreas,
            false => Reason::ChangedOrDamaged,
        };
        coverage.skip(Omitted::SlabObjects, why);
    }
    if vanished > 0 {
        coverage.skip(Omitted::Slabs(vanished), Reason::GivenBack);
    }
    if !slabs.foreign.is_empty() {
        coverage.skip(Omitted::Slabs(slabs.foreign.len() as u64), Reason::Foreign);
    }
    Ok(slabs)
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
    builder: HeapBuilder,
    torn: u64,
    foreign: Vec<(Pfn, u64)>,
    interrupted: bool,
    vanished: u64,
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
        let (total, mut done) = (heads.len(), 0);
        let mut memmap = StructPages::default();
        for (start, pages) in heads.runs() {
            for pfn in (start.0..start.0 + pages).map(Pfn) {
                let bytes = memmap.struct_page(self.kernel, pfn);
                self.slab(pfn, bytes);
                done += 1;
                if done & 0x3ff == 0 {
                    progress.tell(done, total);
                    if cancel.is_set() {
                        self.interrupted = true;
                        return;
                    }
                }
            }
        }
    }

    fn slab(&mut self, pfn: Pfn, bytes: &[u8]) {
        let Some(head) = self.head(pfn, bytes) else {
            self.vanished += 1;
            return;
        };
        let cache = &self.caches.caches[head.cache as usize];
        let expected = (PAGE_SIZE << head.order) / u64::from(cache.stride);
        if head.objects == 0 || head.objects != expected.min(MOST_OBJECTS) {
            self.foreign.push((pfn, 1 << head.order));
            return;
        }
        let objects = head.objects as u16;
        let Ok(slab) = self.builder.push(pfn, head.order, head.cache, objects) else {
            self.vanished += 1;
            return;
        };
        if head.freelist != Va(0) || head.in_use != head.objects {
            self.free_objects(slab, pfn, head);
        }
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
            if attempt == RETRIES {
                self.torn += 1;
                break;
            }
            let mut bytes = vec![0; 2 * self.kernel.shape.page.size as usize];
            let read = self.kernel.memory.read(self.kernel.struct_page(pfn), &mut bytes);
            match read.ok().and_then(|()| self.head(pfn, &bytes)) {
                Some(again) if again.cache == head.cache && again.order == head.order => {
                    head = again;
                }
                _ => {
                    self.torn += 1;
                    break;
                }
            }
        }
        for index in free {
            self.builder.set_free(Object { slab, index });
        }
    }

    /// Reads a slab's bookkeeping; `None` when the page is no slab any more.
    fn head(&self, pfn: Pfn, bytes: &[u8]) -> Option<Head> {
        let (page, shape) = (&self.kernel.shape.page, &self.kernel.shape.slab);
        let flags = word(bytes, page.flags);
        let is_slab = match page.bits.slab {
            Some(bit) => flags >> bit & 1 != 0,
            None => page.types.kind(crate::read::half(bytes, page.page_type)) == PageKind::Slab,
        };
        let cache = self.caches.find(Va(word(bytes, shape.cache)));
        let order = if flags >> page.bits.head & 1 != 0 { page.compound_order(bytes) } else { 0 };
        let counters = word(bytes, shape.counters);
        let head = Head {
            cache: cache?,
            freelist: Va(word(bytes, shape.freelist)),
            in_use: counters & 0xffff,
            objects: counters >> 16 & 0x7fff,
            order,
        };
        (is_slab && pfn.0 + (1 << order) <= self.kernel.end_pfn().0).then_some(head)
    }
}

/// The `struct page`s around the one asked for, read in large pieces.
#[derive(Default)]
struct StructPages {
    start: u64,
    bytes: Vec<u8>,
}

impl StructPages {
    /// The `struct page` of a frame and the one behind it; zeroes where unreadable.
    fn struct_page(&mut self, kernel: &Kernel<'_>, pfn: Pfn) -> &[u8] {
        let size = kernel.shape.page.size;
        let held = self.bytes.len() as u64 / size;
        if pfn.0 < self.start || pfn.0 + 2 > self.start + held {
            self.start = pfn.0;
            // To the end of the RAM run: the array may have a hole behind it.
            let run = kernel.ram.iter().find(|run| run.contains(pfn));
            let pages = run.map_or(1, |run| (run.end.0 - pfn.0).min(WINDOW_PAGES));
            self.bytes.resize((pages * size) as usize, 0);
            if kernel.memory.read(kernel.struct_page(pfn), &mut self.bytes).is_err() {
                self.bytes.resize((2 * size) as usize, 0);
                if kernel.memory.read(kernel.struct_page(pfn), &mut self.bytes).is_err() {
                    self.bytes.fill(0);
                }
            }
        }
        &self.bytes[((pfn.0 - self.start) * size) as usize..]
    }
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
