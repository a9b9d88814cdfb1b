//! Rings, logs and counters: what clears and what does not.

use sysak_base::{Cancel, Pfn, Readers, VaRange};

use super::*;
use crate::testing::{BASE, MEMMAP, Ram, page_set};
use crate::{AreaPages, Block, Class, NonSlab, Object};

/// Slabs of the suspects: 192 objects of 64 bytes.
const SUSPECTS: [(u64, u16); 3] = [(8, 0), (9, 0), (10, 0)];

/// Everything is lost, but what lies at the other slabs' first objects.
fn heap(others: &[(u64, u16)]) -> Heap {
    let ram = Ram::new(64);
    ram.heap(&[&SUSPECTS, others].concat())
}

/// The suspects in the order of their addresses.
fn suspect(number: usize) -> u64 {
    (8 << 12) + 64 * number as u64
}

fn question<'a>(
    ram: &'a Ram,
    heap: &'a Heap,
    caches: &'a [u16],
    cancel: &'a Cancel,
) -> Question<'a> {
    Question { heap, readers: Readers::several(ram, 3), caches, cancel }
}

fn ask(ram: &Ram, heap: &Heap, roots: &[u64], width: Width) -> Found {
    let cancel = Cancel::default();
    let question = question(ram, heap, &[0], &cancel);
    Search::new(&question)
        .scan(&question, Roots::of_pages(&page_set(roots)))
        .found(&question, width)
}

fn found(all: &Found) -> u64 {
    all.holders.iter().flat_map(|one| &one.found).map(|(_, many)| many).sum()
}

fn shapes(all: &Found) -> Vec<(Shape, u64)> {
    let of = |one: &Holder| (one.shape, one.found.iter().map(|(_, many)| many).sum());
    all.holders.iter().map(of).collect()
}

#[test]
fn a_ring_of_physical_addresses_holds_what_it_names_and_nothing_else() {
    let mut ram = Ram::new(64);
    for slot in 0..100 {
        ram.put(0x1000 + 16 * slot, suspect(slot));
        ram.put(0x1008 + 16 * slot, 0x8000_0001_0000_0040 + slot as u64);
    }
    let heap = heap(&[]);
    let all = ask(&ram, &heap, &[0, 1, 2], Width::Wide);
    assert_eq!(shapes(&all), [(Shape::PhysicalAddress, 100)]);
    assert_eq!(
        (all.holders[0].slots, all.holders[0].hits, all.holders[0].by_chance),
        (100, 100, 0)
    );
    assert_eq!(all.holders[0].place, Place::Memory(VaRange::new(BASE.at(0x1000), 1600)));
    let object = |number: u16| Object { slab: u32::from(number / 64), index: number % 64 };
    assert!((0..100).all(|number| all.has(&heap, object(number))));
    assert!((100..192).all(|number| !all.has(&heap, object(number))));
}

#[test]
fn a_ring_that_is_seen_twice_counts_once() {
    let mut ram = Ram::new(64);
    (0..100).for_each(|slot| ram.put(0x1000 + 16 * slot, suspect(slot)));
    let (heap, pages, cancel) = (heap(&[]), page_set(&[1]), Cancel::default());
    let question = question(&ram, &heap, &[0], &cancel);
    let twice = Box::new([VaRange::new(BASE.at(0x1000), 0x1000)].into_iter());
    let roots = Roots { ranges: twice, ..Roots::of_pages(&pages) };
    let all = Search::new(&question).scan(&question, roots).found(&question, Width::Wide);
    assert_eq!(shapes(&all), [(Shape::PhysicalAddress, 100)]);
}

#[test]
fn numbers_that_equal_addresses_by_chance_hold_nothing() {
    let mut ram = Ram::new(64);
    for slot in 0..512 {
        ram.put(0x1000 + 8 * slot, slot as u64 * 97);
    }
    for slot in 0..1024usize {
        ram.put_bytes(0x2000 + 4 * slot, &(slot as u32 * 53).to_le_bytes());
    }
    for width in [Width::Wide, Width::Narrow] {
        assert_eq!(shapes(&ask(&ram, &heap(&[]), &[1, 2], width)), [], "{width:?}");
    }
}

