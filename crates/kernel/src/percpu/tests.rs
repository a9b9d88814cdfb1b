//! One chunk in an area and the one of boot time, handmade.

use super::*;
use sysak_base::{Anchors, Fault, Memory, PfnRange, Why};
use sysak_heap::{Cache, HeapBuilder};
use sysak_symbols::{Kallsyms, TypeInfo};

use crate::shape::ChargeShape;

pub(super) const DIRECT: u64 = 0xffff_8880_0000_0000;
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
const RAM_PAGES: u64 = 256;
const PAGE_STRUCT: u64 = 64;
pub(super) const AREA: u64 = 0xffff_e8ff_ffc0_0000;
/// The slab of chunks, and the heads of their lists.
pub(super) const CHUNKS: u64 = DIRECT + PAGE_SIZE;
pub(super) const HEADS: u64 = DIRECT + 2 * PAGE_SIZE;
pub(super) const FIRST: u64 = DIRECT + 3 * PAGE_SIZE;
/// Two CPUs' static variables: four pages each, then three of the first chunk.
pub(super) const UNITS: [u64; 2] = [100, 120];
pub(super) const STATIC_PAGES: u64 = 4;
/// What a per-CPU pointer to the first static variable is, since they are linked in place.
pub(super) const START: u64 = 0xffff_ffff_8300_0000;
const THIS_CPU_OFF: u64 = 0x18;

pub(super) fn shape() -> PerCpuShape {
    PerCpuShape {
        bytes: 256,
        list: 16,
        base: 128,
        immutable: 160,
        start_offset: 164,
        end_offset: 168,
        pages: 184,
        populated: 188,
        populated_map: 200,
        free_bytes: 32,
        alloc_map: 136,
        bound_map: 72,
        charges: Some(ChargeShape { vector: 176, entry_bytes: 16, group: 8 }),
        of_page: vec![32],
        this_cpu_off: Some(THIS_CPU_OFF),
    }
}

/// RAM, then the array of `struct page`.
pub(super) struct Image(Vec<u8>);

impl Image {
    fn at(at: u64) -> Option<usize> {
        let memmap = at.checked_sub(VMEMMAP).map(|offset| RAM_PAGES * PAGE_SIZE + offset);
        memmap.or_else(|| at.checked_sub(DIRECT)).map(|offset| offset as usize)
    }

