//! Who holds kernel objects: processes by open files of many kinds, pins, queues, keyrings, mounts,
//! modules. All situations are set up in one guest, and its vmcore is asked for each.
//!
//! A situation is right if its holder is named for its objects, unknown if nobody is, and wrong if
//! somebody else is. None may be wrong; a tenth of them may be unknown. The first dozen run by default.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Stage;
use crate::sysak::Holder;
use crate::truth::Truth;

/// One situation.
struct Situation {
    /// Sets it up.
    command: &'static str,
    /// The objects' cache: the first of these that the kernel has with so many objects.
    caches: &'static [&'static str],
    /// What the holder's path begins with, or has in it after `…`; one of these.
    holder: &'static [&'static str],
    /// How many objects.
    objects: u64,
}

const fn situation(
    command: &'static str,
    caches: &'static [&'static str],
    holder: &'static [&'static str],
    objects: u64,
) -> Situation {
    Situation { command, caches, holder, objects }
}

/// Sockets of local processes, by whatever cache theirs was merged with.
const UNIX: &[&str] = &["UNIX", "PING", "signal_cache", "unix_sock"];
/// What joins a watched file with its marks: up to Linux 6.12, and in Linux 7.2.
const MARK_CONNECTORS: &[&str] = &["fsnotify_mark_connector", "fsnotify_inode_mark_connector"];
/// How many of [`ALL`] run by default.
const BY_DEFAULT: usize = 12;
/// How many of [`ALL`] the running guest is asked for, too: each of their caches takes it half a minute.
const ASKED_LIVE: usize = 4;

const ALL: [Situation; 33] = [
    situation("load unix 2 2000; load unix 1 1500", UNIX, &["load-unix"], 11_000),
    situation("load ringfiles 1 3500", &["filp"], &["load-ringfiles"], 3500),
    situation("load flights 1 7000", &["filp"], &["load-flights (PID) → files in flight"], 7000),
    situation(
        "load pinned 9000 /sys/fs/bpf/load",
        &["kmalloc-cg-512", "kmalloc-512"],
        &["pin /sys/fs/bpf/load"],
        9000,
    ),
    situation("load tcp 1 1500", &["TCP"], &["load-tcp"], 3000),
    situation("load areas 1 20000", &["vm_area_struct"], &["load-areas"], 20_000),
    situation("load keys 3000", &["key_jar"], &["keyring _uid.0"], 3000),
    situation("load bpf 1 5000", &["kmalloc-cg-1k", "kmalloc-1k"], &["load-bpf"], 5000),
    situation(
        "load messages 4000 /load",
        &["msg_msg-1k", "kmalloc-cg-1k", "kmalloc-1k"],
        &["message queue /load"],
        4000,
    ),
    situation("load mounts 1 2000", &["mnt_cache"], &["load-mounts"], 2000),
    situation(
        "mkdir /disk/empty && load negative /disk/empty 60000",
        &["dentry"],
        &["file system /disk"],
        60_000,
    ),
    situation("load gone 1 3000 /disk", &["ext4_inode_cache"], &["load-gone"], 3000),
    situation("load udp 1 3000", &["UDP", "signal_cache", "mm_struct"], &["load-udp"], 3000),
    situation("load netlink 1 2500", &["kmalloc-1k", "kmalloc-2k"], &["load-netlink"], 2500),
    situation("load eventfd 1 6000", &["kmalloc-cg-64", "kmalloc-64"], &["load-eventfd"], 6000),
    situation("load timerfd 1 2200", &["kmalloc-256", "kmalloc-cg-256"], &["load-timerfd"], 2200),
    situation("load timers 1 5000", &["posix_timers_cache"], &["load-timers"], 5000),
    situation("load epoll 1 4500", &["ep_head", "eventpoll_epi"], &["load-epoll"], 4500),
    // `pipe_inode_info` has more than 192 bytes since Linux 7.3.
    situation(
        "load empty 1 2000",
        &["kmalloc-cg-192", "kmalloc-192", "kmalloc-cg-256", "kmalloc-256"],
        &["load-empty"],
        2000,
    ),
    situation("load ringpolls 1 4000", &["io_kiocb", "req_cachep"], &["load-ringpolls"], 4000),
    situation("load locks 1 3000", &["file_lock_cache"], &["load-locks"], 3000),
    situation(
        "load aio 1 3000",
        &["aio_kiocb", "file_lock_cache", "kmalloc-192"],
        &["load-aio"],
        3000,
    ),
    situation("load perf 1 600", &["perf_event", "kmalloc-2k", "kmalloc-1k"], &["load-perf"], 600),
    situation("load watches 1 /load/watched 8000", MARK_CONNECTORS, &["load-watches"], 8000),
    situation("load fanotify 1 2500 /load/marked", MARK_CONNECTORS, &["load-fanotify"], 2500),
    situation("load pidfd 1 300", &["pid"], &["load-pidfd"], 300),
    situation("load spaces 1 12", &["net_namespace"], &["load-spaces"], 12),
    situation(
        "load mountedspaces 14 /load/spaces",
        &["net_namespace"],
        &["mount /load/spaces"],
        14,
    ),
    situation("load uts 1 900", &["uts_namespace", "pool_workqueue"], &["load-uts"], 900),
    situation(
        "load sparse 1 3000 /load/sparse",
        &["radix_tree_node"],
        &["load-sparse", "file system /load/sparse"],
        3000,
    ),
    situation(
        "load oldmessages 6000",
        &["msg_msg-2k", "kmalloc-cg-2k", "kmalloc-2k"],
        &["init_ipc_ns"],
        6000,
    ),
    situation("load routes 5000", &["ip_fib_alias"], &["init_net"], 5000),
    situation(
        "load files 6000 /load/files",
        &["shmem_inode_cache"],
        &["file system /load/files"],
        6000,
    ),
];

