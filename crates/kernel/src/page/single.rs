//! The owner of a single page, by its `struct page` and those that it leads to.
//!
//! Costs some dozen reads, where the census of the whole machine is not wanted.
//!
//! **Invariant:** the owner is the one that [`Census::take`] would find.

use sysak_base::Pfn;
use sysak_base::numbers::{half, word};

use super::classifier::Classifier;
use super::{Census, Owner};
use crate::shape::PageKind;
use crate::{FreePages, Kernel};

/// The owner of a page by its `struct page` and the lists of free pages; `None` where it is no RAM.
/// The page may lie in the middle of a block.
pub fn owner_of(kernel: &Kernel<'_>, pfn: Pfn) -> Option<Owner> {
    kernel.is_ram(pfn).then(|| owner(kernel, pfn))
}

fn owner(kernel: &Kernel<'_>, pfn: Pfn) -> Owner {
    let Some(mut raw) = read(kernel, pfn) else { return Owner::Untouchable };
    let mut first = pfn;
    let head = kernel.shape.page.head_of(kernel.struct_page(pfn), &raw);
    if let Some(found) = head.and_then(|head| kernel.page_of(head))
        && let Some(bytes) = read(kernel, found)
    {
        (first, raw) = (found, bytes);
    }
    if is_in_free_block(kernel, pfn) {
        return Owner::Free;
    }
    let free = FreePages::find_one(kernel, first);
    let mut classifier = Classifier::new(kernel, &free, Census::none(0));
    classifier.classify(first, &raw).0
}

/// A `struct page` and the one behind it.
fn read(kernel: &Kernel<'_>, pfn: Pfn) -> Option<Vec<u8>> {
    let mut raw = vec![0; 2 * kernel.shape.page.size as usize];
    kernel.memory.read(kernel.struct_page(pfn), &mut raw).ok().map(|()| raw)
}

