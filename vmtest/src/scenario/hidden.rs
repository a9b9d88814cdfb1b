//! Objects that no aligned pointer leads to: rings of physical addresses whose buffers are replaced, pages with
//! offsets, packed structures, distances; and what the rings of real network drivers have under traffic. None of
//! them may be accused. Then a module loses objects that a log and
//! counters seem to hold, and must be accused. Live and from the vmcore of the same guest.

use anyhow::Result;

use super::Stage;
use crate::qemu::NETWORK_DEVICES;
use crate::sysak::{Finding, Report};
use crate::truth::Truth;

/// A module that holds objects so, and what is told of them: the cache and the shape.
struct Held {
    module: &'static str,
    told: &'static [(&'static str, &'static str)],
    /// Whether its objects are replaced all the time: where a look needs a second one, that clears them, too.
    turns: bool,
}

const HOLDING: [Held; 5] = [
    Held { module: "physring", told: &[("kmalloc-1k", "physical_address")], turns: true },
    Held { module: "smallring", told: &[("kmalloc-4k", "physical_address")], turns: true },
    // Marking sees these itself.
    Held { module: "records", told: &[], turns: false },
    Held {
        module: "packed",
        told: &[("kmalloc-128", "unaligned"), ("kmalloc-96", "unaligned")],
        turns: false,
    },
    Held { module: "offset32", told: &[("kmalloc-192", "offset_32")], turns: false },
];
const LOSING: &str = "stale";
/// A driver that loses buffers which its device may still have, and their cache.
const DRIVER: (&str, &str) = ("driver", "kmalloc-8k");

/// A module that replaces objects which nothing shows to be held, and their cache.
const TURNING: (&str, &str) = ("beside", "kmalloc-256");
/// What it loses in the same cache.
const BESIDE: u64 = 1500;

pub fn run(stage: &mut Stage) -> Result<()> {
    network(stage)?;
    turning(stage)?;
    let mut truths = Vec::new();
    for held in &HOLDING {
        truths.push(stage.guest.load(held.module)?);
    }
    rest(stage)?;
    if let Some((code, report)) = stage.look("hidden: held", "")? {
        stage.expect_no_leak("hidden: held", code, &report);
        expect_told(stage, "hidden: held", &report, &HOLDING);
    }
    let lost = stage.guest.load(LOSING)?;
    rest(stage)?;
    if let Some((code, report)) = stage.look("hidden: lost", "")? {
        stage.expect_leak("hidden: lost", code, &report, &lost);
        stage.expect_few_accused("hidden: lost", &report, std::slice::from_ref(&lost));
        // What is lost asks for a second look, which sees the others turn.
        let still = HOLDING.into_iter().filter(|held| !held.turns).collect::<Vec<_>>();
        expect_told(stage, "hidden: lost", &report, &still);
    }
    truths.push(lost);
    driver(stage)?;
    vmcore(stage)
}

/// Real drivers with rings of physical addresses, under traffic for as long as the guest lives.
fn network(stage: &mut Stage) -> Result<()> {
    let drivers = stage.guest.start_network()?;
    let got: Vec<String> =
        drivers.iter().map(|(driver, packets)| format!("{packets} {driver}")).collect();
    let ok =
        drivers.len() == NETWORK_DEVICES.len() && drivers.iter().all(|(_, packets)| *packets > 0);
    let wanted = format!("packets by {} drivers", NETWORK_DEVICES.len());
    stage.check("hidden: network", "its devices receive", &wanted, &got.join(", "), ok);
    Ok(())
}

/// Objects that come and go are in use, whatever holds them. Whether old ones beside them are lost, nobody can tell.
fn turning(stage: &mut Stage) -> Result<()> {
    let (module, cache) = TURNING;
    let moved = |report: &Report| report.finding(cache).and_then(|found| found.moved_suspects);
    stage.guest.load(module)?;
    rest(stage)?;
    if let Some((code, report)) = stage.look("hidden: turning", "")? {
        stage.expect_no_leak("hidden: turning", code, &report);
        let got = moved(&report).unwrap_or(0);
        stage.check("hidden: turning", "objects moved", "64 or more", &got.to_string(), got >= 64);
    }
    stage.guest.remove(module)?;
    let lost = stage.guest.load_with(module, &format!("lost={BESIDE}"))?;
    rest(stage)?;
    let scenario = "hidden: beside";
    if let Some((code, report)) = stage.look(scenario, "")? {
        let got = format!("{} (exit {code})", report.verdict);
        let ok = code == 2 && report.verdict == "undetermined";
        stage.check(scenario, "verdict", "undetermined (exit 2)", &got, ok);
        let still = report.unreachable(cache);
        let ok = moved(&report) > Some(0) && lost.nearly_all(still) && still <= BESIDE + 20;
        let got = format!("{still}, {} moved", moved(&report).unwrap_or(0));
        stage.check(scenario, "objects that stood still", &BESIDE.to_string(), &got, ok);
    }
    stage.guest.remove(module)
}

