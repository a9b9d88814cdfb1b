//! The same guest's memory image, analysed on the host and compared with the truth by address.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::groups::{self, Made};
use super::{Stage, counts};
use crate::judge;
use crate::qemu::Format;
use crate::sysak::Report;
use crate::truth::Truth;

/// One moment as ELF and in makedumpfile's format.
const FORMATS: [Format; 2] = [Format::ELF, Format::KDUMP];

/// Objects by address, with the cache each belongs to.
type Objects = HashMap<u64, String>;

pub fn run(stage: &mut Stage, truths: &[Truth], groups: &Made) -> Result<()> {
    let folder = stage.args.keep.clone().unwrap_or_else(|| stage.guest.folder.0.clone());
    let slabs_before = counts::slabinfo(stage)?;
    let meminfo = counts::meminfo(stage)?;
    let [vmcore, kdump] = stage.guest.capture_as(&folder, &stage.kernel.name, truths, &FORMATS)?;
    let slabinfo = [slabs_before, counts::slabinfo(stage)?];
    let meminfo = meminfo + &counts::meminfo(stage)?;
    let bracket = counts::Bracket { slabinfo, meminfo };

    let (all, lost) = (folder.join("objects.txt"), folder.join("lost.txt"));
    let Some((code, report)) = diagnose(stage, &vmcore, &all, &lost)? else { return Ok(()) };
    for truth in truths.iter().filter(|truth| truth.role == "lost") {
        stage.expect_leak(&format!("vmcore: {}", truth.name), code, &report, truth);
    }
    makers_and_holders(stage, truths, &report);
    groups::vmcore(stage, groups, &report);
    counts::compare(stage, "vmcore", &bracket, &report);
    let truths: Vec<&Truth> = truths.iter().collect();
    by_address(stage, &truths, &all, &lost, &report)?;
    same_from_kdump(stage, &kdump, [&all, &lost])?;
    if stage.args.drgn {
        compare_with_drgn(stage, &vmcore, &folder.join("drgn.txt"), &objects(&all)?)?;
    }
    Ok(())
}

/// The same moment of the guest in makedumpfile's format: every object, and every lost one, must be the same.
fn same_from_kdump(stage: &mut Stage, kdump: &Path, from_elf: [&Path; 2]) -> Result<()> {
    let from_kdump = from_elf.map(|file| file.with_extension("kdump"));
    diagnose(stage, kdump, &from_kdump[0], &from_kdump[1])?;
    let mut same = true;
    for (elf, kdump) in from_elf.into_iter().zip(&from_kdump) {
        let (elf, kdump) = (fs::read(elf)?, fs::read(kdump).unwrap_or_default());
        same &= elf == kdump && !elf.is_empty();
    }
    let got = if same { "the same" } else { "others" };
    stage.check(
        "kdump",
        "objects, and lost ones, of one moment",
        "the same as from ELF",
        got,
        same,
    );
    Ok(())
}

/// Without any tracing: the function that allocates what a module has lost, and the variable that
/// holds what it has not.
fn makers_and_holders(stage: &mut Stage, truths: &[Truth], report: &Report) {
    for truth in truths {
        let module = format!("sysaktest_{}", truth.name);
        let Some(found) = report.finding(&truth.cache) else { continue };
        let scenario = format!("vmcore: {}", truth.name);
        if truth.name == "gone" {
            // Its code is gone, too.
            continue;
        }
        if truth.role == "lost" {
            stage.expect_maker(&scenario, report, truth);
        } else {
            let own = |one: &&crate::sysak::Holder| {
                one.path.first().is_some_and(|name| name.ends_with(&format!("[{module}]")))
            };
            // Two variables of one module are two holders.
            let own: Vec<_> = found.holders.iter().filter(own).collect();
            let objects: u64 = own.iter().map(|one| one.objects).sum();
            let expected = format!("{} objects held by [{module}] ± 1 %", truth.count);
            let names: Vec<String> = own.iter().map(|one| one.path.join(" → ")).collect();
            let name = names.join(", ");
            let ok = objects.abs_diff(truth.count) <= truth.count / 100;
            stage.check(&scenario, "who holds them", &expected, &format!("{objects} {name}"), ok);
        }
    }
}

/// The objects that `sysak` wrote to two files against what the modules made.
pub(super) fn by_address(
    stage: &mut Stage,
    truths: &[&Truth],
    all: &Path,
    lost: &Path,
    report: &Report,
) -> Result<()> {
    match (objects(all), objects(lost)) {
        (Ok(all), Ok(lost)) => compare(stage, truths, &all, &lost, report),
        (Err(error), _) | (_, Err(error)) => {
            stage.check("vmcore", "writes its objects", "two files", &format!("{error:#}"), false);
        }
    }
    Ok(())
}

/// Where [`diagnose`] leaves the report beside the objects.
pub(super) fn report_file(all: &Path) -> PathBuf {
    all.with_extension("json")
}

/// Captures the guest in a file of its own name, and runs `sysak` over it.
pub(super) fn capture_and_diagnose(
    stage: &mut Stage,
    what: &str,
    truths: &[Truth],
) -> Result<Option<(i32, Report)>> {
    let folder = stage.args.keep.clone().unwrap_or_else(|| stage.guest.folder.0.clone());
    let name = format!("{}-{what}", stage.kernel.name);
    let dump = stage.guest.capture(&folder, &name, truths)?;
    let [all, lost] = ["objects", "lost"].map(|list| folder.join(format!("{what}-{list}.txt")));
    diagnose(stage, &dump, &all, &lost)
}

