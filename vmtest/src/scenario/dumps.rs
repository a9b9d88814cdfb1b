//! One stopped guest's memory in every kind of file that people have. Each file must give what the ELF file gives:
//! every object, and every lost one.
//!
//! makedumpfile works on the host, from QEMU's file in its format. One that is older than the kernel may filter out
//! what is the kernel's: then the report may be without a verdict, if it names what is missing, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{Stage, vmcore};
use crate::sysak::Report;

/// What loses objects, and what holds some.
const MODULES: [&str; 3] = ["bulk", "ring", "hash"];
/// QEMU's formats: the endings of their files and their names.
const FORMATS: [(&str, &str); 4] =
    [("vmcore", "elf"), ("zlib", "kdump-zlib"), ("lzo", "kdump-lzo"), ("snappy", "kdump-snappy")];
/// How makedumpfile packs pages.
const PACKINGS: [(&str, &[&str]); 5] =
    [("raw", &[]), ("zlib", &["-c"]), ("lzo", &["-l"]), ("snappy", &["-p"]), ("zstd", &["-z"])];
/// What it filters: nothing; zero pages; these and free ones; page cache besides; user memory besides.
const LEVELS: [&str; 5] = ["0", "1", "17", "23", "31"];
/// The levels that are written in other shapes, too.
const SHAPED: [&str; 2] = ["1", "31"];
const SHAPES: [Shape; 3] = [Shape::Flattened, Shape::Gzip, Shape::Split];
const PARTS: usize = 3;

/// The files that a dump becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Plain,
    Flattened,
    /// Flattened, inside gzip, as kdump-tools leaves it.
    Gzip,
    Split,
}

/// What a file told.
#[derive(PartialEq, Eq)]
struct Told {
    code: i32,
    verdict: String,
    objects: Vec<u8>,
    lost: Vec<u8>,
    holes_bytes: u64,
}

pub fn run(stage: &mut Stage) -> Result<()> {
    let mut truths = Vec::new();
    for module in MODULES {
        truths.push(stage.guest.load(module)?);
    }
    let folder = stage.guest.folder.0.clone();
    let name = format!("{}-dumps", stage.kernel.name);
    let files = stage.guest.capture_as(&folder, &name, &truths, &FORMATS)?;
    let Some(from_elf) = told(stage, "elf", &files[0])? else { return Ok(()) };
    let got = format!("{} (exit {})", from_elf.verdict, from_elf.code);
    stage.check("dumps: elf", "verdict", "leak (exit 1)", &got, from_elf.code == 1);
    for ((_, format), file) in FORMATS.iter().zip(&files).skip(1) {
        match file.exists() {
            true => expect_same(stage, format, file, &from_elf)?,
            false => stage.note("dumps", &format!("{format}: this QEMU cannot write it")),
        }
    }
    let source = rearranged(&files[1], &folder)?;
    for (packing, options) in PACKINGS {
        for level in LEVELS {
            let shapes = SHAPES.iter().filter(|_| SHAPED.contains(&level));
            for shape in [Shape::Plain].iter().chain(shapes) {
                let name = format!("makedumpfile {packing} -d {level} {shape:?}");
                let options = [options, &["-d", level]].concat();
                let written = match write(&source, &folder, *shape, &options)? {
                    Ok(written) => written,
                    Err(why) => {
                        stage.note("dumps", &format!("{name}: makedumpfile: {why}"));
                        continue;
                    }
                };
                expect_same(stage, &name, &written.given, &from_elf)?;
                written.files.iter().try_for_each(fs::remove_file)?;
            }
        }
    }
    Ok(())
}

/// QEMU's file as makedumpfile reads it: QEMU writes it flattened.
fn rearranged(from: &Path, folder: &Path) -> Result<PathBuf> {
    let to = folder.join("rearranged");
    let mut command = Command::new("makedumpfile");
    command.arg("-R").arg(&to).stdin(fs::File::open(from)?).stdout(Stdio::null());
    let status = command.status().context("cannot run makedumpfile (package makedumpfile)")?;
    anyhow::ensure!(status.success(), "makedumpfile -R failed");
    Ok(to)
}

