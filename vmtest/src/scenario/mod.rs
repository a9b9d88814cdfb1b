//! What is tried on one kernel, each of these in a boot of its own:
//! looks at memory alone, at a busy guest without leaks, modules that hold objects, modules that lose
//! them, both readers, the kernel's own counts, the vmcore, and whose the memory is; the same for memory
//! that is no slab object; counted objects of which references are lost; whose the memory is, under more loads of
//! user space; watching allocations where nothing is lost; watching modules that go on losing slab objects; and such
//! that go on losing other memory; and, for as long as is asked for, busy guests in which nothing is lost.

mod busy;
mod classes;
mod counted;
mod counters;
mod counts;
mod dumps;
mod going_on;
mod graph;
mod groups;
mod hidden;
mod holders;
mod kdump;
mod live;
mod loads;
mod ownerless;
mod proof;
mod trace;
mod vmcore;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::agent::Output;
use crate::args::Args;
use crate::checks::Checks;
use crate::crash;
use crate::distro::Kernel;
use crate::guest::Guest;
use crate::qemu::Threads;
use crate::sysak::{Function, ObjectType, Report};
use crate::truth::Truth;

const HOLDING: [&str; 6] = ["hash", "xarray", "rbtree", "percpu", "vmarray", "timer"];
const LOSING: [&str; 3] = ["bulk", "own", "ring"];

/// A part of the tests. Each has a guest of its own, so that several can run at the same time.
pub struct Part {
    pub name: &'static str,
    /// Whether it was asked for.
    wanted: fn(&Args) -> bool,
    guest: Boot,
    /// Whether it runs on one of the kernels only.
    is_variant: bool,
    scenarios: fn(&mut Stage) -> Result<()>,
}

/// How a part's guest is booted.
enum Boot {
    /// As any, its CPUs emulated so.
    Usual(Threads),
    /// With a crash kernel.
    WithCrashKernel(crash::Way),
}

const fn part(
    name: &'static str,
    wanted: fn(&Args) -> bool,
    threads: Threads,
    scenarios: fn(&mut Stage) -> Result<()>,
) -> Part {
    Part { name, wanted, guest: Boot::Usual(threads), is_variant: false, scenarios }
}

const fn crash_part(name: &'static str, way: crash::Way, is_variant: bool) -> Part {
    let wanted: fn(&Args) -> bool = |args| args.wants("kdump");
    Part { name, wanted, guest: Boot::WithCrashKernel(way), is_variant, scenarios: kdump::run }
}

/// What runs on all kernels even where they take turns.
const ON_ALL: &str = "static";

/// The longest first, so that none of them is waited for at the end.
const PARTS: [Part; 18] = [
    part("static", |args| args.wants("static"), Threads::Two, by_looks),
    part("classes", |args| args.wants("classes"), Threads::Two, classes::run),
    part("trace", trace::wants_leaks, Threads::One, trace::leaks),
    part(
        "holders",
        |args| args.wants("holders") || args.wants("all-holders"),
        Threads::Two,
        holders::run,
    ),
    part("loads", |args| args.wants("loads"), Threads::Two, graph::run),
    part("hidden", |args| args.wants("hidden"), Threads::Two, hidden::run),
    part("innocent", |args| args.wants("rcu") || args.wants("grow"), Threads::One, trace::innocent),
    part("counted", |args| args.wants("counted"), Threads::Two, counted::run),
    part("ownerless", |args| args.wants("ownerless"), Threads::Two, ownerless::run),
    part("counters", |args| args.wants("counters"), Threads::Two, counters::run),
    part(
        "memgraph",
        |args| args.wants("memgraph") && !args.wants("static"),
        Threads::Two,
        graph::tmpfs,
    ),
    part("dumps", |args| args.wants("some-dumps") || args.wants("dumps"), Threads::Two, dumps::run),
    part("going-on", going_on::wanted, Threads::One, going_on::run),
    crash_part("kdump high", crash::HIGH, true),
    crash_part("kdump kexec-tools", crash::LOADED_BY_KEXEC_TOOLS, true),
    crash_part("kdump", crash::LOADED_BY_KERNEL, false),
    part("busy looks", |args| args.wants("busy"), Threads::Two, busy::looks),
    part("busy watches", |args| args.wants("busy"), Threads::One, busy::watches),
];

/// The parts that were asked for, each with a kernel that it runs on.
pub fn chosen<'k, K>(args: &Args, kernels: &'k [K]) -> Vec<(&'static Part, &'k K)> {
    let mut turn = kernels.iter().cycle();
    let mut chosen = Vec::new();
    for part in PARTS.iter().filter(|part| (part.wanted)(args)) {
        match (args.in_turns || part.is_variant) && part.name != ON_ALL {
            true => chosen.extend(turn.next().map(|kernel| (part, kernel))),
            false => chosen.extend(kernels.iter().map(|kernel| (part, kernel))),
        }
    }
    chosen
}

