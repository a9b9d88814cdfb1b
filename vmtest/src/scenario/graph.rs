//! `sysak memgraph` in a guest whose memory user space holds: every leaf agrees with the kernel's own
//! figures, and the holder is named. Then `sysak memleak` there, live and from the vmcore: none of it is
//! lost.

use std::time::Duration;

use anyhow::{Context, Result};

use super::loads::{self, Holder, Load};
use super::{Stage, counts};
use crate::memgraph::{self, Graph};
use crate::meminfo;
use crate::sysak::Holder as Holding;

/// A census may be read a moment after the holders, and the other way round.
const SLACK_BYTES: u64 = 2 << 20;

/// `memgraph` beside a full tmpfs.
pub fn tmpfs(stage: &mut Stage) -> Result<()> {
    let load = loads::all(stage.args.memory_mib).swap_remove(0);
    try_load(stage, &load, &mut None)?;
    tell(stage, "graph: tmpfs")
}

/// All loads.
pub fn run(stage: &mut Stage) -> Result<()> {
    stage.guest.mount_disk()?;
    stage.guest.text(
        "mount -t cgroup2 cgroup /sys/fs/cgroup && \
         echo +memory >/sys/fs/cgroup/cgroup.subtree_control",
    )?;
    let mut before = graph(stage, "graph: nothing")?;
    let mut made = Vec::new();
    for load in loads::all(stage.args.memory_mib) {
        let bytes = try_load(stage, &load, &mut before)?;
        made.extend(bytes.map(|bytes| (load, bytes)));
    }
    tell(stage, "graph: all loads")?;
    look(stage)?;
    let watched = watch_files(stage)?;
    vmcore(stage, &made, watched)
}

/// The process that watches thousands of files, by the objects that the kernel keeps for that; how
/// many these are.
fn watch_files(stage: &mut Stage) -> Result<u64> {
    let scenario = "loads: watches";
    let (count, command) = loads::watches(stage.args.memory_mib);
    let patience = Duration::from_secs(stage.args.timeout_s);
    let output = stage.guest.run(&command, patience)?;
    let got = format!("exit {}, {} {}", output.code, output.text().trim(), output.errors());
    stage.check(scenario, "the load is there", "exit 0", &got, output.code == 0);
    let output = stage.guest.run(&format!("sysak inspect {WATCHES}"), patience)?;
    watcher(stage, scenario, count, &output.stdout);
    Ok(count)
}

/// What `inspect` is asked for to find who watches files.
const WATCHES: &str = "cache inotify_inode_mark --format json";

fn watcher(stage: &mut Stage, scenario: &str, count: u64, inspected: &[u8]) {
    let parsed: serde_json::Value = serde_json::from_slice(inspected).unwrap_or_default();
    let first = parsed.pointer("/cache/holders/0");
    let holder: Option<Holding> = first.and_then(|one| serde_json::from_value(one.clone()).ok());
    let got = holder
        .as_ref()
        .map_or("nobody".to_owned(), |one| format!("{} by {}", one.objects, one.path.join(" → ")));
    let ok = holder.is_some_and(|one| {
        one.path[0].starts_with("load-watches") && one.objects.abs_diff(count) <= count / 100
    });
    let expected = format!("{count} by load-watches ± 1 %");
    stage.check(scenario, "who holds the watches", &expected, &got, ok);
}

/// Makes a load and checks what the graph says of it; `before` is the graph so far. Returns its bytes.
fn try_load(stage: &mut Stage, load: &Load, before: &mut Option<Graph>) -> Result<Option<u64>> {
    let scenario = format!("graph: {}", load.name);
    let output = stage.guest.run(&load.command, Duration::from_secs(stage.args.timeout_s))?;
    let said = output.text();
    let bytes = said.split_whitespace().last().and_then(|word| word.parse::<u64>().ok());
    let got = format!("exit {}, {} {}", output.code, said.trim(), output.errors());
    stage.check(
        &scenario,
        "the load is there",
        "exit 0",
        &got,
        output.code == 0 && bytes.is_some(),
    );
    let Some(bytes) = bytes else { return Ok(None) };
    // What is being written has buffers that the next load would miss.
    stage.guest.text("sync")?;
    let after = graph(stage, &scenario)?;
    if let Some(after) = &after {
        let so_far = before.as_ref().map_or(0, |before| before.census_bytes(load.leaf));
        let grew = after.census_bytes(load.leaf) - so_far;
        let expected = format!("{bytes} or more");
        let wanted = bytes - bytes / 100;
        let ok = u64::try_from(grew).is_ok_and(|grew| grew + SLACK_BYTES >= wanted);
        stage.check(&scenario, &format!("{} grew by", load.leaf), &expected, &grew.to_string(), ok);
    }
    if let Some(after) = &after {
        for holder in &load.holders {
            named(stage, &scenario, holder, bytes, after)?;
        }
    }
    *before = after;
    Ok(Some(bytes))
}