/// What the situations need.
const SET_UP: &str = "mkdir -p /load/watched /load/marked /load/sparse /load/spaces /load/files && \
    for name in watched marked sparse files; do \
    mount -t tmpfs -o nr_inodes=0 load-$name /load/$name || exit; done; \
    echo 1000000 >/proc/sys/fs/inotify/max_user_watches; \
    echo 65536 >/proc/sys/fs/mqueue/msg_max; \
    echo 100000000 >/proc/sys/kernel/msgmnb; \
    echo 100000 >/proc/sys/kernel/keys/root_maxkeys; \
    echo 100000000 >/proc/sys/kernel/keys/root_maxbytes; \
    echo 100000 >/proc/sys/fs/aio-max-nr";
/// A POSIX queue of thousands of messages.
const QUEUES: &str = "ulimit -q unlimited";

/// Sets all up, and asks for each.
pub fn run(stage: &mut Stage) -> Result<()> {
    stage.guest.mount_disk()?;
    stage.guest.text(SET_UP)?;
    let many = if stage.args.wants("all-holders") { ALL.len() } else { BY_DEFAULT };
    let patience = Duration::from_secs(stage.args.timeout_s);
    let mut made = Vec::new();
    for one in &ALL[..many] {
        let output = stage.guest.run(&format!("{QUEUES}; {}", one.command), patience)?;
        let ok = output.code == 0;
        let got = format!("exit {} {}", output.code, output.errors());
        stage.check("holders", one.command, "exit 0", &got, ok);
        made.extend(ok.then_some(one));
    }
    let truths: Vec<Truth> =
        super::HOLDING.iter().map(|module| stage.guest.load(module)).collect::<Result<_>>()?;
    ourselves(stage)?;
    let mut asked = Asked::of(None);
    for one in
        made.iter().filter(|one| ALL[..ASKED_LIVE].iter().any(|live| live.command == one.command))
    {
        judge(stage, &mut asked, one)?;
    }
    asked.expect_known(stage);
    let folder = stage.args.keep.clone().unwrap_or_else(|| stage.guest.folder.0.clone());
    let vmcore = folder.join(format!("{}-holders.vmcore", stage.kernel.name));
    fs::create_dir_all(&folder)?;
    stage.guest.dump(&vmcore)?;
    let mut asked = Asked::of(Some(&vmcore));
    for one in made {
        judge(stage, &mut asked, one)?;
    }
    let modules: &[Truth] = if many == ALL.len() { &truths } else { &[] };
    for truth in modules {
        let held = asked.holders(stage, &truth.cache)?;
        let module = format!("[sysaktest_{}]", truth.name);
        let names =
            |path: &str| path.split(" → ").next().is_some_and(|first| first.ends_with(&module));
        tell(stage, &mut asked, &truth.name, &held, truth.count, &names);
    }
    asked.expect_known(stage);
    Ok(())
}

/// Our own process is never a holder, in the running guest.
fn ourselves(stage: &mut Stage) -> Result<()> {
    let held = holders(&stage.inspect_cache("dentry")?.stdout);
    let ours: u64 =
        held.iter().filter(|one| path(one).starts_with("sysak")).map(|one| one.objects).sum();
    let ok = !held.is_empty() && ours == 0;
    stage.check("holders: live", "sysak itself holds", "nothing", &format!("{ours} dentries"), ok);
    Ok(())
}

/// What the vmcore answered so far, or the running guest where there is none.
struct Asked<'v> {
    vmcore: Option<&'v Path>,
    /// By cache.
    known: HashMap<String, Vec<Holder>>,
    /// How many situations were judged, and how many of them are unknown.
    judged: usize,
    unknown: usize,
}

impl<'v> Asked<'v> {
    fn of(vmcore: Option<&'v Path>) -> Asked<'v> {
        Asked { vmcore, known: HashMap::new(), judged: 0, unknown: 0 }
    }

    /// The scenario's name in the table of checks.
    fn scenario(&self) -> &'static str {
        if self.vmcore.is_some() { "holders" } else { "holders: live" }
    }

