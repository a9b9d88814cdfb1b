//! Page tables written by hand in a direct map of a few pages.

use super::*;
use crate::shape::SPACE_CACHE;
use sysak_arch::x86_64::{LARGE, index};
use sysak_base::{Anchors, Fault, Memory, PfnRange, Why};
use sysak_heap::{Cache, HeapBuilder};
use sysak_symbols::{Kallsyms, TypeInfo};

const DIRECT: u64 = 0xffff_8880_0000_0000;
const DIRECT_5: u64 = 0xff11_0000_0000_0000;
const AREAS: u64 = 0xffff_c900_0000_0000;
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
const RAM_PAGES: u64 = 64;
const PAGE_STRUCT: u64 = 64;
/// Pages of the kernel's top-level table and those below it.
const TOP: u64 = 1;
const MAPPING: u64 = 2;
const AREA_TABLES: [u64; 3] = [4, 5, 6];
/// A process: both pages of its top-level table, and the table of 1 GiB each below.
const PROCESS: u64 = 10;
const PROCESS_UPPER: u64 = 12;
const PROCESS_MIDDLE: u64 = 13;
/// The slab of address spaces.
const SPACES: u64 = 30;
const SPACE_BYTES: u64 = 1024;
const SPACE_TOP: u64 = 80;

struct Image {
    bytes: Vec<u8>,
    page_offset: u64,
    encrypted: u64,
}

impl Image {
    fn place(&self, at: u64) -> Option<usize> {
        let memmap = at.checked_sub(VMEMMAP).map(|offset| RAM_PAGES * PAGE_SIZE + offset);
        memmap.or_else(|| at.checked_sub(self.page_offset)).map(|offset| offset as usize)
    }

    fn put(&mut self, at: u64, value: u64, len: usize) {
        let at = self.place(at).unwrap();
        self.bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    fn entry(&mut self, table: u64, index: u64, value: u64) {
        self.put(self.page_offset + table * PAGE_SIZE + index * 8, value, 8);
    }

    /// Makes an entry lead to a table.
    fn link(&mut self, table: u64, index: u64, next: u64) {
        self.entry(table, index, (next * PAGE_SIZE) | self.encrypted | 0x63);
    }

    /// Tables from a top-level one down to a large page at the start of the direct map.
    fn map_ram(&mut self, top: u64, levels: u32) {
        let probe = Va(self.page_offset);
        let mut table = top;
        for level in (MIDDLE + 1..=levels).rev() {
            let next = MAPPING + u64::from(levels - level) + if levels == 5 { 30 } else { 0 };
            self.link(table, index(probe, level), next);
            table = next;
        }
        self.entry(table, 0, self.encrypted | LARGE | 0x63);
    }
}

impl Memory for Image {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { at, why: Why::Unmapped };
        let start = self.place(at.0).ok_or(fault)?;
        let end = start.checked_add(buf.len()).ok_or(fault)?;
        buf.copy_from_slice(self.bytes.get(start..end).ok_or(fault)?);
        Ok(())
    }
}

fn image(page_offset: u64, encrypted: u64) -> Image {
    let bytes = vec![0; (RAM_PAGES * (PAGE_SIZE + PAGE_STRUCT)) as usize];
    let mut image = Image { bytes, page_offset, encrypted };
    image.map_ram(TOP, if page_offset == DIRECT { 4 } else { 5 });
    image
}

/// Four levels, with an area of one page and one of a large page.
fn kernels() -> Image {
    let mut image = image(DIRECT, 0);
    image.link(TOP, index(Va(AREAS), 4), AREA_TABLES[0]);
    image.link(AREA_TABLES[0], 0, AREA_TABLES[1]);
    image.link(AREA_TABLES[1], 0, AREA_TABLES[2]);
    image.link(AREA_TABLES[2], 0, 50);
    image.entry(AREA_TABLES[1], 1, (51 * PAGE_SIZE) | LARGE | 1);
    image.entry(AREA_TABLES[0], 1, (52 * PAGE_SIZE) | LARGE | 1);
    image.entry(AREA_TABLES[0], 2, 53 * PAGE_SIZE);
    image
}

/// With a process in it, whose user space is seen from both pages of its top-level table.
fn with_process() -> Image {
    let mut image = kernels();
    image.put(DIRECT + SPACES * PAGE_SIZE + SPACE_TOP, DIRECT + PROCESS * PAGE_SIZE, 8);
    image.map_ram(PROCESS, 4);
    image.link(PROCESS, 3, PROCESS_UPPER);
    image.link(PROCESS + 1, 3, PROCESS_UPPER);
    image.link(PROCESS_UPPER, 0, PROCESS_MIDDLE);
    // Only the first page of the two counts its users.
    image.put(VMEMMAP + PROCESS * PAGE_STRUCT + refcount(), 1, 4);
    image
}

fn types() -> TypeInfo {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/btf-6.1");
    TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap()
}

