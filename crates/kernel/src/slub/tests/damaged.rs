//! Slabs whose bookkeeping is damaged, or whose cache is on no list, laid out as a real kernel's types say.

use std::collections::BTreeMap;

use sysak_base::{Anchors, Cancel, Fault, Memory, PfnRange, Quiet};
use sysak_symbols::{Kallsyms, TypeInfo};

use super::*;

const DIRECT: Va = Va(0xffff_8880_0000_0000);
const MEMMAP: Va = Va(0xffff_ea00_0000_0000);
/// The head of the list of caches.
const HEAD: Va = Va(0xffff_ffff_8200_0000);
const SYMBOLS: &[u8] = b"ffffffff82000000 D slab_caches\nffff888000000100 D __kfence_pool\n";
const CACHE: Va = Va(DIRECT.0 + 0x1000);
const SLABS: [u64; 2] = [20, 21];

/// Words by address, the rest being zero.
#[derive(Default)]
struct Words(BTreeMap<u64, u64>);

impl Memory for Words {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        buf.fill(0);
        let end = at.0 + buf.len() as u64;
        for (address, word) in self.0.range(at.0 & !7..end) {
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
    fn put(&mut self, at: Va, word: u64) {
        self.0.insert(at.0, word);
    }

    /// Sets 32 bits and leaves the neighbours alone.
    fn put_half(&mut self, at: Va, half: u32) {
        let shift = at.0 % 8 * 8;
        let word = self.0.entry(at.0 & !7).or_insert(0);
        *word = *word & !(0xffff_ffff << shift) | u64::from(half) << shift;
    }
}

fn types() -> TypeInfo {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/btf-6.1");
    TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap()
}

/// A cache of 64 bytes on the list, and two full slabs of it.
fn healthy(shape: &crate::shape::Shape) -> Words {
    let mut words = Words::default();
    let (cache, list) = (&shape.cache, CACHE.at(shape.cache.list));
    [(HEAD, list), (HEAD.at(8), list), (list, HEAD), (list.at(8), HEAD)]
        .into_iter()
        .for_each(|(at, to)| words.put(at, to.0));
    let name = DIRECT.at(0x3000);
    words.put(name, u64::from_le_bytes(*b"small-64"));
    words.put(CACHE.at(cache.name), name.0);
    for (place, half) in [(cache.size, 64), (cache.object_size, 64), (cache.free_pointer, 32)] {
        words.put_half(CACHE.at(place), half);
    }
    let [multiplier, shift] = cache.reciprocal.unwrap();
    words.put_half(CACHE.at(multiplier), 1);
    words.put_half(CACHE.at(shift & !3), 5 << (shift % 4 * 8));
    words.put_half(CACHE.at(cache.slab_objects.unwrap()), 64);
    words.put_half(CACHE.at(cache.owners.unwrap()), 1);
    for pfn in SLABS {
        let page = MEMMAP.at(pfn * shape.page.size);
        words.put(page.at(shape.page.flags), 1 << shape.page.bits.slab.unwrap());
        words.put(page.at(shape.slab.cache), CACHE.0);
        words.put(page.at(shape.slab.counters), 64 << 16 | 64);
    }
    words
}

/// What the walk finds once `damage` was done.
fn walked(damage: impl FnOnce(&mut Words, &crate::shape::Shape)) -> (Slabs, Coverage) {
    let types = types();
    let shape = crate::shape::Shape::resolve(&types).unwrap();
    let mut words = healthy(&shape);
    damage(&mut words, &shape);
    let symbols = Kallsyms::parse_proc(SYMBOLS).unwrap();
    let anchors = Anchors {
        page_offset: Some(DIRECT),
        vmemmap: Some(MEMMAP),
        ram: vec![PfnRange { start: Pfn(0), end: Pfn(64) }],
        per_cpu_offsets: vec![0],
        ..Anchors::default()
    };
    let kernel = Kernel::new(&words, &anchors, &types, &symbols).unwrap();
    let mut heads = PageSet::new(64);
    SLABS.into_iter().for_each(|pfn| heads.insert(Pfn(pfn)));
    let mut coverage = Coverage::default();
    let found = walk(&kernel, &heads, 2, false, &mut coverage, &Quiet, &Cancel::default()).unwrap();
    (found, coverage)
}

fn page(shape: &crate::shape::Shape, pfn: u64) -> Va {
    MEMMAP.at(pfn * shape.page.size)
}

#[test]
fn whole_slabs_are_judged_whole() {
    let (found, coverage) = walked(|_, _| ());
    assert_eq!((found.heap.slabs.len(), found.roots.len()), (2, 0));
    assert_eq!(found.heap.caches[0].name, "small-64");
    assert!(!found.heap.caches[0].destroyed);
    assert_eq!(coverage.skipped, []);
    assert_eq!(coverage.books.slab, Book { pages: 2, ..Book::default() });
}

#[test]
fn a_slab_whose_cache_is_not_known_is_a_root_and_leaves_the_book_open() {
    let (found, coverage) = walked(|words, shape| {
        words.put(page(shape, SLABS[1]).at(shape.slab.cache), DIRECT.0 + 0x8000);
    });
    assert_eq!((found.heap.slabs.len(), found.roots), (1, vec![(Pfn(SLABS[1]), 1)]));
    assert_eq!(coverage.books.slab.unjudged_pages, 1);
    let expected = Omitted::UnknownSlabs(1);
    assert!(coverage.skipped.iter().any(|one| one.what == expected), "{:?}", coverage.skipped);
}

#[test]
fn a_cache_that_is_on_no_list_is_found_by_its_slabs() {
    let (found, coverage) = walked(|words, shape| {
        [HEAD, HEAD.at(8)].into_iter().for_each(|at| words.put(at, HEAD.0));
        words.put_half(CACHE.at(shape.cache.owners.unwrap()), 0);
    });
    assert_eq!((found.heap.slabs.len(), found.roots.len()), (2, 0));
    let cache = &found.heap.caches[0];
    assert!(cache.destroyed && cache.name == "small-64");
    assert!(coverage.books.slab.is_closed());
}

#[test]
fn one_bit_of_a_size_does_not_change_how_slabs_are_cut() {
    let (found, coverage) = walked(|words, shape| {
        words.put_half(CACHE.at(shape.cache.size), 64 ^ 32);
    });
    assert_eq!((found.heap.caches[0].stride, found.heap.objects()), (64, 128));
    assert!(coverage.books.slab.is_closed());
}

#[test]
fn a_slab_whose_free_objects_do_not_add_up_is_in_doubt() {
    let (found, coverage) = walked(|words, shape| {
        words.put(page(shape, SLABS[0]).at(shape.slab.counters), 64 << 16 | 60);
    });
    assert_eq!((found.torn, found.roots), (vec![Pfn(SLABS[0])], vec![]));
    assert_eq!(coverage.books.slab.unjudged_pages, 1);
    let damaged = |one: &crate::Omission| one.why == Reason::Damaged;
    assert!(coverage.skipped.iter().any(damaged), "nothing changes in a dump");
}

#[test]
fn a_page_of_kfence_is_known_and_one_outside_of_its_pool_is_not() {
    let unused = |pool: u64| {
        walked(move |words, shape| {
            words.put(DIRECT.at(0x100), pool);
            words.put(page(shape, SLABS[1]).at(shape.slab.cache), 0);
        })
    };
    let (found, coverage) = unused(DIRECT.0);
    assert_eq!(found.roots, [(Pfn(SLABS[1]), 1)]);
    assert!(coverage.books.slab.is_closed());
    let (_, coverage) = unused(DIRECT.at(30 << 12).0);
    assert!(!coverage.books.slab.is_closed());
}