/// The holder of the bytes stands in the graph.
fn named(
    stage: &mut Stage,
    scenario: &str,
    holder: &Holder,
    bytes: u64,
    graph: &Graph,
) -> Result<()> {
    let known = |bytes: Option<u64>| bytes.map_or("nobody of that name".into(), |n| n.to_string());
    match *holder {
        Holder::Entry(name, parts) => {
            let (got, bytes) = (graph.held_by(name), bytes / parts);
            let ok = got.is_some_and(|got| got + bytes / 100 >= bytes && got / 4 <= bytes);
            stage.check(scenario, &format!("{name} holds"), &bytes.to_string(), &known(got), ok);
        }
        Holder::Pool(pages, free) => {
            let number = |field| graph.number(&format!("/holders/huge_pools/0/{field}"));
            let got = [number("pages"), number("free_pages")];
            let ok = got == [Some(pages), Some(free)];
            let expected = format!("{pages} pages, {free} free");
            stage.check(scenario, "the pool of huge pages", &expected, &format!("{got:?}"), ok);
        }
        Holder::Cache(name, bytes) => {
            let got = graph.cache_bytes(name);
            let ok = got.is_some_and(|got| got >= bytes && got / 4 <= bytes);
            let expected = format!("{bytes} or more");
            stage.check(scenario, &format!("bytes of {name}"), &expected, &known(got), ok);
        }
        Holder::Part(name) => {
            let got = graph.part_bytes(name);
            let ok = got.is_some_and(|got| got.abs_diff(bytes) <= bytes / 50);
            let what = format!("pages that are {name}");
            stage.check(scenario, &what, &format!("{bytes} ± 2 %"), &known(got), ok);
        }
        Holder::DyingGroups => {
            let stat = stage.guest.text("grep nr_dying_descendants /sys/fs/cgroup/cgroup.stat")?;
            let dying = stat.split_whitespace().last().and_then(|word| word.parse().ok());
            let got = graph.number("/holders/dying_cgroups");
            // Since 7.1 what a removed group was charged for is its parent's, and nothing keeps it.
            let moves = "grep -c ' lru_reparent_memcg$' /proc/kallsyms || true";
            let all_move = stage.guest.text(moves)?.trim() != "0";
            let ok = (all_move || dying >= Some(1)) && got == dying;
            stage.check(scenario, "dying memory cgroups", &known(dying), &known(got), ok);
        }
    }
    Ok(())
}

/// The graph as JSON, with its census checked against meminfo. A second try decides where they differ.
fn graph(stage: &mut Stage, scenario: &str) -> Result<Option<Graph>> {
    let patience = stage.args.timeout_s;
    let command = counts::sampled(&format!("timeout {patience} sysak memgraph --format json"));
    for left in [1, 0] {
        let output = stage.guest.run(&command, Duration::from_secs(patience + 30))?;
        let parsed = Graph::parse(&output.stdout);
        let graph = match parsed.as_ref().ok().filter(|_| output.code == 0) {
            Some(graph) => graph,
            None => {
                let got = format!("exit {}, {:?} {}", output.code, parsed.err(), output.errors());
                stage.check(scenario, "prints a graph", "JSON, exit 0", &got, false);
                return Ok(None);
            }
        };
        let readings = counts::samples(stage)?;
        if left == 0 || meminfo::disagreements(&readings, graph.census()).is_empty() {
            stage.keep(&format!("{}.json", super::file_name(scenario)), &output.stdout)?;
            counts::census(stage, scenario, &readings, graph.census());
            return Ok(parsed.ok());
        }
        stage.note(scenario, "differs from meminfo at first; once more");
    }
    Ok(None)
}

/// The graph as JSON, whose census nobody checks.
pub(super) fn unchecked(stage: &mut Stage) -> Result<Option<Graph>> {
    let patience = Duration::from_secs(stage.args.timeout_s);
    let output = stage.guest.run("sysak memgraph --format json", patience)?;
    Ok(Graph::parse(&output.stdout).ok())
}

