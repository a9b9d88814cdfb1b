//! The kernel's own counts, read before and after the walk, against the report's.

use anyhow::Result;

use super::Stage;
use crate::sysak::Report;
use crate::{meminfo, slabinfo};

/// Caches that grow and shrink again during one walk are rare, not impossible: a second try decides.
const TRIES: u32 = 2;

/// What the kernel said before and after.
pub struct Bracket {
    pub slabinfo: [String; 2],
    pub meminfo: [String; 2],
}

pub fn live(stage: &mut Stage) -> Result<()> {
    for left in (0..TRIES).rev() {
        let before = kernel_says(stage)?;
        let Some((_, report)) = stage.diagnose("counts", "--all-caches")? else { return Ok(()) };
        let after = kernel_says(stage)?;
        let bracket = Bracket { slabinfo: [before.0, after.0], meminfo: [before.1, after.1] };
        if left == 0 || agrees(&bracket, &report) {
            compare(stage, "counts", &bracket, &report);
            break;
        }
        stage.note("counts", "differ at first; once more");
    }
    Ok(())
}

/// MemFree leaves out the pages on the per-CPU lists; the census does not.
const MEMINFO: &str = "cat /proc/meminfo; \
    awk '$1 == \"count:\" { n += $2 } END { print \"PcpFree: \" n * 4 \" kB\" }' /proc/zoneinfo";

/// The guest's slabinfo and meminfo, now.
pub fn kernel_says(stage: &mut Stage) -> Result<(String, String)> {
    Ok((stage.guest.text("cat /proc/slabinfo")?, stage.guest.text(MEMINFO)?))
}

fn agrees(bracket: &Bracket, report: &Report) -> bool {
    let [first, last] = &bracket.slabinfo;
    let slabs = slabinfo::disagreements(first, last, &report.caches).1;
    let [first, last] = &bracket.meminfo;
    slabs.is_empty() && meminfo::disagreements(first, last, &report.census).is_empty()
}

/// Slab totals cache by cache, the census leaf by leaf, and its sum to the byte.
pub fn compare(stage: &mut Stage, scenario: &str, bracket: &Bracket, report: &Report) {
    let [first, last] = &bracket.slabinfo;
    let (compared, wrong) = slabinfo::disagreements(first, last, &report.caches);
    let expected = format!("{compared} caches in range");
    let got = if wrong.is_empty() { expected.clone() } else { wrong.join("; ") };
    let ok = wrong.is_empty() && compared > 0;
    stage.check(scenario, "slab totals against slabinfo", &expected, &got, ok);
    let [first, last] = &bracket.meminfo;
    let wrong = meminfo::disagreements(first, last, &report.census);
    let got = if wrong.is_empty() { "every leaf".into() } else { wrong.join("; ") };
    stage.check(scenario, "census against meminfo", "every leaf", &got, wrong.is_empty());
    let gap = meminfo::gap_bytes(&report.census);
    let got = gap.map_or("no census".into(), |gap| format!("{gap} bytes"));
    stage.check(scenario, "total less the census's leaves", "0 bytes", &got, gap == Some(0));
}
