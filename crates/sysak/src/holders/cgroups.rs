//! Memory cgroups, v2 and v1, by what is charged to themselves, and those that were
//! removed but still hold memory.
//!
//! A group's counter includes the groups below it: these are taken off, so that each byte
//! is counted once.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use sysak_report::CgroupMemory;

use super::mounts::Mount;
use super::{Budget, keyed, number, text};

/// More are not read.
const MOST: usize = 100_000;
/// The first cgroup namespace: elsewhere only a part of the tree is seen.
const FIRST_NAMESPACE: &str = "cgroup:[4026531835]";

/// What the tree told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    /// The biggest.
    pub top: Vec<CgroupMemory>,
    /// Groups that were removed and still hold memory.
    pub dying: Option<u64>,
    /// Whether there was time for all of them.
    pub whole: bool,
}

/// How the two versions name things.
struct Version {
    usage: &'static str,
    file_key: &'static str,
    is_first: bool,
}

const FIRST: Version =
    Version { usage: "memory.usage_in_bytes", file_key: "cache", is_first: true };
const SECOND: Version = Version { usage: "memory.current", file_key: "file", is_first: false };

/// One group, and where it hangs.
struct Group {
    name: String,
    parent: usize,
    bytes: u64,
    below_bytes: u64,
    below: usize,
    /// Whether the groups below it were all read.
    whole: bool,
}

/// Looks for the tree that counts memory, and walks it.
pub(super) fn find(proc: &Path, mounts: &[Mount], top: usize, budget: &Budget<'_>) -> Groups {
    let second = mounts.iter().find(|mount| {
        let controllers = text(&mount.point.join("cgroup.controllers")).unwrap_or_default();
        mount.kind == "cgroup2" && controllers.split_whitespace().any(|name| name == "memory")
    });
    let first = || {
        mounts.iter().find(|mount| {
            mount.kind == "cgroup" && mount.options.split(',').any(|option| option == "memory")
        })
    };
    let Some((mount, version)) =
        second.map(|mount| (mount, SECOND)).or_else(|| Some((first()?, FIRST)))
    else {
        return Groups { whole: true, ..Groups::default() };
    };
    let groups = walk(&mount.point, &version, budget);
    let whole = groups.iter().all(|group| group.whole);
    let dying = match version.is_first {
        true => (whole && mount.root == "/")
            .then(|| removed_but_counted(proc, groups.len() as u64))
            .flatten(),
        false => text(&mount.point.join("cgroup.stat"))
            .and_then(|stat| keyed(&stat, "nr_dying_descendants")),
    };
    Groups { top: biggest(&mount.point, &groups, &version, top), dying, whole }
}

/// Every group, parents before children; the root is the first.
fn walk(root: &Path, version: &Version, budget: &Budget<'_>) -> Vec<Group> {
    let group =
        |name, parent, bytes| Group { name, parent, bytes, below_bytes: 0, below: 0, whole: false };
    let mut groups = vec![group(String::new(), 0, 0)];
    let mut waiting = VecDeque::from([(0, root.to_owned())]);
    while let Some((index, folder)) = waiting.pop_front() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        // Old trees may leave the groups below out of a group's counter.
        let counts_below =
            !version.is_first || number(&folder.join("memory.use_hierarchy")) != Some(0);
        for entry in folders {
            if budget.is_spent() || groups.len() >= MOST {
                return groups;
            }
            let path = entry.path();
            let bytes = number(&path.join(version.usage)).unwrap_or(0);
            waiting.push_back((groups.len(), path));
            groups.push(group(entry.file_name().to_string_lossy().into_owned(), index, bytes));
            let parent = &mut groups[index];
            parent.below += 1;
            if counts_below {
                parent.below_bytes = parent.below_bytes.saturating_add(bytes);
            }
        }
        groups[index].whole = true;
    }
    groups
}

