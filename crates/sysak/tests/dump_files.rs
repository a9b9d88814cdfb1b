//! The real program over one crash dump in other files: an image, packed, cut off, in parts.

#![allow(clippy::unwrap_used)]

mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use program::{REFUSED, copied, dump, over_dump, refused, sysak, without_times};

/// The runs of memory of the dump: address, place in the file, length.
fn runs(dump: &[u8]) -> Vec<[usize; 3]> {
    let number = |at: usize| u64::from_le_bytes(*dump[at..].first_chunk().unwrap()) as usize;
    let headers = (0..number(56) & 0xffff).map(|header| number(32) + 56 * header);
    let loaded = headers.filter(|at| number(*at) & 0xffff_ffff == 1);
    loaded.map(|at| [number(at + 24), number(at + 8), number(at + 32)]).collect()
}

/// An image in LiME's format: the note with VMCOREINFO is left out.
fn lime(dump: &mut Vec<u8>) {
    let mut image = Vec::new();
    for [address, place, bytes] in runs(dump) {
        image.extend(b"EMiL\x01\0\0\0");
        for word in [address, address + bytes - 1, 0] {
            image.extend((word as u64).to_le_bytes());
        }
        image.extend(&dump[place..place + bytes]);
    }
    *dump = image;
}

#[test]
fn nothing_is_called_a_leak_in_an_image_that_was_written_while_the_machine_ran() {
    let path = copied("lime", lime);
    let mut command = sysak(&["memleak", "--lang", "en", "--vmcore"]);
    let output = command.arg(&path).output().unwrap();
    fs::remove_file(path).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(REFUSED), "{text}");
    assert!(
        text.replace('\n', " ").contains("The image was written while the machine ran"),
        "{text}"
    );
    assert!(
        text.replace('\n', " ").contains("may have moved while the image was written"),
        "{text}"
    );
}

#[test]
fn a_packed_dump_has_the_report_of_the_dump_and_leaves_nothing_behind() {
    let path = copied("packed", |_| {});
    assert!(Command::new("gzip").arg("-1").arg(&path).status().unwrap().success());
    let packed = PathBuf::from(format!("{}.gz", path.display()));
    let folder = path.with_extension("scratch");
    fs::create_dir_all(&folder).unwrap();
    let mut command = sysak(&["memgraph", "--lang", "en", "--vmcore"]);
    let output = command.arg(&packed).env("TMPDIR", &folder).output().unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir(&folder).unwrap();
    let mut nowhere = sysak(&["memgraph", "--lang", "en", "--vmcore"]);
    nowhere.arg(&packed).env("TMPDIR", &folder);
    assert!(refused(nowhere).contains("set TMPDIR to a folder that can be written"));
    fs::remove_file(&packed).unwrap();
    let plain = over_dump(&["memgraph", "--lang", "en"]).output().unwrap();
    let texts = [&plain, &output].map(|one| without_times(&String::from_utf8_lossy(&one.stdout)));
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn a_dump_that_was_cut_off_says_how_much_is_missing() {
    // What is the firmware's comes last: 400 KiB that are no RAM. A page of which a part is left is there.
    let rest = (400 << 10) + 4096;
    let path = copied("short", |dump| dump.truncate(dump.len() - rest));
    let mut command = sysak(&["memgraph", "--lang", "en", "--vmcore"]);
    let output = command.arg(&path).output().unwrap();
    fs::remove_file(path).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = "The dump is cut off or damaged: 4.0 KiB of memory that it should have are missing.";
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(said), "{text}");
}

