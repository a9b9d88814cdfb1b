//! Files that are no dump, or a damaged one: the program says in one line what each is and what to do, at once and
//! with little memory.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The exit status: could not tell.
const REFUSED: i32 = 2;
/// Memory and time that it may take to say so.
const MOST_KIB: u64 = 64 << 10;
const MOST_TIME: Duration = Duration::from_secs(1);
/// A machine that is busy with something else gets so many chances.
const TRIES: usize = 5;

/// A folder of this run's own; it goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("{name}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the program with little address space: beside that its own file, which is mapped.
fn run(words: &[&str], file: &Path) -> (Output, Duration) {
    let program = env!("CARGO_BIN_EXE_sysak");
    let own_kib = fs::metadata(program).unwrap().len() >> 10;
    let limited = format!("ulimit -v {} && exec \"$0\" \"$@\"", own_kib + MOST_KIB);
    let start = Instant::now();
    let mut command = Command::new("sh");
    command.args(["-c", &limited, program]).args(words).arg("--vmcore").arg(file);
    let output = command.args(["--lang", "en"]).stdin(Stdio::null()).output().unwrap();
    (output, start.elapsed())
}

/// Checks that a file is refused as it must be.
fn check(file: &Path, said: &str) {
    let (output, mut time) = run(&["memgraph"], file);
    let errors = String::from_utf8(output.stderr).unwrap();
    let name = file.display();
    assert_eq!(output.status.code(), Some(REFUSED), "{name}: {errors}");
    assert!(output.stdout.is_empty() && errors.lines().count() == 1, "{name}: {errors}");
    assert!(
        errors.starts_with("sysak: ") && errors.contains(&name.to_string()),
        "{name}: {errors}"
    );
    assert!(errors.contains(said), "{name}: {errors}");
    for _ in 1..TRIES {
        if time < MOST_TIME {
            return;
        }
        time = run(&["memgraph"], file).1;
    }
    assert!(time < MOST_TIME, "{name}: {time:?}");
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The header of an ELF file: 64 bits and little-endian, of a machine and a kind.
fn elf(machine: u16, kind: u16) -> Vec<u8> {
    let mut file = vec![0; 64];
    put(&mut file, 0, b"\x7fELF\x02\x01\x01");
    put(&mut file, 16, &kind.to_le_bytes());
    put(&mut file, 18, &machine.to_le_bytes());
    file[20] = 1;
    file[52] = 64;
    file[54] = 56;
    file
}

/// An ELF core file of x86-64 with program headers: kind, place in the file, address, length.
fn core(segments: &[(u32, u64, u64, u64)]) -> Vec<u8> {
    let mut file = elf(62, 4);
    file[32] = 64;
    file[56] = segments.len() as u8;
    for (kind, at, address, bytes) in segments {
        for word in [u64::from(*kind), *at, 0, *address, *bytes, *bytes, 0] {
            file.extend(word.to_le_bytes());
        }
    }
    file
}

/// The core dump of a program: a note that the kernel writes for programs alone.
fn program_core() -> Vec<u8> {
    const NT_AUXV: u32 = 6;
    let mut file = core(&[(4, 120, 0, 36)]);
    for word in [5, 16, NT_AUXV] {
        file.extend(word.to_le_bytes());
    }
    file.extend(b"CORE\0\0\0\0");
    file.extend([0; 16]);
    file
}

/// A dump in makedumpfile's format that has no pages.
fn kdump() -> Vec<u8> {
    let mut file = vec![0; 5 * 4096];
    put(&mut file, 0, b"KDUMP   ");
    put(&mut file, 272, b"x86_64");
    for (at, number) in [(8, 6u32), (428, 4096), (432, 1), (436, 2), (440, 256)] {
        put(&mut file, at, &number.to_le_bytes());
    }
    put(&mut file, 4096 + 96, &256u64.to_le_bytes());
    file
}

/// The same with some bytes changed.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = kdump();
    put(&mut file, at, bytes);
    file
}

