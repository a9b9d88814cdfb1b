//! Marking over a few pages of memory.

use super::*;
use crate::references::tests::Part;
use crate::references::{self, Reference, SearchSpace};
use crate::testing::{BASE, MEMMAP, Ram, page_set};
use crate::{AreaPages, Block, NonSlab, Object, ObjectSet, UnmarkedHeap};
use sysak_base::{Pfn, Quiet, Readers};

/// Marks from page 0, from 16 bytes of page 1 and from registers.
fn mark_all(ram: &Ram, heap: UnmarkedHeap, registers: &[u64]) -> (Heap, Marked) {
    let pages = page_set(&[0]);
    let range = VaRange::new(BASE.at(0x1000), 16);
    let ranges = Box::new([range].into_iter());
    let roots = Roots { ranges, words: registers, ..Roots::of_pages(&pages) };
    let cancel = Cancel::default();
    let context = Context { readers: Readers::several(ram, 3), progress: &Quiet, cancel: &cancel };
    Marking::start(heap, Vec::new(), context).from_roots(roots).excuse(Vec::new()).finish()
}

#[test]
fn a_chain_across_slabs_is_followed_and_a_ring_without_root_is_not() {
    let mut ram = Ram::new(16);
    let heap = ram.builder(&[(4, 0), (8, 1)]).seal();
    let small = |index| ram_object(0, index);
    let large = |index| ram_object(1, index);
    let at = |heap: &Heap, object| heap.object_va(object).0;
    // root → large 3 (interior) → small 63 → large 0
    let (a, b, c) = (at(&heap, large(3)), at(&heap, small(63)), at(&heap, large(0)));
    ram.put(0x128, a + 17);
    ram.put_va(a + 40, b);
    ram.put_va(b + 56, c);
    // a ring of two
    let (x, y) = (at(&heap, small(1)), at(&heap, large(1)));
    ram.put_va(x, y);
    ram.put_va(y, x);
    let (heap, done) = mark_all(&ram, heap, &[]);
    for reached in [large(3), small(63), large(0)] {
        assert!(!heap.is_white(reached), "{reached:?}");
    }
    for lost in [small(1), large(1), small(0)] {
        assert!(heap.is_white(lost), "{lost:?}");
    }
    assert_eq!(done.bytes_scanned, 4096 + 16 + 64 + 2 * 128);
}

#[test]
fn free_objects_and_unaligned_words_lead_nowhere() {
    let mut ram = Ram::new(16);
    let mut heap = ram.builder(&[(4, 0)]);
    let (free, target) = (ram_object(0, 5), ram_object(0, 6));
    heap.set_free(free);
    let heap = heap.seal();
    let (free_va, target_va) = (heap.object_va(free).0, heap.object_va(target).0);
    ram.put(0, free_va);
    ram.put_va(free_va, target_va);
    ram.put_bytes(0x203, &target_va.to_le_bytes());
    let (heap, _) = mark_all(&ram, heap, &[]);
    assert!(heap.is_white(target));
}

#[test]
fn memory_outside_of_the_root_pages_can_be_a_root_too() {
    let mut ram = Ram::new(16);
    let heap = ram.builder(&[(4, 0)]).seal();
    let held = ram_object(0, 9);
    ram.put(0x1008, heap.object_va(held).0);
    let (heap, _) = mark_all(&ram, heap, &[]);
    assert!(!heap.is_white(held));
}

#[test]
fn where_free_objects_are_not_known_every_slab_object_is_a_root_and_free_ones_lead_nowhere() {
    let mut ram = Ram::new(16);
    let mut heap = ram.builder(&[(4, 0), (8, 1)]);
    let (free, before) = (ram_object(0, 5), ram_object(1, 2));
    heap.set_free(free);
    let heap = heap.seal();
    let before_va = heap.object_va(before).0;
    ram.put_va(heap.object_va(free).0, before_va);
    let cancel = Cancel::default();
    let context = Context { readers: Readers::one(&ram), progress: &Quiet, cancel: &cancel };
    let roots = Roots { slab_objects: true, ..Roots::none() };
    let marking = Marking::start(heap, Vec::new(), context).from_roots(roots);
    let (heap, done) = marking.excuse(Vec::new()).finish();
    for slab in 0..2 {
        heap.for_each_live(slab, |index| assert!(!heap.is_white(Object { slab, index })));
    }
    // The words of all live objects were read.
    assert_eq!(done.bytes_scanned, 2 * 4096 - 64);
}

#[test]
fn a_register_is_a_root() {
    let ram = Ram::new(16);
    let heap = ram.builder(&[(4, 0)]).seal();
    let held = ram_object(0, 9);
    let word = heap.object_va(held).0;
    let (heap, _) = mark_all(&ram, heap, &[word]);
    assert!(!heap.is_white(held));
}

