//! Files of every kind that a user may name.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

/// A path of its own for each test; the file goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("sysak-files-{name}-{}", std::process::id())))
    }

    fn create(&self) -> File {
        File::create(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn btf() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/btf-6.1");
    std::fs::read(path).unwrap()
}

/// A sparse ELF file with a section of this name, whose bytes start at `at`.
fn write_elf(file: &File, name: &[u8; 4], bytes: &[u8], at: u64) {
    const NAMES: u64 = 64;
    const SECTIONS: u64 = 128;
    let mut header = [0; 64];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    header[16] = 2;
    header[18] = 62;
    header[20] = 1;
    header[40..48].copy_from_slice(&SECTIONS.to_le_bytes());
    header[52] = 64;
    header[58] = 64;
    header[60] = 3;
    header[62] = 2;
    let section = |name: u64, kind: u64, offset: u64, bytes: u64| {
        [name | kind << 32, 0, 0, offset, bytes, 0, 1, 0].map(u64::to_le_bytes).concat()
    };
    let sections =
        [section(0, 0, 0, 0), section(1, 1, at, bytes.len() as u64), section(5, 3, NAMES, 16)];
    file.write_all_at(&header, 0).unwrap();
    file.write_all_at(&[b"\0", &name[..], b"\0.shstr\0\0\0\0"].concat(), NAMES).unwrap();
    file.write_all_at(&sections.concat(), SECTIONS).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

#[test]
fn a_vmlinux_of_any_size_costs_no_more_than_its_types() {
    let scratch = Scratch::new("vmlinux");
    write_elf(&scratch.create(), b".BTF", &btf(), 8 << 30);
    assert!(types(&scratch.0).unwrap().find_size("page").is_some());
}

#[test]
fn a_vmlinux_without_types_says_so() {
    let scratch = Scratch::new("stripped");
    write_elf(&scratch.create(), b".bss", &btf(), 4096);
    let refused = types(&scratch.0).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("has no type information"), "{refused}");
}

#[test]
fn types_may_stand_in_a_file_of_their_own() {
    let scratch = Scratch::new("btf");
    std::fs::write(&scratch.0, btf()).unwrap();
    assert!(types(&scratch.0).unwrap().find_size("page").is_some());
    scratch.create();
    assert!(matches!(types(&scratch.0), Err(OpenError::BadTypeInfo { .. })));
}

#[test]
fn only_regular_files_are_opened_and_nothing_waits() {
    let pipe = Scratch::new("pipe");
    mknodat(CWD, &pipe.0, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let path = |path: &Path| path.display().to_string();
    let pipe_said = format!("cannot use {}: it is a pipe, not a regular file", path(&pipe.0));
    let zero = Path::new("/dev/zero");
    let zero_said = "cannot use /dev/zero: it is a device, not a regular file";
    let folder = std::env::temp_dir();
    let folder_said =
        format!("cannot use {}: it is a directory, not a regular file", path(&folder));
    for (file, said) in [(&*pipe.0, &*pipe_said), (zero, zero_said), (&folder, &folder_said)] {
        assert_eq!(types(file).map(|_| ()).unwrap_err().to_string(), said);
        assert_eq!(symbols(file).map(|_| ()).unwrap_err().to_string(), said);
        assert_eq!(map(file, file).map(|_| ()).unwrap_err().to_string(), said);
    }
}

#[test]
fn symbols_are_read_up_to_a_limit() {
    let scratch = Scratch::new("kallsyms");
    let file = scratch.create();
    file.write_all_at(b"ffffffff81000000 T _stext\n", 0).unwrap();
    assert!(symbols(&scratch.0).unwrap().find("_stext").is_some());
    file.set_len(MOST_SYMBOL_BYTES + 1).unwrap();
    let refused = symbols(&scratch.0).map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::File { .. }), "{refused}");
}

#[test]
fn files_that_do_not_know_their_size_are_read_to_their_end() {
    // The kernel says 0 of everything below /proc.
    let path = Path::new("/proc/self/status");
    let bytes = read(path, &open(path).unwrap(), 1 << 20).unwrap();
    assert!(bytes.starts_with(b"Name:"));
    let refused = read(path, &open(path).unwrap(), 16).unwrap_err().to_string();
    assert!(refused.contains("/proc/self/status"), "{refused}");
}

#[test]
fn an_empty_dump_is_called_empty() {
    let scratch = Scratch::new("empty");
    scratch.create();
    assert!(matches!(map(&scratch.0, &scratch.0), Err(OpenError::Empty { .. })));
}

#[test]
fn of_a_file_that_is_read_to_its_end_only_a_part_stays_in_memory() {
    const PIECE: u64 = 4 << 20;
    const PIECES: u64 = 96;
    let scratch = Scratch::new("touched");
    let file = scratch.create();
    file.set_len(PIECE * PIECES).unwrap();
    (0..PIECES).for_each(|piece| file.write_all_at(&[piece as u8], piece * PIECE).unwrap());
    let mapped = map(&scratch.0, &scratch.0).unwrap();
    let before = resident_bytes().unwrap();
    for piece in 0..PIECES {
        let bytes = &mapped[(piece * PIECE) as usize..][..PIECE as usize];
        let touched = bytes.iter().step_by(PAGE_SIZE as usize).map(|byte| u64::from(*byte));
        assert_eq!(touched.sum::<u64>(), piece);
        mapped.touch(PIECE);
    }
    let grown = resident_bytes().unwrap().saturating_sub(before);
    assert!(grown < PIECE * PIECES / 2, "{grown}");
    assert_eq!((mapped[PIECE as usize], mapped[2 * PIECE as usize]), (1, 2), "they come back");
}
