//! Busy guests for as long as is asked for (`--minutes`), in which nothing is lost: loads come and go, look
//! after look, and nobody may be accused.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Stage, live};

/// A load that comes and goes.
struct Load {
    comes: &'static str,
    goes: &'static str,
}

const fn load(comes: &'static str, goes: &'static str) -> Load {
    Load { comes, goes }
}

const LOADS: [Load; 25] = [
    load("load unix 4 1000", "kill $(pidof load-unix)"),
    load(
        "mount -t tmpfs -o size=90% busy /busy/tmpfs && dd if=/dev/zero of=/busy/tmpfs/f bs=1M count=150",
        "rm -f /busy/tmpfs/f; umount /busy/tmpfs",
    ),
    load("load tcp 2 800", "kill $(pidof load-tcp)"),
    load("insmod /test/sysaktest_hash.ko", "rmmod sysaktest_hash"),
    load("load pipes 4 16", "kill $(pidof load-pipes)"),
    load("load negative /disk/negative 60000", "echo 2 >/proc/sys/vm/drop_caches"),
    load("load flights 1 3000", "kill $(pidof load-flights)"),
    load("insmod /test/sysaktest_rcu.ko", "rmmod sysaktest_rcu"),
    load("load areas 2 15000", "kill $(pidof load-areas)"),
    load(
        "mkdir -p /busy/groups/load && load groups /busy/groups/load 200 /disk/charged",
        "rm -rf /disk/charged/*; rmdir /busy/groups/load",
    ),
    load("load ringfiles 1 2000", "kill $(pidof load-ringfiles)"),
    load("insmod /test/sysaktest_xarray.ko", "rmmod sysaktest_xarray"),
    load("load epoll 2 2000", "kill $(pidof load-epoll)"),
    load(
        "dd if=/dev/zero of=/disk/big bs=1M count=150 && sync",
        "rm -f /disk/big; echo 3 >/proc/sys/vm/drop_caches",
    ),
    load("load timers 1 3000", "kill $(pidof load-timers)"),
    load("insmod /test/sysaktest_percpu.ko", "rmmod sysaktest_percpu"),
    load("load locked 2 350", "kill $(pidof load-locked)"),
    load("load mounts 1 500", "kill $(pidof load-mounts)"),
    load("insmod /test/sysaktest_vmarray.ko", "rmmod sysaktest_vmarray"),
    load("load udp 2 1500", "kill $(pidof load-udp)"),
    load(
        "echo 40 >/proc/sys/vm/nr_hugepages && load huge 1 20",
        "kill $(pidof load-huge); echo 0 >/proc/sys/vm/nr_hugepages",
    ),
    load("load aio 1 2000", "kill $(pidof load-aio)"),
    load("insmod /test/sysaktest_rbtree.ko", "rmmod sysaktest_rbtree"),
    load("load netlink 2 1500", "kill $(pidof load-netlink)"),
    load("load spaces 1 8", "kill $(pidof load-spaces)"),
];

const SET_UP: &str = "mkdir -p /busy/tmpfs /busy/groups /disk/negative /disk/charged && \
    mount -t cgroup2 busy /busy/groups && echo +memory >/busy/groups/cgroup.subtree_control && \
    echo 65536 >/proc/sys/fs/aio-max-nr";

/// Looks at memory, once and confirmed.
pub fn looks(stage: &mut Stage) -> Result<()> {
    keep_on(stage, "looks", "--check")
}

/// Watches allocations.
pub fn watches(stage: &mut Stage) -> Result<()> {
    keep_on(stage, "watches", "")
}

/// A load comes, `sysak` looks, and the load of before goes; so each look has one that stays, and what is
/// left of one that has gone.
fn keep_on(stage: &mut Stage, what: &str, options: &str) -> Result<()> {
    stage.guest.mount_disk()?;
    stage.guest.text(SET_UP)?;
    live::keep_busy(stage)?;
    let (start, mut verdicts) = (Instant::now(), BTreeMap::<String, u32>::new());
    let patience = Duration::from_secs(stage.args.timeout_s);
    let for_so_long = Duration::from_secs(60 * stage.args.minutes);
    for (round, load) in
        LOADS.iter().cycle().enumerate().take_while(|_| start.elapsed() < for_so_long)
    {
        let scenario = format!("busy, {what}, {}", round + 1);
        stage.note(&scenario, load.comes);
        let comes = stage.guest.run(load.comes, patience)?;
        if comes.code != 0 {
            stage.check(&scenario, "the load", "exit 0", &comes.errors(), false);
        }
        let command =
            format!("timeout {} sysak memleak --format json {options}", patience.as_secs());
        if let Some((code, report)) = stage.diagnose_by(&scenario, &command)? {
            stage.expect_nobody_accused(&scenario, code, &report);
            *verdicts.entry(report.verdict).or_default() += 1;
        }
        if round > 0 {
            stage.guest.run(LOADS[(round - 1) % LOADS.len()].goes, patience)?;
        }
    }
    let minutes = start.elapsed().as_secs() / 60;
    stage.note("busy", &format!("{what}: {verdicts:?} in {minutes} minutes"));
    Ok(())
}
