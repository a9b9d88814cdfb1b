//! Memory of a process that has ended, to which references were lost: no leak of kernel memory, but a question.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{Stage, graph, vmcore};
use crate::sysak::Ownerless;

const LOST_MIB: i64 = 64;
const PINNED_MIB: i64 = 24;
/// A CPU has a few pages of its own on their way.
const SLACK_BYTES: i64 = 2 << 20;

/// While the process lives, its memory is its own; afterwards it is nobody's, live and in the vmcore.
pub fn run(stage: &mut Stage) -> Result<()> {
    stage.guest.insert("pin")?;
    let patience = Duration::from_secs(stage.args.timeout_s);
    let output = stage.guest.run(&format!("load lost 1 {LOST_MIB} {PINNED_MIB}"), patience)?;
    if output.code != 0 {
        bail!("the load ended with {}: {}", output.code, output.errors());
    }
    look(stage, "ownerless: alive", None)?;
    stage.guest.text("kill $(pidof load-lost); sleep 2")?;
    look(stage, "ownerless: ended", Some(LOST_MIB))?;
    as_graph(stage)?;
    if let Some((code, report)) = vmcore::capture_and_diagnose(stage, "ownerless", &[])? {
        stage.expect_no_leak("ownerless: vmcore", code, &report);
        expect(stage, "ownerless: vmcore", report.ownerless, Some(LOST_MIB));
    }
    Ok(())
}

fn look(stage: &mut Stage, scenario: &str, mib: Option<i64>) -> Result<()> {
    if let Some((code, report)) = stage.look(scenario, "")? {
        stage.expect_no_leak(scenario, code, &report);
        expect(stage, scenario, report.ownerless, mib);
    }
    Ok(())
}

fn expect(stage: &mut Stage, scenario: &str, got: Option<Ownerless>, mib: Option<i64>) {
    let near = |bytes: i64, mib: i64| (bytes - (mib << 20)).abs() <= SLACK_BYTES;
    let ok = match (&got, mib) {
        (None, None) => true,
        (Some(got), Some(mib)) => near(got.bytes, mib) && near(got.pinned_bytes, PINNED_MIB),
        _ => false,
    };
    let wanted = mib.map(|mib| format!("{mib} MiB, {PINNED_MIB} MiB pinned"));
    let wanted = wanted.unwrap_or_else(|| "nothing".to_owned());
    stage.check(scenario, "memory of no process", &wanted, &format!("{got:?}"), ok);
}

/// `memgraph` says the same, and in words.
fn as_graph(stage: &mut Stage) -> Result<()> {
    let scenario = "ownerless: memgraph";
    let got = graph::unchecked(stage)?.and_then(|graph| graph.ownerless());
    expect(stage, scenario, got, Some(LOST_MIB));
    let words = [("en", "belongs to no process any more"), ("zh", "已不属于任何进程")];
    graph::expect_words(stage, scenario, words)
}
