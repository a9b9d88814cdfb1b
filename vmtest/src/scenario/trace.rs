//! `sysak` watching allocations in the running guest: it must name the functions that go on losing
//! objects, and nobody where nothing is lost.
//!
//! One module after the other; what the earlier ones lost stays lost, in caches of their own.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Stage, live};
use crate::agent::Output;
use crate::args::Args;
use crate::distro::Kernel;
use crate::sysak::{Finding, Function, Report};
use crate::text::LANGUAGES;

/// A module that goes on losing objects.
struct Leak {
    module: &'static str,
    /// The caches that lose objects, and the function that is to blame for each.
    blamed: &'static [(&'static str, &'static str)],
    /// Caches whose objects are lost through those.
    through: &'static [&'static str],
}

/// The leaks on a kernel. The one that has lost the most comes last, so that it slows down no other.
fn leaks_on(kernel: &Kernel) -> [Leak; 4] {
    // Before, the allocation of each socket buffer raised an event. Since Linux v6.19 (commit 21664814b89e) a CPU
    // allocates them in bulk, without one, and only their data tell who asked for them.
    let wrapper = match kernel.version() < (6, 19) {
        true => WRAPPER,
        false => Leak {
            blamed: &[("kmalloc-96", "wrapper_lose_copy"), ("kmalloc-1k", "wrapper_lose_skb")],
            through: &["skbuff_head_cache"],
            ..WRAPPER
        },
    };
    [wrapper, SLOW, CHURN, BOND]
}

const WRAPPER: Leak = Leak {
    module: "wrapper",
    blamed: &[("kmalloc-96", "wrapper_lose_copy"), ("skbuff_head_cache", "wrapper_lose_skb")],
    through: &["kmalloc-1k"],
};
const SLOW: Leak = Leak { module: "slow", blamed: &[("kmalloc-192", "slow_lose")], through: &[] };
const CHURN: Leak =
    Leak { module: "churn", blamed: &[("kmalloc-512", "churn_request")], through: &[] };
const BOND: Leak =
    Leak { module: "bond", blamed: &[("kmalloc-64", "bond_vminfo_add")], through: &[] };

/// Objects in flight that a report may take for lost, over all functions that lose none.
const IN_FLIGHT: u64 = 10;

/// Whether any of them is to run.
pub fn wants_leaks(args: &Args) -> bool {
    [WRAPPER, SLOW, CHURN, BOND].iter().any(|leak| args.wants(leak.module))
}

/// Every module that goes on losing objects.
pub fn leaks(stage: &mut Stage) -> Result<()> {
    let mut lossy = Vec::new();
    for leak in leaks_on(stage.kernel) {
        if stage.args.wants(leak.module) {
            lossy.extend(
                leak.blamed.iter().map(|&(cache, _)| cache).chain(leak.through.iter().copied()),
            );
            stage.guest.insert(leak.module)?;
            name(stage, &leak, &lossy)?;
            if leak.module == BOND.module {
                tell(stage)?;
            }
            stage.guest.remove(leak.module)?;
        }
    }
    Ok(())
}

/// What loses nothing.
pub fn innocent(stage: &mut Stage) -> Result<()> {
    if stage.args.wants("rcu") {
        clean(stage)?;
    }
    if stage.args.wants("grow") {
        grows(stage)?;
    }
    Ok(())
}

/// Forks, files, sockets, and thousands of objects a second through `kfree_rcu`: nobody is to blame.
///
/// Wants a boot of its own: the kernel keeps a few spare pages for `kfree_rcu`, which still hold the
/// addresses of what was freed. Where objects are lost later, they make some of them reachable.
fn clean(stage: &mut Stage) -> Result<()> {
    let scenario = "traced: rcu, busy";
    let busy = live::keep_busy(stage)?;
    stage.guest.insert("rcu")?;
    if let Some((code, report)) = watch(stage, scenario, "rcu")? {
        stage.expect_no_leak(scenario, code, &report);
        expect_no_other_leak(stage, scenario, &report, &[]);
    }
    stage.guest.text(&format!("kill {busy}"))?;
    stage.guest.remove("rcu")
}

