//! Hundreds of millions of objects, through the very engine that real targets use.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sysak_base::{Cancel, Quiet};
use sysak_heap::Class;
use sysak_kernel::Kernel;
use sysak_kernel::shape::Shape;
use sysak_memleak::diagnose::diagnose;
use sysak_memleak::plan::Plan;
use sysak_symbols::{Kallsyms, TypeInfo};
use sysak_target::Options;

use crate::figures::Figures;
use crate::made_up::{MadeUp, Ram};
use crate::speed;

/// Pages of a 200 GB machine for the full number of objects, and in proportion below.
const PAGES_PER_OBJECT: (u64, u64) = (1, 8);

const ROUNDS: usize = 3;
const STAGES: [&str; 6] = ["census", "walk", "reach", "hidden", "alike", "explain"];

/// Prints time and memory of the made-up target at growing sizes, and of a real image.
pub fn measure(
    objects: u64,
    threads: usize,
    real: Option<&Path>,
    figures: &mut Figures,
) -> Result<()> {
    println!(
        "one cache of many objects of 32 bytes: time of each step; medians of {ROUNDS} runs, in turn"
    );
    for part in [16, 4, 1] {
        let objects = objects / part;
        by_threads("made up", threads, &|threads| made_up(objects, threads), figures)?;
    }
    match real {
        Some(vmcore) => {
            let objects = of_vmcore(vmcore)?.objects;
            let read = || of_vmcore(vmcore);
            let as_many = || made_up(objects, 1);
            in_turn(
                &[("real image".into(), &read), ("made up, as many".into(), &as_many)],
                figures,
            )?;
            Ok(())
        }
        None => {
            println!("  (no --many-objects-vmcore FILE: no real image beside it)");
            Ok(())
        }
    }
}

/// Pages of each of four nodes, and between two of them where there is no RAM: a terabyte.
const NODE_PAGES: u64 = 64 << 20;
const GAP_PAGES: u64 = 16 << 20;
/// One in two to the power of so many blocks of pages is the kernel's: 62 GiB.
const SPREAD: u32 = 4;
const CACHES: usize = 300;
const SIZES: [u64; 5] = [128, 256, 512, 1024, 2048];
/// Slabs of a generation of a cache: 200 million objects in all.
const GENERATION: u64 = 13_500;

