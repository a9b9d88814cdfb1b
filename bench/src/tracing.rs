//! What watching allocations adds to each allocate-and-free pair, beside its floor and its peers.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use sysak_alloctrace::{Events, Follow, Followed, Mode, Tracer};
use sysak_base::{Cancel, Quiet};
use sysak_bpf::Aligned;
use sysak_kernel::Kernel;
use sysak_kernel::shape::EventShape;
use sysak_snapshot::Snapshot;
use sysak_target::Options;

use crate::figures::Figures;
use crate::load::Load;
use crate::peers::Peers;
use crate::speed;

const LEN: usize = include_bytes!(concat!(env!("OUT_DIR"), "/empty.bpf.o")).len();
static EMPTY: Aligned<LEN> = Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/empty.bpf.o")));

const EVENTS: [&str; 4] = ["kmalloc", "kmem_cache_alloc", "kfree", "kmem_cache_free"];
const ROUNDS: usize = 15;
const TURNS: u64 = 100_000;
/// The cache of `struct file`: the load allocates one in each turn.
const USED: &str = "filp";
/// A cache that the load leaves alone.
const UNUSED: &str = "task_struct";
/// memleak of libbpf-tools, as it is by default, takes a stack for each allocation. It prints once an hour.
const PEER_ARGS: [&str; 1] = ["3600"];

/// Prints what each way to watch adds.
pub fn measure(peers: &Peers, figures: &mut Figures) -> Result<()> {
    println!(
        "watching allocations on this machine; each turn of the load opens and closes an eventfd"
    );
    match Machine::open() {
        Ok(machine) => machine.measure(peers.path("memleak"), figures),
        Err(error) => {
            println!("  left out: {error:#}");
            figures.leave_out("tracing", &format!("{error:#}"));
            Ok(())
        }
    }
}

struct Machine {
    events: Events,
    used: Followed,
    unused: Followed,
}

/// One way to watch.
enum Way {
    Nothing,
    Empty,
    Tracer(Follow, u32),
    Peer(Result<String, String>),
}

/// What keeps a way watching.
#[allow(dead_code)] // Held for their ends.
enum Held {
    Nothing,
    Empty(libbpf_rs::Object, Vec<libbpf_rs::Link>),
    Tracer(Box<Tracer>),
    Peer(Peer),
}

struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine {
    fn open() -> Result<Machine> {
        let options = Options::default();
        let target = sysak_target::open(&options, &Cancel::default(), &Quiet)?;
        let kernel =
            Kernel::new(target.memory.as_ref(), &target.anchors, &target.types, &target.symbols)?;
        let heap = Snapshot::take(&kernel, &Quiet, &Cancel::default())?.heap;
        let shape = EventShape::find(&target.types).context("no allocation events")?;
        let followed = |name: &str| {
            let is_it = |other: &str| other == name;
            let cache = heap
                .caches
                .iter()
                .find(|cache| is_it(&cache.name) || cache.aliases.iter().any(|a| is_it(a)))
                .with_context(|| format!("no cache {name}"))?;
            let bytes = shape.alloc_bytes.map(|_| u64::from(cache.stride));
            anyhow::Ok(Followed { cache: cache.va, bytes })
        };
        Ok(Machine {
            used: followed(USED)?,
            unused: followed(UNUSED)?,
            events: sysak_memleak::watch::arguments(shape),
        })
    }

    fn measure(&self, memleak: Result<String, String>, figures: &mut Figures) -> Result<()> {
        let mut load = Load::start()?;
        let pairs = self.pairs_a_turn(&mut load)?;
        let one = |followed| Follow::Caches(vec![followed]);
        let ways = [
            ("nothing", Way::Nothing),
            ("empty program, the floor", Way::Empty),
            ("sysak, another cache", Way::Tracer(one(self.unused), 0)),
            ("sysak, the load's cache", Way::Tracer(one(self.used), 0)),
            ("  with a stack each", Way::Tracer(one(self.used), u32::MAX)),
            ("sysak, every cache", Way::Tracer(Follow::All, 0)),
            ("libbpf-tools memleak", Way::Peer(memleak)),
        ];
        let (mut turns, mut copies) = (vec![Vec::new(); ways.len()], Vec::new());
        let mut failures = vec![None; ways.len()];
        for _ in 0..ROUNDS {
            for (at, (_, way)) in ways.iter().enumerate() {
                if failures[at].is_some() {
                    continue;
                }
                match self.begin(way) {
                    Ok(_held) => {
                        load.turn_ns(TURNS / 10)?;
                        turns[at].push(load.turn_ns(TURNS)?);
                    }
                    Err(error) => failures[at] = Some(format!("{error:#}")),
                }
            }
            copies.push(speed::memcpy());
        }
        println!("  {pairs:.2} allocate-and-free pairs a turn; medians of {ROUNDS} rounds in turn");
        let mut floor = None;
        for (at, (name, way)) in ways.iter().enumerate() {
            let figure = format!("tracing, {}", name.trim());
            if let Some(reason) = &failures[at] {
                println!("  {name:26} left out: {reason}");
                figures.leave_out(&figure, reason);
                continue;
            }
            // What it adds to the first way in the same round: the machine's moods cancel out.
            let added = turns[at].iter().zip(&turns[0]).map(|(turn, plain)| (turn - plain) / pairs);
            let added = figures.add(format!("{figure}: added"), "ns a pair", added.collect())?;
            let turn = figures.add(format!("{figure}: turn"), "ns", turns[at].clone())?;
            if matches!(way, Way::Empty) {
                floor = Some(added);
            }
            let times = floor.map_or(0.0, |floor| added / floor);
            figures.add(format!("{figure}: times the floor"), "ratio", vec![times])?;
            println!(
                "  {name:26} {turn:8.0} ns a turn   adds {added:7.1} ns a pair   {times:6.2} times the floor"
            );
        }
        println!("  {}", figures.beside(copies));
        Ok(())
    }

    /// Allocations in one turn, counted by the tracer itself.
    fn pairs_a_turn(&self, load: &mut Load) -> Result<f64> {
        let tracer = Tracer::start(self.events, &Follow::Caches(vec![self.unused]))?;
        let before = tracer.seen().allocs;
        load.turn_ns(TURNS)?;
        Ok((tracer.seen().allocs - before) as f64 / TURNS as f64)
    }

    fn begin(&self, way: &Way) -> Result<Held> {
        Ok(match way {
            Way::Nothing => Held::Nothing,
            Way::Empty => {
                let object = sysak_bpf::open(&EMPTY)?.load()?;
                let program = object.progs_mut().next().context("no program")?;
                let links = EVENTS.map(|event| program.attach_raw_tracepoint(event));
                let links = links.into_iter().collect::<Result<Vec<_>, _>>()?;
                Held::Empty(object, links)
            }
            Way::Tracer(follow, stacks) => {
                let tracer = Tracer::start(self.events, follow)?;
                tracer.tick(*stacks);
                tracer.set_mode(Mode::Record);
                Held::Tracer(Box::new(tracer))
            }
            Way::Peer(memleak) => {
                let memleak = memleak.as_ref().map_err(|reason| anyhow::anyhow!("{reason}"))?;
                let child = Command::new(memleak)
                    .args(PEER_ARGS)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()?;
                let mut peer = Peer(child);
                // It attaches within a second.
                std::thread::sleep(Duration::from_secs(3));
                anyhow::ensure!(peer.0.try_wait()?.is_none(), "it ended at once");
                Held::Peer(peer)
            }
        })
    }
}
