//! One stopped guest's memory in every kind of file that people have. Each file must give what the ELF file gives:
//! the same report, every object, and every lost one.
//!
//! makedumpfile runs on the host and reads QEMU's ELF file. If it is older than the kernel, it may leave out pages of
//! the kernel by mistake. Then `undetermined` is accepted, or a leak that accuses nobody else, if the report counts the
//! holes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Stage, vmcore};
use crate::makedumpfile::{self, Shape};
use crate::qemu::Format;
use crate::{cache, qemu_elf};

/// What loses objects, and what holds some.
const MODULES: [&str; 3] = ["bulk", "ring", "hash"];
const FORMATS: [Format; 5] =
    [Format::ELF, Format::PAGING, Format::KDUMP, Format::LZO, Format::SNAPPY];
/// makedumpfile's options for how it packs pages, and what `inspect dump` calls that.
const PACKINGS: [(&str, &[&str]); 5] =
    [("raw", &[]), ("zlib", &["-c"]), ("lzo", &["-l"]), ("snappy", &["-p"]), ("zstd", &["-z"])];
/// What it filters: nothing; zero pages; these and free ones; page cache besides; user memory besides.
const LEVELS: [&str; 5] = ["0", "1", "17", "23", "31"];
const SHAPES: [Shape; 4] = [Shape::Plain, Shape::Flattened, Shape::Gzip, Shape::Split];

/// Where reports may differ though the memory is the same: what they tell of the file, and how long it took.
/// The census may not: it comes from the page structures, which no filter leaves out.
const OF_THE_FILE: [&str; 3] = ["/target/reader", "/coverage/pages", "/timings"];

/// What a file told.
struct Told {
    code: i32,
    verdict: String,
    /// The whole report, without [`OF_THE_FILE`].
    report: Value,
    /// What it calls a leak.
    leaks: BTreeSet<String>,
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
    for (format, file) in FORMATS.iter().zip(&files).skip(1) {
        match file.exists() {
            true => {
                expect_same(stage, &format!("QEMU's {}", format.ending), file, &from_elf)?;
                fs::remove_file(file)?;
            }
            false => stage.note("dumps", &format!("{}: this QEMU cannot write it", format.name)),
        }
    }
    let source = &files[0];
    qemu_elf::move_segments(source)?;
    let mut rows = if stage.args.wants("dumps") { matrix() } else { diagonal() };
    for (index, (packing, _)) in PACKINGS.iter().enumerate() {
        if !makedumpfile::can_pack(packing)? {
            stage.note("dumps", &format!("{packing}: this makedumpfile cannot write it"));
            rows.retain(|row| row.packing != index);
        }
    }
    for row in rows {
        row.compare(stage, source, &folder, &from_elf)?;
    }
    if stage.args.wants("dumps") {
        odd_ones(stage, source, &folder, &from_elf)?;
    }
    qemu_elf::drop_vmcoreinfo(source)?;
    expect_same(stage, "elf without VMCOREINFO", source, &from_elf)
}

/// One way to write a dump anew.
struct Row {
    packing: usize,
    level: usize,
    shape: Shape,
}

fn matrix() -> Vec<Row> {
    let all = |packing| LEVELS.iter().enumerate().map(move |(level, _)| (packing, level));
    let pairs = (0..PACKINGS.len()).flat_map(all);
    pairs.flat_map(|(packing, level)| SHAPES.map(|shape| Row { packing, level, shape })).collect()
}

/// Every packing, level and shape once, among them what distributions write: LZO plain, and zlib
/// in gzip, both without user memory.
fn diagonal() -> Vec<Row> {
    let row = |(packing, level, shape)| Row { packing, level, shape };
    let rows = [
        (0, 0, Shape::Plain),
        (1, 4, Shape::Gzip),
        (2, 4, Shape::Plain),
        (3, 2, Shape::Flattened),
        (4, 1, Shape::Split),
        (2, 3, Shape::Split),
    ];
    rows.map(row).into()
}