#[test]
fn fifteen_references_are_chance_and_sixteen_are_not() {
    for many in [15, 16] {
        let mut ram = Ram::new(64);
        (0..many).for_each(|slot| ram.put(0x1000 + 16 * slot, suspect(3 * slot)));
        let all = ask(&ram, &heap(&[]), &[1], Width::Wide);
        assert_eq!(found(&all), if many < 16 { 0 } else { 16 });
        let mut ram = Ram::new(64);
        (0..64).for_each(|slot| ram.put(0x1000 + 16 * slot, suspect(slot % many)));
        let all = ask(&ram, &heap(&[]), &[1], Width::Wide);
        assert_eq!(found(&all), if many < 16 { 0 } else { 16 }, "the same ones again and again");
    }
}

#[test]
fn pointers_at_any_byte_are_seen_and_aligned_ones_are_markings_part() {
    let mut ram = Ram::new(64);
    for slot in 0..100 {
        ram.put_bytes(0x1001 + 11 * slot, &(BASE.0 + suspect(slot)).to_le_bytes());
        ram.put_bytes(0x2000 + 12 * slot, &[7]);
        ram.put_bytes(0x2004 + 12 * slot, &(BASE.0 + suspect(100 + slot % 90)).to_le_bytes());
    }
    let all = ask(&ram, &heap(&[]), &[1, 2], Width::Wide);
    assert!(all.holders.iter().all(|one| one.shape == Shape::Unaligned), "{:?}", all.holders);
    // Of the second table every other place is aligned.
    assert_eq!(found(&all), 100 + 45);
    let mut ram = Ram::new(64);
    (0..100).for_each(|slot| ram.put(0x1000 + 8 * slot, BASE.0 + suspect(slot)));
    assert_eq!(shapes(&ask(&ram, &heap(&[]), &[1], Width::Wide)), []);
}

#[test]
fn halves_tags_shifts_and_complements_are_read() {
    let pointer = |slot: usize| BASE.0 + suspect(slot);
    let cases: [(Shape, &dyn Fn(usize) -> u64); 5] = [
        (Shape::PhysicalAddress, &|slot| suspect(slot).rotate_left(32)),
        (Shape::PhysicalAddress, &|slot| suspect(slot) | (0x8000 + slot as u64 % 700) << 48),
        (Shape::Encoded, &|slot| pointer(slot) << 16 | slot as u64),
        (Shape::Encoded, &|slot| !pointer(slot)),
        (Shape::Encoded, &|slot| pointer(slot) & !(0xffff << 48) | 0xab << 56),
    ];
    for (shape, write) in cases {
        let mut ram = Ram::new(64);
        (0..50).for_each(|slot| ram.put(0x1000 + 24 * slot, write(slot)));
        let all = ask(&ram, &heap(&[]), &[1], Width::Wide);
        assert_eq!(shapes(&all), [(shape, 50)]);
    }
}

#[test]
fn a_page_with_an_offset_beside_it_leads_to_the_object_there() {
    let non_slab = NonSlab { memmap: MEMMAP, struct_page_bytes: 64, ..NonSlab::default() };
    let mut ram = Ram::new(64);
    for slot in 0..60usize {
        let at = suspect(3 * slot) + 16;
        ram.put(0x1000 + 32 * slot, MEMMAP.0 + (at >> 12) * 64 + 2);
        ram.put(0x1008 + 32 * slot, at & 0xfff | 48 << 32);
    }
    let heap = ram.builder(&SUSPECTS).seal().adopt(non_slab).never_marked();
    let all = ask(&ram, &heap, &[1], Width::Wide);
    assert_eq!(shapes(&all), [(Shape::PageAndOffset, 60)]);
}

#[test]
fn distances_of_32_bits_are_found_only_where_they_are_asked_for() {
    let mut ram = Ram::new(64);
    for slot in 0..150usize {
        ram.put_bytes(0x1000 + 4 * slot, &(suspect(slot) as u32 >> 3).to_le_bytes());
    }
    assert_eq!(shapes(&ask(&ram, &heap(&[]), &[1], Width::Narrow)), [(Shape::Offset32, 150)]);
    assert_eq!(found(&ask(&ram, &heap(&[]), &[1], Width::Wide)), 0);
}

