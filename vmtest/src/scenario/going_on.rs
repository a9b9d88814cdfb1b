//! `sysak` watching modules that go on losing pages, vmalloc areas and per-CPU memory: the class, the
//! bytes and the function of each, and of two at once.
//!
//! One after the other; what the earlier ones lost stays lost, and counts.

use anyhow::Result;

use super::{Stage, classes, trace};
use crate::args::Args;
use crate::qemu::CPUS;
use crate::sysak::Report;
use crate::truth::Truth;

/// Modules that lose memory at the same time.
struct Loss {
    part: &'static str,
    modules: &'static [Module],
}

struct Module {
    name: &'static str,
    class: &'static str,
    function: &'static str,
    /// The kernel keeps who asked for an area: no event needs to be seen for that.
    kept_by_kernel: bool,
}

const PAGES: Module =
    Module { name: "pages", class: "page", function: "pages_lose", kept_by_kernel: false };
const PAGES2: Module =
    Module { name: "pages2", class: "page", function: "pages2_lose", kept_by_kernel: false };
const VMLEAK: Module =
    Module { name: "vmleak", class: "vmalloc", function: "vmleak_big", kept_by_kernel: true };
const PCPULEAK: Module =
    Module { name: "pcpuleak", class: "percpu", function: "pcpuleak_lose", kept_by_kernel: false };

const LOSSES: [Loss; 5] = [
    Loss { part: "pages", modules: &[PAGES] },
    Loss { part: "pages2", modules: &[PAGES2] },
    Loss { part: "vmleak", modules: &[VMLEAK] },
    Loss { part: "pcpuleak", modules: &[PCPULEAK] },
    Loss { part: "two", modules: &[PAGES, VMLEAK] },
];

/// Whether any of them is to run.
pub fn wanted(args: &Args) -> bool {
    LOSSES.iter().any(|loss| args.wants(loss.part))
}

pub fn run(stage: &mut Stage) -> Result<()> {
    let mut gone = Vec::new();
    for loss in LOSSES {
        if stage.args.wants(loss.part) {
            watch(stage, &loss, &mut gone)?;
        }
    }
    Ok(())
}

/// Loads the modules, watches them, and unloads them; `gone` is what unloaded modules had lost.
fn watch(stage: &mut Stage, loss: &Loss, gone: &mut Vec<Truth>) -> Result<()> {
    let scenario = format!("going on: {}", loss.part);
    for module in loss.modules {
        stage.guest.insert(module.name)?;
    }
    let before = lost(stage, loss)?;
    let watched = trace::watch(stage, &scenario, loss.part)?;
    let after = lost(stage, loss)?;
    if let Some((code, report)) = watched {
        judge(stage, &scenario, loss, code, &report);
        let mut classes: Vec<&str> = loss.modules.iter().map(|module| module.class).collect();
        classes.extend(gone.iter().map(|truth| truth.cache.as_str()));
        classes.sort_unstable();
        classes.dedup();
        for class in &classes {
            let sum = |truths: &[Truth]| {
                truths.iter().map(|truth| truth.bytes_of(class, CPUS)).sum::<u64>()
            };
            let range = [sum(gone) + sum(&before), sum(gone) + sum(&after)];
            amount(stage, &scenario, class, range, &report);
        }
        trace::expect_no_other_leak(stage, &scenario, &report, &classes);
    }
    for module in loss.modules {
        gone.push(stage.guest.truth(module.name)?);
        stage.guest.remove(module.name)?;
    }
    Ok(())
}

/// What the modules have lost so far.
fn lost(stage: &mut Stage, loss: &Loss) -> Result<Vec<Truth>> {
    loss.modules.iter().map(|module| stage.guest.truth(module.name)).collect()
}

fn judge(stage: &mut Stage, scenario: &str, loss: &Loss, code: i32, report: &Report) {
    let got = format!("{} (exit {code})", report.verdict);
    let ok = code == 1 && report.verdict == "leak";
    stage.check(scenario, "verdict", "leak (exit 1)", &got, ok);
    classes::ordered(stage, scenario, report);
    for module in loss.modules {
        let function = format!("{} [sysaktest_{}]", module.function, module.name);
        let finding = report.finding(module.class);
        if module.kept_by_kernel {
            trace::expect_first(stage, scenario, finding, module.class, &function);
        } else {
            trace::expect_named(stage, scenario, finding, module.class, &function);
        }
    }
}

/// The bytes lie between what was lost before the run and what was lost after it, to one percent.
fn amount(stage: &mut Stage, scenario: &str, class: &str, range: [u64; 2], report: &Report) {
    let [low, high] = range;
    let found = report.lost_bytes(class);
    let ok = found + low / 100 >= low && found <= high + high / 100;
    let expected = format!("{low}..{high} ± 1 %");
    stage.check(scenario, &format!("bytes of {class} lost"), &expected, &found.to_string(), ok);
}