/// The graph for people has these words, in each of some languages.
pub(super) fn expect_words(
    stage: &mut Stage,
    scenario: &str,
    words: [(&str, &str); 2],
) -> Result<()> {
    let patience = Duration::from_secs(stage.args.timeout_s);
    for (lang, words) in words {
        let output = stage.guest.run(&format!("sysak memgraph --lang {lang}"), patience)?;
        let text = output.text().split_whitespace().collect::<Vec<_>>().join(" ");
        let ok = text.contains(words);
        stage.check(scenario, &format!("the text in {lang}"), words, "see the report", ok);
    }
    Ok(())
}

/// The graph for people, in both languages.
fn tell(stage: &mut Stage, scenario: &str) -> Result<()> {
    for lang in ["en", "zh"] {
        let patience = stage.args.timeout_s;
        let command = format!("timeout {patience} sysak memgraph --lang {lang}");
        let output = stage.guest.run(&command, Duration::from_secs(patience + 30))?;
        stage.keep(&format!("{}.{lang}.txt", super::file_name(scenario)), &output.stdout)?;
        let mut flaws = memgraph::flaws(&output.text(), lang);
        if output.code != 0 {
            flaws.push(format!("exit {}: {}", output.code, output.errors()));
        }
        let got = if flaws.is_empty() { "no flaw".to_owned() } else { flaws.join(", ") };
        stage.check(scenario, &format!("the text in {lang}"), "no flaw", &got, flaws.is_empty());
    }
    Ok(())
}

/// Nothing of all this is lost, and `memleak` takes the same census.
fn look(stage: &mut Stage) -> Result<()> {
    let patience = stage.args.timeout_s;
    let options = stage.args.with_usual("--check --format json --all-caches");
    let command = format!("timeout {patience} sysak memleak {options}");
    let scenario = "loads: memleak";
    let told = stage.diagnose_by(scenario, &counts::sampled(&command))?;
    let Some((code, report)) = told else { return Ok(()) };
    stage.expect_no_leak(scenario, code, &report);
    let readings = counts::samples(stage)?;
    counts::census(stage, scenario, &readings, &report.census);
    let user = report.findings.iter().filter(|finding| finding.class == "user");
    let holders: Vec<_> = user.flat_map(|finding| &finding.holders).collect();
    for process in ["load-locked", "load-pipes", "load-sockets"] {
        let is_it = |path: &[String]| path[0].starts_with(process);
        let got = holders.iter().find(|holder| is_it(&holder.path)).map(|holder| holder.bytes);
        let ok = got.is_some_and(|bytes| bytes > SLACK_BYTES);
        let what = format!("{process} holds user memory");
        stage.check(scenario, &what, "more than 2 MiB", &format!("{got:?}"), ok);
    }
    Ok(())
}

/// The same from the guest's memory image.
fn vmcore(stage: &mut Stage, made: &[(Load, u64)], watched: u64) -> Result<()> {
    let scenario = "loads: vmcore";
    let folder = stage.args.keep.clone().unwrap_or_else(|| stage.guest.folder.0.clone());
    let meminfo = counts::meminfo(stage)?;
    let name = format!("{}-loads", stage.kernel.name);
    let vmcore = stage.guest.capture(&folder, &name, &[])?;
    let meminfo = meminfo + &counts::meminfo(stage)?;
    let dumps = [folder.join("loads-objects.txt"), folder.join("loads-lost.txt")];
    if let Some((code, report)) = super::vmcore::diagnose(stage, &vmcore, &dumps[0], &dumps[1])? {
        stage.expect_no_leak(scenario, code, &report);
        counts::census(stage, scenario, &meminfo, &report.census);
    }
    let sysak = stage.args.sysak.as_deref().context("--sysak is missing")?;
    let on_host = |words: &[&str]| {
        let mut command = std::process::Command::new("timeout");
        command.arg(stage.args.timeout_s.to_string()).arg(sysak).args(words);
        command.arg("--vmcore").arg(&vmcore).output().context("cannot run timeout")
    };
    let words: Vec<&str> = ["inspect"].into_iter().chain(WATCHES.split(' ')).collect();
    let inspected = on_host(&words)?;
    let output = on_host(&["memgraph", "--format", "json"])?;
    watcher(stage, scenario, watched, &inspected.stdout);
    let graph = Graph::parse(&output.stdout);
    let got = format!("{}, {:?}", output.status, graph.as_ref().err());
    stage.check(
        scenario,
        "prints a graph",
        "JSON, exit 0",
        &got,
        output.status.success() && graph.is_ok(),
    );
    let Ok(graph) = graph else { return Ok(()) };
    counts::census(stage, scenario, &meminfo, graph.census());
    for (load, bytes) in made {
        for holder in &load.holders {
            named(stage, &format!("{scenario}: {}", load.name), holder, *bytes, &graph)?;
        }
    }
    Ok(())
}
