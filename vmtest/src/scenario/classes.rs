//! Memory that is no slab object: pages, vmalloc areas, per-CPU memory. In a boot of its own, what
//! holds such memory as drivers do, then what loses it, class after class, by looks alone and from
//! the vmcore of the same guest.

use std::path::Path;

use anyhow::Result;

use super::{Stage, counts, proof};
use crate::judge;
use crate::qemu::CPUS;
use crate::sysak::{Finding, Function, Report};
use crate::truth::Truth;

const HOLDING: [&str; 3] = ["pagelist", "vmtable", "pcpuheld"];

/// A module that loses memory, and who is to be named without watching, the worst first.
struct Loss {
    module: &'static str,
    parameters: &'static str,
    named: &'static [&'static str],
}

/// Everybody who loses areas in the end, by what is lost.
const ALL_CALLERS: [&str; 3] = [
    "vmleak_big [sysaktest_vmleak]",
    "tree_area [sysaktest_tree]",
    "vmleak_small [sysaktest_vmleak]",
];

const LOSING: [Loss; 6] = [
    Loss { module: "pages", parameters: "rate=0", named: &[] },
    Loss { module: "pages2", parameters: "rate=0", named: &[] },
    Loss {
        module: "vmleak",
        parameters: "rate=0",
        named: &["vmleak_big [sysaktest_vmleak]", "vmleak_small [sysaktest_vmleak]"],
    },
    Loss { module: "tree", parameters: "", named: &ALL_CALLERS },
    Loss { module: "pagetree", parameters: "", named: &[] },
    Loss { module: "pcpuleak", parameters: "rate=0", named: &[] },
];

/// What has no cache.
const CLASSES: [&str; 3] = ["page", "vmalloc", "percpu"];

pub fn run(stage: &mut Stage) -> Result<()> {
    let mut held = Vec::new();
    for module in HOLDING {
        held.push(proof::load(stage, module, "")?);
    }
    rest(stage)?;
    if let Some((code, report)) = stage.look("classes: holders", "")? {
        stage.expect_no_leak("classes: holders", code, &report);
    }
    let mut lost: Vec<Truth> = Vec::new();
    for loss in &LOSING {
        lost.push(proof::load(stage, loss.module, loss.parameters)?);
        rest(stage)?;
        let scenario = format!("classes: {}", loss.module);
        let Some((code, report)) = look(stage, &scenario, &lost)? else { continue };
        expect_lost(stage, &scenario, code, &report, &lost);
        named(stage, &scenario, &report, loss.named);
    }
    only(stage)?;
    vmcore(stage, &held, &lost)
}

/// Other tasks write over what is left of the loading one: its stack, the interrupt stacks.
fn rest(stage: &mut Stage) -> Result<()> {
    stage.guest.text("for n in $(seq 50); do cat /proc/self/stat >/dev/null; done").map(drop)
}

/// A stale word on a live stack keeps an area, or a page array that leads to one, reachable, rightly, until
/// it is written over: where a look misses too much, one more decides, and the table says so.
fn look(stage: &mut Stage, scenario: &str, lost: &[Truth]) -> Result<Option<(i32, Report)>> {
    let first = stage.look(scenario, "")?;
    let Some((_, report)) = &first else { return Ok(first) };
    let found = |class: &&str| within_a_percent(report.lost_bytes(class), bytes_of(lost, class));
    let missed: Vec<&str> = CLASSES.into_iter().filter(|class| !found(class)).collect();
    if missed.is_empty() {
        return Ok(first);
    }
    stage.note(scenario, &format!("one look missed some of {}; once more", missed.join(", ")));
    stage.look(scenario, "")
}

fn bytes_of(lost: &[Truth], class: &str) -> u64 {
    lost.iter().map(|truth| truth.bytes_of(class, CPUS)).sum()
}

/// Every class that lost memory so far is found, to one percent of its bytes, worst first.
fn expect_lost(stage: &mut Stage, scenario: &str, code: i32, report: &Report, lost: &[Truth]) {
    let got = format!("{} (exit {code})", report.verdict);
    let ok = code == 1 && report.verdict == "leak";
    stage.check(scenario, "verdict", "leak (exit 1)", &got, ok);
    let caches = lost.iter().map(|truth| truth.cache.as_str());
    let caches = caches.filter(|cache| !CLASSES.contains(cache));
    for class in CLASSES.into_iter().chain(caches) {
        let wanted = bytes_of(lost, class);
        let found = report.lost_bytes(class);
        let what = format!("bytes of {class} lost");
        let ok = within_a_percent(found, wanted);
        stage.check(scenario, &what, &format!("{wanted} ± 1 %"), &found.to_string(), ok);
    }
    ordered(stage, scenario, report);
    for truth in lost.iter().filter(|truth| truth.other.is_some()) {
        let wanted = truth.other.as_ref().map_or("", |(class, _)| class);
        let finding = report.finding(&truth.cache);
        let got = finding.and_then(|finding| finding.lost_through.as_deref()).unwrap_or("nothing");
        let what = format!("{} is lost through", truth.cache);
        stage.check(scenario, &what, wanted, got, got == wanted);
    }
}