/// A file in makedumpfile's flattened format: one record, and the mark of the end.
fn flattened(place: u64, bytes: &[u8]) -> Vec<u8> {
    let mut file = b"makedumpfile".to_vec();
    file.resize(4096, 0);
    file.extend(place.to_be_bytes());
    file.extend((bytes.len() as u64).to_be_bytes());
    file.extend(bytes);
    file.extend([0xff; 16]);
    file
}

/// A record of LiME's.
fn lime(start: u64, bytes: u64) -> Vec<u8> {
    let mut file = b"EMiL\x01\0\0\0".to_vec();
    for word in [start, start + bytes - 1, 0] {
        file.extend(word.to_le_bytes());
    }
    file.resize(file.len() + bytes as usize, 7);
    file
}

/// What a program makes of bytes.
fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|why| panic!("the test needs the program {program}: {why}"));
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

fn start(bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![1; 8192];
    put(&mut file, 0, bytes);
    file
}

/// Files of other kinds: name, contents, what is said.
fn foreign() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    const CURE: &str = "give a vmcore of kdump, virsh dump";
    let text = b"Linux version 6.12.0\n".repeat(100);
    let noise: Vec<u8> = (1..8192u32).map(|at| ((at * at) >> 3) as u8 | 1).collect();
    let mut elf32 = elf(3, 4);
    elf32[4] = 1;
    let mut s390 = elf(0, 0);
    put(&mut s390, 5, &[2]);
    put(&mut s390, 16, &[0, 4, 0, 22]);
    put(&mut s390, 52, &[0, 64, 0, 56]);
    let mut tar = start(b"vmcore\0");
    put(&mut tar, 257, b"ustar");
    vec![
        ("empty", Vec::new(), "is empty: was the disk full"),
        ("text", text.clone(), "is a text: give a vmcore"),
        ("noise", noise, CURE),
        ("zeroes", vec![0; 1 << 20], "is full of zeroes: give a vmcore"),
        ("vmlinux", elf(62, 2), "no core dump (a vmlinux, or a program?): give the vmcore"),
        ("vmlinux-relocatable", elf(62, 3), "no core dump (a vmlinux"),
        ("program-core", program_core(), "the core dump of a program, not of the kernel"),
        ("arm64", elf(183, 4), "is of AArch64 (arm64); only x86-64 is supported: diagnose it with"),
        ("ppc64", elf(21, 4), "is of 64-bit PowerPC"),
        ("riscv", elf(243, 4), "is of RISC-V"),
        ("loongarch", elf(258, 4), "is of LoongArch"),
        ("s390-elf", s390, "is of S/390"),
        ("x86-32", elf32, "is of a 32-bit machine"),
        ("s390", start(b"\xa8\x19\x01\x73\x61\x8f\x23\xfd"), "a dump of an S/390 machine"),
        ("lkcd", start(b"\xed\x23\x8f\x61\x73\x01\x19\xa8"), "a dump of LKCD"),
        ("sadump", start(b"sadump\0\0"), "a dump of SADUMP"),
        ("vmrs", start(b"\x14\x20\x28\x01"), "the state of a Hyper-V machine"),
        ("windows", start(b"PAGEDU64"), "a dump of Windows"),
        ("qcow2", start(b"QFI\xfb"), "a disk image (QCOW2)"),
        ("savevm", start(b"QEVM"), "a saved machine of QEMU"),
        ("zip", start(b"PK\x03\x04"), "a ZIP archive"),
        ("tar", tar, "a tar archive"),
        ("text.gz", packed("gzip", &text), "is packed (gzip), and no crash dump is inside"),
        ("text.xz", packed("xz", &text), "is packed (xz), and no crash dump is inside"),
        ("text.bz2", packed("bzip2", &text), "is packed (bzip2), and no crash dump is inside"),
        ("text.zst", packed("zstd", &text), "is packed (zstd), and no crash dump is inside"),
        ("text.lz4", packed("lz4", &text), "is packed (lz4), and no crash dump is inside"),
        ("twice.gz", packed("gzip", &packed("xz", &kdump())), "is packed (gzip), and no crash"),
    ]
}