/// A module that grows without bound and loses nothing: suspected, and named.
fn grows(stage: &mut Stage) -> Result<()> {
    let (scenario, cache, function) = ("traced: grow", "kmalloc-1k", "grow_add [sysaktest_grow]");
    stage.guest.insert("grow")?;
    if let Some((code, report)) = watch(stage, scenario, "grow")? {
        let got = format!("{} (exit {code})", report.verdict);
        let ok = code == 1 && report.verdict == "suspected";
        stage.check(scenario, "verdict", "suspected (exit 1)", &got, ok);
        let finding = report.finding(cache);
        let got = finding.map_or("no finding", |finding| finding.verdict.as_str());
        let what = format!("finding about {cache}");
        stage.check(scenario, &what, "suspected", got, got == "suspected");
        let first = finding.and_then(|finding| finding.functions.first());
        let got = first.map_or("no function".to_owned(), Function::title);
        let what = format!("first function of {cache}");
        stage.check(scenario, &what, function, &got, got == function);
        expect_no_other_leak(stage, scenario, &report, &[]);
    }
    stage.guest.remove("grow")
}

/// The JSON report about one module. `lossy` are the caches that lost objects so far.
fn name(stage: &mut Stage, leak: &Leak, lossy: &[&str]) -> Result<()> {
    let scenario = format!("traced: {}", leak.module);
    let before = stage.guest.recorded(leak.module)?;
    let watched = watch(stage, &scenario, leak.module)?;
    let after = stage.guest.recorded(leak.module)?;
    stage.note(&scenario, &format!("lost {before} before, {} meanwhile", after - before));
    let Some((code, report)) = watched else { return Ok(()) };
    let got = format!("{} (exit {code})", report.verdict);
    let ok = code == 1 && report.verdict == "leak";
    stage.check(&scenario, "verdict", "leak (exit 1)", &got, ok);
    for &(cache, function) in leak.blamed {
        let function = format!("{function} [sysaktest_{}]", leak.module);
        expect_named(stage, &scenario, report.finding(cache), cache, &function);
    }
    expect_no_other_leak(stage, &scenario, &report, lossy);
    Ok(())
}

/// The function is the first in its cache's finding, was seen allocating, and its leak is proved.
pub(super) fn expect_named(
    stage: &mut Stage,
    scenario: &str,
    finding: Option<&Finding>,
    cache: &str,
    function: &str,
) {
    expect_first(stage, scenario, finding, cache, function);
    let functions = finding.map_or(&[][..], |finding| finding.functions.as_slice());
    let Some(first) = functions.first() else { return };
    let what = format!("{cache}: how it was found");
    stage.check(scenario, &what, "traced", &first.source, first.source == "traced");
    let number = |known: Option<u64>| known.map_or("?".to_owned(), |number| number.to_string());
    let (lost, left) = (number(first.unreachable), number(first.outstanding));
    let got = format!("{lost} of {left} outstanding, {} marked", number(first.marked));
    let what = format!("{cache}: lost while watched");
    stage.check(scenario, &what, "at least 1", &got, first.unreachable >= Some(1));
    let innocent: u64 = functions[1..].iter().filter_map(|function| function.unreachable).sum();
    let what = format!("{cache}: lost by other functions");
    let expected = format!("at most {IN_FLIGHT}");
    stage.check(scenario, &what, &expected, &innocent.to_string(), innocent <= IN_FLIGHT);
}

/// The function is the first in its cache's finding of a leak.
pub(super) fn expect_first(
    stage: &mut Stage,
    scenario: &str,
    finding: Option<&Finding>,
    cache: &str,
    function: &str,
) {
    let got = finding.map_or("no finding", |finding| finding.verdict.as_str());
    stage.check(scenario, &format!("finding about {cache}"), "leak", got, got == "leak");
    let first = finding.and_then(|finding| finding.functions.first());
    let got = first.map_or("no function".to_owned(), Function::title);
    let what = format!("first function of {cache}");
    stage.check(scenario, &what, function, &got, got == function);
}

