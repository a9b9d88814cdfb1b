//! `sysak` inside the running guest.

use anyhow::Result;

use super::{HOLDING, LOSING, Stage};
use crate::sysak::Report;
use crate::truth::Truth;

/// A busy guest without leaks, then the same with every module that holds its objects.
pub fn clean(stage: &mut Stage) -> Result<Vec<Truth>> {
    let busy = keep_busy(stage)?;
    for run in 1..=stage.args.clean_runs {
        let scenario = format!("clean, busy, run {run}");
        if let Some((code, report)) = stage.look(&scenario, "")? {
            stage.expect_no_leak(&scenario, code, &report);
        }
    }
    let held = HOLDING.iter().map(|module| stage.guest.load(module));
    let held: Vec<Truth> = held.collect::<Result<_>>()?;
    if let Some((code, report)) = stage.look("holders, busy", "")? {
        stage.expect_no_leak("holders, busy", code, &report);
    }
    stage.guest.text(&format!("kill {busy}; sleep 3; rm -rf /tmp/busy"))?;
    Ok(held)
}

/// Starts the load of forks, files and sockets; returns its process.
pub fn keep_busy(stage: &mut Stage) -> Result<String> {
    Ok(stage.guest.text("busy >/dev/null 2>&1 & echo $!")?.trim().to_owned())
}

/// One losing module after the other; what the earlier ones lost stays lost.
pub fn lose(stage: &mut Stage) -> Result<Vec<Truth>> {
    let mut truths: Vec<Truth> = Vec::new();
    for module in LOSING {
        truths.push(stage.guest.load(module)?);
        // Other tasks write over what is left of the loading one: its stack, the interrupt stacks.
        stage.guest.text("for n in $(seq 50); do cat /proc/self/stat >/dev/null; done")?;
        let scenario = format!("lost: {module}");
        let Some((code, report)) = lost_in_a_look(stage, &scenario, &truths)? else { continue };
        if let Some(newest) = truths.last() {
            stage.expect_leak(&scenario, code, &report, newest);
            stage.expect_maker(&scenario, &report, newest);
        }
        stage.expect_few_accused(&scenario, &report, &truths);
    }
    Ok(truths)
}

/// A module that leaves objects of its own cache behind: the cache keeps its name, on the kernel's list or not.
pub fn gone(stage: &mut Stage) -> Result<Truth> {
    let truth = stage.guest.load("gone")?;
    stage.guest.text("rmmod sysaktest_gone")?;
    stage.guest.text("for n in $(seq 50); do cat /proc/self/stat >/dev/null; done")?;
    let scenario = "lost: gone";
    let looked = lost_in_a_look(stage, scenario, std::slice::from_ref(&truth))?;
    if let Some((code, report)) = looked {
        stage.expect_leak(scenario, code, &report, &truth);
    }
    Ok(truth)
}

/// A stale word on a live stack keeps an object reachable, rightly, until it is written over: where
/// a look misses too many, one more decides, and the table says so.
fn lost_in_a_look(
    stage: &mut Stage,
    scenario: &str,
    truths: &[Truth],
) -> Result<Option<(i32, Report)>> {
    let first = stage.look(scenario, "")?;
    let Some(((_, report), newest)) = first.as_ref().zip(truths.last()) else { return Ok(first) };
    let found = report.unreachable(&newest.cache);
    if newest.nearly_all(found) {
        return Ok(first);
    }
    stage.note(scenario, &format!("one look found {found} of {}; once more", newest.count));
    stage.look(scenario, "")
}

/// The same diagnosis through both readers, by one thread and by several.
pub fn readers_agree(stage: &mut Stage, truths: &[Truth]) -> Result<()> {
    let mut first: Option<(String, Report)> = None;
    for (reader, threads) in [("kcore", 1), ("bpf", 1), ("kcore", 4), ("bpf", 4)] {
        let scenario = format!("reader {reader}, threads {threads}");
        let options = format!("--reader {reader} --threads {threads}");
        let Some((code, report)) = stage.look(&scenario, &options)? else { return Ok(()) };
        let got = &report.target.reader;
        stage.check(&scenario, "is the one asked for", reader, got, got == reader);
        let verdict = format!("{} (exit {code})", report.verdict);
        let Some((expected, one)) = &first else {
            first = Some((verdict, report));
            continue;
        };
        stage.check(&scenario, "the same verdict", expected, &verdict, *expected == verdict);
        for truth in truths.iter().filter(|truth| truth.role == "lost") {
            let (one, other) = (one.unreachable(&truth.cache), report.unreachable(&truth.cache));
            // Objects in flight may differ between two looks; the lost ones may not.
            let ok = one.abs_diff(other) <= 10 && other > 0;
            let what = format!("unreachable in {}", truth.cache);
            stage.check(&scenario, &what, &format!("{one} ± 10"), &other.to_string(), ok);
        }
    }
    Ok(())
}