/// Dumps that are damaged or cut off.
fn damaged() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    const DAMAGED: &str = "is damaged or cut off: ";
    let mut odd_lime = lime(0x1000, 0x2000);
    odd_lime.extend([1; 64]);
    let mut vmware = vec![0; 12 + 80 + 2];
    put(&mut vmware, 0, &0xbed2_bed2u32.to_le_bytes());
    vmware[8] = 1;
    put(&mut vmware, 12, b"memory");
    vmware[12 + 64] = 12 + 80;
    let mut beyond = elf(62, 4);
    beyond[33] = 0x40;
    beyond[56] = 3;
    vec![
        ("elf-header-only", core(&[])[..40].to_vec(), DAMAGED),
        ("elf-table-beyond", beyond, DAMAGED),
        (
            "elf-no-memory",
            core(&[(1, 4096, 0, 1 << 20)]),
            "is cut off: 1048576 bytes of its memory are missing",
        ),
        (
            "elf-cut-kernel",
            core(&[(1, 0, 0, 120), (1, 4096, 8192, 4096)]),
            "is cut off: 4096 bytes",
        ),
        ("elf-huge", core(&[(1, 0, 1 << 50, 64)]), "it claims memory beyond 64 TiB"),
        ("elf-no-kernel", core(&[(1, 0, 0, 120)]), "has no VMCOREINFO"),
        ("kdump-no-kernel", kdump(), "has no VMCOREINFO"),
        ("kdump-arm64", changed(272, b"aarch64"), "is of aarch64"),
        (
            "kdump-64k-blocks",
            changed(428, &65536u32.to_le_bytes()),
            "its blocks are not of 4,096 bytes",
        ),
        (
            "kdump-version",
            changed(8, &7u32.to_le_bytes()),
            "the version of its header is not known",
        ),
        (
            "kdump-huge",
            changed(436, &0x7fff_fffeu32.to_le_bytes()),
            "its bitmap of pages is incomplete",
        ),
        ("kdump-cut-header", kdump()[..300].to_vec(), "its header is incomplete"),
        ("kdump-cut-bitmap", kdump()[..9000].to_vec(), "its bitmap of pages is incomplete"),
        (
            "kdump-cut-pages",
            changed(3 * 4096, &[0xff; 8])[..4 * 4096].to_vec(),
            "of its memory are missing",
        ),
        ("kdump-part", changed(4096 + 12, &[1, 0, 0, 0]), "is one part of a split dump"),
        (
            "flattened-cut",
            flattened(0, &kdump())[..4100].to_vec(),
            "the record with its header is missing",
        ),
        ("flattened-text", flattened(0, b"Linux version\n"), "is a text"),
        (
            "flattened-elf-cut",
            flattened(0, &core(&[(1, 4096, 0, 4096)])),
            "of its memory are missing",
        ),
        ("lime-odd", odd_lime, "the record at 0x2020 is none"),
        ("lime-no-kernel", lime(0x1000, 0x2000), "has no VMCOREINFO"),
        ("avml-cut", b"AVML\x02\0\0\0 and no more".to_vec(), "is damaged or cut off"),
        ("lone.vmss", vmware, "the state of a VMware machine without the .vmem file beside it"),
        (
            "cut.gz",
            packed("gzip", &kdump())[..12].to_vec(),
            "it ends before anything can be unpacked",
        ),
        ("kdump.gz", packed("gzip", &kdump()), "has no VMCOREINFO"),
    ]
}

#[test]
fn files_of_other_kinds_are_named_with_what_to_do() {
    let folder = Folder::new("foreign");
    for (name, contents, said) in foreign() {
        let path = folder.path(name);
        fs::write(&path, contents).unwrap();
        check(&path, said);
    }
}

#[test]
fn damaged_dumps_are_told_what_is_wrong_with_them() {
    let folder = Folder::new("damaged");
    for (name, contents, said) in damaged() {
        let path = folder.path(name);
        fs::write(&path, contents).unwrap();
        check(&path, said);
    }
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let folder = Folder::new("special");
    let pipe = folder.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    check(&pipe, "it is a pipe, not a regular file");
    check(&folder.0, "it is a directory, not a regular file");
    check(Path::new("/dev/zero"), "it is a device, not a regular file");
    check(&folder.path("missing"), "No such file or directory");
    check(&folder.path("part-*"), "no file matches");
}