/// What a table of 32-bit numbers at 0x1000, shifted by 8, holds of 40 lost pages from 0x14000 on.
fn held_by_numbers(numbers: impl Iterator<Item = u32>) -> u64 {
    let mut ram = Ram::new(64);
    (0..).zip(numbers).for_each(|(slot, number)| {
        ram.put_bytes(0x1000 + 4 * slot, &number.to_le_bytes());
    });
    let blocks = (20..60).map(|page| Block { pfn: Pfn(page), pages: 1 }).collect();
    let heap = ram.builder(&[]).seal().adopt(NonSlab { blocks, ..NonSlab::default() });
    let heap = heap.never_marked();
    let is_page = |cache: &u16| heap.caches[usize::from(*cache)].class == Class::Page;
    let caches: Vec<u16> = (0..heap.caches.len() as u16).filter(is_page).collect();
    let cancel = Cancel::default();
    let question = question(&ram, &heap, &caches, &cancel);
    let pages = page_set(&[1]);
    let search = Search::new(&question).scan(&question, Roots::of_pages(&pages));
    found(&search.found(&question, Width::Narrow))
}

#[test]
fn numbers_that_ascend_or_tell_distances_hold_no_page_but_addresses_of_pages_do() {
    let page = |number: u32| (20 + number) << 4;
    assert_eq!(held_by_numbers((0..40).map(page)), 40, "addresses of pages");
    assert_eq!(held_by_numbers((0..40).map(|number| page(number) + 3)), 40, "of buffers in them");
    assert_eq!(held_by_numbers((0..600).map(|number| page(0) + number)), 0, "an index");
    assert_eq!(held_by_numbers((0..50).map(|slot| page(40) - 12 * (slot + 1))), 0, "distances");
}

#[test]
fn a_field_of_reachable_objects_holds_and_one_of_lost_objects_does_not() {
    let mut ram = Ram::new(64);
    let others = [(12, 1), (13, 1)];
    for number in 0..64usize {
        let at = (12 << 12) + 128 * number;
        // Half of the cache is another's, who has other numbers there.
        let mine = number % 2 == 0;
        ram.put(at, if mine { 0xffff_ffff_8123_0000 } else { 0xffff_ffff_8456_0000 });
        ram.put(at + 40, if mine { suspect(number) } else { 7 << 20 | number as u64 });
    }
    let mut heap = heap(&others);
    assert_eq!(found(&ask(&ram, &heap, &[1], Width::Wide)), 0, "they are lost themselves");
    (0..64u16).for_each(|n| heap.reach(Object { slab: 3 + u32::from(n / 32), index: n % 32 }));
    let all = ask(&ram, &heap, &[1], Width::Wide);
    assert_eq!(shapes(&all), [(Shape::PhysicalAddress, 32)]);
    assert!(matches!(all.holders[0].place, Place::Field(1, 40, _)));
}

#[test]
fn memory_that_is_left_out_is_not_read() {
    let mut ram = Ram::new(64);
    (0..100).for_each(|slot| ram.put(0x1000 + 16 * slot, suspect(slot)));
    let (heap, cancel) = (heap(&[]), Cancel::default());
    let question = question(&ram, &heap, &[0], &cancel);
    let pages = page_set(&[1]);
    let left_out = [VaRange::new(BASE.at(0x1000), 800)].into_iter().collect();
    let roots = Roots { left_out: &left_out, ..Roots::of_pages(&pages) };
    assert_eq!(
        found(&Search::new(&question).scan(&question, roots).found(&question, Width::Wide)),
        50
    );
}

