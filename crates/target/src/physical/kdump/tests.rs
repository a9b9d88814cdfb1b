//! Dumps written by hand: every packing, and every kind of damage.

use std::io::Write;
use std::ops::Range;

use super::super::bytes::{Raw, tests::flatten};
use super::*;

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

/// A dump of some pages, in ascending order.
fn dump(pages: &[(u64, Packing)], version: u32) -> Vec<u8> {
    dump_part(pages, version, None)
}

/// One part of it; `None` where it was not split.
fn dump_part(pages: &[(u64, Packing)], version: u32, part: Option<Range<u64>>) -> Vec<u8> {
    let block = PAGE_SIZE as usize;
    // Header, sub header, two bitmaps, descriptors, zeroes.
    let mut file = vec![0; 6 * block];
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
    let mut contents = 6 * block;
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
            Packing::Zlib => {
                let level = flate2::Compression::fast();
                let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), level);
                packer.write_all(&raw).unwrap();
                (packer.finish().unwrap(), 1)
            }
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
    let open = |(number, file): (usize, Vec<u8>)| {
        (number.to_string().into(), FileBytes::of(Raw::Memory(file)).unwrap())
    };
    KdumpPages::open(named.map(open).collect())
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
