//! Control groups, some of them removed: they must be named as the holders of what the kernel keeps of
//! their directories and files.

use anyhow::{Context, Result};

use super::Stage;
use crate::sysak::{Finding, Holder, Report};

const GROUPS: u64 = 300;
/// Groups that were removed, and live on by a page of a file each; not in kernels that charge these
/// pages to the parent then (v7.1).
const REMOVED: u64 = 20;
/// The cache of directories and files.
const NODES: &str = "kernfs_node_cache";
/// The cache of names of this length.
const NAMES: (&str, std::ops::RangeInclusive<usize>) = ("kmalloc-16", 8..=15);

const NODES_HELD: &str = "who holds directories and files";

/// What the groups that were made have.
pub struct Made {
    /// Directories and files.
    nodes: u64,
    /// Names of a length.
    names: u64,
    /// Removed groups that live on.
    removed: u64,
}

/// Makes them, and asks for the holders in the running guest.
pub fn live(stage: &mut Stage) -> Result<Made> {
    stage.guest.text(&format!(
        "mount -t cgroup2 cgroup /sys/fs/cgroup && cd /sys/fs/cgroup && \
         echo +memory >cgroup.subtree_control && \
         for n in $(seq {GROUPS}); do mkdir g$n || exit; done; \
         for n in $(seq {REMOVED}); do \
         mkdir gone$n && sh -c \"echo \\$\\$ >gone$n/cgroup.procs; echo >/tmp/gone$n\" && \
         rmdir gone$n || exit; done"
    ))?;
    let files = stage.guest.text("ls /sys/fs/cgroup/g1")?;
    let names = files.lines().filter(|name| NAMES.1.contains(&name.len())).count() as u64;
    let nodes = GROUPS * (files.lines().count() as u64 + 1);
    let stat = stage.guest.text("grep nr_dying_descendants /sys/fs/cgroup/cgroup.stat")?;
    let removed = stat.split_whitespace().nth(1).and_then(|count| count.parse().ok()).unwrap_or(0);
    let made = Made { nodes, names: GROUPS * names, removed };
    let found = inspect(stage, NODES)?;
    expect(stage, "groups", NODES_HELD, &found.holders, &[groups(GROUPS)], made.nodes);
    if made.removed > 0 {
        let path = [format!("{} removed cgroups", made.removed)];
        let what = "and those of the removed";
        expect(stage, "groups", what, &found.holders, &path, made.removed);
    }
    let found = inspect(stage, NAMES.0)?;
    let path = [groups(GROUPS), "kernfs_node.name".to_owned()];
    expect(stage, "groups", "who holds the files' names", &found.holders, &path, made.names);
    Ok(made)
}

/// The same in the vmcore's report. It is about many caches and looks at a sample of each: too few for the
/// removed groups, and some of the others may have none of their files in it.
pub fn vmcore(stage: &mut Stage, made: &Made, report: &Report) {
    let holders = report.finding(NODES).map_or(&[][..], |found| &found.holders);
    let seen = (GROUPS - GROUPS / 30..=GROUPS).rev().map(groups);
    let path = seen.map(|name| [name]).find(|path| holders.iter().any(|one| one.path == *path));
    let path = path.unwrap_or_else(|| [groups(GROUPS)]);
    expect(stage, "vmcore: groups", NODES_HELD, holders, &path, made.nodes);
}

fn groups(count: u64) -> String {
    format!("{count} cgroups")
}

fn expect(
    stage: &mut Stage,
    scenario: &str,
    what: &str,
    holders: &[Holder],
    path: &[String],
    count: u64,
) {
    let found = holders.iter().find(|one| one.path == path);
    let objects = found.map_or(0, |one| one.objects);
    let all = holders.iter().take(5).map(|one| format!("{} {}", one.objects, one.path.join(" → ")));
    let got = match found {
        Some(_) => objects.to_string(),
        None => all.collect::<Vec<_>>().join(", "),
    };
    let expected = format!("{count} by {} ± 1 %", path.join(" → "));
    stage.check(scenario, what, &expected, &got, objects.abs_diff(count) <= count / 100);
}

/// What `sysak inspect cache` says of a cache.
fn inspect(stage: &mut Stage, cache: &str) -> Result<Finding> {
    let output = stage.inspect_cache(cache)?;
    let mut parsed: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("sysak inspect cache {cache}: {}", output.errors()))?;
    Ok(serde_json::from_value(parsed["cache"].take())?)
}