#[test]
fn several_threads_find_what_one_finds() {
    let mut ram = Ram::new(64);
    let rings = [1, 3, 5, 7];
    for (number, slot) in (0..160).map(|number| (number, number % 40)) {
        ram.put((rings[number / 40] as usize * 0x1000) + 16 * slot, suspect(number));
    }
    let (heap, cancel) = (heap(&[]), Cancel::default());
    let asked = question(&ram, &heap, &[0], &cancel);
    let pages = page_set(&rings);
    let places = |question: &Question<'_>| -> Vec<_> {
        let found = Search::new(question)
            .scan(question, Roots::of_pages(&pages))
            .found(question, Width::Wide);
        found.holders.iter().map(|one| (one.place, one.hits)).collect()
    };
    assert_eq!(places(&asked).len(), rings.len());
    assert_eq!(
        places(&asked),
        places(&Question { readers: Readers::one(asked.readers.memory()), ..asked })
    );
}

#[test]
fn a_search_goes_on_with_what_has_become_reachable() {
    let mut ram = Ram::new(64);
    // A ring names the objects of another cache, which name the suspects by 32 bits.
    (0..32).for_each(|slot| ram.put(0x1000 + 16 * slot, (12 << 12) + 128 * slot as u64));
    for number in 0..32usize {
        let at = (12 << 12) + 128 * number;
        (0..16).for_each(|word| {
            let to = suspect((16 * number + word) % 192) as u32 >> 3;
            ram.put_bytes(at + 64 + 4 * word, &to.to_le_bytes());
        });
    }
    let (mut heap, cancel) = (heap(&[(12, 1)]), Cancel::default());
    let pages = page_set(&[1]);
    let first = question(&ram, &heap, &[0, 1], &cancel);
    let mut search = Search::new(&first).scan(&first, Roots::of_pages(&pages));
    let wide = search.found(&question(&ram, &heap, &[0, 1], &cancel), Width::Wide);
    assert_eq!(wide.holders[0].found, [(1, 32)]);
    assert_eq!(
        found(&search.found(&question(&ram, &heap, &[0], &cancel), Width::Wide)),
        0,
        "not asked about"
    );
    search.remember(&heap);
    (0..32).for_each(|index| heap.reach(Object { slab: 3, index }));
    let narrow = |search: &Search| {
        found(&search.found(&question(&ram, &heap, &[0, 1], &cancel), Width::Narrow))
    };
    assert_eq!(narrow(&search), 0);
    search.go_on(&question(&ram, &heap, &[], &cancel), &Ranges::new());
    assert_eq!(narrow(&search), 192);
    let read = search.found(&question(&ram, &heap, &[0], &cancel), Width::Narrow).bytes_scanned;
    search.go_on(&question(&ram, &heap, &[], &cancel), &Ranges::new());
    assert_eq!(
        search.found(&question(&ram, &heap, &[0], &cancel), Width::Narrow).bytes_scanned,
        read
    );
    let wide = search.found(&question(&ram, &heap, &[0, 1], &cancel), Width::Wide);
    assert_eq!(found(&wide), 0, "they are no suspects any more");
}

#[test]
fn a_table_in_an_area_is_whole_although_its_pages_are_not() {
    let mut ram = Ram::new(64);
    let area = sysak_base::Va(0xffff_c900_0010_0000);
    let frames = [Pfn(30), Pfn(20)];
    // Sixteen slots of 512 bytes, of which each page has eight.
    for slot in 0..16usize {
        let frame = frames[slot / 8].0 as usize;
        ram.put((frame << 12) + 512 * (slot % 8), suspect(slot));
    }
    let areas = vec![AreaPages { address: area, pages: frames.to_vec() }];
    let blocks = vec![Block { pfn: Pfn(40), pages: 1 }];
    let non_slab = NonSlab { areas, blocks, ..NonSlab::default() };
    let mut heap = ram.builder(&SUSPECTS).seal().adopt(non_slab).never_marked();
    assert_eq!(found(&ask(&ram, &heap, &[], Width::Wide)), 0, "the area is lost itself");
    let object = heap.find_object(area.0).unwrap();
    assert_eq!(heap.cache_of(object).class, Class::Vmalloc);
    heap.reach(object);
    let all = ask(&ram, &heap, &[], Width::Wide);
    assert_eq!(shapes(&all), [(Shape::PhysicalAddress, 16)]);
    assert_eq!(all.holders[0].place, Place::Memory(VaRange::new(area, 8192)));
}
