//! Dumps written by hand: every packing, and every kind of damage.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use sysak_base::PfnRange;

use super::super::bytes::{Raw, tests::flatten};
use super::parts::DESCRIPTOR_BYTES;
use super::*;
use crate::physical::facts::{self, FileFormat};

/// How a page is packed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    Raw,
    Zlib,
    Snappy,
    Damaged,
}

/// The contents of a page.
fn page(number: u64) -> Vec<u8> {
    (0..PAGE_SIZE).map(|byte| (byte / 5 * number) as u8).collect()
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn packed_with_zlib(raw: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(raw).unwrap();
    packer.finish().unwrap()
}

/// A dump of some pages, in ascending order.
fn dump(pages: &[(u64, Packing)], version: u32) -> Vec<u8> {
    dump_part(pages, version, None)
}

/// One part of it; `None` where it was not split.
fn dump_part(pages: &[(u64, Packing)], version: u32, part: Option<Range<u64>>) -> Vec<u8> {
    let block = PAGE_SIZE as usize;
    // Header, sub header, two bitmaps, descriptors, zeroes.
    let first_contents = 6 * block + pages.len() / 160 * block;
    let mut file = vec![0; first_contents];
    put(&mut file, 0, b"KDUMP   ");
    put(&mut file, 8, &version.to_le_bytes());
    put(&mut file, 272, b"x86_64");
    for (at, number) in [(428, 4096u32), (432, 1), (436, 2), (440, 0x100)] {
        put(&mut file, at, &number.to_le_bytes());
    }
    put(&mut file, block + 96, &0x100u64.to_le_bytes());
    if let Some(part) = &part {
        file[block + 12] = 1;
        let at = if version < 6 { block + 16 } else { block + 80 };
        put(&mut file, at, &[part.start.to_le_bytes(), part.end.to_le_bytes()].concat());
    }
    let mut next = 4 * block;
    let mut contents = first_contents;
    for (number, packing) in pages {
        file[2 * block + *number as usize / 8] |= 1 << (number % 8);
        file[3 * block + *number as usize / 8] |= 1 << (number % 8);
        if part.as_ref().is_some_and(|part| !part.contains(number)) {
            continue;
        }
        let raw = page(*number);
        let (packed, flags) = match packing {
            Packing::Raw => (raw, 0u32),
            Packing::Damaged => (vec![0x5a; 80], 1),
            Packing::Snappy => (snap::raw::Encoder::new().compress_vec(&raw).unwrap(), 4),
            Packing::Zlib => (packed_with_zlib(&raw), 1),
        };
        put(&mut file, next, &(contents as u64).to_le_bytes());
        put(&mut file, next + 8, &(packed.len() as u32).to_le_bytes());
        put(&mut file, next + 12, &flags.to_le_bytes());
        next += DESCRIPTOR_BYTES as usize;
        contents += packed.len();
        file.extend(packed);
    }
    put(&mut file, block + 32, &(contents as u64).to_le_bytes());
    put(&mut file, block + 40, &12u64.to_le_bytes());
    file.extend(b"OSRELEASE=6\n");
    file
}

const PAGES: [(u64, Packing); 6] = [
    (1, Packing::Raw),
    (2, Packing::Zlib),
    (3, Packing::Snappy),
    (9, Packing::Zlib),
    (10, Packing::Damaged),
    (255, Packing::Raw),
];

fn open(file: Vec<u8>) -> Result<(KdumpPages, Core), OpenError> {
    open_parts(vec![file])
}

/// Opens files that are called 0, 1, 2 …
fn open_parts(files: Vec<Vec<u8>>) -> Result<(KdumpPages, Core), OpenError> {
    let named = files.into_iter().enumerate();
    let open = |(number, file): (usize, Vec<u8>)| (number.to_string().into(), bytes(file));
    KdumpPages::open(named.map(open).collect())
}

fn bytes(file: Vec<u8>) -> FileBytes {
    FileBytes::of(Raw::Memory(file)).unwrap()
}

fn why(file: Vec<u8>) -> String {
    open(file).map(|_| ()).unwrap_err().to_string()
}

/// The same dump in the flattened format, in small records, the header last.
fn flattened(dump: &[u8]) -> Vec<u8> {
    flatten(dump, 1000)
}

#[test]
fn every_packing_is_read_flattened_or_not() {
    for file in [dump(&PAGES, 6), dump(&PAGES, 5), flattened(&dump(&PAGES, 6))] {
        let (pages, core) = open(file).unwrap();
        assert_eq!(core.vmcoreinfo.as_deref(), Some(&b"OSRELEASE=6\n"[..]));
        let mut read = [0; PAGE_SIZE as usize];
        for (number, packing) in PAGES {
            let bytes = if packing == Packing::Damaged { 0 } else { PAGE_SIZE as usize };
            assert_eq!(pages.read_piece(Pfn(number).pa(), &mut read), bytes, "page {number}");
            if bytes > 0 {
                assert_eq!(read[..], page(number)[..], "page {number}");
            }
        }
        assert_eq!(pages.read_piece(Pfn(4).pa(), &mut read), 0, "not in the dump");
        assert_eq!(
            pages.read(Pa(0x1800), &mut [0; 0x4000]),
            0x2800,
            "up to the first that is missing"
        );
        assert_eq!((pages.end(), pages.most_ram_bytes()), (Pa(0x10_0000), 0x10_0000));
        let run = |start: u64, pages: u64| Run { start: Pfn(start).pa(), bytes: pages * PAGE_SIZE };
        assert_eq!(pages.runs(), [run(1, 3), run(9, 2), run(255, 1)]);
    }
}

#[test]
fn large_reads_end_where_the_first_page_is_missing_for_each_of_several_threads() {
    let many: Vec<_> = (1..200).map(|number| (number, Packing::Zlib)).collect();
    let (pages, _) = open(dump(&many, 6)).unwrap();
    let wanted: Vec<u8> = (1..200).flat_map(page).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut read = vec![0; 0x100 * PAGE_SIZE as usize];
                let len = pages.read(Pa(0x1010), &mut read);
                assert_eq!((len, read[..len] == wanted[0x10..]), (wanted.len() - 0x10, true));
                assert_eq!(pages.read(Pa(0), &mut read), 0);
            });
        }
    });
}

