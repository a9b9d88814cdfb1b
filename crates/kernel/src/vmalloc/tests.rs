//! Handmade areas in a direct map of a few pages, laid out as a real kernel's types say.

use super::*;
use crate::list::Stop;
use sysak_base::{Anchors, Fault, Memory, Pfn, PfnRange, Va, Why};
use sysak_heap::HeapBuilder;
use sysak_symbols::{Kallsyms, TypeInfo};

const DIRECT: u64 = 0xffff_8880_0000_0000;
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
const RAM_PAGES: u64 = 64;
const HEAD: u64 = DIRECT;
const AREAS: u64 = 0xffff_c900_0000_0000;
const SYMBOLS: &[u8] = b"ffff888000000000 D vmap_area_list\n\
    ffffffff81000000 T kernel_clone\nffffffff81001000 T pcpu_create_chunk\n\
    ffffffff81002000 T n_tty_open\nffffffff81003000 T load_module\nffffffff81004000 T end\n";
const KERNEL_CLONE: u64 = 0xffff_ffff_8100_0010;
const CREATE_CHUNK: u64 = 0xffff_ffff_8100_1010;
const TTY: u64 = 0xffff_ffff_8100_2010;

struct Ram(Vec<u8>);

impl Ram {
    fn put(&mut self, at: u64, value: u64, len: usize) {
        let at = (at - DIRECT) as usize;
        self.0[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }
}

impl Memory for Ram {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { at, why: Why::Unmapped };
        let start = at.0.checked_sub(DIRECT).ok_or(fault)? as usize;
        let end = start.checked_add(buf.len()).ok_or(fault)?;
        buf.copy_from_slice(self.0.get(start..end).ok_or(fault)?);
        Ok(())
    }
}

fn types() -> TypeInfo {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/btf-6.1");
    TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap()
}

fn shape() -> VmallocShape {
    crate::shape::Shape::resolve(&types()).unwrap().vmalloc.unwrap()
}

/// What a test says of one area.
struct Wanted {
    bytes: u64,
    flags: u64,
    pages: &'static [u64],
    caller: u64,
}

/// Area n lies in pages 2n + 1 (itself) and 2n + 2 (its array), 1 MiB from the one before.
fn ram(wanted: &[Wanted], after: u64) -> Ram {
    let (shape, mut ram) = (shape(), Ram(vec![0; (RAM_PAGES * PAGE_SIZE) as usize]));
    let link = |n: usize| DIRECT + (2 * n as u64 + 1) * PAGE_SIZE + shape.list;
    ram.put(HEAD, link(0), 8);
    ram.put(HEAD + 8, link(wanted.len() - 1), 8);
    for (n, area) in wanted.iter().enumerate() {
        let range = link(n) - shape.list;
        let (vm, array) = (range + 1024, range + PAGE_SIZE);
        let start = AREAS + ((n as u64) << 20);
        ram.put(range + shape.start, start, 8);
        ram.put(range + shape.end, start + area.bytes + PAGE_SIZE, 8);
        ram.put(link(n), if n + 1 < wanted.len() { link(n + 1) } else { after }, 8);
        ram.put(link(n) + 8, if n == 0 { HEAD } else { link(n - 1) }, 8);
        ram.put(range + shape.vm, vm, 8);
        ram.put(vm + shape.address, start, 8);
        ram.put(vm + shape.size, area.bytes + PAGE_SIZE, 8);
        ram.put(vm + shape.flags, area.flags, 8);
        ram.put(vm + shape.pages, array, 8);
        ram.put(vm + shape.page_count, area.pages.len() as u64, 4);
        ram.put(vm + shape.caller, area.caller, 8);
        for (index, pfn) in (0..).zip(area.pages) {
            ram.put(array + index * 8, VMEMMAP + pfn * 64, 8);
        }
    }
    ram
}