fn refcount() -> u64 {
    crate::shape::Shape::resolve(&types()).unwrap().page.refcount
}

/// Which pages were claimed, and the notes of what was not.
fn claimed(image: &Image, top: Option<u64>) -> (Vec<u64>, usize) {
    let anchors = Anchors {
        page_table: top.map(|page| Va(image.page_offset + page * PAGE_SIZE)),
        page_offset: Some(Va(image.page_offset)),
        vmemmap: Some(Va(VMEMMAP)),
        ram: vec![PfnRange { start: Pfn(0), end: Pfn(RAM_PAGES) }],
        ..Anchors::default()
    };
    let symbols = Kallsyms::parse_proc(b"ffffffff81000000 T start_kernel\n").unwrap();
    let types = types();
    let mut kernel = Kernel::new(image, &anchors, &types, &symbols).unwrap();
    kernel.shape.top_table = Some(SPACE_TOP);
    let cache = Cache::new(Va(0), SPACE_CACHE.into(), SPACE_BYTES as u32, SPACE_BYTES as u32);
    let mut heap = HeapBuilder::new(Va(image.page_offset), RAM_PAGES, vec![cache.unwrap()]);
    heap.push(Pfn(SPACES), 0, 0, 4).unwrap();
    let heap = heap.seal();
    let mut census = Census::of_kernel_pages((2..RAM_PAGES).map(Pfn));
    let mut coverage = Coverage::default();
    let many = claim(&kernel, &heap, &mut census, &mut coverage);
    assert_eq!(many, census.pages(Owner::PageTable));
    let left = |pfn: &u64| !census.unclaimed.contains(Pfn(*pfn));
    ((2..RAM_PAGES).filter(left).collect(), coverage.skipped.len())
}

const KNOWN: Option<u64> = Some(TOP);

#[test]
fn tables_of_every_level_are_claimed_and_large_pages_lead_nowhere() {
    assert_eq!(claimed(&kernels(), KNOWN), (vec![2, 3, 4, 5, 6], 0));
}

#[test]
fn a_process_leads_to_the_kernels_tables_where_nothing_else_does() {
    let mut image = with_process();
    image.link(PROCESS, index(Va(AREAS), 4), AREA_TABLES[0]);
    let (pages, notes) = claimed(&image, None);
    assert_eq!((pages, notes), (vec![2, 3, 4, 5, 6, 10, 11, 12], 0));
}

#[test]
fn the_lower_levels_of_user_space_have_a_type_and_are_left_alone() {
    let (pages, _) = claimed(&with_process(), KNOWN);
    assert_eq!(pages, [2, 3, 4, 5, 6, PROCESS, PROCESS + 1, PROCESS_UPPER]);
}

#[test]
fn the_page_behind_a_top_level_table_belongs_to_it_only_if_it_says_the_same() {
    let mut image = with_process();
    image.link(PROCESS + 1, 3, 40);
    assert!(!claimed(&image, KNOWN).0.contains(&(PROCESS + 1)));
    let mut image = with_process();
    image.put(VMEMMAP + (PROCESS + 1) * PAGE_STRUCT + refcount(), 1, 4);
    assert!(!claimed(&image, KNOWN).0.contains(&(PROCESS + 1)), "somebody else uses it");
}

#[test]
fn what_user_space_sees_of_the_kernel_has_tables_of_its_own() {
    let mut image = with_process();
    image.link(PROCESS + 1, 511, 20);
    image.link(20, 0, 21);
    image.link(21, 0, 22);
    let (pages, _) = claimed(&image, KNOWN);
    assert!([20, 21, 22].iter().all(|page| pages.contains(page)), "{pages:?}");
}

#[test]
fn tables_that_lead_back_to_themselves_end() {
    let mut image = kernels();
    image.link(AREA_TABLES[0], 7, AREA_TABLES[0]);
    image.link(AREA_TABLES[1], 7, AREA_TABLES[0]);
    image.link(AREA_TABLES[1], 8, RAM_PAGES + 5);
    assert_eq!(claimed(&image, KNOWN), (vec![2, 3, 4, 5, 6], 0));
}

#[test]
fn tables_that_map_ram_elsewhere_are_not_believed() {
    let mut image = with_process();
    image.entry(3, 0, 0x20_0000 | LARGE | 1);
    assert_eq!(claimed(&image, KNOWN), (Vec::new(), 1));
}

#[test]
fn the_bit_of_encrypted_memory_is_no_part_of_the_address() {
    let mut image = image(DIRECT, 1 << 47);
    assert_eq!(claimed(&image, KNOWN), (vec![2, 3], 0));
    image.entry(MAPPING, 9, (40 * PAGE_SIZE) | (1 << 46) | 1);
    assert_eq!(claimed(&image, KNOWN), (vec![2, 3], 0), "no other bit is");
}

#[test]
fn five_levels_are_told_by_where_the_direct_map_is() {
    assert_eq!(claimed(&image(DIRECT_5, 0), KNOWN), (vec![32, 33, 34], 0));
}
