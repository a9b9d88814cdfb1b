//! Maps written by hand, in the image of the chunks' tests.

use super::*;
use crate::percpu::tests::{
    AREA, CHUNKS, DIRECT, FIRST, HEADS, Image, NO_DATA, START, STATIC_PAGES, UNITS, claim_in,
    image, offsets, shape, with_kernel,
};

/// The maps of the chunk in an area and of the first chunk, and who is charged.
const MAPS: [u64; 2] = [DIRECT + 150 * PAGE_SIZE, DIRECT + 152 * PAGE_SIZE];
const FIRST_MAPS: [u64; 2] = [DIRECT + 154 * PAGE_SIZE, DIRECT + 155 * PAGE_SIZE];
const CHARGES: u64 = DIRECT + 160 * PAGE_SIZE;
/// As many as lie between the units, so that they follow each other.
const UNIT_PAGES: u64 = UNITS[1] - UNITS[0];
const GROUP: u64 = DIRECT + 0x4321_0000;
/// Offset and bytes of what is in use in the area.
const IN_USE: [(u64, u64); 4] = [(0, 8), (8, 16), (0x30, 4), (2 * PAGE_SIZE - 8, 264)];

/// Sets the bits of `bytes` from `offset` on.
fn set(image: &mut Image, map: u64, offset: u64, bytes: u64) {
    let mut raw = [0];
    for bit in offset / GRAIN_BYTES..(offset + bytes) / GRAIN_BYTES {
        let at = map + bit / 8;
        sysak_base::Memory::read(&*image, Va(at), &mut raw).unwrap();
        image.put(at, u64::from(raw[0] | 1 << (bit % 8)), 1);
    }
}

fn allocate(image: &mut Image, maps: [u64; 2], offset: u64, bytes: u64) {
    set(image, maps[0], offset, bytes);
    set(image, maps[1], offset, GRAIN_BYTES);
    set(image, maps[1], offset + bytes, GRAIN_BYTES);
}

/// What is in use in the area, and two allocations in the first chunk.
fn filled() -> Image {
    let mut image = image();
    image.chunk(CHUNKS, HEADS + 32, AREA, UNIT_PAGES, false);
    for (chunk, maps) in [(CHUNKS, MAPS), (FIRST, FIRST_MAPS)] {
        image.put(chunk + 136, maps[0], 8);
        image.put(chunk + 72, maps[1], 8);
    }
    image.put(CHUNKS + 200, 0b111, 8);
    image.put(CHUNKS + 176, CHARGES, 8);
    // The second allocation's: entries have 16 bytes, one for each four.
    image.put(CHARGES + 2 * 16 + 8, GROUP, 8);
    for (offset, bytes) in IN_USE {
        allocate(&mut image, MAPS, offset, bytes);
    }
    // Freed: its bounds stay.
    set(&mut image, MAPS[1], 0x40, 4);
    set(&mut image, MAPS[1], 0x80, 4);
    image.put(CHUNKS + 32, UNIT_PAGES * PAGE_SIZE - 8 - 16 - 4 - 264, 4);
    // Boot hides what is in front of the chunk and behind it.
    image.put(FIRST + 164, 0x100, 4);
    image.put(FIRST + 168, 0x200, 4);
    image.put(FIRST + 200, u64::MAX, 8);
    allocate(&mut image, FIRST_MAPS, 0, 0x100);
    allocate(&mut image, FIRST_MAPS, 0x100, 32);
    allocate(&mut image, FIRST_MAPS, 3 * PAGE_SIZE - 0x208, 8);
    allocate(&mut image, FIRST_MAPS, 3 * PAGE_SIZE - 0x200, 0x200);
    image.put(FIRST + 32, 3 * PAGE_SIZE - 0x300 - 40, 4);
    image
}