/// What `--vmcore` is given, and the files behind it.
struct Written {
    given: PathBuf,
    files: Vec<PathBuf>,
}

/// Has makedumpfile write a dump anew; else what it says, if it was built without that way of packing.
fn write(
    from: &Path,
    folder: &Path,
    shape: Shape,
    options: &[&str],
) -> Result<Result<Written, String>> {
    let whole = folder.join("written");
    let parts: Vec<PathBuf> = (1..=PARTS).map(|part| folder.join(format!("part-{part}"))).collect();
    let mut command = Command::new("makedumpfile");
    let errors = folder.join("makedumpfile.stderr");
    command.args(options).stdin(Stdio::null()).stderr(fs::File::create(&errors)?);
    match shape {
        Shape::Plain => command.arg(from).arg(&whole).stdout(Stdio::null()),
        Shape::Flattened | Shape::Gzip => {
            command.arg("-F").arg(from).stdout(fs::File::create(&whole)?)
        }
        Shape::Split => command.arg("--split").arg(from).args(&parts).stdout(Stdio::null()),
    };
    let status = command.status()?;
    if !status.success() {
        for file in parts.iter().chain([&whole]).filter(|file| file.exists()) {
            fs::remove_file(file)?;
        }
        let said = fs::read_to_string(&errors)?;
        let mut lines = said.lines().filter(|line| !line.is_empty() && !line.contains("Failed"));
        return Ok(Err(lines.next_back().unwrap_or("no reason").to_owned()));
    }
    Ok(Ok(match shape {
        Shape::Split => Written { given: folder.join("part-*"), files: parts },
        Shape::Gzip => {
            let status = Command::new("gzip").arg("-1f").arg(&whole).status()?;
            anyhow::ensure!(status.success(), "gzip failed");
            let packed = folder.join("written.gz");
            Written { given: packed.clone(), files: vec![packed] }
        }
        Shape::Plain | Shape::Flattened => Written { given: whole.clone(), files: vec![whole] },
    }))
}

fn expect_same(stage: &mut Stage, name: &str, file: &Path, from_elf: &Told) -> Result<()> {
    let scenario = format!("dumps: {name}");
    let Some(told) = told(stage, name, file)? else { return Ok(()) };
    let is_honest = told.code == 2 && told.verdict == "undetermined" && told.holes_bytes > 0;
    let holes = format!("{} (exit {})", told.verdict, told.code);
    let (got, ok) = match told.verdict == from_elf.verdict && told.code == from_elf.code {
        true if told.objects == from_elf.objects && told.lost == from_elf.lost => {
            ("the same".to_owned(), true)
        }
        true => ("other objects".to_owned(), false),
        false => (format!("{holes}, {} bytes of holes", told.holes_bytes), is_honest),
    };
    let expected = "the same as from ELF, or what is missing";
    stage.check(&scenario, "objects, and lost ones", expected, &got, ok);
    Ok(())
}

fn told(stage: &mut Stage, name: &str, file: &Path) -> Result<Option<Told>> {
    let folder = stage.guest.folder.0.clone();
    let (all, lost) = (folder.join("dump-objects.txt"), folder.join("dump-lost.txt"));
    let Some((code, report)) = vmcore::diagnose(stage, file, &all, &lost)? else {
        stage.check(&format!("dumps: {name}"), "is read", "a report", "none", false);
        return Ok(None);
    };
    let Report { verdict, coverage, .. } = report;
    let holes_bytes = coverage.pages.map_or(0, |pages| pages.holes_bytes);
    let (objects, lost) = (fs::read(&all)?, fs::read(&lost)?);
    Ok(Some(Told { code, verdict, objects, lost, holes_bytes }))
}
