//! Counted objects, of which modules lose references: who allocated them is innocent.

use anyhow::Result;

use super::{Stage, vmcore};
use crate::sysak::{Finding, Report};
use crate::truth::Truth;

/// A module, what is counted, the function that takes references, and what it calls for that.
struct Loser {
    module: &'static str,
    kind: &'static str,
    function: &'static str,
    calls: &'static str,
}

const LOSERS: [Loser; 2] = [
    Loser { module: "cred", kind: "cred", function: "cred_take", calls: "get_task_cred" },
    Loser { module: "tap", kind: "sk_buff", function: "tap_lose", calls: "dev_add_pack" },
];

/// One module after the other, live; then both in the vmcore.
pub fn run(stage: &mut Stage) -> Result<()> {
    let mut truths: Vec<Truth> = Vec::new();
    for loser in &LOSERS {
        truths.push(stage.guest.load(loser.module)?);
        stage.guest.text("for n in $(seq 50); do cat /proc/self/stat >/dev/null; done")?;
        let scenario = format!("counted: {}", loser.module);
        if let (Some((code, report)), Some(truth)) = (stage.look(&scenario, "")?, truths.last()) {
            stage.expect_leak(&scenario, code, &report, truth);
            expect_counted(stage, &scenario, &report, loser, truth);
        }
    }
    let Some((code, report)) = vmcore::capture_and_diagnose(stage, "counted", &truths)? else {
        return Ok(());
    };
    for (loser, truth) in LOSERS.iter().zip(&truths) {
        let scenario = format!("counted vmcore: {}", loser.module);
        stage.expect_leak(&scenario, code, &report, truth);
        expect_counted(stage, &scenario, &report, loser, truth);
    }
    Ok(())
}

/// The objects are called counted, the module's function is listed, and nobody is accused.
fn expect_counted(
    stage: &mut Stage,
    scenario: &str,
    report: &Report,
    loser: &Loser,
    truth: &Truth,
) {
    let Some(found) = report.finding(&truth.cache) else { return };
    let got = found.counted.as_ref().map_or("not counted", |counted| counted.kind.as_str());
    stage.check(scenario, "what is counted", loser.kind, got, got == loser.kind);
    let takers = takers(found);
    let wanted = format!("{} of sysaktest_{} calls {}", loser.function, loser.module, loser.calls);
    let ok = takers.contains(&wanted);
    stage.check(scenario, "who takes references", &wanted, &takers.join(", "), ok);
    let accuses = found
        .advice
        .iter()
        .find(|advice| ["distribution", "never freed"].iter().any(|word| advice.contains(word)));
    let got = accuses.map_or("nobody", String::as_str);
    stage.check(scenario, "who is reported to somebody", "nobody", got, accuses.is_none());
}

fn takers(found: &Finding) -> Vec<String> {
    let takers = found.counted.as_ref().and_then(|counted| counted.takers.as_deref());
    let takers = takers.unwrap_or_default().iter();
    takers.map(|one| format!("{} of {} calls {}", one.function, one.module, one.calls)).collect()
}