/// Whether a page lies behind the first one of a free block, which alone says that it is free.
fn is_in_free_block(kernel: &Kernel<'_>, pfn: Pfn) -> bool {
    let (page, orders) = (&kernel.shape.page, kernel.shape.orders());
    let Some(free) = page.free else { return false };
    (1..orders).any(|order| {
        let start = Pfn(pfn.0 >> order << order);
        let bytes = (start != pfn && kernel.is_ram(start)).then(|| read(kernel, start)).flatten();
        bytes.is_some_and(|bytes| {
            page.types.kind(half(&bytes, page.page_type)) == PageKind::Buddy
                && (order..orders).contains(&word(&bytes, free.order))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use sysak_base::{Anchors, Cancel, Fault, Memory, PfnRange, Progress, Va};
    use sysak_symbols::{Kallsyms, TypeInfo};

    use crate::Coverage;

    const DIRECT: Va = Va(0xffff_8880_0000_0000);
    const MEMMAP: Va = Va(0xffff_ea00_0000_0000);
    const NODE_TABLE: u64 = 0xffff_ffff_8200_0000;
    const POISONED: u64 = NODE_TABLE + 0x100;
    const NODE: Va = Va(DIRECT.0 + 0x10_0000);
    const PAGE_SET: u64 = 0x100;
    const CPUS: u64 = 64;
    const RAM_PAGES: u64 = 1024;
    /// Free pages on the list of one CPU.
    const LISTED: [u64; 3] = [64, 65, 66];
    /// The first page of a block of eight on another list.
    const LISTED_BLOCK: u64 = 72;
    /// The first page of a free block of eight.
    const BUDDY_BLOCK: u64 = 128;
    /// It has the links of a list that it is on no longer.
    const STALE: u64 = 200;
    const IN_USE: u64 = 201;

    /// Words by address, the rest being zero; counts the reads.
    #[derive(Default)]
    struct Words {
        words: BTreeMap<u64, u64>,
        reads: Cell<usize>,
    }

    impl Memory for Words {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            self.reads.set(self.reads.get() + 1);
            buf.fill(0);
            let end = at.0 + buf.len() as u64;
            for (address, word) in self.words.range(at.0 & !7..end) {
                for (place, byte) in (*address..).zip(word.to_le_bytes()) {
                    if let Some(index) = place.checked_sub(at.0).filter(|_| place < end) {
                        buf[index as usize] = byte;
                    }
                }
            }
            Ok(())
        }
    }

    impl Words {
        fn ring(&mut self, links: &[u64]) {
            for (index, link) in links.iter().enumerate() {
                self.words.insert(*link, links[(index + 1) % links.len()]);
                self.words.insert(link + 8, links[(index + links.len() - 1) % links.len()]);
            }
        }

        /// A page of a kernel as Linux 6.1 has it: its type and its count of users share a word.
        fn page(&mut self, kernel: &Kernel<'_>, pfn: u64, page_type: u32, users: u32) {
            let at = kernel.struct_page(Pfn(pfn)).at(kernel.shape.page.page_type);
            assert_eq!(kernel.shape.page.refcount, kernel.shape.page.page_type + 4);
            self.words.insert(at.0, u64::from(users) << 32 | u64::from(page_type));
        }
    }

    struct Silent;

    impl Progress for Silent {
        fn tell(&self, _: u64, _: u64) {}
    }

    /// Gives `look` a kernel whose node has one zone, with per-CPU lists of free pages.
    fn with_kernel(look: impl FnOnce(&Kernel<'_>, &Words)) {
        with_damaged_kernel(|_, _| (), look);
    }

    /// The same once `damage` was done to its memory.
    fn with_damaged_kernel(
        damage: impl FnOnce(&mut Words, &Kernel<'_>),
        look: impl FnOnce(&Kernel<'_>, &Words),
    ) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/btf-6.1");
        let types = TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap();
        let symbols = Kallsyms::parse_proc(
            b"ffffffff82000000 D node_data\nffffffff82000100 D num_poisoned_pages\n",
        )
        .unwrap();
        let anchors = Anchors {
            page_offset: Some(DIRECT),
            vmemmap: Some(MEMMAP),
            ram: vec![PfnRange { start: Pfn(0), end: Pfn(RAM_PAGES) }],
            per_cpu_offsets: (0..CPUS).map(|cpu| DIRECT.0 + 0x20_0000 + cpu * 0x1000).collect(),
            ..Anchors::default()
        };
        let empty = Words::default();
        let layout = Kernel::new(&empty, &anchors, &types, &symbols).unwrap();
        let mut memory = Words::default();
        let (zone, page) = (layout.shape.zone.as_ref().unwrap(), layout.shape.page.free.unwrap());
        memory.words.insert(NODE_TABLE, NODE.0);
        memory.words.insert(NODE.at(zone.zones + zone.pgdat).0, NODE.0);
        memory.words.insert(NODE.at(zone.zones + zone.pageset).0, PAGE_SET);
        if let Some(first) = zone.first_deferred {
            memory.words.insert(NODE.at(first).0, u64::MAX);
        }
        (0..RAM_PAGES).for_each(|pfn| memory.page(&layout, pfn, u32::MAX, 0));
        memory.page(&layout, IN_USE, u32::MAX, 1);
        memory.page(&layout, BUDDY_BLOCK, !0x80, 0);
        let link = |pfn: u64| layout.struct_page(Pfn(pfn)).at(page.link).0;
        memory.words.insert(layout.struct_page(Pfn(BUDDY_BLOCK)).at(page.order).0, 3);
        for (cpu, set) in layout.per_cpu(PAGE_SET).enumerate() {
            for list in 0..zone.lists.len {
                let head = set.at(zone.lists.at + list * 16).0;
                match (cpu, zone.order_of_list(list), list % 3) {
                    (5, 0, 1) => memory.ring(&[&[head][..], &LISTED.map(link)].concat()),
                    (7, 3, 0) => memory.ring(&[head, link(LISTED_BLOCK)]),
                    _ => memory.ring(&[head]),
                }
            }
        }
        memory.words.insert(link(STALE), link(LISTED[0]));
        memory.words.insert(link(STALE) + 8, link(LISTED[2]));
        damage(&mut memory, &layout);
        let kernel = Kernel::new(&memory, &anchors, &types, &symbols).unwrap();
        look(&kernel, &memory);
    }

    /// The free pages of a damaged kernel, which of some pages are roots, and the book of pages.
    fn census_of<const N: usize>(
        damage: impl FnOnce(&mut Words, &Kernel<'_>),
        pages: [u64; N],
    ) -> (u64, [bool; N], crate::Book) {
        let mut seen = None;
        with_damaged_kernel(damage, |kernel, _| {
            let mut coverage = Coverage::default();
            let free = FreePages::find(kernel, &mut coverage);
            let cancel = Cancel::default();
            let census = Census::take(kernel, &free, &mut coverage, &Silent, &cancel);
            let roots = pages.map(|pfn| census.roots.contains(Pfn(pfn)));
            seen = Some((census.pages(Owner::Free), roots, coverage.books.page));
        });
        seen.unwrap()
    }

    #[test]
    fn a_free_block_ends_where_pages_in_use_begin_whatever_its_order_says() {
        let damage = |memory: &mut Words, kernel: &Kernel<'_>| {
            let private = kernel.shape.page.free.unwrap().order;
            memory.words.insert(kernel.struct_page(Pfn(BUDDY_BLOCK)).at(private).0, 5);
            memory.page(kernel, BUDDY_BLOCK + 12, u32::MAX, 1);
        };
        let (free, roots, book) = census_of(damage, [BUDDY_BLOCK + 11, BUDDY_BLOCK + 12]);
        assert_eq!((free, roots), (3 + 8 + 12, [false, true]));
        assert_eq!(book.unjudged_pages, 32);
    }

    #[test]
    fn a_page_that_somebody_uses_is_not_free_whatever_its_type_says() {
        let damage = |memory: &mut Words, kernel: &Kernel<'_>| {
            memory.page(kernel, IN_USE, !0x80, 1);
        };
        let (free, roots, book) = census_of(damage, [IN_USE]);
        assert_eq!((free, roots, book.unjudged_pages), (3 + 8 + 8, [true], 1));
    }

    #[test]
    fn a_page_that_belongs_to_a_block_before_it_is_a_root_whatever_else_it_says() {
        let damage = |memory: &mut Words, kernel: &Kernel<'_>| {
            let page = kernel.struct_page(Pfn(IN_USE));
            let (flags, head) = (kernel.shape.page.flags, kernel.shape.page.head.at);
            memory.words.insert(page.at(flags).0, u64::MAX);
            memory.words.insert(page.at(head).0, kernel.struct_page(Pfn(IN_USE - 1)).0 | 1);
        };
        assert_eq!(census_of(damage, [IN_USE]).1, [true]);
    }

    #[test]
    fn a_page_on_no_list_of_reclaims_is_the_kernels() {
        let flag = |kernel: &Kernel<'_>| 1 << kernel.shape.page.user.unwrap().lru;
        let damage = |memory: &mut Words, kernel: &Kernel<'_>| {
            let page = kernel.struct_page(Pfn(IN_USE));
            memory.words.insert(page.at(kernel.shape.page.flags).0, flag(kernel));
        };
        assert_eq!(census_of(damage, [IN_USE]).1, [true]);
        let listed = |memory: &mut Words, kernel: &Kernel<'_>| {
            damage(memory, kernel);
            let link = kernel.struct_page(Pfn(IN_USE)).at(kernel.shape.page.free.unwrap().link).0;
            memory.ring(&[link, NODE.0 + 0xf000]);
        };
        let (_, roots, book) = census_of(listed, [IN_USE]);
        assert_eq!((roots, book.unjudged_pages), ([false], 0), "a file gave it up");
    }

    #[test]
    fn a_page_of_no_file_is_the_kernels_whatever_its_flags_say() {
        let with = |flag: fn(&Kernel<'_>) -> u32, counted: u64| {
            let damage = move |memory: &mut Words, kernel: &Kernel<'_>| {
                let shape = &kernel.shape.page;
                let page = kernel.struct_page(Pfn(IN_USE));
                memory.words.insert(page.at(shape.flags).0, 1 << flag(kernel));
                // A slab's page has its cache there.
                memory.words.insert(page.at(shape.user.unwrap().mapping).0, DIRECT.at(0x3000).0);
                memory.words.insert(POISONED, counted);
            };
            census_of(damage, [IN_USE]).1
        };
        assert_eq!(with(|kernel| kernel.shape.page.user.unwrap().lru, 0), [true]);
        let faulty = |kernel: &Kernel<'_>| kernel.shape.page.bits.hwpoison.unwrap();
        assert_eq!(with(faulty, 0), [true], "the kernel counts none");
        assert_eq!(with(faulty, 1), [false], "who reads it may end the machine");
    }

    #[test]
    fn the_owner_of_one_page_costs_few_reads_and_no_list_but_its_own() {
        with_kernel(|kernel, memory| {
            let pages = [LISTED[0], LISTED[2], LISTED_BLOCK + 5, BUDDY_BLOCK + 3, STALE, IN_USE];
            let owners = pages.map(|pfn| {
                memory.reads.set(0);
                let owner = owner_of(kernel, Pfn(pfn));
                let reads = memory.reads.get();
                assert!(reads < 100, "{reads} reads for page {pfn}");
                owner
            });
            assert_eq!(owners[..4], [Some(Owner::Free); 4]);
            assert_eq!(owners[4..], [Some(Owner::Kernel); 2]);
            assert_eq!(owner_of(kernel, Pfn(RAM_PAGES)), None);
        });
    }

    #[test]
    fn the_owner_of_one_page_is_what_the_census_says() {
        with_kernel(|kernel, _| {
            let mut coverage = Coverage::default();
            let free = FreePages::find(kernel, &mut coverage);
            assert_eq!(coverage.skipped, []);
            let cancel = Cancel::default();
            let census = Census::take(kernel, &free, &mut coverage, &Silent, &cancel);
            let single = |pfn: &u64| owner_of(kernel, Pfn(*pfn)) == Some(Owner::Kernel);
            let kernels: Vec<u64> = (0..RAM_PAGES).filter(single).collect();
            let roots = |pfn: &u64| census.roots.contains(Pfn(*pfn));
            assert_eq!(kernels, (0..RAM_PAGES).filter(roots).collect::<Vec<_>>());
            assert_eq!(census.pages(Owner::Free), 3 + 8 + 8);
        });
    }
}