    /// Checks that no more than a tenth of the answers are "unknown".
    fn expect_known(&self, stage: &mut Stage) {
        let most = self.judged.div_ceil(10);
        let got = format!("{} of {}", self.unknown, self.judged);
        let ok = self.unknown <= most && self.judged > 0;
        stage.check(
            self.scenario(),
            "answers that are unknown",
            &format!("at most {most}"),
            &got,
            ok,
        );
    }

    fn holders(&mut self, stage: &mut Stage, cache: &str) -> Result<Vec<Holder>> {
        if let Some(known) = self.known.get(cache) {
            return Ok(known.clone());
        }
        let held = match self.vmcore {
            Some(vmcore) => ask_vmcore(stage, vmcore, cache)?,
            None => holders(&stage.inspect_cache(cache)?.stdout),
        };
        self.known.insert(cache.to_owned(), held.clone());
        Ok(held)
    }
}

fn ask_vmcore(stage: &Stage, vmcore: &Path, cache: &str) -> Result<Vec<Holder>> {
    let sysak = stage.args.sysak.as_deref().context("--sysak is missing")?;
    let mut command = Command::new("timeout");
    command.arg(stage.args.timeout_s.to_string()).arg(sysak);
    command.args(["inspect", "cache", cache, "--format", "json"]);
    Ok(holders(&command.arg("--vmcore").arg(vmcore).output()?.stdout))
}

fn holders(inspected: &[u8]) -> Vec<Holder> {
    let parsed: serde_json::Value = serde_json::from_slice(inspected).unwrap_or_default();
    let held = parsed.pointer("/cache/holders").cloned().unwrap_or_default();
    serde_json::from_value(held).unwrap_or_default()
}

fn path(holder: &Holder) -> String {
    holder.path.join(" → ")
}

fn judge(stage: &mut Stage, asked: &mut Asked<'_>, one: &Situation) -> Result<()> {
    let is_it = |path: &str| one.holder.iter().any(|wanted| is_holder(path, wanted));
    let mut held = Vec::new();
    // Which of these caches has the objects depends on the kernel; others may be as full.
    for cache in one.caches {
        let of_cache = asked.holders(stage, cache)?;
        if held_by(&of_cache, &is_it) >= held_by(&held, &is_it) && !of_cache.is_empty() {
            held = of_cache;
        }
        if held_by(&held, &is_it) >= one.objects * 9 / 10 {
            break;
        }
    }
    tell(stage, asked, one.command, &held, one.objects, &is_it);
    Ok(())
}

/// How many objects have a holder that is meant.
fn held_by(held: &[Holder], is_it: &dyn Fn(&str) -> bool) -> u64 {
    held.iter().filter(|one| is_it(&path(one))).map(|one| one.objects).sum()
}

/// Whether a path begins as is wanted; `(PID)` is any number of a process.
fn is_holder(path: &str, wanted: &str) -> bool {
    match wanted.split_once("(PID)") {
        None => path.starts_with(wanted),
        Some((name, rest)) => path.strip_prefix(name).is_some_and(|path| {
            path.split_once(')').is_some_and(|(_, after)| after.starts_with(rest))
        }),
    }
}

/// Right: so many objects, within a tenth, have the holder. Unknown: those that it has not, nobody has.
fn tell(
    stage: &mut Stage,
    asked: &mut Asked<'_>,
    what: &str,
    held: &[Holder],
    objects: u64,
    is_it: &dyn Fn(&str) -> bool,
) {
    let found = held_by(held, is_it);
    let of_nobody: u64 =
        held.iter().filter(|one| one.kind == "unknown").map(|one| one.objects).sum();
    let is_right = found.abs_diff(objects) <= objects / 10;
    let missing = objects.saturating_sub(found);
    let is_unknown = !is_right && missing > 0 && of_nobody >= missing;
    let answer = match (is_right, is_unknown) {
        (true, _) => "right".to_owned(),
        (false, true) => format!("unknown: {found} of its objects"),
        (false, false) => format!(
            "wrong: {found} of its objects, first {}",
            held.first().map_or(String::new(), path)
        ),
    };
    asked.judged += 1;
    asked.unknown += usize::from(is_unknown);
    let ok = is_right || is_unknown;
    stage.check(asked.scenario(), &format!("who holds: {what}"), "right, or unknown", &answer, ok);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_wanted_by_the_beginning_of_its_path() {
        assert!(is_holder("load-udp (12) → fd socket", "load-udp"));
        assert!(!is_holder("sh (1) → load-udp", "load-udp"));
        let wanted = "load-flights (PID) → files in flight";
        assert!(is_holder("load-flights (77) → files in flight → sock", wanted));
        assert!(!is_holder("load-flights (77) → fd socket", wanted));
    }
}