fn with_kernel<T>(ram: &Ram, look: impl FnOnce(&Kernel<'_>) -> T) -> T {
    let anchors = Anchors {
        page_offset: Some(Va(DIRECT)),
        vmemmap: Some(Va(VMEMMAP)),
        ram: vec![PfnRange { start: Pfn(0), end: Pfn(RAM_PAGES) }],
        ..Anchors::default()
    };
    let symbols = Kallsyms::parse_proc(SYMBOLS).unwrap();
    look(&Kernel::new(ram, &anchors, &types(), &symbols).unwrap())
}

fn find_all(kernel: &Kernel<'_>) -> (Vec<Area>, Coverage) {
    let mut coverage = Coverage::default();
    let heap = HeapBuilder::new(Va(DIRECT), RAM_PAGES, Vec::new()).seal();
    (find(kernel, &heap, &mut coverage), coverage)
}

const STACK: Wanted =
    Wanted { bytes: 0x4000, flags: 2, pages: &[40, 41, 42, 43], caller: KERNEL_CLONE };

#[test]
fn areas_are_told_apart_and_the_guard_page_is_left_out() {
    let wanted = [
        STACK,
        Wanted { bytes: 0x2000, flags: 2, pages: &[50, 51], caller: TTY },
        Wanted { bytes: 0x1000, flags: IOREMAP, pages: &[], caller: TTY },
        Wanted { bytes: 0x8000, flags: 2, pages: &[], caller: CREATE_CHUNK },
        Wanted { bytes: 0x4000, flags: 4, pages: &[], caller: TTY },
        Wanted { bytes: 0x3000, flags: 2, pages: &[52, 53, 54], caller: KERNEL_CLONE },
    ];
    let (areas, coverage) = with_kernel(&ram(&wanted, HEAD), find_all);
    let kinds: Vec<_> = areas.iter().map(|area| area.kind).collect();
    let expected = [
        AreaKind::Stack,
        AreaKind::Plain,
        AreaKind::Device,
        AreaKind::PerCpu,
        AreaKind::Borrowed,
        AreaKind::Plain,
    ];
    assert_eq!(kinds, expected);
    assert_eq!((areas[0].address, areas[0].bytes, areas[0].pages), (Va(AREAS), 0x4000, 4));
    assert_eq!(coverage.skipped, []);
}

#[test]
fn a_list_that_is_damaged_keeps_its_areas_and_says_so() {
    let first = DIRECT + PAGE_SIZE + shape().list;
    for after in [first, 0xdead_0000] {
        let (areas, coverage) = with_kernel(&ram(&[STACK], after), find_all);
        assert_eq!(areas.len(), 1);
        let why = coverage.skipped[0].why;
        assert!(matches!(why, Reason::Stopped(Stop::Mended(_))), "{why:?}");
    }
}

#[test]
fn what_contradicts_itself_is_no_area() {
    let shape = shape();
    let range = DIRECT + PAGE_SIZE;
    let vm = range + 1024;
    for (at, value) in [
        (vm + shape.address, AREAS + PAGE_SIZE),
        (vm + shape.size, 1 << 40),
        (vm + shape.size, 0),
        (range + shape.vm, AREAS),
        (range + shape.end, AREAS),
        (range + shape.start, 4096),
    ] {
        let mut ram = ram(&[STACK], HEAD);
        ram.put(at, value, 8);
        assert_eq!(with_kernel(&ram, find_all).0, [], "{:#x}", at - DIRECT);
    }
}

#[test]
fn areas_of_five_level_page_tables_are_found_too() {
    const LOW: u64 = 0xffa0_0000_0000_0000;
    let (shape, mut ram) = (shape(), ram(&[STACK], HEAD));
    let range = DIRECT + PAGE_SIZE;
    ram.put(range + shape.start, LOW, 8);
    ram.put(range + shape.end, LOW + 0x5000, 8);
    ram.put(range + 1024 + shape.address, LOW, 8);
    assert_eq!(with_kernel(&ram, find_all).0[0].address, Va(LOW));
}

#[test]
fn a_count_larger_than_the_area_is_cut() {
    let mut ram = ram(&[STACK], HEAD);
    ram.put(DIRECT + PAGE_SIZE + 1024 + shape().page_count, u64::MAX, 4);
    assert_eq!(with_kernel(&ram, find_all).0[0].pages, 4);
}

#[test]
fn an_area_takes_only_pages_that_nobody_else_has() {
    let wanted = [STACK, Wanted { bytes: 0x2000, flags: 2, pages: &[43, 50], caller: TTY }];
    with_kernel(&ram(&wanted, HEAD), |kernel| {
        let (areas, _) = find_all(kernel);
        let mut census = Census::of_kernel_pages([40, 41, 43, 50].map(Pfn));
        claim(kernel, &areas, &mut census);
        assert_eq!(census.pages(Owner::Stack), 3);
        assert_eq!(census.pages(Owner::Vmalloc), 1);
        assert_eq!(census.pages(Owner::Kernel), 0);
        assert!([40, 41, 43, 50].iter().all(|pfn| census.roots.contains(Pfn(*pfn))));
    });
}