fn biggest(root: &Path, groups: &[Group], version: &Version, top: usize) -> Vec<CgroupMemory> {
    let own = |group: &Group| group.bytes.saturating_sub(group.below_bytes);
    // What is in no group has no limit and no owner here: the root is none.
    let mut order: Vec<_> = (1..groups.len()).filter(|index| groups[*index].whole).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(own(&groups[*index])), *index));
    order.truncate(top);
    let told = order.into_iter().map(|index| {
        let (group, path) = (&groups[index], path(groups, index));
        let stat = (group.below == 0).then(|| text(&root.join(&path).join("memory.stat")));
        CgroupMemory {
            path: format!("/{}", path.display()),
            bytes: own(group),
            file_bytes: stat.flatten().and_then(|stat| keyed(&stat, version.file_key)),
        }
    });
    told.filter(|group| group.bytes > 0).collect()
}

/// The path below the root.
fn path(groups: &[Group], mut index: usize) -> PathBuf {
    let mut names = Vec::new();
    while index != 0 {
        names.push(groups[index].name.as_str());
        index = groups[index].parent;
    }
    names.iter().rev().collect()
}

/// Version 1 counts removed groups until the last page that is charged to them is gone.
fn removed_but_counted(proc: &Path, seen: u64) -> Option<u64> {
    let namespace = std::fs::read_link(proc.join("self/ns/cgroup")).ok()?;
    if namespace.as_os_str() != FIRST_NAMESPACE {
        return None;
    }
    let table = text(&proc.join("cgroups"))?;
    let row = table.lines().find_map(|line| line.strip_prefix("memory\t"))?;
    let counted: u64 = row.split_whitespace().nth(1)?.parse().ok()?;
    Some(counted.saturating_sub(seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use sysak_base::Cancel;

    fn made(name: &str, groups: &[(&str, &str, &str)]) -> PathBuf {
        let root =
            std::env::temp_dir().join(format!("sysak-cgroups-{name}-{}", std::process::id()));
        for (path, file, content) in groups {
            std::fs::create_dir_all(root.join(path)).unwrap();
            std::fs::write(root.join(path).join(file), content).unwrap();
        }
        root
    }

    #[test]
    fn each_byte_is_counted_in_one_group() {
        let root = made(
            "once",
            &[
                ("system.slice", "memory.current", "1000\n"),
                ("system.slice/a.service", "memory.current", "700"),
                ("system.slice/a.service", "memory.stat", "anon 1\nfile 600\n"),
                ("system.slice/b.service", "memory.current", "200"),
            ],
        );
        let cancel = Cancel::default();
        let groups = walk(&root, &SECOND, &Budget::new(Duration::from_secs(9), &cancel));
        let told = biggest(&root, &groups, &SECOND, 9);
        std::fs::remove_dir_all(&root).unwrap();
        let told: Vec<_> =
            told.iter().map(|group| (&*group.path, group.bytes, group.file_bytes)).collect();
        let wanted = [
            ("/system.slice/a.service", 700, Some(600)),
            ("/system.slice/b.service", 200, None),
            ("/system.slice", 100, None),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_tree_without_hierarchy_loses_nothing() {
        let root = made(
            "flat",
            &[
                ("a", "memory.usage_in_bytes", "500"),
                ("a", "memory.use_hierarchy", "0"),
                ("a/b", "memory.usage_in_bytes", "400"),
            ],
        );
        let cancel = Cancel::default();
        let groups = walk(&root, &FIRST, &Budget::new(Duration::from_secs(9), &cancel));
        let told = biggest(&root, &groups, &FIRST, 9);
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(told.iter().map(|group| group.bytes).collect::<Vec<_>>(), [500, 400]);
    }

    #[test]
    fn a_group_whose_children_are_unknown_is_not_told() {
        let root = made("part", &[("a", "memory.current", "500")]);
        let cancel = Cancel::default();
        let groups = walk(&root, &SECOND, &Budget::new(Duration::ZERO, &cancel));
        std::fs::remove_dir_all(&root).unwrap();
        assert!(!groups[0].whole && biggest(&root, &groups, &SECOND, 9).is_empty());
    }
}