/// Prints time and memory of a made-up machine of a terabyte, and how they grow with its size.
pub fn measure_terabyte(threads: usize, figures: &mut Figures) -> Result<()> {
    println!(
        "made-up machine of 1 TiB, 4 nodes, {CACHES} caches: medians of {ROUNDS} runs, in turn"
    );
    let mut sizes = Vec::new();
    for part in [16, 4, 1] {
        let what = format!("1/{part} of it");
        sizes.push(by_threads(&what, threads, &|threads| terabyte(part, threads), figures)?);
    }
    let Some((first, last)) = sizes.first().zip(sizes.last()) else { return Ok(()) };
    for (first, last) in first.iter().zip(last) {
        let steps = STAGES.iter().zip(first.stages.iter().zip(last.stages));
        let grown =
            steps.filter(|(_, (first, _))| first.as_millis() > 0).map(|(step, (first, last))| {
                format!("{step} {:.1}", last.as_secs_f64() / first.as_secs_f64())
            });
        let (all, more) = (
            last.time.as_secs_f64() / first.time.as_secs_f64(),
            last.objects as f64 / first.objects as f64,
        );
        println!(
            "  {more:.1} times as many objects: {all:.1} times as long ({})",
            grown.collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

/// One in `part` of that machine.
fn terabyte(part: u64, threads: usize) -> Result<Scaled> {
    diagnose_made_up(threads, |shape| {
        let (node_pages, gap_pages) = (NODE_PAGES / part, GAP_PAGES / part);
        let ram = Ram { nodes: 4, node_pages, gap_pages, spread: SPREAD };
        MadeUp::many_caches(shape, ram, CACHES, &SIZES, GENERATION / part)
    })
}

#[derive(Clone)]
struct Scaled {
    objects: u64,
    lost: u64,
    expected: Option<u64>,
    time: Duration,
    anonymous_bytes: u64,
    stages: [Duration; 6],
}

/// Measures a target with one thread and with several, in turn.
fn by_threads(
    what: &str,
    threads: usize,
    run: &dyn Fn(usize) -> Result<Scaled>,
    figures: &mut Figures,
) -> Result<Vec<Scaled>> {
    let (one, several) = (|| run(1), || run(threads));
    let ways: [(_, &dyn Fn() -> Result<Scaled>); 2] =
        [(format!("{what}, 1 thread"), &one), (format!("{what}, {threads} threads"), &several)];
    in_turn(if threads > 1 { &ways } else { &ways[..1] }, figures)
}

/// Measures some targets in turn and prints the medians of each; gives the run of each that took the median time.
fn in_turn(
    ways: &[(String, &dyn Fn() -> Result<Scaled>)],
    figures: &mut Figures,
) -> Result<Vec<Scaled>> {
    let (mut runs, mut copies) = (vec![Vec::new(); ways.len()], Vec::new());
    for _ in 0..ROUNDS {
        for ((_, run), runs) in ways.iter().zip(&mut runs) {
            runs.push(run()?);
        }
        copies.push(speed::memcpy());
    }
    for ((what, _), runs) in ways.iter().zip(&runs) {
        row(what, runs, figures)?;
    }
    println!("  {}", figures.beside(copies));
    let middle = |mut runs: Vec<Scaled>| {
        runs.sort_by_key(|run| run.time);
        runs.swap_remove(runs.len() / 2)
    };
    Ok(runs.into_iter().map(middle).collect())
}

fn row(what: &str, runs: &[Scaled], figures: &mut Figures) -> Result<()> {
    let Some(Scaled { objects, lost, expected, .. }) = runs.last() else { return Ok(()) };
    let name = format!("{what}, {objects} objects");
    let mut add = |of: &str, unit, figure: &dyn Fn(&Scaled) -> f64| {
        figures.add(format!("{name}: {of}"), unit, runs.iter().map(figure).collect())
    };
    let time = add("all", "s", &|run| run.time.as_secs_f64())?;
    let memory = add("memory", "bytes", &|run| run.anonymous_bytes as f64)?;
    let mut stages = Vec::new();
    for (at, stage) in STAGES.iter().enumerate() {
        let median = add(stage, "s", &|run| run.stages[at].as_secs_f64())?;
        stages.push(format!("{stage} {median:.2}"));
    }
    println!(
        "  {what:18} {objects:>11} objects  {time:7.2} s  {:5.1} ns each  memory {:4.0} MiB  ({})  lost {lost}{}",
        time * 1e9 / (*objects).max(1) as f64,
        memory / f64::from(1 << 20),
        stages.join(", "),
        expected.map_or(String::new(), |expected| format!(" of {expected}")),
    );
    Ok(())
}

fn made_up(objects: u64, threads: usize) -> Result<Scaled> {
    let pages = objects * PAGES_PER_OBJECT.0 / PAGES_PER_OBJECT.1;
    diagnose_made_up(threads, |shape| MadeUp::one_cache(shape, objects, pages))
}

fn diagnose_made_up(threads: usize, make: impl FnOnce(Shape) -> MadeUp) -> Result<Scaled> {
    let btf = std::fs::read("/sys/kernel/btf/vmlinux")
        .context("the made-up target borrows the layout of this machine's kernel")?;
    let types = TypeInfo::parse(&btf)?;
    let symbols = Kallsyms::parse_proc(
        b"ffffffff81000000 T _text\nffffffff82001040 R made_up_ops\nffffffff82001080 R end\n",
    )?;
    let target = make(Shape::resolve(&types)?);
    let kernel = Kernel::new(&target, &target.anchors(), &types, &symbols)?;
    let mut kernel = kernel.read_by(&target, threads);
    let mut scaled = run(&mut kernel)?;
    scaled.expected = Some(target.lost());
    anyhow::ensure!(scaled.objects == target.objects(), "not every made-up object was found");
    Ok(scaled)
}

fn of_vmcore(vmcore: &Path) -> Result<Scaled> {
    let options = Options { vmcore: vec![vmcore.to_owned()], ..Options::default() };
    let target = sysak_target::open(&options, &Cancel::default(), &Quiet)?;
    let mut kernel =
        Kernel::new(target.memory.as_ref(), &target.anchors, &target.types, &target.symbols)?;
    run(&mut kernel)
}

fn run(kernel: &mut Kernel<'_>) -> Result<Scaled> {
    let plan = Plan {
        only_cache: None,
        only_class: None,
        similarity_percent: 65,
        settle: None,
        biggest: 10,
        explain_limit: None,
        watch: None,
    };
    let before = Resident::now()?;
    std::fs::write("/proc/self/clear_refs", "5").context("cannot reset the peak of memory")?;
    let start = Instant::now();
    let diagnosis = diagnose(kernel, &plan, &Quiet, &Cancel::default())?;
    let time = start.elapsed();
    let times = diagnosis.observed.snapshot.times;
    let caches = diagnosis.observed.snapshot.heap.caches.iter().zip(&diagnosis.observed.tallies);
    let slabs = caches.filter(|(cache, _)| cache.class == Class::Slab);
    let (objects, lost) = slabs.fold((0, 0), |(objects, lost), (_, tally)| {
        (objects + tally.total, lost + tally.unreachable)
    });
    Ok(Scaled {
        objects,
        lost,
        expected: None,
        time,
        // The peak, less what was there before and the pages of files that were mapped.
        anonymous_bytes: Resident::now()?.peak_without_files().saturating_sub(before.anonymous),
        stages: [
            times.census,
            times.walk,
            times.reach,
            times.hidden,
            times.similarity,
            times.explain,
        ],
    })
}

/// Memory of this process, in bytes.
struct Resident {
    anonymous: u64,
    files: u64,
    peak: u64,
}

impl Resident {
    fn now() -> Result<Resident> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kib * 1024)
        };
        let read = || {
            Some(Resident {
                anonymous: field("RssAnon:")?,
                files: field("RssFile:")?,
                peak: field("VmHWM:")?,
            })
        };
        read().context("/proc/self/status does not tell resident memory")
    }

    fn peak_without_files(&self) -> u64 {
        self.peak.saturating_sub(self.files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_made_up_object_is_found_and_those_that_nothing_leads_to_are_lost() {
        for threads in [1, 3] {
            for found in [made_up(1 << 17, threads), terabyte(13_500, threads)] {
                let found = found.unwrap();
                assert_eq!(Some(found.lost), found.expected);
            }
        }
    }
}
