//! Every packing, as its own program makes it, and damage.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sysak_base::Quiet;

use super::*;

/// Begins like a dump, and has zeroes in the middle that become a hole.
fn contents() -> Vec<u8> {
    // Bytes that do not get much smaller: packed, they are many blocks.
    let mut bytes: Vec<u8> = (0..3 * CHUNK_BYTES as u64)
        .map(|at| (at.wrapping_mul(at).wrapping_mul(2_654_435_761) >> 29) as u8)
        .collect();
    bytes[..8].copy_from_slice(b"KDUMP   ");
    bytes[CHUNK_BYTES..2 * CHUNK_BYTES].fill(0);
    bytes
}

/// What a program makes of bytes (LZ4 in small blocks); the programs are those that people pack dumps with.
fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(if program == "lz4" { &["-qc", "-B4"][..] } else { &["-qc"] })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|why| panic!("the tests need the program {program}: {why}"));
    let mut input = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

/// Two records of AVML's.
fn avml(records: &[(u64, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    for (start, bytes) in records {
        file.extend(b"AVML\x02\0\0\0");
        for word in [*start, start + bytes.len() as u64 - 1, 0] {
            file.extend(word.to_le_bytes());
        }
        let mut packer = snap::write::FrameEncoder::new(Vec::new());
        packer.write_all(bytes).unwrap();
        let frames = packer.into_inner().unwrap();
        file.extend(&frames);
        file.extend((frames.len() as u64).to_le_bytes());
    }
    file
}

fn unpack_with(opening: &Opening<'_>, name: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    // Tests run side by side.
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let (process, file) = (std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(format!("sysak-unpack-{name}-{process}-{file}"));
    std::fs::write(&path, bytes).unwrap();
    let file = files::map(&path, &path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let unpacked = opening.unpacked(Path::new(name), Path::new(name), file);
    unpacked.map(|file| file.to_vec()).map_err(|why| why.to_string())
}

fn unpack(name: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let cancel = Cancel::default();
    unpack_with(
        &Opening { folder: None, ram_map: None, cancel: &cancel, progress: &Quiet },
        name,
        bytes,
    )
}

const PROGRAMS: [&str; 5] = ["gzip", "xz", "zstd", "lz4", "bzip2"];

#[test]
fn every_packing_is_unpacked_and_so_are_members_behind_each_other() {
    let contents = contents();
    let (first, second) = contents.split_at(CHUNK_BYTES + 1234);
    for program in PROGRAMS {
        assert!(unpack(program, &packed(program, &contents)).unwrap() == contents, "{program}");
        let members = [packed(program, first), packed(program, second)].concat();
        assert!(unpack(program, &members).unwrap() == contents, "{program}, two members");
    }
    // pzstd puts a frame before each of its own that says how long that is.
    let frames = [&b"\x50\x2a\x4d\x18\x04\0\0\0abcd"[..], &packed("zstd", &contents)].concat();
    assert!(unpack("pzstd", &frames).unwrap() == contents);
}

#[test]
fn avml_becomes_lime() {
    let contents = contents();
    let (first, second) = contents.split_at(CHUNK_BYTES + 4096);
    let lime = unpack("avml", &avml(&[(0x1000, first), (0x10_0000_0000, second)])).unwrap();
    assert_eq!(lime[..8], *b"EMiL\x01\0\0\0");
    assert!(lime[32..][..first.len()] == *first);
    let record = &lime[32 + first.len()..];
    assert_eq!(record[8..16], 0x10_0000_0000u64.to_le_bytes());
    assert!(record[32..] == *second);
}

#[test]
fn what_was_cut_off_is_unpacked_as_far_as_it_goes() {
    let contents = contents();
    for program in PROGRAMS {
        let whole = packed(program, &contents);
        let part = unpack(program, &whole[..whole.len() * 9 / 10]).unwrap();
        assert!(part.len() < contents.len() && part[..] == contents[..part.len()], "{program}");
        assert!(!part.is_empty(), "{program}");
    }
}

#[test]
fn what_is_damaged_or_no_dump_is_refused() {
    let contents = contents();
    for program in PROGRAMS {
        let text = packed(program, &b"no dump\n".repeat(1000));
        let said = format!("{program} is packed ({program}), and no crash dump is inside: ");
        assert!(unpack(program, &text).unwrap_err().starts_with(&said));
        let mut damaged = packed(program, &contents);
        let middle = damaged.len() / 2;
        damaged[middle..middle + 64].fill(0xa5);
        let unpacked = unpack(program, &damaged);
        // Zstandard's checksum is not looked at; the others notice any damage.
        let is_noticed = unpacked.as_ref().is_err_and(|why| why.contains("cannot be unpacked"));
        assert!(is_noticed || (program == "zstd" && unpacked != Ok(contents.clone())), "{program}");
    }
}

#[test]
fn what_there_is_no_room_for_is_refused_before_it_is_written() {
    let mut file = packed("gzip", &contents());
    // A frame of Zstandard's that says that it is huge: eight bytes of length.
    let huge = [&b"\x28\xb5\x2f\xfd\xc0\x40"[..], &(1u64 << 60).to_le_bytes()].concat();
    assert_eq!(Packing::Zstd.least_bytes(&huge), 1 << 60);
    assert_eq!(Packing::Gzip.least_bytes(&file), contents().len() as u64);
    let lz4 = [&b"\x04\x22\x4d\x18\x68\x40"[..], &77u64.to_le_bytes()].concat();
    assert_eq!(Packing::Lz4.least_bytes(&lz4), 77);
    let length = file.len() - 4;
    file[length..].fill(0xff);
    let cancel = Cancel::default();
    let nowhere = Path::new("/nonexistent");
    let opening =
        Opening { folder: Some(nowhere), ram_map: None, cancel: &cancel, progress: &Quiet };
    let why = unpack_with(&opening, "a.gz", &file).unwrap_err();
    assert!(why.starts_with("cannot unpack a.gz to /nonexistent: ") && why.contains("TMPDIR"));
}

/// Remembers what it was told.
#[derive(Default)]
struct Told(Mutex<Vec<(u64, u64)>>);

impl Progress for Told {
    fn tell(&self, done: u64, total: u64) {
        self.0.lock().unwrap().push((done, total));
    }
}

#[test]
fn progress_is_told_and_it_ends_where_the_user_says_so() {
    let file = packed("gzip", &contents());
    let (cancel, told) = (Cancel::default(), Told::default());
    let opening = Opening { folder: None, ram_map: None, cancel: &cancel, progress: &told };
    unpack_with(&opening, "told", &file).unwrap();
    let told = told.0.into_inner().unwrap();
    assert!(told.len() == 3 && told.is_sorted(), "{told:?}");
    let total = file.len() as u64;
    assert!(told.iter().all(|one| one.1 == total) && told[2].0 + 16 > total, "{told:?}");
    cancel.0.store(true, std::sync::atomic::Ordering::Relaxed);
    let opening = Opening { folder: None, ram_map: None, cancel: &cancel, progress: &Quiet };
    let why = unpack_with(&opening, "ended", &file).unwrap_err();
    assert!(why.starts_with("stopped"), "{why}");
}