/// Two parts of a split dump in makedumpfile's format, pages as they are: descriptors and pages up to one of them in
/// the first part, the others in the second.
fn split(dump: &[u8], at: u64) -> [Vec<u8>; 2] {
    const PAGE: usize = 4096;
    let pages: Vec<(u64, &[u8])> = runs(dump)
        .into_iter()
        .flat_map(|[address, place, bytes]| {
            let contents = dump[place..place + bytes].chunks(PAGE);
            ((address / PAGE) as u64..).zip(contents)
        })
        .collect();
    let end = pages.last().unwrap().0 + 1;
    let bitmap_bytes = end.div_ceil(8).next_multiple_of(PAGE as u64) as usize;
    let mut head = vec![0; 2 * PAGE + 2 * bitmap_bytes];
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"KDUMP   \x06");
    put(272, b"x86_64");
    let blocks = [PAGE, 1, 2 * bitmap_bytes / PAGE];
    put(428, &blocks.map(|number| (number as u32).to_le_bytes()).concat());
    put(PAGE + 96, &end.to_le_bytes());
    put(PAGE + 8, &[1, 0, 0, 0, 1]);
    for (number, _) in &pages {
        for bitmap in [2 * PAGE, 2 * PAGE + bitmap_bytes] {
            head[bitmap + *number as usize / 8] |= 1 << (number % 8);
        }
    }
    [0..at, at..end].map(|part| {
        let mut file = head.clone();
        let bounds = [part.start, part.end].map(u64::to_le_bytes).concat();
        file[PAGE + 80..PAGE + 96].copy_from_slice(&bounds);
        let own = || pages.iter().filter(|(number, _)| part.contains(number));
        let mut place = file.len() + own().count() * 24;
        for _ in own() {
            let descriptor = [place as u64, PAGE as u64, 0];
            file.extend(descriptor.map(u64::to_le_bytes).concat());
            place += PAGE;
        }
        own().for_each(|(_, contents)| file.extend(*contents));
        file
    })
}

/// What `inspect dump` says: its first line, and from the kernel's log on all but how the dump is read.
fn about_dump(files: &[&Path]) -> (String, String) {
    let mut command = sysak(&["inspect", "dump", "--lang", "en"]);
    for file in files {
        command.arg("--vmcore").arg(file);
    }
    let output = command.output().unwrap();
    let text = without_times(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(output.status.code(), Some(0), "{text}");
    let (_, log) = text.split_once("Last lines of the kernel's log").unwrap();
    let log = log.lines().filter(|line| !line.starts_with("Read from "));
    (text.lines().next().unwrap().to_owned(), log.collect::<Vec<_>>().join("\n"))
}

#[test]
fn inspect_tells_of_a_packed_dump_and_of_one_in_two_files_what_it_tells_of_the_dump() {
    let (first, log) = about_dump(&[dump()]);
    assert_eq!(first, "Crash dump: ELF, 96.3 MiB");
    let path = copied("about", |_| {});
    assert!(Command::new("gzip").arg("-1").arg(&path).status().unwrap().success());
    let packed = PathBuf::from(format!("{}.gz", path.display()));
    let of_packed = about_dump(&[&packed]);
    fs::remove_file(packed).unwrap();
    assert!(of_packed.0.starts_with("Crash dump: ELF, packed with gzip, "), "{}", of_packed.0);
    assert_eq!(of_packed.1, log);

    let parts = split(&fs::read(dump()).unwrap(), 5000);
    let paths = [0, 1].map(|part| path.with_extension(format!("part-{part}")));
    paths.iter().zip(parts).for_each(|(path, part)| fs::write(path, part).unwrap());
    let of_parts = about_dump(&[&paths[1], &paths[0]]);
    let line = refused({
        let mut command = sysak(&["inspect", "dump", "--vmcore"]);
        command.arg(&paths[0]);
        command
    });
    paths.iter().for_each(|path| fs::remove_file(path).unwrap());
    assert_eq!(of_parts.0, "Crash dump: makedumpfile's format, version 6, 2 files, 97.3 MiB");
    assert_eq!(of_parts.1, log);
    assert!(line.contains("the part with pages 0x1388 to "), "{line}");
}

#[test]
fn a_dump_is_shown_by_its_name_alone() {
    let vmcore = dump().to_str().unwrap();
    let lines = |words: &[&str]| -> Vec<String> {
        let output = sysak(words).args(["--lang", "en"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter(|line| !line.starts_with("Took")).map(str::to_owned).collect()
    };
    let shown = lines(&["inspect", "dump", vmcore]);
    assert!(shown[0].starts_with("Crash dump: ELF"), "{shown:?}");
    assert_eq!(shown, lines(&["inspect", "dump", "--vmcore", vmcore]));
}