impl Part {
    /// Runs it on one kernel, from its guest's boot to its end. `Err` is for what keeps it from going on.
    pub fn run(&self, kernel: &Kernel, args: &Args, checks: &Checks) -> Result<()> {
        let place = format!("{} {}", kernel.name, self.name);
        let start = Instant::now();
        let mut guest = match &self.guest {
            Boot::Usual(threads) => Guest::boot(kernel, args, *threads)?,
            Boot::WithCrashKernel(way) => crash::boot(kernel, args, way)?,
        };
        checks.note(&place, &format!("{} booted in {:.1} s", kernel.release, guest.boot_s));
        let result = (self.scenarios)(&mut Stage {
            part: self.name,
            kernel,
            args,
            checks,
            guest: &mut guest,
        });
        checks.note(&place, &format!("took {} s", start.elapsed().as_secs()));
        result
    }
}

fn by_looks(stage: &mut Stage) -> Result<()> {
    let mut truths = live::clean(stage)?;
    let groups = groups::live(stage)?;
    truths.extend(live::lose(stage)?);
    truths.push(live::gone(stage)?);
    live::readers_agree(stage, &truths)?;
    counts::live(stage)?;
    vmcore::run(stage, &truths, &groups)?;
    if stage.args.wants("memgraph") {
        graph::tmpfs(stage)?;
    }
    Ok(())
}

/// The part of a kept file's name that tells the scenario.
fn file_name(scenario: &str) -> String {
    scenario.replace(": ", ".").replace([',', ' '], "-")
}

/// What every scenario works with.
struct Stage<'a> {
    /// The name of the part that runs.
    part: &'static str,
    kernel: &'a Kernel,
    args: &'a Args,
    checks: &'a Checks,
    guest: &'a mut Guest,
}