#[test]
fn pages_are_found_across_the_blocks_that_are_counted() {
    // Two counted blocks and a half, with a run across the first border.
    let bits = [4094, 4095, 4096, 4097, 8200, 10_000, 10_047];
    let mut bitmap = vec![0u8; 2 << 12];
    bits.iter().for_each(|page| bitmap[page / 8] |= 1 << (page % 8));
    let mut header = header::parse(&bytes(dump(&[], 6))).unwrap();
    (header.bitmap, header.ram, header.pages) = (0..2 << 12, 0..2 << 12, 10_047);
    let file = bytes(bitmap);
    let map = PageMap::new(&file, &header);
    assert_eq!(map.total(), 7, "the last one stands in the word of the last page");
    let places = bits.map(|page| map.place(&file, Pfn(page as u64)));
    assert_eq!(places, [Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), None]);
    assert_eq!(map.place(&file, Pfn(4098)), None);
    let before = [0, 4096, 4098, 10_046, 10_047, 1 << 40].map(|p| map.pages_before(&file, Pfn(p)));
    assert_eq!(before, [0, 2, 4, 6, 7, 7]);
    assert_eq!(map.missing(&file, Pfn(4098), Pfn(9000)), (PageState::Absent, Pfn(8200)));
    assert_eq!(map.missing(&file, Pfn(8201), Pfn(9000)), (PageState::Absent, Pfn(9000)));
    let runs = |from| map.runs(&file, Pfn(from)).map(|run| run.start.0..run.end.0);
    assert!(runs(0).eq([4094..4098, 8200..8201, 10_000..10_001]));
    assert!(runs(4096).eq([4096..4098, 8200..8201, 10_000..10_001]));
    assert!(runs(10_001).eq([]));
}