fn look<T>(image: &Image, look: impl FnOnce(&Kernel<'_>, &[Chunk], &Allocations) -> T) -> T {
    with_kernel(image, NO_DATA, (shape(), offsets()), |kernel| {
        let (chunks, ..) = claim_in(kernel);
        let found = allocations(kernel, &chunks, &mut Coverage::default());
        look(kernel, &chunks, &found)
    })
}

fn skipped(image: &Image) -> (usize, Vec<ChunkUse>, usize) {
    with_kernel(image, NO_DATA, (shape(), offsets()), |kernel| {
        let (chunks, ..) = claim_in(kernel);
        let mut coverage = Coverage::default();
        let found = allocations(kernel, &chunks, &mut coverage);
        (found.list.len(), found.uses, coverage.skipped.len())
    })
}

/// What the kernel makes of an address in the lowest unit.
fn pointer_to(at: u64) -> u64 {
    at.wrapping_sub(DIRECT + UNITS[0] * PAGE_SIZE).wrapping_add(START)
}

const FIRST_BASE: u64 = DIRECT + (UNITS[0] + STATIC_PAGES) * PAGE_SIZE;

#[test]
fn every_allocation_has_the_pointer_that_its_owner_was_given() {
    look(&filled(), |_, chunks, found| {
        let mut wanted: Vec<_> = IN_USE
            .iter()
            .map(|(offset, bytes)| (pointer_to(AREA + offset), *bytes, CHUNKS))
            .collect();
        wanted.push((pointer_to(FIRST_BASE + 0x100), 32, FIRST));
        wanted.push((pointer_to(FIRST_BASE + 3 * PAGE_SIZE - 0x208), 8, FIRST));
        wanted.sort_unstable();
        let seen: Vec<_> = found
            .list
            .iter()
            .map(|a| (a.pointer, u64::from(a.bytes), chunks[a.chunk as usize].at.0))
            .collect();
        assert_eq!(seen, wanted);
        assert_eq!(found.boot_pages, STATIC_PAGES + 3);
    });
}

#[test]
fn pages_without_anything_in_use_are_counted() {
    look(&filled(), |_, _, found| {
        let area = found.uses[0];
        assert!(area.whole && area.chargeable && found.uses[1].whole);
        // The last one reaches into the third page, and the fourth is not there.
        assert_eq!((area.populated_pages, area.empty_pages), (3, 0));
        assert_eq!((area.allocations, area.allocated_bytes), (4, 292));
        assert_eq!((found.uses[1].populated_pages, found.uses[1].empty_pages), (3, 1));
    });
}

#[test]
fn any_address_in_any_copy_leads_to_its_allocation() {
    look(&filled(), |kernel, _, found| {
        for (index, allocation) in found.list.iter().enumerate() {
            let last = u64::from(allocation.bytes) - 1;
            assert_eq!(found.of_pointer(allocation.pointer + last), Some(index));
            let copies: Vec<_> = allocation.copies(kernel).collect();
            assert_eq!(copies[1].0 - copies[0].0, UNIT_PAGES * PAGE_SIZE);
            for copy in copies {
                assert_eq!(found.of_address(copy), Some(index));
                assert_eq!(found.of_address(copy.at(last)), Some(index));
            }
        }
        let nobodys = [AREA - 1, AREA + 0x34, AREA + 0x40, AREA + 2 * UNIT_PAGES * PAGE_SIZE];
        let hidden = [FIRST_BASE, FIRST_BASE - 1, FIRST_BASE + 3 * PAGE_SIZE - 1, 0, u64::MAX];
        for at in nobodys.into_iter().chain(hidden) {
            assert_eq!(found.of_address(Va(at)), None, "{at:#x}");
        }
    });
}

#[test]
fn who_is_charged_is_noted_beside_the_allocation() {
    look(&filled(), |kernel, chunks, found| {
        let charged = |offset| {
            let index = found.of_pointer(pointer_to(AREA + offset)).unwrap();
            found.charged(kernel, chunks, &found.list[index])
        };
        assert_eq!((charged(0), charged(8)), (None, Some(Va(GROUP))));
        let first = found.of_pointer(pointer_to(FIRST_BASE + 0x100)).unwrap();
        assert_eq!(found.charged(kernel, chunks, &found.list[first]), None);
    });
}

#[test]
fn maps_that_contradict_each_other_end_their_chunk_alone() {
    let lost: [fn(&mut Image); 3] = [
        // The last one does not begin anywhere.
        |image| image.put(MAPS[1] + (2 * PAGE_SIZE - 8) / 32, 0, 1),
        // It has a hole.
        |image| image.put(MAPS[0] + 2 * PAGE_SIZE / 32 + 1, 0, 1),
        |image| image.put(MAPS[0] + 2 * PAGE_SIZE / 32 + 2, 0b0111_1111, 1),
    ];
    for damage in lost {
        let mut image = filled();
        damage(&mut image);
        let (many, uses, notes) = skipped(&image);
        assert_eq!((many, notes), (5, 1));
        assert!(!uses[0].whole && uses[1].whole);
        assert_eq!(uses[0].allocations, 3, "what was seen before is kept");
    }
}

#[test]
fn a_count_of_free_bytes_that_does_not_fit_is_noted() {
    let mut image = filled();
    image.put(CHUNKS + 32, 64, 4);
    let (many, uses, notes) = skipped(&image);
    assert_eq!((many, notes, uses[0].whole), (6, 1, false));
}

#[test]
fn maps_that_cannot_be_read_leave_the_other_chunks() {
    let mut image = filled();
    image.put(CHUNKS + 136, 0xdead_0000, 8);
    let (many, uses, notes) = skipped(&image);
    assert_eq!((many, notes, uses[0].whole), (2, 1, false));
}
