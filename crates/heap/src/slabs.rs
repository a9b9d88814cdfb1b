//! The slabs of a kernel and the state of every object.
//!
//! **Invariant:** slabs are pushed in ascending page order and never overlap.

use std::ops::Range;

use sysak_base::{PAGE_SHIFT, Pfn, Va};

use crate::address_filter::AddressFilter;
use crate::bits::Bits;
use crate::cache::Cache;
use crate::never_followed::NeverFollowed;
use crate::non_slab::Lookup;
use crate::page_set::PageSet;

/// One slab: a run of pages cut into objects of one cache.
#[derive(Clone, Copy, Debug)]
pub struct Slab {
    /// Its first page; of a vmalloc area, the number of the page in the address space.
    pub pfn: Pfn,
    /// Index of its first object in the heap's bitmaps.
    pub first: u64,
    /// Pages of it.
    pub pages: u32,
    /// Index into [`Heap::caches`].
    pub cache: u16,
    /// How many objects it is cut into.
    pub objects: u16,
}

impl Slab {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages) << PAGE_SHIFT
    }

    /// The page behind its last one.
    pub fn end(&self) -> Pfn {
        Pfn(self.pfn.0 + u64::from(self.pages))
    }
}

/// An object, by its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// Index into [`Heap::slabs`].
    pub slab: u32,
    /// Which object of the slab.
    pub index: u16,
}

/// Too much for the bitmaps, or not in order: the walk is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slab at page {0} is out of order")]
pub struct OutOfOrder(pub Pfn);

/// Every slab of a kernel and the state of every object.
///
/// An object is free, live and not reached (white), reached but its words not
/// followed yet (grey), or done (black): two bits tell the four apart.
#[derive(Debug)]
pub struct Heap {
    /// The caches that [`Slab::cache`] indexes.
    pub caches: Vec<Cache>,
    /// The slabs, in ascending page order.
    pub slabs: Vec<Slab>,
    pub(crate) page_offset: Va,
    pub(crate) span: u64,
    pub(crate) pages: PageSet,
    pub(crate) heads: PageSet,
    pub(crate) ranks: Vec<u32>,
    pub(crate) high: Bits,
    pub(crate) low: Bits,
    pub(crate) non_slab: Lookup,
    pub(crate) never_followed: NeverFollowed,
}

impl Heap {
    /// An empty heap over a direct map of `pages` page frames.
    pub fn new(page_offset: Va, pages: u64, caches: Vec<Cache>) -> Heap {
        Heap {
            caches,
            slabs: Vec::new(),
            page_offset,
            span: pages << PAGE_SHIFT,
            pages: PageSet::new(pages),
            heads: PageSet::new(pages),
            ranks: Vec::new(),
            high: Bits::default(),
            low: Bits::default(),
            non_slab: Lookup::of_slabs(page_offset, pages),
            never_followed: NeverFollowed::default(),
        }
    }

    /// Adds a slab, all of its objects live; returns its index.
    pub fn push(
        &mut self,
        pfn: Pfn,
        order: u8,
        cache: u16,
        objects: u16,
    ) -> Result<u32, OutOfOrder> {
        let end = pfn.0 + (1 << order);
        let in_order = self.slabs.last().is_none_or(|slab| slab.end() <= pfn);
        if !in_order || end > self.span >> PAGE_SHIFT || self.slabs.len() >= u32::MAX as usize {
            return Err(OutOfOrder(pfn));
        }
        let first = self.low.len();
        self.slabs.push(Slab { pfn, first, pages: 1 << order, cache, objects });
        self.low.grow(u64::from(objects), true);
        self.high.grow(u64::from(objects), false);
        self.heads.insert(pfn);
        for page in pfn.0..end {
            self.pages.insert(Pfn(page));
        }
        Ok(self.slabs.len() as u32 - 1)
    }

    /// Ends the filling: addresses can be looked up from now on.
    pub fn seal(&mut self) {
        self.ranks = self.heads.ranks();
    }

    /// The address of a slab's first byte.
    pub fn slab_va(&self, slab: &Slab) -> Va {
        match slab.pfn.0 < self.span >> PAGE_SHIFT {
            true => self.page_offset.at(slab.pfn.0 << PAGE_SHIFT),
            false => Va(slab.pfn.0 << PAGE_SHIFT),
        }
    }