impl Row {
    fn compare(
        &self,
        stage: &mut Stage,
        from: &Path,
        folder: &Path,
        from_elf: &Told,
    ) -> Result<()> {
        let ((packing, options), level) = (PACKINGS[self.packing], LEVELS[self.level]);
        let name = format!("{packing} -d {level} {:?}", self.shape);
        let options = [options, &["-d", level]].concat();
        let written = match makedumpfile::write(from, folder, self.shape, &options)? {
            Ok(written) => written,
            Err(why) => {
                stage.note(&format!("dumps: {name}"), &format!("makedumpfile: {why}"));
                return Ok(());
            }
        };
        expect_same(stage, &name, &written.given, from_elf)?;
        let (expected, got) = (self.facts(packing, level), facts(stage, &written.given)?);
        stage.check(
            &format!("dumps: {name}"),
            "what the file is",
            &expected,
            &got,
            expected == got,
        );
        Ok(())
    }

    /// What `inspect dump` is to tell of the file.
    fn facts(&self, packing: &str, level: &str) -> String {
        let (flattened, gzip) = match self.shape {
            Shape::Plain | Shape::Split => ("", ""),
            Shape::Flattened => (", flattened", ""),
            Shape::Gzip => (", flattened", ", in gzip"),
        };
        format!("kdump {packing} level {level}{flattened}{gzip}")
    }
}

/// What makedumpfile's other options write: ELF, whole and flattened, and a dump that lacks page structures.
fn odd_ones(stage: &mut Stage, from: &Path, folder: &Path, from_elf: &Told) -> Result<()> {
    let work = folder.display().to_string();
    let without_structures = ["-e", "--work-dir", &work, "-l", "-d", "31"];
    let rows: [(Shape, &[&str]); 3] = [
        (Shape::Plain, &["-E", "-d", "31"]),
        (Shape::Flattened, &["-E", "-d", "31"]),
        (Shape::Plain, &without_structures),
    ];
    for (shape, options) in rows {
        let name = format!("makedumpfile {} {shape:?}", options[0]);
        match makedumpfile::write(from, folder, shape, options)? {
            Ok(written) => expect_same(stage, &name, &written.given, from_elf)?,
            Err(why) => stage.note(&format!("dumps: {name}"), &format!("makedumpfile: {why}")),
        }
    }
    Ok(())
}

/// The same report and objects as from ELF. Where memory of the kernel's is missing, no verdict will do, and so
/// does a leak, if nothing else is accused.
fn expect_same(stage: &mut Stage, name: &str, file: &Path, from_elf: &Told) -> Result<()> {
    let Some(told) = told(stage, name, file)? else { return Ok(()) };
    let mut others = differences(&from_elf.report, &told.report);
    for (what, elf, dump) in [
        ("objects", &from_elf.objects, &told.objects),
        ("lost objects", &from_elf.lost, &told.lost),
    ] {
        others.extend((elf != dump).then(|| what.to_owned()));
    }
    let accuses_others = !told.leaks.is_subset(&from_elf.leaks);
    let is_honest = told.holes_bytes > 0
        && match told.verdict.as_str() {
            "undetermined" => told.code == 2 && told.leaks.is_empty(),
            "leak" => told.code == 1 && !accuses_others,
            _ => false,
        };
    let got = match others.is_empty() {
        true => "the same".to_owned(),
        false => {
            let holes = format!("{}, {} KiB of holes", told.verdict, told.holes_bytes >> 10);
            others.truncate(8);
            format!("{holes}; others: {}", others.join(", "))
        }
    };
    let ok = others.is_empty() || is_honest;
    stage.check(&format!("dumps: {name}"), "the report", "as from ELF, or holes", &got, ok);
    Ok(())
}

