//! Whether a test module does what its truth says, by the kernel's own counts and without `sysak`.

use anyhow::Result;

use super::{Stage, counts};
use crate::meminfo;
use crate::qemu::CPUS;
use crate::truth::Truth;

/// What else comes and goes while a module is loaded: its text, its record of addresses, the shell's pages.
const NOISE_BYTES: u64 = 3 << 20;
/// Per-CPU memory comes from the page allocator in whole pages, and holes are filled first.
const PERCPU_NOISE_BYTES: u64 = 128 << 10;
const PAGE_BYTES: u64 = 4096;
/// How often a list that changes while it is read is read at most.
const READINGS: u32 = 5;

/// Loads a module and checks its truth by what the kernel says before and after.
pub fn load(stage: &mut Stage, module: &str, parameters: &str) -> Result<Truth> {
    let before = counts::meminfo(stage)?;
    let truth = stage.guest.load_with(module, parameters)?;
    let readings = before + &counts::meminfo(stage)?;
    let scenario = format!("truth: {module}");
    let fell = meminfo::fall(&readings, &["MemFree", "PcpFree"]);
    let mut classes = vec!["page", "vmalloc", "percpu", truth.cache.as_str()];
    classes.sort_unstable();
    classes.dedup();
    let all: u64 = classes.iter().map(|class| truth.bytes_of(class, CPUS)).sum();
    near(stage, &scenario, "free memory fell by", [all, NOISE_BYTES], fell);
    let percpu = truth.bytes_of("percpu", CPUS);
    if percpu > 0 {
        let rose = -meminfo::fall(&readings, &["Percpu"]);
        near(stage, &scenario, "Percpu rose by", [percpu, PERCPU_NOISE_BYTES], rose);
    }
    if truth.bytes_of("vmalloc", CPUS) > 0 {
        areas(stage, &scenario, &truth)?;
    }
    Ok(truth)
}

fn near(stage: &mut Stage, scenario: &str, what: &str, [wanted, noise]: [u64; 2], got: i64) {
    let slack = noise + wanted / 20;
    let ok = u64::try_from(got).is_ok_and(|got| got.abs_diff(wanted) <= slack);
    stage.check(scenario, what, &format!("{wanted} ± {slack}"), &got.to_string(), ok);
}

/// The areas that the module's functions asked for, to the byte. They have its name before theirs; the
/// module's record of addresses, which is not lost, was asked for by another.
fn areas(stage: &mut Stage, scenario: &str, truth: &Truth) -> Result<()> {
    let command = format!("grep ' {}_.* pages=' /proc/vmallocinfo", truth.name);
    let pages = |row: &str| {
        let word = row.split_whitespace().find_map(|word| word.strip_prefix("pages="));
        word.and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0)
    };
    let wanted = truth.bytes_of("vmalloc", CPUS);
    let (mut rows, mut bytes) = (0, 0);
    // The kernel goes on by the number of rows that it has given: one that comes or goes meanwhile shifts the others.
    for _ in 0..READINGS {
        let text = stage.guest.text(&command)?;
        rows = text.lines().count();
        bytes = text.lines().map(|row| pages(row) * PAGE_BYTES).sum();
        if bytes == wanted {
            break;
        }
    }
    let what = format!("bytes in {rows} rows of vmallocinfo");
    stage.check(scenario, &what, &wanted.to_string(), &bytes.to_string(), bytes == wanted);
    Ok(())
}
