//! The facts that `open_dump_file` gives about a dump's files, for each format. It does not look for a kernel, and
//! these files have none. Each holds the pages 1, 2 and 16.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sysak_base::{Cancel, PageState, Quiet};
use sysak_target::{DumpFile, FileFormat, Options, Reader, open_dump_file};
use tempfile::TempDir;

const PAGE: usize = 4096;
/// Runs of the memory: the first page of each, and how many.
const RUNS: [(u32, u32); 2] = [(1, 2), (16, 1)];

/// Writes a file into a folder.
fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// The memory of a run.
fn memory(pages: u32) -> Vec<u8> {
    vec![7; pages as usize * PAGE]
}

/// All memory, one run behind the other.
fn image() -> Vec<u8> {
    RUNS.iter().flat_map(|(_, pages)| memory(*pages)).collect()
}

fn lime() -> Vec<u8> {
    let mut file = Vec::new();
    for (first, pages) in RUNS {
        let start = u64::from(first) * PAGE as u64;
        file.extend(b"EMiL\x01\0\0\0");
        for word in [start, start + u64::from(pages) * PAGE as u64 - 1, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(memory(pages));
    }
    file
}

/// The state of a VMware machine: one group, which has three numbers of each run.
fn vmware_state() -> Vec<u8> {
    let mut file = [0xbed2_bed2u32, 8, 1].map(u32::to_le_bytes).concat();
    file.extend(b"memory");
    file.resize(12 + 64, 0);
    file.extend([92u64, 0].map(u64::to_le_bytes).concat());
    let mut in_image = 0;
    for (index, (first, pages)) in (0u32..).zip(RUNS) {
        let numbers = [("regionPageNum", in_image), ("regionPPN", first), ("regionSize", pages)];
        for (name, number) in numbers {
            let tag = (name.len() << 8 | 1 << 6 | 4) as u16;
            file.extend(tag.to_le_bytes());
            file.extend(name.as_bytes());
            file.extend([index, number].map(u32::to_le_bytes).concat());
        }
        in_image += pages;
    }
    file.extend([0; 2]);
    file
}

/// An ELF file with the sections of `xl dump-core`.
fn xen() -> Vec<u8> {
    let numbers = RUNS.iter().flat_map(|(first, pages)| *first..first + pages);
    let numbers: Vec<u8> = numbers.flat_map(|number| u64::from(number).to_le_bytes()).collect();
    let names = b"\0.xen_pages\0.xen_pfn\0.shstrtab\0\0";
    let mut file = vec![0; 64];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    file[16] = 4;
    file[18] = 62;
    file[20] = 1;
    let mut sections = vec![0; 64];
    for (name, kind, bytes) in [(1u32, 1u32, image()), (12, 1, numbers), (21, 3, names.to_vec())] {
        sections.extend([name, kind].map(u32::to_le_bytes).concat());
        let words = [0, 0, file.len() as u64, bytes.len() as u64, 0, 0, 0];
        sections.extend(words.map(u64::to_le_bytes).concat());
        file.extend(bytes);
    }
    let table = file.len() as u64;
    file[40..48].copy_from_slice(&table.to_le_bytes());
    for (at, number) in [(52, 64), (58, 64), (60, 4), (62, 3)] {
        file[at] = number;
    }
    file.extend(sections);
    file
}

fn open(vmcore: &[&Path]) -> DumpFile {
    let vmcore = vmcore.iter().map(|path| path.to_path_buf()).collect();
    open_with(Options { vmcore, ..Options::default() })
}

fn open_with(options: Options) -> DumpFile {
    open_dump_file(&options, &Cancel::default(), &Quiet).map_err(|why| why.to_string()).unwrap()
}

/// The format, what reads it, how many files there are, how they are packed, and how many pages are
/// there and are not.
fn facts(dump: &DumpFile) -> (FileFormat, Reader, usize, Option<&'static str>, [u64; 2]) {
    let pages = [PageState::Present, PageState::Absent].map(|state| dump.pages.of(state));
    assert!(dump.memory.is_none() && dump.info.is_none() && !dump.has_note);
    (dump.facts.format, dump.reader, dump.disk.files, dump.disk.packed, pages)
}

#[test]
fn an_image_of_lime_s_is_told_from_its_packed_file() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let plain = write(&folder, "plain", &lime());
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&lime()).unwrap();
    let packed = write(&folder, "packed", &packer.finish().unwrap());
    let dump = open(&[&plain]);
    assert_eq!(facts(&dump), (FileFormat::Lime, Reader::Raw, 1, None, [3, 14]));
    assert_eq!(dump.disk.bytes, lime().len() as u64);
    let dump = open(&[&packed]);
    assert_eq!(facts(&dump), (FileFormat::Lime, Reader::Raw, 1, Some("gzip"), [3, 14]));
    assert_eq!(dump.disk.bytes, fs::metadata(&packed).unwrap().len(), "as it is on the disk");
}

#[test]
fn a_vmware_machine_is_two_files_whichever_of_them_is_given() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let memory = write(&folder, "machine.vmem", &image());
    let state = write(&folder, "machine.vmss", &vmware_state());
    let expected = (FileFormat::Vmware, Reader::Vmware, 2, None, [3, 14]);
    for given in [&[&*memory][..], &[&*state], &[&*state, &*memory]] {
        let dump = open(given);
        assert_eq!(facts(&dump), expected, "{given:?}");
        assert_eq!(dump.disk.bytes, (image().len() + vmware_state().len()) as u64);
    }
}

#[test]
fn a_guest_of_xen_s_is_told_from_other_elf_files() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = write(&folder, "guest", &xen());
    assert_eq!(facts(&open(&[&path])), (FileFormat::Xen, Reader::Elf, 1, None, [3, 14]));
}

#[test]
fn a_raw_image_has_the_memory_that_its_map_says() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let vmcore = vec![write(&folder, "image", &image())];
    let ram_map = Some("1000-2fff,10000-10fff".parse().unwrap());
    let dump = open_with(Options { vmcore, ram_map, ..Options::default() });
    assert_eq!(facts(&dump), (FileFormat::Raw, Reader::Raw, 1, None, [3, 14]));
}