/// Where two reports differ.
fn differences(one: &Value, other: &Value) -> Vec<String> {
    fn add(one: &Value, other: &Value, path: &str, found: &mut Vec<String>) {
        match (one, other) {
            (Value::Object(a), Value::Object(b)) => {
                let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for name in names {
                    add(&one[name], &other[name], &format!("{path}/{name}"), found);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (index, (one, other)) in a.iter().zip(b).enumerate() {
                    add(one, other, &format!("{path}/{index}"), found);
                }
            }
            _ if one == other => {}
            _ => found.push(path.to_owned()),
        }
    }
    let mut found = Vec::new();
    add(one, other, "", &mut found);
    found
}

fn told(stage: &mut Stage, name: &str, file: &Path) -> Result<Option<Told>> {
    let folder = stage.guest.folder.0.clone();
    let (all, lost) = (folder.join("dump-objects.txt"), folder.join("dump-lost.txt"));
    let Some((code, told)) = vmcore::diagnose(stage, file, &all, &lost)? else {
        stage.check(&format!("dumps: {name}"), "is read", "a report", "none", false);
        return Ok(None);
    };
    let leaks = told.findings.iter().filter(|finding| finding.verdict == "leak");
    let leaks = leaks.map(|finding| finding.cache.as_ref().unwrap_or(&finding.class).clone());
    let mut report = serde_json::from_slice(&fs::read(vmcore::report_file(&all))?)?;
    for path in OF_THE_FILE {
        remove(&mut report, path);
    }
    Ok(Some(Told {
        code,
        verdict: told.verdict,
        report,
        leaks: leaks.collect(),
        objects: fs::read(&all)?,
        lost: fs::read(&lost)?,
        holes_bytes: told.coverage.pages.map_or(0, |pages| pages.holes_bytes),
    }))
}

fn remove(report: &mut Value, path: &str) {
    let (parent, name) = path.rsplit_once('/').unwrap_or_default();
    if let Some(Value::Object(fields)) = report.pointer_mut(parent) {
        fields.remove(name);
    }
}

/// What `inspect dump` tells of the file, in a line.
fn facts(stage: &Stage, file: &Path) -> Result<String> {
    let sysak = stage.args.sysak.as_deref().context("--sysak is missing")?;
    let mut command = Command::new(sysak);
    command.args(["inspect", "dump", "--format", "json", "--vmcore"]).arg(file);
    let report: Value = serde_json::from_str(&cache::run(&mut command)?)?;
    let file = &report["dump"]["file"];
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let packing = word(&file["packed"][0]["packing"]);
    let flattened = if file["flattened"] == true { ", flattened" } else { "" };
    let packed =
        file["packed_with"].as_str().map_or(String::new(), |packer| format!(", in {packer}"));
    Ok(format!(
        "{} {packing} level {}{flattened}{packed}",
        word(&file["format"]),
        file["filter_level"]
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{LEVELS, PACKINGS, SHAPES, diagonal, differences, remove};

    #[test]
    fn a_few_rows_have_each_packing_level_and_shape() {
        let rows = diagonal();
        assert!((0..PACKINGS.len()).all(|packing| rows.iter().any(|row| row.packing == packing)));
        assert!((0..LEVELS.len()).all(|level| rows.iter().any(|row| row.level == level)));
        assert!(SHAPES.iter().all(|shape| rows.iter().any(|row| row.shape == *shape)));
    }

    #[test]
    fn reports_differ_where_a_value_is_another_is_missing_or_a_list_is_longer() {
        let mut one = json!({ "a": { "b": 1, "c": [1, { "d": 2 }] }, "timings": { "t": 1 } });
        let mut other =
            json!({ "a": { "b": 1, "c": [1, { "d": 3 }], "e": 0 }, "timings": { "t": 2 } });
        remove(&mut one, "/timings");
        remove(&mut other, "/timings");
        assert_eq!(differences(&one, &other), ["/a/c/1/d", "/a/e"]);
        assert_eq!(differences(&json!([1]), &json!([1, 2])), [""]);
        assert!(differences(&one, &one).is_empty());
    }
}