fn within_a_percent(found: u64, wanted: u64) -> bool {
    found.abs_diff(wanted) * 100 <= wanted
}

/// What is lost by itself comes worst first.
pub(super) fn ordered(stage: &mut Stage, scenario: &str, report: &Report) {
    let leaks = report.findings.iter().filter(|finding| finding.verdict == "leak");
    let roots: Vec<u64> = leaks
        .filter(|finding| finding.lost_through.is_none())
        .map(|finding| finding.unreachable_bytes.unwrap_or(0))
        .collect();
    let ok = roots.is_sorted_by(|a, b| a >= b);
    stage.check(scenario, "the order of the leaks", "worst first", &format!("{roots:?}"), ok);
}

/// The functions stand first in the finding about areas, in their order.
fn named(stage: &mut Stage, scenario: &str, report: &Report, wanted: &[&str]) {
    if wanted.is_empty() {
        return;
    }
    let functions = report.finding("vmalloc").map_or(&[][..], |f: &Finding| f.functions.as_slice());
    let got: Vec<String> = functions.iter().take(wanted.len()).map(Function::title).collect();
    stage.check(scenario, "functions", &wanted.join(", "), &got.join(", "), got == wanted);
}

/// `-t` judges one class and keeps silent about the others.
fn only(stage: &mut Stage) -> Result<()> {
    let Some((code, report)) = stage.look("classes: -t", "-t vmalloc")? else { return Ok(()) };
    let leaks = report.findings.iter().filter(|finding| finding.verdict == "leak");
    let got: Vec<&str> = leaks.map(|finding| finding.class.as_str()).collect();
    let ok = code == 1 && got == ["vmalloc"];
    let got = format!("{} (exit {code}): {}", report.verdict, got.join(", "));
    stage.check("classes: -t", "leaks told", "leak (exit 1): vmalloc", &got, ok);
    Ok(())
}

fn vmcore(stage: &mut Stage, held: &[Truth], lost: &[Truth]) -> Result<()> {
    let scenario = "classes: vmcore";
    let folder = stage.args.keep.clone().unwrap_or_else(|| stage.guest.folder.0.clone());
    let name = format!("{}-classes", stage.kernel.name);
    let truths = stage.guest.truths()?;
    let meminfo = counts::meminfo(stage)?;
    let vmcore = stage.guest.capture(&folder, &name, &truths)?;
    let meminfo = meminfo + &counts::meminfo(stage)?;
    if stage.args.drgn {
        drgn(stage, &vmcore, &folder.join(format!("{name}.truth.json")))?;
    }
    let dumps = [folder.join("classes-objects.txt"), folder.join("classes-lost.txt")];
    let told = super::vmcore::diagnose(stage, &vmcore, &dumps[0], &dumps[1])?;
    let Some((code, report)) = told else { return Ok(()) };
    expect_lost(stage, scenario, code, &report, lost);
    named(stage, scenario, &report, &ALL_CALLERS);
    counts::census(stage, scenario, &meminfo, &report.census);
    let mut slabs: Vec<&Truth> = held.iter().chain(lost).collect();
    slabs.retain(|truth| !CLASSES.contains(&truth.cache.as_str()));
    super::vmcore::by_address(stage, &slabs, &dumps[0], &dumps[1], &report)
}

/// What the modules say of their memory is what drgn finds.
fn drgn(stage: &mut Stage, vmcore: &Path, truth: &Path) -> Result<()> {
    let told = judge::drgn_memory(stage.kernel, vmcore, truth)?;
    for line in told.lines() {
        let (what, wrong) = line.rsplit_once(' ').unwrap_or((line, "nothing"));
        stage.check("classes: drgn", &format!("{what} right, wrong"), "0", wrong, wrong == "0");
    }
    let ok = told.lines().count() > HOLDING.len();
    stage.check("classes: drgn", "modules judged", "some", &told.lines().count().to_string(), ok);
    Ok(())
}
