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

use crate::load::Load;

const LEN: usize = include_bytes!(concat!(env!("OUT_DIR"), "/empty.bpf.o")).len();
static EMPTY: Aligned<LEN> = Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/empty.bpf.o")));

const EVENTS: [&str; 4] = ["kmalloc", "kmem_cache_alloc", "kfree", "kmem_cache_free"];
const ROUNDS: usize = 15;
const TURNS: u64 = 100_000;
/// The cache of `struct file`: the load allocates one in each turn.
const USED: &str = "filp";
/// A cache that the load leaves alone.
const UNUSED: &str = "task_struct";
/// memleak of libbpf-tools, by Debian's name; `SYSAK_BENCH_MEMLEAK` gives another. As it is by
/// default, it takes a stack for each allocation; it prints once an hour.
const PEER: &str = "memleak-libbpf";
const PEER_ARGS: [&str; 1] = ["3600"];

/// Prints what each way to watch adds.
pub fn measure() -> Result<()> {
    println!(
        "watching allocations on this machine; each turn of the load opens and closes an eventfd"
    );
    match Machine::open() {
        Ok(machine) => machine.measure(),
        Err(error) => {
            println!("  left out: {error:#}");
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
    Peer,
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
        let kernel = Kernel::new(
            target.memory.as_memory(),
            &target.anchors,
            &target.types,
            &target.symbols,
        )?;
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

    fn measure(&self) -> Result<()> {
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
            ("libbpf-tools memleak", Way::Peer),
        ];
        // What each way adds to the first one in the same round: the machine's moods cancel out.
        let (mut turns, mut added) = (vec![Vec::new(); ways.len()], vec![Vec::new(); ways.len()]);
        for _ in 0..ROUNDS {
            let mut plain = None;
            for (at, (_, way)) in ways.iter().enumerate() {
                let Ok(_held) = self.begin(way) else { continue };
                load.turn_ns(TURNS / 10)?;
                let turn = load.turn_ns(TURNS)?;
                turns[at].push(turn);
                added[at].push((turn - *plain.get_or_insert(turn)) / pairs);
            }
        }
        let floor = median(&mut added[1]);
        println!("  {pairs:.2} allocate-and-free pairs a turn; medians of {ROUNDS} rounds in turn");
        for (at, (name, _)) in ways.iter().enumerate() {
            match (median(&mut turns[at]), median(&mut added[at]), floor) {
                (Some(turn), Some(added), Some(floor)) => println!(
                    "  {name:26} {turn:8.0} ns a turn   adds {added:7.1} ns a pair   {:6.2} times the floor",
                    added / floor
                ),
                _ => println!("  {name:26} left out: cannot run it (is it installed?)"),
            }
        }
        println!("      {} {}", peer(), PEER_ARGS.join(" "));
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
            Way::Peer => {
                let child = Command::new(peer())
                    .args(PEER_ARGS)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()?;
                let mut peer = Peer(child);
                // It attaches within a second.
                std::thread::sleep(Duration::from_secs(3));
                anyhow::ensure!(peer.0.try_wait()?.is_none(), "it ended");
                Held::Peer(peer)
            }
        })
    }
}

fn peer() -> String {
    std::env::var("SYSAK_BENCH_MEMLEAK").unwrap_or_else(|_| PEER.to_owned())
}

fn median(times: &mut [f64]) -> Option<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}