/// No cache but those that lose objects is called leaking.
pub(super) fn expect_no_other_leak(
    stage: &mut Stage,
    scenario: &str,
    report: &Report,
    lossy: &[&str],
) {
    let leaking = report.findings.iter().filter(|finding| finding.verdict == "leak");
    let others = leaking.filter(|finding| !lossy.iter().any(|cache| finding.is_about(cache)));
    let others: Vec<String> = others
        .map(|finding| {
            let cache = finding.cache.as_deref().unwrap_or(&finding.class);
            let function = finding.functions.first().map(Function::title);
            format!("{cache} ({})", function.as_deref().unwrap_or("no function"))
        })
        .collect();
    let got = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
    stage.check(scenario, "other findings called leaks", "none", &got, others.is_empty());
}

/// The text reports in both languages, with the module of the article loaded.
fn tell(stage: &mut Stage) -> Result<()> {
    let (cache, function) = BOND.blamed[0];
    let function = format!("{function} [sysaktest_{}]", BOND.module);
    let lost = stage.guest.recorded(BOND.module)?;
    for words in &LANGUAGES {
        let scenario = format!("traced: {}, {}", BOND.module, words.lang);
        let options = format!("--lang {}", words.lang);
        let file = format!("{}.{}.txt", BOND.module, words.lang);
        let output = sysak(stage, &scenario, &options, &file)?;
        let text = output.text();
        let got = format!("exit {}", output.code);
        stage.check(&scenario, "exit status", "exit 1", &got, output.code == 1);
        let row = words.row(&text, &function);
        let got = row.as_ref().map_or("no row".to_owned(), |row| {
            format!("{} marked, {} unreachable, of {}", row.marked, row.unreachable, row.count)
        });
        let ok = row.is_some_and(|row| row.marked >= 1 && row.unreachable >= 1);
        stage.check(&scenario, "its row in the table", "1 or more of each", &got, ok);
        let similar = words.similar(&text, cache);
        let got = similar.map_or("no such line".to_owned(), |similar| similar.to_string());
        let ok = similar.is_some_and(|similar| similar.saturating_mul(1000) >= lost * 999);
        let expected = format!("at least 99.9 % of {lost}");
        stage.check(&scenario, "similar objects", &expected, &got, ok);
        let ok = words.blames(&text, &function);
        let got = if ok { "it says so" } else { "no such line" };
        stage.check(&scenario, "the leaking function's line", &function, got, ok);
    }
    Ok(())
}

/// The JSON report of a run that watches.
pub(super) fn watch(
    stage: &mut Stage,
    scenario: &str,
    name: &str,
) -> Result<Option<(i32, Report)>> {
    let output = sysak(stage, scenario, "--format json", &format!("{name}.json"))?;
    let judged = stage.judge_report(scenario, output.code, &output.stdout, &output.errors());
    if let Some((_, report)) = &judged {
        let watched = report.timings.trace_s.map_or("nothing".into(), |s| format!("{s:.1} s"));
        stage.note(scenario, &format!("watched {watched}: {}", report.summary));
    }
    Ok(judged)
}

/// Runs `sysak memleak`, notes how long it took, and keeps what it printed if so asked.
fn sysak(stage: &mut Stage, scenario: &str, options: &str, file: &str) -> Result<Output> {
    let patience = stage.args.timeout_s;
    let began = Instant::now();
    let output = stage.guest.run(
        &format!("timeout {patience} sysak memleak {}", stage.args.with_usual(options)),
        Duration::from_secs(patience + 30),
    )?;
    let seconds = began.elapsed().as_secs_f64();
    stage.note(scenario, &format!("{seconds:.1} s from start to end"));
    stage.keep(file, &output.stdout)?;
    Ok(output)
}