    pub(super) fn put(&mut self, at: u64, value: u64, len: usize) {
        let at = Image::at(at).unwrap();
        self.0[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    pub(super) fn chunk(&mut self, at: u64, head: u64, base: u64, pages: u64, first: bool) {
        for link in [head, head + 8] {
            self.put(link, at + 16, 8);
        }
        self.put(at + 16, head, 8);
        self.put(at + 24, head, 8);
        self.put(at + 128, base, 8);
        self.put(at + 160, first.into(), 1);
        self.put(at + 184, pages, 4);
        self.put(at + 188, pages.min(3), 4);
    }
}

impl Memory for Image {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { at, why: Why::Unmapped };
        let start = Image::at(at.0).ok_or(fault)?;
        let end = start.checked_add(buf.len()).ok_or(fault)?;
        buf.copy_from_slice(self.0.get(start..end).ok_or(fault)?);
        Ok(())
    }
}

pub(super) fn offsets() -> [u64; 2] {
    UNITS.map(|unit| (DIRECT + unit * PAGE_SIZE).wrapping_sub(START))
}

/// Pages 40 to 45 belong to the chunk; page 46 names something else.
pub(super) fn image() -> Image {
    let mut image = Image(vec![0; (RAM_PAGES * (PAGE_SIZE + PAGE_STRUCT)) as usize]);
    for head in 0..4 {
        image.put(HEADS + head * 16, HEADS + head * 16, 8);
        image.put(HEADS + head * 16 + 8, HEADS + head * 16, 8);
    }
    image.chunk(CHUNKS, HEADS + 32, AREA, 256, false);
    let dynamic = DIRECT + (UNITS[0] + STATIC_PAGES) * PAGE_SIZE;
    image.chunk(FIRST, HEADS + 16, dynamic, 3, true);
    for page in 40..46 {
        image.put(VMEMMAP + page * PAGE_STRUCT + 32, CHUNKS, 8);
    }
    image.put(VMEMMAP + 46 * PAGE_STRUCT + 32, CHUNKS + 256, 8);
    for (unit, offset) in UNITS.iter().zip(offsets()) {
        image.put(DIRECT + unit * PAGE_SIZE + THIS_CPU_OFF, offset, 8);
    }
    image
}

/// The kernel of an image, with no symbols but these, and offsets of the CPUs.
pub(super) fn with_kernel<T>(
    image: &Image,
    symbols: &str,
    (shape, offsets): (PerCpuShape, [u64; 2]),
    look: impl FnOnce(&Kernel<'_>) -> T,
) -> T {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/btf-6.1");
    let types = TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap();
    let anchors = Anchors {
        page_offset: Some(Va(DIRECT)),
        vmemmap: Some(Va(VMEMMAP)),
        per_cpu_offsets: offsets.into(),
        ram: vec![PfnRange { start: Pfn(0), end: Pfn(RAM_PAGES) }],
        ..Anchors::default()
    };
    let symbols = Kallsyms::parse_proc(symbols.as_bytes()).unwrap();
    let mut kernel = Kernel::new(image, &anchors, &types, &symbols).unwrap();
    kernel.shape.percpu = Some(shape);
    look(&kernel)
}

/// The chunks of a kernel whose chunks are objects of the heap.
pub(super) fn claim_in(kernel: &Kernel<'_>) -> (Vec<Chunk>, Census, Coverage) {
    let cache = Cache::new(Va(0), "kmalloc-256".into(), 256, 256).unwrap();
    let mut heap = HeapBuilder::new(Va(DIRECT), RAM_PAGES, vec![cache]);
    heap.push(Pfn(1), 0, 0, 16).unwrap();
    let heap = heap.seal();
    let area = Area {
        address: Va(AREA),
        note: Va(0),
        bytes: 1 << 21,
        pages: 0,
        array: Va(0),
        caller: Va(0),
        kind: AreaKind::PerCpu,
        by_address: true,
    };
    let mut census = Census::of_kernel_pages((40..48).chain(90..140).map(Pfn));
    let mut coverage = Coverage::default();
    let chunks = claim(kernel, &heap, &[area], &mut census, &mut coverage);
    (chunks, census, coverage)
}

fn claimed(image: &Image, symbols: &str) -> (Vec<Chunk>, Census, Coverage) {
    with_kernel(image, symbols, (shape(), offsets()), claim_in)
}

pub(super) const NO_DATA: &str = "ffffffff81000000 T pcpu_create_chunk\n";

#[test]
fn both_chunks_are_found_without_symbols() {
    let (chunks, census, coverage) = claimed(&image(), NO_DATA);
    assert_eq!(chunks.iter().map(|chunk| chunk.at).collect::<Vec<_>>(), [Va(CHUNKS), Va(FIRST)]);
    assert_eq!(chunks[0].populated_pages, 3);
    assert_eq!(census.pages(Owner::PerCpu), 6 + 2 * (STATIC_PAGES + 3));
    assert_eq!(coverage.skipped, []);
}

/// An image whose first chunk can only be found by symbols, and these symbols.
fn with_symbols() -> (Image, &'static str) {
    let symbols = "ffff888000004000 D pcpu_first_chunk\nffff888000004008 D pcpu_base_addr\n\
                   ffff888000004010 D pcpu_unit_offsets\n";
    let mut image = image();
    let unit_offsets = DIRECT + 4 * PAGE_SIZE + 64;
    let base = DIRECT + UNITS[0] * PAGE_SIZE;
    for (at, value) in (0..).step_by(8).zip([FIRST, base, unit_offsets]) {
        image.put(DIRECT + 4 * PAGE_SIZE + at, value, 8);
    }
    image.put(CHUNKS + 16, CHUNKS + 16, 8);
    (image, symbols)
}

#[test]
fn symbols_lead_to_the_first_chunk_too() {
    let (image, symbols) = with_symbols();
    let (chunks, census, _) = claimed(&image, symbols);
    assert!(chunks.iter().any(|chunk| chunk.origin == Origin::First));
    assert_eq!(census.pages(Owner::PerCpu), 6 + 2 * (STATIC_PAGES + 3));
}

#[test]
fn one_damaged_offset_of_a_cpu_leaves_per_cpu_memory_unjudged() {
    let (image, symbols) = with_symbols();
    for damaged in 0..2 {
        let mut offsets = offsets();
        offsets[damaged] ^= 1 << 20;
        let (chunks, coverage, allocations) =
            with_kernel(&image, symbols, (shape(), offsets), |kernel| {
                let (chunks, _, mut coverage) = claim_in(kernel);
                let found = allocations(kernel, &chunks, &mut coverage);
                (chunks, coverage, found.list.len())
            });
        assert!(chunks.iter().any(|chunk| chunk.origin == Origin::First));
        assert!(coverage.books.percpu.is_missing, "CPU {damaged}");
        assert_eq!(allocations, 0, "CPU {damaged}");
    }
}

#[test]
fn what_only_looks_like_a_chunk_takes_no_page() {
    for (at, value) in [(128, AREA + PAGE_SIZE), (128, DIRECT), (184, 0), (188, 1 << 20)] {
        let mut image = image();
        image.put(CHUNKS + at, value, if at == 128 { 8 } else { 4 });
        let (chunks, census, coverage) = claimed(&image, NO_DATA);
        assert_eq!((chunks, census.pages(Owner::PerCpu)), (Vec::new(), 0));
        assert_eq!(coverage.skipped.len(), 1);
    }
}

#[test]
fn copies_that_disagree_leave_the_first_chunk_alone() {
    let mut image = image();
    image.put(DIRECT + UNITS[1] * PAGE_SIZE + THIS_CPU_OFF, 8, 8);
    let (_, census, coverage) = claimed(&image, NO_DATA);
    assert_eq!(census.pages(Owner::PerCpu), 6);
    assert_eq!(coverage.skipped.len(), 1);
}

#[test]
fn types_without_per_cpu_variables_are_of_the_time_when_pointers_began_at_0() {
    let units = UNITS.map(|unit| DIRECT + unit * PAGE_SIZE);
    let shape = PerCpuShape { this_cpu_off: None, ..shape() };
    let (_, census, coverage) = with_kernel(&image(), NO_DATA, (shape.clone(), units), claim_in);
    assert_eq!(census.pages(Owner::PerCpu), 6 + 2 * (STATIC_PAGES + 3));
    assert_eq!(coverage.skipped, []);
    let (_, census, _) = with_kernel(&image(), NO_DATA, (shape, offsets()), claim_in);
    assert_eq!(census.pages(Owner::PerCpu), 6, "later offsets are no addresses of units");
}

#[test]
fn the_reserved_chunk_is_found_near_the_first_one() {
    let mut image = image();
    let reserved = FIRST + 5 * 64;
    let base = DIRECT + (UNITS[0] + STATIC_PAGES - 2) * PAGE_SIZE;
    image.chunk(reserved, HEADS, base, 2, true);
    for link in [16, 24] {
        image.put(reserved + link, reserved + 16, 8);
    }
    image.put(HEADS, HEADS, 8);
    image.put(HEADS + 8, HEADS, 8);
    let origins = |image: &Image| {
        let (chunks, ..) = claimed(image, NO_DATA);
        chunks.iter().map(|chunk| (chunk.at.0, chunk.origin)).collect::<Vec<_>>()
    };
    let both = [(CHUNKS, Origin::Areas), (FIRST, Origin::First)];
    assert_eq!(origins(&image), [both[0], (reserved, Origin::Reserved), both[1]]);
    image.put(reserved + 168, 4, 4);
    assert_eq!(origins(&image), both, "it ends before the first one begins");
}