impl Stage<'_> {
    fn check(&mut self, scenario: &str, what: &str, expected: &str, got: &str, ok: bool) {
        self.checks.check(&format!("{} {scenario}", self.kernel.name), what, expected, got, ok);
    }

    fn note(&mut self, scenario: &str, what: &str) {
        self.checks.note(&format!("{} {scenario}", self.kernel.name), what);
    }

    /// Keeps a report of this kernel's, if so asked.
    fn keep(&self, name: &str, report: &[u8]) -> Result<()> {
        let Some(folder) = &self.args.keep else { return Ok(()) };
        fs::create_dir_all(folder)?;
        Ok(fs::write(folder.join(format!("{}.{name}", self.kernel.name)), report)?)
    }

    /// Runs `sysak inspect cache` in the guest; JSON where the kernel has that cache.
    fn inspect_cache(&mut self, cache: &str) -> Result<Output> {
        let command = format!("sysak inspect cache {cache} --format json");
        self.guest.run(&command, Duration::from_secs(self.args.timeout_s))
    }

    /// Runs `sysak memleak` in the guest, by looks at memory alone; `None`, and a failed check, where
    /// it gives no report.
    fn look(&mut self, scenario: &str, options: &str) -> Result<Option<(i32, Report)>> {
        let patience = self.args.timeout_s;
        let options = self.args.with_usual(options);
        let command = format!("timeout {patience} sysak memleak --check --format json {options}");
        self.diagnose_by(scenario, &command)
    }

    /// The same by a command line of its own.
    fn diagnose_by(&mut self, scenario: &str, command: &str) -> Result<Option<(i32, Report)>> {
        let patience = Duration::from_secs(self.args.timeout_s + 30);
        let output = self.guest.run(command, patience)?;
        self.keep(&format!("{}.json", file_name(scenario)), &output.stdout)?;
        Ok(self.judge_report(scenario, output.code, &output.stdout, &output.errors()))
    }

    fn judge_report(
        &mut self,
        scenario: &str,
        code: i32,
        stdout: &[u8],
        stderr: &str,
    ) -> Option<(i32, Report)> {
        match Report::parse(stdout) {
            Ok(report) => {
                let (reader, seconds) = (&report.target.reader, report.timings.total_s);
                let figures = format!("{} objects walked", report.coverage.objects_walked);
                self.note(scenario, &format!("reader {reader}, {seconds:.1} s, {figures}"));
                let unconfirmed = report.unconfirmed().join(", ");
                if !unconfirmed.is_empty() {
                    self.note(scenario, &format!("not reached in one look: {unconfirmed}"));
                }
                Some((code, report))
            }
            Err(error) => {
                let last = stderr.lines().last().unwrap_or("nothing on stderr");
                let got = format!("exit {code}, {error}: {last}");
                self.check(scenario, "prints a report", "JSON", &got, false);
                None
            }
        }
    }

    fn expect_no_leak(&mut self, scenario: &str, code: i32, report: &Report) {
        let got = format!("{} (exit {code})", report.verdict);
        let ok = code == 0 && report.verdict == "no_leak";
        self.check(scenario, "verdict", "no_leak (exit 0)", &got, ok);
        self.expect_few_accused(scenario, report, &[]);
    }

    /// A look that could not tell is none that accuses.
    fn expect_nobody_accused(&mut self, scenario: &str, code: i32, report: &Report) {
        let got = format!("{} (exit {code})", report.verdict);
        let ok = report.verdict != "leak";
        self.check(scenario, "verdict", "no leak found", &got, ok);
        self.expect_few_accused(scenario, report, &[]);
    }

    /// Everything unreachable beyond the `lost` objects is a false accusation.
    fn expect_few_accused(&mut self, scenario: &str, report: &Report, lost: &[Truth]) {
        let accused = report.accused(lost);
        let allowed = report.noise_allowed();
        let expected = format!("at most {allowed}");
        let ok = accused <= allowed;
        self.check(scenario, "objects accused falsely", &expected, &accused.to_string(), ok);
    }

    /// The verdict, the cache's own finding and its count, for one module's lost objects.
    fn expect_leak(&mut self, scenario: &str, code: i32, report: &Report, truth: &Truth) {
        let got = format!("{} (exit {code})", report.verdict);
        let ok = code == 1 && report.verdict == "leak";
        self.check(scenario, "verdict", "leak (exit 1)", &got, ok);
        let finding = report.finding(&truth.cache);
        let got = finding.map_or("no finding", |finding| finding.verdict.as_str());
        let what = format!("finding about {}", truth.cache);
        self.check(scenario, &what, "leak", got, got == "leak");
        let found = report.unreachable(&truth.cache);
        let expected = format!("at least {} of {}", truth.least_found(), truth.count);
        let ok = truth.nearly_all(found);
        self.check(scenario, "unreachable objects", &expected, &found.to_string(), ok);
        if truth.name == "bulk" {
            self.expect_ops_table(scenario, report, &truth.cache);
        }
    }

    /// Without any tracing: the function that allocates the objects is among the first three whose
    /// code fits. `bulk` has a shape and types of its own; its struct must be named first.
    fn expect_maker(&mut self, scenario: &str, report: &Report, truth: &Truth) {
        let module = format!("sysaktest_{}", truth.name);
        let Some(found) = report.finding(&truth.cache) else { return };
        let part = if truth.name == "bulk" { "event" } else { "lose" };
        let wanted = format!("{module}_{part} [{module}]");
        let call_sites = found.functions.iter().filter(|one| one.source == "static");
        let call_sites: Vec<String> = call_sites.take(3).map(Function::title).collect();
        let (got, ok) = (call_sites.join(", "), call_sites.contains(&wanted));
        self.check(scenario, "who may have allocated them", &wanted, &got, ok);
        // Modules have no types before v5.11.
        if truth.name == "bulk" && self.kernel.name != "5.10" {
            let named = |of: &ObjectType| {
                let module = of.module.as_deref().unwrap_or("kernel");
                format!("{} [{module}] {:.2}", of.name, of.confidence)
            };
            let got = found.object_type.as_ref().map_or("none".to_owned(), named);
            let wanted = format!("struct bulk_event [{module}]");
            let ok = got.starts_with(&wanted);
            self.check(scenario, "their struct", &wanted, &got, ok);
        }
    }

    /// The bulk objects' owner leads to an ops table, which must be named.
    fn expect_ops_table(&mut self, scenario: &str, report: &Report, cache: &str) {
        let symbols = report.finding(cache).map(|finding| finding.content_symbols.as_slice());
        let named = symbols.unwrap_or_default().iter();
        let got: Vec<String> =
            named.map(|at| format!("{} → {}", at.path.join(" → "), at.symbol)).collect();
        // The symbol's module may follow in brackets.
        let wanted = "kmalloc-256+0x8 → sysaktest_ops";
        let ok = got.iter().any(|path| path.split(" [").next() == Some(wanted));
        self.check(scenario, "what the objects lead to", wanted, &got.join(", "), ok);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen_of(words: &[&str]) -> Vec<(&'static str, i32)> {
        let words = ["--sysak", "x"].iter().chain(words).map(|&word| word.to_owned());
        let args = Args::parse(words).unwrap();
        chosen(&args, &[1, 2]).into_iter().map(|(part, kernel)| (part.name, *kernel)).collect()
    }

    #[test]
    fn every_part_runs_on_every_kernel_or_on_one_in_turns() {
        let (all, some) = (chosen_of(&[]), chosen_of(&["--in-turns"]));
        let names = |chosen: &[(&'static str, i32)]| {
            chosen.iter().map(|(name, _)| *name).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(names(&all), names(&some));
        assert_eq!(all.len(), 2 * names(&all).len());
        assert_eq!(some.len(), names(&all).len() + 1, "static on both");
        let on_the_first = some.iter().filter(|(_, kernel)| *kernel == 1).count();
        assert!(on_the_first.abs_diff(some.len() - on_the_first) <= 1);
        assert_eq!(chosen_of(&["--only", "hidden"]), [("hidden", 1), ("hidden", 2)]);
        let variants = [("kdump high", 1), ("kdump kexec-tools", 2), ("kdump", 1), ("kdump", 2)];
        assert_eq!(chosen_of(&["--only", "kdump"]), variants);
    }
}
