//! Dumps written by hand: every packing, and every kind of damage.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::*;
use crate::physical::facts::{self, FileFormat, PageCounts};

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
    let block = PAGE_SIZE as usize;
    // Header, sub header, two bitmaps, descriptors.
    let first_contents = 5 * block + pages.len() / 160 * block;
    let mut file = vec![0; first_contents];
    put(&mut file, 0, b"KDUMP   ");
    put(&mut file, 8, &version.to_le_bytes());
    put(&mut file, 272, b"x86_64");
    for (at, number) in [(428, 4096u32), (432, 1), (436, 2), (440, 0x100)] {
        put(&mut file, at, &number.to_le_bytes());
    }
    put(&mut file, block + 96, &0x100u64.to_le_bytes());
    let mut next = 4 * block;
    let mut contents = first_contents;
    for (number, packing) in pages {
        file[3 * block + *number as usize / 8] |= 1 << (number % 8);
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
    KdumpPages::open(Path::new("a dump"), Box::new(file), &[])
}

fn why(file: Vec<u8>) -> String {
    open(file).map(|_| ()).unwrap_err().to_string()
}

/// The same dump in the flattened format, in small records, the header last.
fn flattened(dump: &[u8]) -> Vec<u8> {
    let mut file = b"makedumpfile".to_vec();
    file.resize(4096, 0);
    for (number, record) in dump.chunks(1000).enumerate().rev() {
        file.extend((1000 * number as i64).to_be_bytes());
        file.extend((record.len() as i64).to_be_bytes());
        file.extend(record);
    }
    file.extend([0xff; 16]);
    file
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
fn large_reads_by_several_threads_end_where_the_first_page_is_missing() {
    let many: Vec<_> = (1..200).map(|number| (number, Packing::Zlib)).collect();
    let (mut pages, _) = open(dump(&many, 6)).unwrap();
    pages.threads = 4;
    let wanted: Vec<u8> = (1..200).flat_map(page).collect();
    let mut read = vec![0; 0x100 * PAGE_SIZE as usize];
    let len = pages.read(Pa(0x1010), &mut read);
    assert_eq!((len, read[..len] == wanted[0x10..]), (wanted.len() - 0x10, true));
    assert_eq!(pages.read(Pa(0), &mut read), 0);
}

#[test]
fn pages_are_found_across_the_blocks_that_are_counted() {
    // Two counted blocks and a half, with a run across the first border.
    let bits = [4094, 4095, 4096, 4097, 8200, 10_000, 10_047];
    let mut bitmap = vec![0u8; 2 << 12];
    bits.iter().for_each(|page| bitmap[page / 8] |= 1 << (page % 8));
    let file = FileBytes::Whole(Box::new(bitmap));
    let map = PageMap::new(&file, 0..2 << 12, 10_047);
    assert_eq!(map.total(), 7, "the last one stands in the word of the last page");
    let places = bits.map(|page| map.place(&file, Pfn(page as u64)));
    assert_eq!(places, [Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), None]);
    assert_eq!(map.place(&file, Pfn(4098)), None);
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
    // A tenth of the pages, in runs of 8; descriptors and contents are holes of the file.
    let bits: Vec<u8> = (0..bitmap_bytes).map(|at| if at % 10 == 0 { 0xff } else { 0 }).collect();
    let pages = 8 * bitmap_bytes.div_ceil(10) as u64;
    let path = std::env::temp_dir().join(format!("sysak-256-gib-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    file.write_all_at(&head, 0).unwrap();
    file.write_all_at(&bits, (2 * block + bitmap_bytes) as u64).unwrap();
    let descriptors = (2 * block + 2 * bitmap_bytes) as u64;
    file.set_len(descriptors + pages * DESCRIPTOR_BYTES).unwrap();
    let mapped = crate::files::map(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let start = Instant::now();
    let (dump, _) = KdumpPages::open(&path, Box::new(mapped), &[]).unwrap();
    let taken = start.elapsed();
    assert!(taken < Duration::from_secs(2), "{taken:?}");
    assert_eq!((dump.map.total(), dump.end()), (pages, Pa(256 << 30)));
    assert_eq!(dump.map.place(&dump.file, Pfn(80 * 1000 + 3)), Some(8003));
    assert_eq!(dump.map.runs(&dump.file, Pfn(0)).count() as u64, pages / 8);
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
    let len = file.len() as u64;
    let (pages, _) = open(file).unwrap();
    assert_eq!(pages.word(Pa(0x5008)), Some(0));
    let facts = pages.facts();
    assert_eq!(facts.format, FileFormat::Kdump { version: 6, flattened: false });
    assert_eq!(facts.packed, [(facts::Packing::Zlib, 2), (facts::Packing::Raw, 1)]);
    assert_eq!(facts.pages, PageCounts { present: 3, zero: 2, excluded: 2 });
    assert_eq!((facts.filter_level, facts.written_s), (Some(31), Some(1_700_000_000)));
    assert_eq!((facts.cpus, facts.uname.release.as_deref()), (Some(4), Some("6.12.1")));
    assert_eq!((facts.uname.hostname, facts.file_bytes), (None, len));
}

#[test]
fn only_a_page_that_is_stored_as_it_is_can_be_lent() {
    let (pages, _) = open(dump(&PAGES, 6)).unwrap();
    assert_eq!(pages.borrow(Pa(0x1ffe)), Some(&page(1)[4094..]));
    assert_eq!((pages.borrow(Pa(0x2000)), pages.borrow(Pa(0x4000))), (None, None));
    let replaced = [Replaced { at: Pa(0x1008), word: 7 }, Replaced { at: Pa(0x2010), word: 8 }];
    let file = Box::new(dump(&PAGES, 6));
    let (pages, _) = KdumpPages::open(Path::new("a dump"), file, &replaced).unwrap();
    assert_eq!((pages.borrow(Pa(0x1ffe)), pages.word(Pa(0x1008))), (None, Some(7)));
    assert_eq!(pages.word(Pa(0x2010)), Some(8));
}

#[test]
fn a_text_is_found_across_pages() {
    let (pages, _) = open(dump(&PAGES, 6)).unwrap();
    let border: Vec<u8> = [&page(2)[4090..], &page(3)[..6]].concat();
    assert_eq!(pages.find(&border, Pa(0)), Some(Pa(0x2ffa)));
    assert_eq!(pages.find(&border, Pa(0x2ffb)), None);
}

#[test]
fn what_is_cut_off_damaged_or_another_file_is_refused() {
    let whole = dump(&PAGES[..5], 6);
    // Behind the last page's contents there is only VMCOREINFO.
    for len in 0..whole.len() - 12 {
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
    assert!(changed(424, 8).contains("the disk was full"));
    assert!(changed(4096 + 12, 1).contains("--reassemble"));
    assert!(changed(439, 0x70).contains("bitmap"));
    assert!(why(flattened(b"\x7fELF\x02 and more")).contains("makedumpfile -R"));
}