#[test]
fn a_dump_of_256_gib_opens_at_once() {
    const PAGES: u64 = 256 << 18;
    let block = PAGE_SIZE as usize;
    let bitmap_bytes = (PAGES / 8) as usize;
    let mut head = dump(&[], 6)[..2 * block].to_vec();
    put(&mut head, 436, &((2 * bitmap_bytes / block) as u32).to_le_bytes());
    put(&mut head, block + 96, &PAGES.to_le_bytes());
    // A tenth of the pages, in runs of 8; most descriptors and all contents are holes of the file. The last ones are asked.
    let bits: Vec<u8> = (0..bitmap_bytes).map(|at| if at % 10 == 0 { 0xff } else { 0 }).collect();
    let pages = 8 * bitmap_bytes.div_ceil(10) as u64;
    let path = std::env::temp_dir().join(format!("sysak-256-gib-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    file.write_all_at(&head, 0).unwrap();
    file.write_all_at(&bits, (2 * block + bitmap_bytes) as u64).unwrap();
    let descriptors = (2 * block + 2 * bitmap_bytes) as u64;
    let mut descriptor = [0; DESCRIPTOR_BYTES as usize];
    put(&mut descriptor, 8, &4096u32.to_le_bytes());
    let last = descriptors + (pages - 5000) * DESCRIPTOR_BYTES;
    file.write_all_at(&descriptor.repeat(5000), last).unwrap();
    let mapped = crate::files::map(&path, &path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let start = Instant::now();
    let file = FileBytes::of(Raw::Mapped(mapped)).unwrap();
    let (dump, _) = KdumpPages::open(vec![(path, file)]).unwrap();
    let taken = start.elapsed();
    assert!(taken < Duration::from_secs(2), "{taken:?}");
    assert_eq!((dump.map.total(), dump.end()), (pages, Pa(256 << 30)));
    assert_eq!(dump.map.place(dump.mapped(), Pfn(80 * 1000 + 3)), Some(8003));
    assert_eq!(dump.map.runs(dump.mapped(), Pfn(0)).count() as u64, pages / 8);
}

#[test]
fn a_file_tells_how_its_pages_are_packed_and_what_was_left_out() {
    let mut file = dump(&[(1, Packing::Raw), (2, Packing::Zlib), (3, Packing::Zlib)], 6);
    let block = PAGE_SIZE as usize;
    // Pages 1 to 7 are RAM; pages 4 and 5 share a page of zeros, which stands behind the descriptors.
    file[2 * block] = 0b1111_1110;
    file[3 * block] |= 0b11_0000;
    let zeros = packed_with_zlib(&[0; PAGE_SIZE as usize]);
    let zeros_at = 4 * block + 5 * DESCRIPTOR_BYTES as usize;
    put(&mut file, zeros_at, &zeros);
    for descriptor in [3, 4].map(|place| 4 * block + place * DESCRIPTOR_BYTES as usize) {
        put(&mut file, descriptor, &(zeros_at as u64).to_le_bytes());
        put(&mut file, descriptor + 8, &(zeros.len() as u32).to_le_bytes());
        put(&mut file, descriptor + 12, &1u32.to_le_bytes());
    }
    put(&mut file, block + 8, &31u32.to_le_bytes());
    put(&mut file, 408, &1_700_000_000u64.to_le_bytes());
    put(&mut file, 460, &4u32.to_le_bytes());
    put(&mut file, 142, b"6.12.1");
    let (pages, _) = open(file).unwrap();
    assert_eq!(pages.word(Pa(0x5008)), Some(0));
    let facts = pages.facts();
    assert_eq!((facts.format, facts.flattened), (FileFormat::Kdump { version: 6 }, false));
    assert_eq!(facts.packed, [(facts::Packing::Zlib, 2), (facts::Packing::Raw, 1)]);
    use PageState::{Absent, Excluded, Lost, Present, Zero};
    let states: &dyn PageStates = &pages;
    let counts = states.count(PfnRange { start: Pfn(0), end: pages.end().pfn() });
    let counts = [Present, Zero, Excluded, Absent, Lost].map(|state| counts.of(state));
    assert_eq!(counts, [3, 2, 2, 0x100 - 7, 0]);
    assert_eq!((facts.filter_level, facts.written_s), (Some(31), Some(1_700_000_000)));
    assert_eq!((facts.cpus, facts.uname.release.as_deref()), (Some(4), Some("6.12.1")));
    assert_eq!(facts.uname.hostname, None);
}

#[test]
fn the_parts_of_a_split_dump_are_read_as_one_in_any_order() {
    let part = |version, pages| dump_part(&PAGES, version, Some(pages));
    for version in [2, 6] {
        let parts = [part(version, 9..256), part(version, 0..3), part(version, 3..9)];
        for parts in [parts.to_vec(), parts.iter().rev().map(|part| flattened(part)).collect()] {
            let (pages, _) = open_parts(parts).unwrap();
            for (number, packing) in
                PAGES.iter().filter(|(_, packing)| *packing != Packing::Damaged)
            {
                let mut read = [0; PAGE_SIZE as usize];
                let is_whole = pages.read_piece(Pfn(*number).pa(), &mut read) == read.len();
                assert!(is_whole && read[..] == page(*number), "{number} {}", *packing as u8);
            }
        }
    }
}

#[test]
fn every_part_of_a_split_dump_has_a_page_of_zeroes_behind_room_for_all_descriptors() {
    let block = PAGE_SIZE as usize;
    let zeroes = 4 * block + PAGES.len() * DESCRIPTOR_BYTES as usize;
    let descriptor = [zeroes as u64, 4096, 0].map(u64::to_le_bytes).concat();
    // Pages 1, and 9, are the first of their parts.
    let parts = [0..3, 3..9, 9..256].map(|pages| {
        let mut part = dump_part(&PAGES, 6, Some(pages.clone()));
        if pages.start != 3 {
            put(&mut part, 4 * block, &descriptor);
        }
        part
    });
    let (pages, _) = open_parts(parts.to_vec()).unwrap();
    let state = |page: u64| pages.state(Pfn(page), Pfn(page + 1)).0;
    assert_eq!([1, 9].map(state), [PageState::Zero; 2]);
    assert_eq!([2, 3, 255].map(state), [PageState::Present; 3]);
    assert_eq!(pages.word(Pfn(9).pa()), Some(0));
}

#[test]
fn the_facts_of_a_split_dump_are_those_of_the_whole_one() {
    let parts = [0..3, 3..9, 9..256].map(|pages| dump_part(&PAGES, 6, Some(pages)));
    let mut whole = open(dump(&PAGES, 6)).unwrap().0.facts();
    assert_eq!(open_parts(parts.to_vec()).unwrap().0.facts(), whole);
    // One part that was written to a pipe is enough.
    let [first, second, third] = parts;
    whole.flattened = true;
    let (pages, _) = open_parts(vec![first, flattened(&second), third]).unwrap();
    assert_eq!(pages.facts(), whole);
    use facts::Packing::{Raw, Snappy, Zlib};
    assert_eq!(whole.packed, [(Zlib, 3), (Raw, 2), (Snappy, 1)]);
}

#[test]
fn parts_that_are_missing_given_twice_or_of_other_dumps_are_named() {
    let part = |pages| dump_part(&PAGES, 6, Some(pages));
    let why = |files: &[&Vec<u8>]| {
        let files = files.iter().map(|file| (*file).clone()).collect();
        open_parts(files).map(|_| ()).unwrap_err().to_string()
    };
    let (first, second, third) = (part(0..3), part(3..9), part(9..256));
    let missing = |path: u8, first: u64, last: u64| {
        format!(
            "{path} is one part of a split dump, and the part with pages {first:#x} to {last:#x} is missing: \
             give every part (--vmcore PART --vmcore PART …, or a quoted pattern)"
        )
    };
    assert_eq!(why(&[&first]), missing(0, 3, 255));
    assert_eq!(why(&[&first, &third]), missing(1, 3, 8));
    assert_eq!(why(&[&third, &second]), missing(1, 0, 2));
    let twice = "1 and 2 are the same part of a split dump: give each part once";
    assert_eq!(why(&[&first, &second, &second, &third]), twice);
    let others = "0 and 1 are no parts of one dump: give one file, or every part of one split dump";
    let whole = dump(&PAGES, 6);
    assert_eq!(why(&[&whole, &whole]), others);
    assert_eq!(why(&[&first, &dump_part(&PAGES[1..], 6, Some(3..256))]), others, "other pages");
    let mut later = part(3..256);
    let text = later.len() - 2;
    later[text] = b'7';
    assert_eq!(why(&[&first, &later]), others, "another VMCOREINFO");
    // makedumpfile leaves the last parts of a small dump without pages.
    let (pages, _) = open_parts(vec![part(0..256), part(256..256), part(256..256)]).unwrap();
    assert_eq!(pages.runs().len(), 3);
}

#[test]
fn only_a_page_that_is_stored_as_it_is_can_be_lent() {
    let (mut pages, _) = open(dump(&PAGES, 6)).unwrap();
    assert_eq!(pages.borrow(Pa(0x1ffe)), Some(&page(1)[4094..]));
    assert_eq!((pages.borrow(Pa(0x2000)), pages.borrow(Pa(0x4000))), (None, None));
    pages.replace(&[Replaced { at: Pa(0x1008), word: 7 }, Replaced { at: Pa(0x2010), word: 8 }]);
    assert_eq!((pages.borrow(Pa(0x1ffe)), pages.word(Pa(0x1008))), (None, Some(7)));
    assert_eq!(pages.word(Pa(0x2010)), Some(8));
}

/// The runs of pages in one state, below page 0x108: eight more than the bitmaps are for.
fn states(pages: &KdumpPages) -> Vec<(PageState, u64)> {
    let (mut at, mut runs) = (Pfn(0), Vec::<(PageState, u64)>::new());
    while at < Pfn(0x108) {
        let (state, end) = pages.state(at, Pfn(0x108));
        assert!(at < end && end <= Pfn(0x108), "{at:?} to {end:?}");
        match runs.last_mut().filter(|(last, _)| *last == state) {
            Some((_, pages)) => *pages += end.0 - at.0,
            None => runs.push((state, end.0 - at.0)),
        }
        at = end;
    }
    runs
}

#[test]
fn the_bitmaps_say_what_is_ram_and_what_was_left_out() {
    use PageState::{Absent, Excluded, Lost, Present, Zero};
    let mut file = dump(&PAGES[..5], 6);
    // RAM ends with page 135; page 9 shares the zeroes behind the descriptors, and page 3 has no sane length.
    file[2 * 4096..2 * 4096 + 17].fill(0xff);
    let descriptor = |number: usize| 4 * 4096 + number * DESCRIPTOR_BYTES as usize;
    let zeroes = (descriptor(5) as u64).to_le_bytes();
    put(&mut file, descriptor(3), &[&zeroes[..], &4096u32.to_le_bytes(), &[0; 4]].concat());
    put(&mut file, descriptor(2) + 8, &u32::MAX.to_le_bytes());
    let (pages, _) = open(file).unwrap();
    let expected = [
        (Excluded, 1),
        (Present, 2),
        (Lost, 1),
        (Excluded, 5),
        (Zero, 1),
        (Present, 1),
        (Excluded, 125),
        (Absent, 128),
    ];
    assert_eq!(states(&pages), expected);
}

#[test]
fn a_text_is_found_across_pages() {
    let (pages, _) = open(dump(&PAGES, 6)).unwrap();
    let border: Vec<u8> = [&page(2)[4090..], &page(3)[..6]].concat();
    assert_eq!(pages.find(&border, Pa(0)), Some(Pa(0x2ffa)));
    assert_eq!(pages.find(&border, Pa(0x2ffb)), None);
}

#[test]
fn a_dump_that_was_cut_off_is_read_as_far_as_it_goes_and_the_rest_is_counted() {
    let whole = dump(&PAGES[..5], 6);
    let ends = |name: usize| -> u64 {
        let descriptor = &whole[4 * PAGE_SIZE as usize + name * DESCRIPTOR_BYTES as usize..];
        let number = |at: usize| u32::from_le_bytes(*descriptor[at..].first_chunk().unwrap());
        u64::from(number(0)) + u64::from(number(8))
    };
    let readable = |pages: &KdumpPages, number: u64| {
        pages.read_piece(Pfn(number).pa(), &mut [0; PAGE_SIZE as usize]) > 0
    };
    for len in (5 * PAGE_SIZE as usize..whole.len()).step_by(61) {
        let there = (0..5).filter(|name| ends(*name) <= len as u64).count();
        match open(whole[..len].to_vec()) {
            Ok((pages, _)) => {
                assert_eq!(pages.lost_bytes(), (5 - there as u64) * PAGE_SIZE, "{len}");
                // The fifth page is damaged.
                let read = PAGES[..4].iter().filter(|(number, _)| readable(&pages, *number));
                assert_eq!(read.count(), there.min(4), "{len}");
            }
            Err(why) => assert!(there == 0 && why.to_string().contains("cut off"), "{len} {why}"),
        }
    }
    let mut full = whole.clone();
    full[424] = 8;
    assert_eq!(open(full.clone()).unwrap().0.lost_bytes(), 0, "it says so, but nothing is missing");
    full[4 * PAGE_SIZE as usize..][..DESCRIPTOR_BYTES as usize].fill(0);
    assert_eq!(open(full).unwrap().0.lost_bytes(), PAGE_SIZE, "never written");
    // The last record in the file is the one with the headers.
    let records = flattened(&whole);
    assert!(FileBytes::of(Raw::Memory(records[..records.len() - 1100].to_vec())).is_err());
    assert_eq!(open(records[..records.len() - 16].to_vec()).unwrap().0.lost_bytes(), 0);
}

#[test]
fn what_is_damaged_or_another_file_is_refused() {
    let whole = dump(&PAGES[..5], 6);
    for len in 0..4 * PAGE_SIZE as usize {
        assert!(open(whole[..len].to_vec()).is_err(), "{len}");
    }
    let changed = |at: usize, byte: u8| {
        let mut file = whole.clone();
        file[at] = byte;
        why(file)
    };
    assert!(changed(8, 7).contains("version"));
    assert!(changed(429, 0x20).contains("blocks"));
    assert!(changed(272, b'y').contains("y86_64"));
    assert!(changed(439, 0x70).contains("bitmap"));
}
