//! `sysak` watching modules that go on losing pages, vmalloc areas and per-CPU memory: the class, the
//! bytes and the function of each, and of two at once.
//!
//! One after the other; what the earlier ones lost stays lost, and counts. They stay loaded and are told
//! to wait: of an area the kernel keeps an address in who asked for it, which the next module may get.

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
    /// How often a second it loses something.
    rate: u32,
    /// The kernel keeps who asked for an area: no event needs to be seen for that.
    kept_by_kernel: bool,
}

impl Module {
    const fn new(name: &'static str, class: &'static str, function: &'static str) -> Module {
        Module { name, class, function, rate: 4, kept_by_kernel: false }
    }
}

const PAGES: Module = Module::new("pages", "page", "pages_lose");
const PAGES2: Module = Module::new("pages2", "page", "pages2_lose");
const VMLEAK: Module =
    Module { rate: 1, kept_by_kernel: true, ..Module::new("vmleak", "vmalloc", "vmleak_big") };
const PCPULEAK: Module = Module { rate: 2, ..Module::new("pcpuleak", "percpu", "pcpuleak_lose") };

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
    for loss in LOSSES {
        if stage.args.wants(loss.part) {
            watch(stage, &loss)?;
        }
    }
    Ok(())
}

/// Watches the modules while they lose memory.
fn watch(stage: &mut Stage, loss: &Loss) -> Result<()> {
    let scenario = format!("going on: {}", loss.part);
    for module in loss.modules {
        pace(stage, module, module.rate)?;
    }
    let before = stage.guest.truths()?;
    // What was lost last is still on the stack of whoever lost it: reachable, rightly, until more is lost.
    stage.guest.text("sleep 4")?;
    let watched = trace::watch(stage, &scenario, loss.part)?;
    let after = stage.guest.truths()?;
    for module in loss.modules {
        pace(stage, module, 0)?;
    }
    let Some((code, report)) = watched else { return Ok(()) };
    judge(stage, &scenario, loss, code, &report);
    let mut classes: Vec<&str> = after.iter().map(|truth| truth.cache.as_str()).collect();
    classes.sort_unstable();
    classes.dedup();
    for class in &classes {
        let sum = |truths: &[Truth]| truths.iter().map(|truth| truth.bytes_of(class, CPUS)).sum();
        amount(stage, &scenario, class, [sum(&before), sum(&after)], &report);
    }
    trace::expect_no_other_leak(stage, &scenario, &report, &classes);
    Ok(())
}

/// Loads a module, or sets the rate of one that is loaded.
fn pace(stage: &mut Stage, module: &Module, rate: u32) -> Result<()> {
    let name = module.name;
    let parameter = format!("/sys/module/sysaktest_{name}/parameters/rate");
    let insert = format!("insmod /test/sysaktest_{name}.ko rate={rate}");
    // A step that has begun ends.
    let set = format!("echo {rate} >{parameter} && sleep 1");
    stage.guest.text(&format!("if [ -e {parameter} ]; then {set}; else {insert}; fi")).map(drop)
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