    /// Where an object starts, past any red zone; of a per-CPU allocation, its pointer.
    pub fn object_va(&self, object: Object) -> Va {
        if let Some(found) = self.per_cpu_object(object) {
            return Va(found.pointer);
        }
        let slab = &self.slabs[object.slab as usize];
        let cache = &self.caches[slab.cache as usize];
        let offset = u64::from(object.index) * u64::from(cache.stride) + u64::from(cache.left_pad);
        self.slab_va(slab).at(offset)
    }

    /// The cache that an object belongs to.
    pub fn cache_of(&self, object: Object) -> &Cache {
        &self.caches[self.slabs[object.slab as usize].cache as usize]
    }

    /// The object, free or live, that the address lies in (interior addresses count); what
    /// is no slab is found by its `struct page` and its per-CPU pointer too.
    #[inline]
    pub fn find_object(&self, address: u64) -> Option<Object> {
        let linear = address.wrapping_sub(self.page_offset.0);
        if linear >= self.span {
            return self.find_non_slab(address);
        }
        let pfn = Pfn(linear >> PAGE_SHIFT);
        if !self.pages.contains(pfn) {
            return None;
        }
        let slab_index = self.heads.rank(&self.ranks, pfn).checked_sub(1)?;
        let slab = self.slabs.get(slab_index as usize)?;
        let cache = &self.caches[slab.cache as usize];
        let index = cache.index_of(linear - (slab.pfn.0 << PAGE_SHIFT));
        (index < u64::from(slab.objects))
            .then_some(Object { slab: slab_index, index: index as u16 })
    }

    /// Tells quickly which words may be addresses of objects.
    #[inline]
    pub fn address_filter(&self) -> &AddressFilter {
        &self.non_slab.address_filter
    }

    /// Where the direct map starts.
    pub fn page_offset(&self) -> Va {
        self.page_offset
    }

    /// Whether the page belongs to any slab or block.
    pub fn is_slab_page(&self, pfn: Pfn) -> bool {
        self.pages.contains(pfn)
    }

    /// The slabs of a cache, and of those that it was merged into.
    pub fn slabs_of(&self, cache: &str) -> impl Iterator<Item = (u32, &Slab)> {
        let named: Vec<bool> = self.caches.iter().map(|one| one.has_name(cache)).collect();
        (0..).zip(&self.slabs).filter(move |(_, slab)| named[usize::from(slab.cache)])
    }

    /// How many objects there are, free ones included.
    pub fn objects(&self) -> u64 {
        self.low.len()
    }

    /// Bytes that this structure occupies.
    pub fn footprint_bytes(&self) -> u64 {
        self.low.bytes()
            + self.high.bytes()
            + self.pages.bytes()
            + self.heads.bytes()
            + (self.ranks.len() * 4 + self.slabs.capacity() * size_of::<Slab>()) as u64
            + self.non_slab.footprint_bytes()
            + self.never_followed.footprint_bytes()
    }

    #[inline]
    pub(crate) fn bit(&self, object: Object) -> u64 {
        self.slabs[object.slab as usize].first + u64::from(object.index)
    }

    /// Notes that an object is on a freelist.
    pub fn set_free(&mut self, object: Object) {
        let bit = self.bit(object);
        self.low.clear(bit);
        self.high.clear(bit);
    }

    /// Whether the object is allocated, reached or not.
    pub fn is_live(&self, object: Object) -> bool {
        let bit = self.bit(object);
        self.low.test(bit) || self.high.test(bit)
    }

    /// Whether the object is allocated and nothing led to it so far.
    pub fn is_white(&self, object: Object) -> bool {
        let bit = self.bit(object);
        self.low.test(bit) && !self.high.test(bit)
    }

    /// White becomes grey; true when it was white.
    #[inline]
    pub fn mark(&mut self, object: Object) -> bool {
        let bit = self.bit(object);
        let white = self.low.test(bit) && !self.high.test(bit);
        if white {
            self.high.set(bit);
            self.low.clear(bit);
        }
        white
    }