/// Of a driver it is said that what only its device has cannot be seen.
fn driver(stage: &mut Stage) -> Result<()> {
    let scenario = "hidden: driver";
    let lost = stage.guest.load(DRIVER.0)?;
    rest(stage)?;
    if let Some((code, report)) = stage.look(scenario, "")? {
        stage.expect_leak(scenario, code, &report, &lost);
        expect_given_away(stage, scenario, &report);
    }
    Ok(())
}

fn expect_given_away(stage: &mut Stage, scenario: &str, report: &Report) {
    let (module, cache) = DRIVER;
    let told = |finding: &Finding| {
        let given = finding.given_away.iter();
        let given =
            given.map(|one| format!("to a {} by {} of {}", one.to, one.function, one.module));
        format!(
            "{}: {}",
            finding.cache.as_deref().unwrap_or("?"),
            given.collect::<Vec<_>>().join(", ")
        )
    };
    let given = report.findings.iter().filter(|finding| !finding.given_away.is_empty());
    let got = given.map(told).collect::<Vec<_>>().join("; ");
    let wanted = format!("{cache}: to a device by driver_post of sysaktest_{module}");
    stage.check(scenario, "who gives addresses away", &wanted, &got, got == wanted);
}

/// Other tasks write over what is left of the loading one.
fn rest(stage: &mut Stage) -> Result<()> {
    stage.guest.text("for n in $(seq 50); do cat /proc/self/stat >/dev/null; done").map(drop)
}

/// Each cache is told with the shape and with the module that holds its objects, or as one whose objects moved.
fn expect_told(stage: &mut Stage, scenario: &str, report: &Report, holding: &[Held]) {
    for held in holding {
        let module = format!("[sysaktest_{}]", held.module);
        for (cache, shape) in held.told {
            let finding = report.finding(cache);
            let told = finding.map_or(&[][..], |found| &found.hidden_references);
            let moved = finding.and_then(|found| found.moved_suspects).filter(|_| held.turns);
            let got = told
                .iter()
                .map(|one| format!("{} as {} by {}", one.objects, one.shape, one.holder))
                .chain(moved.map(|moved| format!("{moved} moved")))
                .collect::<Vec<_>>();
            let is_told =
                told.iter().any(|one| one.shape == *shape && one.holder.ends_with(&module));
            let ok = is_told || moved.is_some_and(|moved| moved > 0);
            let wanted = match held.turns {
                true => format!("{shape} by {module}, or moved"),
                false => format!("{shape} by {module}"),
            };
            stage.check(scenario, &format!("who holds {cache}"), &wanted, &got.join(", "), ok);
        }
    }
}

fn vmcore(stage: &mut Stage) -> Result<()> {
    let scenario = "hidden: vmcore";
    let folder = stage.args.keep.clone().unwrap_or_else(|| stage.guest.folder.0.clone());
    let name = format!("{}-hidden", stage.kernel.name);
    // The ring's buffers are replaced: what it has when the image is made is what counts.
    for module in ["physring", "smallring"] {
        stage.guest.text(&format!("echo 0 >/sys/module/sysaktest_{module}/parameters/rate"))?;
    }
    let truths = stage.guest.truths()?;
    let vmcore = stage.guest.capture(&folder, &name, &truths)?;
    let dumps = [folder.join("hidden-objects.txt"), folder.join("hidden-lost.txt")];
    let told = super::vmcore::diagnose(stage, &vmcore, &dumps[0], &dumps[1])?;
    let Some((code, report)) = told else { return Ok(()) };
    let lost: Vec<&Truth> = truths.iter().filter(|truth| truth.role == "lost").collect();
    for truth in lost {
        stage.expect_leak(scenario, code, &report, truth);
    }
    expect_told(stage, scenario, &report, &HOLDING);
    expect_given_away(stage, scenario, &report);
    let truths: Vec<&Truth> = truths.iter().collect();
    super::vmcore::by_address(stage, &truths, &dumps[0], &dumps[1], &report)
}
