//! Counters of the kernel that say what is not there: no leak, and said so.

use anyhow::Result;

use super::{Stage, graph, vmcore};
use crate::sysak::{Counter, Report};

/// What the module adds to the counters.
const ADDED: [(&str, i64); 2] = [("SUnreclaim", 200 << 20), ("Shmem", 100 << 20)];
/// Before v6.14 nothing tells large kmallocs from other compound pages.
const SLACK_BYTES: i64 = 8 << 20;

/// Before, with, and after the module that makes them wrong; with it also as a graph and from the vmcore.
pub fn run(stage: &mut Stage) -> Result<()> {
    let before = look(stage, "counters: right", &[])?;
    stage.guest.insert("drift")?;
    let with = look(stage, "counters: wrong", &ADDED)?;
    if let (Some(before), Some(with)) = (before, with) {
        let moved = with - before;
        let ok = moved.abs() <= SLACK_BYTES;
        let expected = format!("0 ± {SLACK_BYTES}");
        let what = "bytes of slabs that came with it";
        stage.check("counters: wrong", what, &expected, &moved.to_string(), ok);
    }
    as_graph(stage)?;
    if let Some((code, report)) = vmcore::capture_and_diagnose(stage, "counters", &[])? {
        stage.expect_no_leak("counters: vmcore", code, &report);
        expect(stage, "counters: vmcore", &report.counters, &ADDED);
    }
    stage.guest.remove("drift")?;
    look(stage, "counters: right again", &[])?;
    Ok(())
}

/// A look that finds no leak and these counters wrong; what slabs take that stay.
fn look(stage: &mut Stage, scenario: &str, wrong: &[(&str, i64)]) -> Result<Option<i64>> {
    let Some((code, report)) = stage.look(scenario, "")? else { return Ok(None) };
    stage.expect_no_leak(scenario, code, &report);
    expect(stage, scenario, &report.counters, wrong);
    Ok(slab_bytes(&report))
}

fn slab_bytes(report: &Report) -> Option<i64> {
    report.census.pointer("/kernel/slab_unreclaimable_bytes")?.as_i64()
}

fn expect(stage: &mut Stage, scenario: &str, got: &[Counter], wrong: &[(&str, i64)]) {
    let gap = |one: &Counter| one.kernel_says_bytes - one.found_bytes;
    let is = |(one, (name, added)): (&Counter, &(&str, i64))| {
        one.name == *name && (gap(one) - added).abs() <= SLACK_BYTES
    };
    let ok = got.len() == wrong.len() && got.iter().zip(wrong).all(is);
    let got: Vec<_> = got.iter().map(|one| (one.name.as_str(), gap(one))).collect();
    stage.check(scenario, "wrong counters", &format!("{wrong:?}"), &format!("{got:?}"), ok);
}

/// `memgraph` says the same, and in words.
fn as_graph(stage: &mut Stage) -> Result<()> {
    let scenario = "counters: memgraph";
    let counters = graph::unchecked(stage)?.map(|graph| graph.counters()).unwrap_or_default();
    expect(stage, scenario, &counters, &ADDED);
    graph::expect_words(stage, scenario, [("en", "it is wrong by 200"), ("zh", "计数器多计了 200")])
}