#[test]
fn pages_on_a_list_and_what_an_area_holds_are_reached_and_lost_ones_are_not() {
    // Frame 15 has the struct pages; frames 8 to 11 are blocks, 12 and 13 those of an area.
    let mut ram = Ram::new(16);
    let heap = ram.builder(&[(4, 0)]).seal();
    let area = Va(0xffff_c900_0000_0000);
    let heap = heap.adopt(NonSlab {
        blocks: (8..12).map(|pfn| Block { pfn: Pfn(pfn), pages: 1 }).collect(),
        areas: vec![AreaPages { address: area, pages: vec![Pfn(13), Pfn(12)] }],
        memmap: MEMMAP,
        struct_page_bytes: 64,
        ..NonSlab::default()
    });
    let page = |pfn: u64| MEMMAP.at(pfn * 64).0;
    let held = |heap: &Heap, index| heap.object_va(ram_object(0, index)).0;
    // root → page 8's lru → page 9's lru; page 9 → the area's second page → an object
    ram.put(0x40, page(8) + 8);
    ram.put_va(page(8) + 8, page(9) + 8);
    ram.put_va(BASE.at(9 << 12).0 + 64, area.0 + 0x1008);
    ram.put_va(BASE.at(12 << 12).0 + 8, held(&heap, 3));
    // lost page 10 → lost page 11 → an object
    ram.put_va(BASE.at(10 << 12).0, BASE.at(11 << 12).0);
    ram.put_va(BASE.at(11 << 12).0, held(&heap, 5));
    let (heap, _) = mark_all(&ram, heap, &[]);
    let white = |address| heap.is_white(heap.find_object(address).unwrap());
    let reached = [page(8), page(9), area.0, held(&heap, 3)];
    assert_eq!(reached.map(white), [false; 4]);
    assert_eq!([page(10), page(11), held(&heap, 5)].map(white), [true; 3]);
}

#[test]
fn a_block_between_slabs_that_are_read_together_is_followed_as_a_block() {
    // Frame 15 has the struct pages; 5 and 6 are a block between two slabs, 9 and 10 are others.
    let mut ram = Ram::new(16);
    let heap = ram.builder(&[(4, 0), (7, 0)]).seal();
    let blocks = [(5, 2), (9, 1), (10, 1)];
    let blocks = blocks.map(|(pfn, pages)| Block { pfn: Pfn(pfn), pages });
    let heap = heap.adopt(NonSlab {
        blocks: blocks.to_vec(),
        memmap: MEMMAP,
        struct_page_bytes: 64,
        ..NonSlab::default()
    });
    let slab = |pfn: u64| BASE.at(pfn << 12).0;
    // root → both slabs; the first → the block; its second page → an object, its lru → 9, and what
    // its second page was on a list with → 10
    ram.put(0x40, slab(4));
    ram.put(0x48, slab(7));
    ram.put_va(slab(4) + 8, slab(5));
    ram.put_va(slab(6) + 16, slab(7) + 64);
    ram.put_va(MEMMAP.at(5 * 64 + 8).0, MEMMAP.at(9 * 64 + 8).0);
    ram.put_va(MEMMAP.at(6 * 64 + 8).0, MEMMAP.at(10 * 64 + 8).0);
    let (heap, _) = mark_all(&ram, heap, &[]);
    let white = |address| heap.is_white(heap.find_object(address).unwrap());
    assert_eq!([slab(5), slab(7) + 64, slab(9)].map(white), [false; 3]);
    assert!(white(slab(7) + 128) && white(slab(10)));
}

fn ram_object(slab: u32, index: u16) -> Object {
    Object { slab, index }
}

#[test]
fn a_record_of_page_offset_and_length_marks_the_object_there_and_is_found_again() {
    let mut ram = Ram::new(16);
    let heap = ram.builder(&[(4, 0), (8, 1)]).seal();
    let non_slab = NonSlab { memmap: MEMMAP, struct_page_bytes: 64, ..NonSlab::default() };
    let heap = heap.adopt(non_slab);
    // The end of a scatterlist, and a bio_vec.
    ram.put(0x40, MEMMAP.0 + 4 * 64 + 2);
    ram.put(0x48, (64 * 5 + 16) | (32 << 32));
    ram.put(0x80, MEMMAP.0 + 8 * 64);
    ram.put(0x88, 128 | (128 * 7) << 32);
    // A page alone says nothing.
    ram.put(0xc0, MEMMAP.0 + 4 * 64);
    let (heap, _) = mark_all(&ram, heap, &[]);
    let held = [ram_object(0, 5), ram_object(1, 7)];
    let reached = (0..2u32).flat_map(|slab| (0..32u16).map(move |index| ram_object(slab, index)));
    let reached: Vec<Object> = reached.filter(|object| !heap.is_white(*object)).collect();
    assert_eq!(reached, held);
    let wanted = ObjectSet::new(&heap, held);
    let space = SearchSpace {
        heap: &heap,
        readers: Readers::one(&ram),
        root_objects: &Part(None),
        targets: None,
    };
    let (pages, mut found) = (page_set(&[0]), Vec::new());
    let mut each = |one: Reference| found.push((one.at, one.to));
    references::find(space, Roots::of_pages(&pages), &wanted, false, &Cancel::default(), &mut each);
    assert_eq!(found, [(BASE.at(0x40), held[0]), (BASE.at(0x80), held[1])]);
}

#[test]
fn a_record_lies_in_one_object() {
    let mut ram = Ram::new(16);
    let heap = ram.builder(&[(4, 0), (8, 1)]).seal();
    let heap = heap.adopt(NonSlab { memmap: MEMMAP, struct_page_bytes: 64, ..NonSlab::default() });
    let (page, place) = (MEMMAP.0 + 8 * 64, |index: u64| 128 | (128 * index) << 32);
    // Neighbours that are reached together: a record at the end of one, and half a record before the next.
    for index in 8..11 {
        let object = heap.object_va(ram_object(0, index)).0;
        ram.put(8 * usize::from(index), object);
        ram.put_va(object, place(3));
        ram.put_va(object + 40, page);
        ram.put_va(object + 48, place(5));
        ram.put_va(object + 56, page);
    }
    let (heap, _) = mark_all(&ram, heap, &[]);
    let reached = (0..32).filter(|index| !heap.is_white(ram_object(1, *index)));
    assert_eq!(reached.collect::<Vec<_>>(), [5]);
}
