//! Anonymous memory that no process has.
//!
//! Its map count says that nobody has it mapped, and it does not wait in the swap cache: somebody in the kernel holds a
//! reference to it. Not all of it is a question. A process that ends has up to 40 MiB on their way at a time, and each
//! CPU keeps some pages on its lists. So on a running kernel some of these pages are looked at once more at the end.
//!
//! **Invariant:** the room that this takes does not grow with the machine.

use sysak_base::numbers::{half, word};
use sysak_base::{Memory, Pfn, Va};

use crate::Kernel;
use crate::shape::PageShape;

/// `_mapcount` of an unmapped page.
const NEVER_MAPPED: u32 = u32::MAX;
/// `GUP_PIN_COUNTING_BIAS`: what a pin adds to the reference count of a single page.
const PIN: u32 = 1 << 10;
/// So many are looked at again, at most.
const MOST_SAMPLES: usize = 1 << 10;

/// How much it is.
#[derive(Clone, Debug)]
pub struct Unmapped {
    /// All of it.
    pub pages: u64,
    /// Of these, pages that are pinned for a device or the like.
    pub pinned_pages: u64,
    /// One in `every` blocks: its first page, its mapping, and how many pages it has.
    samples: Vec<(Pfn, u64, u64)>,
    every: u64,
    blocks: u64,
}

impl Default for Unmapped {
    fn default() -> Unmapped {
        Unmapped { pages: 0, pinned_pages: 0, samples: Vec::new(), every: 1, blocks: 0 }
    }
}

impl Unmapped {
    /// Adds a block of anonymous memory, if no process has it; `head` goes on to its second `struct page`.
    pub(super) fn add(&mut self, shape: &PageShape, pfn: Pfn, head: &[u8], pages: u64) {
        let Some(is_pinned) = is_unmapped(shape, head, pages) else { return };
        self.pages += pages;
        self.pinned_pages += if is_pinned { pages } else { 0 };
        if self.blocks.is_multiple_of(self.every) {
            let mapping = shape.user.map_or(0, |user| word(head, user.mapping));
            self.samples.push((pfn, mapping, pages));
        }
        self.blocks += 1;
        if self.samples.len() > MOST_SAMPLES {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.every *= 2;
        }
    }

    /// Looks at some of it once more, and takes away as much as is gone by now.
    pub fn look_again(&mut self, kernel: &Kernel<'_>) {
        let all = self.samples.len() as u64;
        if all == 0 || !kernel.memory.is_live() {
            return;
        }
        let shape = &kernel.shape.page;
        let read =
            |pfn: Pfn, pages: u64| read(kernel.memory, kernel.struct_page(pfn), shape, pages);
        let still = self.samples.iter().filter(|(pfn, mapping, pages)| {
            read(*pfn, *pages).is_some_and(|head| {
                let now = shape.user.map_or(0, |user| word(&head, user.mapping));
                now == *mapping && is_unmapped(shape, &head, *pages).is_some()
            })
        });
        let still = still.count() as u64;
        let share = |pages: u64| (u128::from(pages) * u128::from(still) / u128::from(all)) as u64;
        (self.pages, self.pinned_pages) = (share(self.pages), share(self.pinned_pages));
    }
}

/// The first `struct page` of a block, and of a larger one the second.
fn read(memory: &dyn Memory, at: Va, shape: &PageShape, pages: u64) -> Option<Vec<u8>> {
    let mut head = vec![0; (pages.min(2) * shape.size) as usize];
    memory.read(at, &mut head).ok().map(|()| head)
}

/// Whether an unmapped block of anonymous memory is pinned; `None` if it is mapped, or if that is unknown, as for
/// compound pages before v6.9.
fn is_unmapped(shape: &PageShape, head: &[u8], pages: u64) -> Option<bool> {
    let mapped = shape.user?.mapped?;
    let (count, pins) = match mapped.large.filter(|_| pages > 1) {
        Some([count, pins]) if head.len() as u64 >= pins.max(count) + 4 => {
            (half(head, count), half(head, pins))
        }
        None if pages == 1 => (half(head, shape.page_type), half(head, shape.refcount) / PIN),
        _ => return None,
    };
    let is_cached = word(head, shape.flags) >> mapped.swapcache & 1 != 0;
    (count == NEVER_MAPPED && !is_cached).then_some(pins > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;
    use sysak_symbols::TypeInfo;

    fn shape() -> PageShape {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/btf-6.1");
        let types = TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap();
        Shape::resolve(&types).unwrap().page
    }

    /// Two `struct page`s with some 32-bit words in them.
    fn head(shape: &PageShape, words: &[(u64, u32)]) -> Vec<u8> {
        let mut head = vec![0; 2 * shape.size as usize];
        for (at, word) in words {
            head[*at as usize..][..4].copy_from_slice(&word.to_le_bytes());
        }
        head
    }

    #[test]
    fn a_page_is_nobodys_if_it_is_neither_mapped_nor_in_the_swap_cache() {
        let shape = shape();
        let swapcache = shape.user.unwrap().mapped.unwrap().swapcache;
        let page = |mapped: u32, users: u32, flags: u32| {
            let words = [(shape.page_type, mapped), (shape.refcount, users), (shape.flags, flags)];
            is_unmapped(&shape, &head(&shape, &words), 1)
        };
        assert_eq!(page(u32::MAX, 1, 0), Some(false), "got");
        assert_eq!(page(u32::MAX, 1025, 0), Some(true), "pinned");
        assert_eq!(page(0, 1025, 0), None, "mapped once");
        assert_eq!(page(u32::MAX, 1, 1 << swapcache), None, "waits to be swapped out");
    }

    #[test]
    fn a_compound_page_has_counts_of_its_own_or_counts_as_mapped() {
        let mut shape = shape();
        let words = [(shape.page_type, u32::MAX), (70, u32::MAX), (74, 3)];
        let block = head(&shape, &words);
        assert_eq!(is_unmapped(&shape, &block, 512), None, "an older kernel");
        let mapped = shape.user.as_mut().unwrap().mapped.as_mut().unwrap();
        mapped.large = Some([70, 74]);
        assert_eq!(is_unmapped(&shape, &block, 512), Some(true));
        assert_eq!(is_unmapped(&shape, &block[..72], 512), None, "the second page cannot be read");
        let block = head(&shape, &[(shape.page_type, u32::MAX), (70, 0)]);
        assert_eq!(is_unmapped(&shape, &block, 512), None, "mapped once");
    }

    #[test]
    fn samples_stay_few_and_are_from_all_over() {
        let shape = shape();
        let page = head(&shape, &[(shape.page_type, u32::MAX), (shape.refcount, 1)]);
        let mut all = Unmapped::default();
        (0..100_000).for_each(|pfn| all.add(&shape, Pfn(pfn), &page, 1));
        assert_eq!((all.pages, all.pinned_pages), (100_000, 0));
        assert!((MOST_SAMPLES / 2..=MOST_SAMPLES).contains(&all.samples.len()));
        let apart = all.samples.windows(2).map(|pair| pair[1].0.0 - pair[0].0.0);
        assert!(apart.into_iter().all(|apart| apart == all.every));
        assert!(all.samples.last().unwrap().0.0 > 99_000);
    }
}