    /// Grey objects of a slab become black; runs of neighbours are given to `each` in ascending
    /// order.
    pub fn take_grey(&mut self, slab: u32, mut each: impl FnMut(Range<u16>)) {
        let Slab { first, objects, .. } = self.slabs[slab as usize];
        for at in (0..objects).step_by(64) {
            let from = first + u64::from(at);
            let many = u64::from(objects - at).min(64);
            let mut grey = self.high.word(from, many) & !self.low.word(from, many);
            self.low.set_word(from, grey);
            while grey != 0 {
                let start = grey.trailing_zeros() as u16;
                let len = (grey >> start).trailing_ones() as u16;
                grey &= (u64::MAX << start).checked_shl(len.into()).unwrap_or(0);
                each(at + start..at + start + len);
            }
        }
    }

    /// The object counts as done: it is in use, and its words lead nowhere.
    pub fn blacken(&mut self, object: Object) {
        let bit = self.bit(object);
        self.low.set(bit);
        self.high.set(bit);
    }

    /// Marks objects as reachable whatever leads to them, for good; their contents lead nowhere. Free ones stay free.
    pub fn never_follow(&mut self, objects: impl IntoIterator<Item = Object>) {
        let live: Vec<Object> =
            objects.into_iter().filter(|object| self.is_live(*object)).collect();
        self.never_followed.extend(live);
        self.blacken_never_followed();
    }

    fn blacken_never_followed(&mut self) {
        let objects = std::mem::take(&mut self.never_followed);
        objects.all().iter().for_each(|object| self.blacken(*object));
        self.never_followed = objects;
    }

    /// Every live object becomes white again, but for those that are never followed.
    pub fn whiten(&mut self) {
        self.low.union_with(&self.high);
        self.high.clear_all();
        self.blacken_never_followed();
    }

    /// The state of every object, to be put back.
    pub fn states(&self) -> States {
        States { high: self.high.clone(), low: self.low.clone() }
    }

    /// Puts back the states that the same objects had before.
    pub fn put_back(&mut self, states: &States) {
        self.high.clone_from(&states.high);
        self.low.clone_from(&states.low);
    }

    /// Calls `each` with the index of every object of a slab that is white and was none when the
    /// states were taken.
    pub fn for_each_white_since(&self, states: &States, slab: u32, each: impl FnMut(u16)) {
        let slab = &self.slabs[slab as usize];
        let word = |at: u16| {
            let many = u64::from(slab.objects - at).min(64);
            let from = slab.first + u64::from(at);
            let before = states.low.word(from, many) & !states.high.word(from, many);
            self.white_word(slab, at) & !before
        };
        for_each_bit(slab, word, each);
    }

    /// Every grey object becomes white again.
    pub fn forget_grey(&mut self) {
        self.low.take_exclusive(&mut self.high);
    }

    /// Calls `each` with the index of every object of a slab that is white or grey.
    pub fn for_each_undone(&self, slab: u32, each: impl FnMut(u16)) {
        let slab = &self.slabs[slab as usize];
        let word = |at: u16| {
            let many = u64::from(slab.objects - at).min(64);
            let from = slab.first + u64::from(at);
            self.low.word(from, many) ^ self.high.word(from, many)
        };
        for_each_bit(slab, word, each);
    }

    /// The live objects of a slab as a bit set of up to 64 from `at` on.
    pub fn live_word(&self, slab: &Slab, at: u16) -> u64 {
        let many = u64::from(slab.objects - at).min(64);
        let from = slab.first + u64::from(at);
        self.low.word(from, many) | self.high.word(from, many)
    }

    /// The live objects of a slab that were not reached, up to 64 from `at` on.
    pub fn white_word(&self, slab: &Slab, at: u16) -> u64 {
        let many = u64::from(slab.objects - at).min(64);
        let from = slab.first + u64::from(at);
        self.low.word(from, many) & !self.high.word(from, many)
    }

    /// Calls `each` with the index of every live object of a slab.
    pub fn for_each_live(&self, slab: u32, each: impl FnMut(u16)) {
        let slab = &self.slabs[slab as usize];
        for_each_bit(slab, |at| self.live_word(slab, at), each);
    }

    /// Calls `each` with the index of every unreached live object of a slab.
    pub fn for_each_white(&self, slab: u32, each: impl FnMut(u16)) {
        let slab = &self.slabs[slab as usize];
        for_each_bit(slab, |at| self.white_word(slab, at), each);
    }

