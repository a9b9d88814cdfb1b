//! Records of page, offset and length: how block and network layers know memory (scatterlists, bio_vecs, fragments of
//! packets).
//!
//! A block of pages is found from its `struct page` alone. A slab's `struct page` does not say which object is
//! meant: that takes the offset beside it.
//!
//! **Invariant:** a record counts only if all bytes that it describes lie inside one allocated object.

use sysak_base::{PAGE_SHIFT, Pfn, VaRange};

use crate::{Class, Heap, Object};

/// Lower bits of the page's word that are flags: ends and links of scatterlists.
const FLAGS: u64 = 3;
/// No slab has more bytes.
const MOST_BYTES: u64 = 4 << 20;

impl Heap {
    /// Where the words lie that may begin a record. Each word that is looked up is compared with it, so take it once.
    pub(crate) fn record_starts(&self) -> VaRange {
        self.non_slab.memmap
    }

    /// Decodes the record at byte `at` of `raw`; the address that it refers to. Never inlined: the loop over words that
    /// calls it is hot, and few words are the address of a `struct page`.
    #[inline(never)]
    pub(crate) fn record(&self, raw: &[u8], at: usize) -> Option<u64> {
        let (memmap, struct_page_bytes) = self.memmap();
        let word = |at: usize| Some(u64::from_le_bytes(*raw.get(at..)?.first_chunk()?));
        let offset = (word(at)? & !FLAGS).checked_sub(memmap.start().0)?;
        let page = Pfn(self.non_slab.page_of(offset));
        if !offset.is_multiple_of(struct_page_bytes) || !self.pages.contains(page) {
            return None;
        }
        let (low, high) = (word(at + 8)? & u64::from(u32::MAX), word(at + 8)? >> 32);
        let start = self.page_offset.at(page.0 << PAGE_SHIFT).0;
        // Scatterlists have the offset first, bio_vecs and fragments the length.
        let lies_inside = |(offset, bytes): &(u64, u64)| {
            let is_sane = *offset < MOST_BYTES && (1..=MOST_BYTES).contains(bytes);
            is_sane
                && self
                    .find_object(start + offset)
                    .is_some_and(|found| self.has_all(found, start + offset, *bytes))
        };
        [(low, high), (high, low)].into_iter().find(lies_inside).map(|(offset, _)| start + offset)
    }

    /// Whether so many bytes at an address lie inside an allocated slab object.
    fn has_all(&self, object: Object, at: u64, bytes: u64) -> bool {
        let cache = self.cache_of(object);
        let start = self.object_va(object).0;
        cache.class == Class::Slab
            && self.is_live(object)
            && at >= start
            && at + bytes <= start + u64::from(cache.object_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NonSlab;
    use crate::testing::{BASE, MEMMAP, Ram};
    use sysak_base::Va;

    /// Where a record leads to whose page is the second of the slab at pages 8 and 9, in bytes from the slab's start.
    fn leads_to(flags: u64, low: u32, high: u32) -> Option<u64> {
        let ram = Ram::new(32);
        let mut heap = ram.builder(&[]);
        heap.push(Pfn(8), 1, 1, 64).unwrap();
        heap.set_free(Object { slab: 0, index: 33 });
        let non_slab = NonSlab { memmap: MEMMAP, struct_page_bytes: 64, ..NonSlab::default() };
        let heap = heap.seal().adopt(non_slab).never_marked();
        let word = MEMMAP.0 + 9 * 64 + flags;
        assert!(heap.record_starts().contains(Va(word)));
        let raw = [word, u64::from(high) << 32 | u64::from(low)].map(u64::to_le_bytes).concat();
        Some(heap.record(&raw, 0)? - BASE.0 - (8 << 12))
    }

    #[test]
    fn offset_and_length_stand_in_either_order() {
        assert_eq!(leads_to(0, 0, 128), Some(4096), "a scatterlist");
        assert_eq!(leads_to(2, 320, 64), Some(4096 + 320), "its last entry");
        assert_eq!(leads_to(0, 100, 384), Some(4096 + 384), "a bio_vec");
    }

    #[test]
    fn what_does_not_fit_into_one_allocated_object_is_no_record() {
        assert_eq!(leads_to(0, 64, 65), None, "into the next object");
        assert_eq!(leads_to(0, 128, 64), None, "a free object");
        assert_eq!(leads_to(0, 0, 0), None, "no bytes");
        assert_eq!(leads_to(4, 0, 64), None, "inside of a struct page");
        assert_eq!(leads_to(0, 0xdead_0000, 0xffff_ea00), None, "a pointer");
    }
}
