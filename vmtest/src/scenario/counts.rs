//! The kernel's own counts, read before and after the walk, against the report's.

use anyhow::Result;
use serde_json::Value;

use super::Stage;
use crate::sysak::Report;
use crate::{meminfo, slabinfo};

/// Caches that grow and shrink again during one walk are rare, not impossible: a second try decides.
const TRIES: u32 = 2;

/// MemFree leaves out the pages on the per-CPU lists; the census does not.
const MEMINFO: &str = "cat /proc/meminfo; \
    awk '$1 == \"count:\" { n += $2 } END { print \"PcpFree: \" n * 4 \" kB\" }' /proc/zoneinfo";

/// What the kernel said around the time of the walk.
pub struct Bracket {
    /// Before and after.
    pub slabinfo: [String; 2],
    /// Any number of readings.
    pub meminfo: String,
}

/// The running guest. sysak's own memory belongs to the census it takes, so meminfo is read while it
/// runs, too.
pub fn live(stage: &mut Stage) -> Result<()> {
    let patience = stage.args.timeout_s;
    let options = stage.args.with_usual("--check --format json --all-caches");
    let command = format!("timeout {patience} sysak memleak {options}");
    let command = sampled(&command);
    for left in (0..TRIES).rev() {
        let before = slabinfo(stage)?;
        let Some((_, report)) = stage.diagnose_by("counts", &command)? else { return Ok(()) };
        let slabinfo = [before, slabinfo(stage)?];
        let bracket = Bracket { slabinfo, meminfo: samples(stage)? };
        if left == 0 || agrees(&bracket, &report) {
            compare(stage, "counts", &bracket, &report);
            break;
        }
        stage.note("counts", "differ at first; once more");
    }
    Ok(())
}

/// The command, with meminfo read again and again while it runs.
pub fn sampled(command: &str) -> String {
    format!(
        "(while :; do {MEMINFO}; sleep 0.3; done) >/tmp/meminfo 2>/dev/null & sampler=$!; \
         {command}; status=$?; kill $sampler; exit $status"
    )
}

/// What was read while the last such command ran.
pub fn samples(stage: &mut Stage) -> Result<String> {
    stage.guest.text("cat /tmp/meminfo")
}

pub fn slabinfo(stage: &mut Stage) -> Result<String> {
    stage.guest.text("cat /proc/slabinfo")
}

pub fn meminfo(stage: &mut Stage) -> Result<String> {
    stage.guest.text(MEMINFO)
}

fn agrees(bracket: &Bracket, report: &Report) -> bool {
    let [first, last] = &bracket.slabinfo;
    let slabs = slabinfo::disagreements(first, last, &report.caches).1;
    slabs.is_empty() && meminfo::disagreements(&bracket.meminfo, &report.census).is_empty()
}

/// Slab totals cache by cache, and the census.
pub fn compare(stage: &mut Stage, scenario: &str, bracket: &Bracket, report: &Report) {
    let [first, last] = &bracket.slabinfo;
    let (compared, wrong) = slabinfo::disagreements(first, last, &report.caches);
    let expected = format!("{compared} caches in range");
    let got = if wrong.is_empty() { expected.clone() } else { wrong.join("; ") };
    let ok = wrong.is_empty() && compared > 0;
    stage.check(scenario, "slab totals against slabinfo", &expected, &got, ok);
    census(stage, scenario, &bracket.meminfo, &report.census);
}

/// The census against meminfo, leaf by leaf, and its sum to the byte.
pub fn census(stage: &mut Stage, scenario: &str, readings: &str, census: &Value) {
    let wrong = meminfo::disagreements(readings, census);
    let got = if wrong.is_empty() { "every leaf".into() } else { wrong.join("; ") };
    stage.check(scenario, "census against meminfo", "every leaf", &got, wrong.is_empty());
    let gap = meminfo::gap_bytes(census);
    let got = gap.map_or("no census".into(), |gap| format!("{gap} bytes"));
    stage.check(scenario, "total less the census's leaves", "0 bytes", &got, gap == Some(0));
}