/// Runs `sysak` on the host, with an end.
pub(super) fn diagnose(
    stage: &mut Stage,
    vmcore: &Path,
    all: &Path,
    lost: &Path,
) -> Result<Option<(i32, Report)>> {
    let sysak = stage.args.sysak.as_deref().context("--sysak is missing")?;
    let (out, err) = (report_file(all), all.with_extension("stderr"));
    let mut child = std::process::Command::new(sysak)
        .args(["memleak", "--format", "json", "--all-caches"])
        .args(stage.args.with_usual("").split_whitespace())
        .arg("--vmcore")
        .arg(vmcore)
        .arg("--dump-objects")
        .arg(all)
        .arg("--dump-lost")
        .arg(lost)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&out)?)
        .stderr(fs::File::create(&err)?)
        .spawn()
        .with_context(|| format!("cannot run {}", sysak.display()))?;
    let end = Instant::now() + Duration::from_secs(stage.args.timeout_s);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            bail!("sysak took longer than {} s on the vmcore", stage.args.timeout_s);
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let errors = fs::read(&err)?;
    let errors = String::from_utf8_lossy(&errors);
    Ok(stage.judge_report("vmcore", status.code().unwrap_or(-1), &fs::read(&out)?, &errors))
}

/// Reads lines of `CACHE 0xADDRESS`.
fn objects(file: &Path) -> Result<Objects> {
    let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let parsed = text.lines().map(|line| {
        let (cache, address) = line.split_once(" 0x")?;
        Some((u64::from_str_radix(address, 16).ok()?, cache.to_owned()))
    });
    let parsed: Option<Objects> = parsed.collect();
    parsed.with_context(|| format!("a line of {} is not CACHE 0xADDRESS", file.display()))
}

/// Address by address: what the modules made is live, what they lost is lost, and nothing else.
fn compare(stage: &mut Stage, truths: &[&Truth], all: &Objects, lost: &Objects, report: &Report) {
    // Pages, areas and per-CPU memory are in the list as well; here slab objects are judged.
    let is_slab = |cache: &String| !["page", "vmalloc", "percpu"].contains(&cache.as_str());
    let slabs = lost.iter().filter(|(_, cache)| is_slab(cache));
    let mut accused: HashSet<u64> = slabs.map(|(address, _)| *address).collect();
    for truth in truths {
        let scenario = format!("vmcore: {}", truth.name);
        let live = truth.addresses.iter().filter(|address| all.contains_key(address)).count();
        let expected = format!("{} of {}", truth.count, truth.count);
        let got = format!("{live} of {}", truth.count);
        stage.check(&scenario, "its objects are live", &expected, &got, expected == got);
        let found = truth.addresses.iter().filter(|address| lost.contains_key(address)).count();
        let found = found as u64;
        if truth.role == "lost" {
            let missed = truth.count - found;
            let most = truth.count - truth.least_found();
            let (expected, ok) = (format!("at most {most}"), missed <= most);
            stage.check(&scenario, "lost objects not found", &expected, &missed.to_string(), ok);
            for address in &truth.addresses {
                accused.remove(address);
            }
        } else {
            stage.check(&scenario, "held objects accused", "0", &found.to_string(), found == 0);
        }
    }
    let allowed = report.noise_allowed();
    let expected = format!("at most {allowed} of {} live", all.len());
    let got = accused.len() as u64;
    stage.check("vmcore", "objects accused falsely", &expected, &got.to_string(), got <= allowed);
    let mut first: Vec<String> =
        accused.iter().map(|address| format!("{} {address:#x}", lost[address])).collect();
    first.sort();
    first.truncate(10);
    if !first.is_empty() {
        stage.note("vmcore", &format!("accused: {}", first.join(", ")));
    }
}

/// The set of live objects against drgn's.
fn compare_with_drgn(
    stage: &mut Stage,
    vmcore: &Path,
    output: &Path,
    ours: &Objects,
) -> Result<()> {
    judge::drgn_objects(stage.kernel, vmcore, output)?;
    let drgn = objects(output)?;
    let only = |one: &Objects, other: &Objects| {
        let mut only: Vec<String> = one
            .iter()
            .filter(|(address, _)| !other.contains_key(address))
            .map(|(address, cache)| format!("{cache} {address:#x}"))
            .collect();
        only.sort();
        only
    };
    let expected = format!("{} objects, none else", drgn.len());
    let (missing, extra) = (only(&drgn, ours), only(ours, &drgn));
    let ok = missing.is_empty() && extra.is_empty() && !drgn.is_empty();
    let got = format!("{} missing, {} extra", missing.len(), extra.len());
    stage.check("vmcore", "live objects against drgn's", &expected, &got, ok);
    for (name, list) in [("missing", missing), ("extra", extra)] {
        if !list.is_empty() {
            stage.note("vmcore", &format!("{name}: {}", list[..list.len().min(10)].join(", ")));
        }
    }
    Ok(())
}
