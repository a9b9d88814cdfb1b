//! A guest crashes, and its crash kernel looks at what is left: in place, through /proc/vmcore, and by the dump that
//! makedumpfile writes of it. Both must tell what the memory of the same guest told just before, however the crash
//! kernel was loaded and wherever its memory is.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::{LOSING, Stage, file_name, vmcore};
use crate::cache;
use crate::qemu::DISK;
use crate::sysak::Report;
use crate::truth::Truth;

/// What distributions let makedumpfile leave out.
const USUAL_LEVEL: &str = "31";
/// What the crash kernel has left of its 256 MiB is some 160 MiB.
const MOST_PEAK_KIB: u64 = 100 << 10;
const HOLDING: &str = "hash";

pub fn run(stage: &mut Stage) -> Result<()> {
    let held = stage.guest.load(HOLDING)?;
    let lost = LOSING.map(|module| stage.guest.load(module));
    let lost = lost.into_iter().collect::<Result<Vec<_>>>()?;
    let folder = stage.args.keep.clone().unwrap_or_else(|| stage.guest.folder.0.clone());
    let truths = stage.guest.truths()?;
    let scenario = format!("{}: before", stage.part);
    let name = format!("{}.{}", stage.kernel.name, file_name(&scenario));
    let before = stage.guest.capture(&folder, &name, &truths)?;
    let lists = ["objects", "lost"].map(|list| folder.join(format!("{name}-{list}.txt")));
    if let Some((code, report)) = vmcore::diagnose(stage, &before, &lists[0], &lists[1])? {
        expect_leaks(stage, &scenario, code, &report, &lost);
    }
    stage.guest.crash(stage.kernel)?;
    in_place(stage, &lost)?;
    told(stage)?;
    stage
        .guest
        .text("for driver in $(cat /modules/disk); do insmod /modules/$driver || exit; done")?;
    for level in [USUAL_LEVEL, "1"] {
        by_makedumpfile(stage, &folder, &held, &lost, level)?;
    }
    Ok(())
}

/// The diagnosis in the crash kernel's memory.
fn in_place(stage: &mut Stage, lost: &[Truth]) -> Result<()> {
    let scenario = &format!("{}: /proc/vmcore", stage.part);
    let options = stage.args.with_usual("--vmcore /proc/vmcore");
    let command = format!(
        "sysak memleak --format json {options} & \
         while grep VmHWM /proc/$!/status >/tmp/.next; do mv /tmp/.next /tmp/peak; sleep 0.1; done; wait $!"
    );
    let patience = Duration::from_secs(stage.args.timeout_s);
    let free = stage.guest.text("grep -E 'MemTotal|MemAvailable' /proc/meminfo | tr '\\n' ' '")?;
    let output = stage.guest.run(&command, patience)?;
    stage.keep(&format!("{}.in-place.json", file_name(stage.part)), &output.stdout)?;
    let errors = output.errors();
    let peak = stage.guest.text("cat /tmp/peak")?;
    let peak = peak.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    stage.note(scenario, &free);
    let got = peak.map_or("unknown".to_owned(), |kib| format!("{kib} KiB"));
    let ok = peak.is_some_and(|kib| kib <= MOST_PEAK_KIB);
    stage.check(scenario, "peak memory", &format!("at most {MOST_PEAK_KIB} KiB"), &got, ok);
    let parsed = stage.judge_report(scenario, output.code, &output.stdout, &errors);
    let Some((code, report)) = parsed else { return Ok(()) };
    expect_all_memory(stage, scenario, &report);
    expect_leaks(stage, scenario, code, &report, lost);
    Ok(())
}

/// What `inspect dump` says of it: the panic, and why.
fn told(stage: &mut Stage) -> Result<()> {
    let patience = Duration::from_secs(stage.args.timeout_s);
    let output = stage.guest.run("sysak inspect dump --vmcore /proc/vmcore", patience)?;
    stage.keep(&format!("{}.inspect.txt", file_name(stage.part)), &output.stdout)?;
    let text = output.text();
    let wanted = "Kernel panic - not syncing: sysrq triggered crash";
    let errors = output.errors();
    let got = text.lines().find(|line| line.contains("panic")).unwrap_or(&errors);
    let scenario = format!("{}: inspect dump", stage.part);
    stage.check(&scenario, "the panic", wanted, got, text.contains(wanted));
    Ok(())
}

/// makedumpfile writes the dump to the disk, as kdump does. One that is older than the kernel may leave out what is the
/// kernel's at the usual level: then there may be no verdict, if the report counts what is missing.
fn by_makedumpfile(
    stage: &mut Stage,
    folder: &Path,
    held: &Truth,
    lost: &[Truth],
    level: &str,
) -> Result<()> {
    let scenario = format!("{}: -d {level}", stage.part);
    let command = format!("makedumpfile -f -l -d {level} /proc/vmcore /dev/vda && sync");
    let output = stage.guest.run(&command, Duration::from_secs(stage.args.timeout_s))?;
    let said = output.errors();
    anyhow::ensure!(output.code == 0, "makedumpfile ended with {}: {said}", output.code);
    let name = format!("{}.{}-{level}", stage.kernel.name, file_name(stage.part));
    let kdump = folder.join(&name);
    let disk = stage.guest.folder.0.join(DISK);
    cache::run(Command::new("cp").arg("--sparse=always").arg(disk).arg(&kdump))?;
    let lists = ["objects", "lost"].map(|list| folder.join(format!("{name}-{list}.txt")));
    let Some((code, report)) = vmcore::diagnose(stage, &kdump, &lists[0], &lists[1])? else {
        return Ok(());
    };
    let holes = report.coverage.pages.as_ref().map_or(0, |pages| pages.holes_bytes);
    stage.note(&scenario, &format!("{holes} bytes of the kernel's memory are missing"));
    if level == USUAL_LEVEL && holes > 0 && report.verdict == "undetermined" {
        stage.note(&scenario, "no verdict: this makedumpfile is older than the kernel");
        return Ok(());
    }
    if level != USUAL_LEVEL {
        expect_all_memory(stage, &scenario, &report);
    }
    expect_leaks(stage, &scenario, code, &report, lost);
    let truths: Vec<&Truth> = lost.iter().chain([held]).collect();
    vmcore::by_address(stage, &truths, &lists[0], &lists[1], &report)
}

/// What the modules lost is called a leak, and nothing else.
fn expect_leaks(stage: &mut Stage, scenario: &str, code: i32, report: &Report, lost: &[Truth]) {
    for truth in lost {
        stage.expect_leak(&format!("{scenario}: {}", truth.name), code, report, truth);
    }
    stage.expect_few_accused(scenario, report, lost);
}

/// None of the kernel's memory is missing: the crash kernel's own is none of it.
fn expect_all_memory(stage: &mut Stage, scenario: &str, report: &Report) {
    let holes = report.coverage.pages.as_ref().map(|pages| pages.holes_bytes);
    let got = holes.map_or("not told".to_owned(), |bytes| format!("{bytes} bytes"));
    stage.check(scenario, "the kernel's memory that is missing", "0 bytes", &got, holes == Some(0));
}