    /// Live and unreached objects of a slab.
    pub fn count(&self, slab: u32) -> Count {
        let slab = &self.slabs[slab as usize];
        let mut count = Count::default();
        for at in (0..slab.objects).step_by(64) {
            count.live += u64::from(self.live_word(slab, at).count_ones());
            count.white += u64::from(self.white_word(slab, at).count_ones());
        }
        count
    }
}

/// The state of every object at one time.
#[derive(Clone, Debug)]
pub struct States {
    high: Bits,
    low: Bits,
}

fn for_each_bit(slab: &Slab, word: impl Fn(u16) -> u64, mut each: impl FnMut(u16)) {
    for at in (0..slab.objects).step_by(64) {
        let mut bits = word(at);
        while bits != 0 {
            each(at + bits.trailing_zeros() as u16);
            bits &= bits - 1;
        }
    }
}

/// Objects of a slab or a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Allocated.
    pub live: u64,
    /// Allocated, and nothing led to them.
    pub white: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Va = Va(0xffff_8880_0000_0000);

    fn heap() -> Heap {
        let small = Cache::new(Va(1), "kmalloc-96".into(), 96, 96).unwrap();
        let large = Cache::new(Va(2), "kmalloc-8k".into(), 8192, 8192).unwrap();
        let mut heap = Heap::new(BASE, 1000, vec![small, large]);
        heap.push(Pfn(3), 0, 0, 42).unwrap();
        heap.push(Pfn(64), 3, 1, 4).unwrap();
        heap.push(Pfn(72), 0, 0, 42).unwrap();
        heap.seal();
        heap
    }

    #[test]
    fn interior_addresses_find_their_object() {
        let heap = heap();
        let at = |pfn: u64, offset: u64| heap.find_object(BASE.0 + (pfn << 12) + offset);
        assert_eq!(at(3, 95), Some(Object { slab: 0, index: 0 }));
        assert_eq!(at(3, 96), Some(Object { slab: 0, index: 1 }));
        assert_eq!(at(71, 0xfff), Some(Object { slab: 1, index: 3 }));
        assert_eq!(at(72, 96 * 41), Some(Object { slab: 2, index: 41 }));
    }

    #[test]
    fn the_waste_behind_the_last_object_is_no_object() {
        assert_eq!(heap().find_object(BASE.0 + (3 << 12) + 96 * 42), None);
    }

    #[test]
    fn pages_of_no_slab_and_addresses_outside_are_no_objects() {
        let heap = heap();
        for address in [BASE.0, BASE.0 + (63 << 12), BASE.0 + (1000 << 12), 0, u64::MAX] {
            assert_eq!(heap.find_object(address), None, "{address:#x}");
        }
    }

    #[test]
    fn an_object_goes_white_grey_black_and_back() {
        let mut heap = heap();
        let object = Object { slab: 2, index: 40 };
        assert!(heap.mark(object));
        assert!(!heap.mark(object), "grey already");
        let mut seen = Vec::new();
        assert!(heap.mark(Object { slab: 2, index: 41 }));
        heap.take_grey(2, |run| seen.push((run.start, run.end)));
        assert_eq!(seen, [(40, 42)]);
        heap.take_grey(2, |_| panic!("black is not scanned again"));
        assert!(heap.is_live(object) && !heap.is_white(object));
        heap.whiten();
        assert!(heap.is_white(object));
        heap.mark(object);
        heap.forget_grey();
        assert!(heap.is_white(object));
    }

    #[test]
    fn a_free_object_is_never_marked() {
        let mut heap = heap();
        let object = Object { slab: 0, index: 7 };
        heap.set_free(object);
        assert!(!heap.mark(object) && !heap.is_live(object));
        assert_eq!(heap.count(0), Count { live: 41, white: 41 });
    }

    #[test]
    fn slabs_out_of_order_are_refused() {
        let mut heap = heap();
        assert_eq!(heap.push(Pfn(72), 0, 0, 42), Err(OutOfOrder(Pfn(72))));
        assert_eq!(heap.push(Pfn(999), 1, 0, 42), Err(OutOfOrder(Pfn(999))));
    }
}
