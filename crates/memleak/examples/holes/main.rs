//! Diagnoses crash dumps without some of the kernel's pages, chosen by chance, as if a filter had left them out:
//! `cargo run --release --example holes -- [--seeds N] [--first N] [--image] VMCORE...`
//!
//! Each dump is diagnosed as it is first; what it leaks then is the truth. The pages follow from the seed alone. Dumps
//! are never copied or changed. The kernel's image stays whole, unless `--image` is given: without its types or symbols
//! a dump is refused.
//!
//! Ends with status 1 where anything is accused that does not leak, or `no_leak` is said of a dump that leaks.

#[path = "../damage/outcome.rs"]
#[allow(dead_code)] // What runs another program, and the outcomes of damaged words.
mod outcome;
#[path = "../damage/random.rs"]
#[allow(dead_code)] // The choice of one out of several.
mod random;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use outcome::{Outcome, Truth, diagnose};
use random::Random;
use sysak_base::{Cancel, Pfn, Quiet};
use sysak_kernel::page::Census;
use sysak_kernel::{Coverage, FreePages, Kernel};
use sysak_snapshot::take_inventory;
use sysak_target::Changes;

/// How many of a million of the kernel's pages are left out.
const SHARES: [u64; 5] = [100, 1_000, 10_000, 50_000, 200_000];
const MILLION: u64 = 1_000_000;

/// What is asked for.
struct Args {
    first: u64,
    seeds: u64,
    with_image: bool,
    dumps: Vec<PathBuf>,
}

impl Args {
    fn parse() -> Result<Args> {
        let mut args = Args { first: 1, seeds: 5, with_image: false, dumps: Vec::new() };
        let mut words = std::env::args_os().skip(1);
        while let Some(word) = words.next() {
            let mut number = || -> Result<u64> {
                let value = words.next().and_then(|value| value.into_string().ok());
                Ok(value.with_context(|| format!("{} needs a number", word.display()))?.parse()?)
            };
            match word.to_str() {
                Some("--seeds") => args.seeds = number()?,
                Some("--first") => args.first = number()?,
                Some("--image") => args.with_image = true,
                Some(option) if option.starts_with("--") => bail!("unknown option {option}"),
                _ => args.dumps.push(word.into()),
            }
        }
        if args.dumps.is_empty() { bail!("which crash dump?") } else { Ok(args) }
    }
}

fn main() -> Result<()> {
    let args = Args::parse()?;
    let mut bad = 0;
    for dump in &args.dumps {
        let truth = diagnose(dump, Changes::default())?;
        let pages = kernel_pages(dump, args.with_image)?;
        println!("{}: {truth}; {} pages are the kernel's", dump.display(), pages.len());
        for share in SHARES {
            let mut row = Row::default();
            for seed in args.first..args.first + args.seeds {
                row.run(dump, &truth, &choose(&pages, share, seed), seed);
            }
            println!("  {:>5} %  {row}", share as f64 * 100.0 / MILLION as f64);
            bad += row.bad;
        }
    }
    match bad {
        0 => Ok(()),
        bad => bail!("{bad} dumps are judged wrongly"),
    }
}

/// The kernel's pages in a dump: its slabs, its other memory, and the array of `struct page`.
fn kernel_pages(dump: &Path, with_image: bool) -> Result<Vec<Pfn>> {
    let target = sysak_target::open_changed(dump, Changes::default())?;
    let memory = target.memory.as_ref();
    let kernel = Kernel::new(memory, &target.anchors, &target.types, &target.symbols)?;
    let (mut coverage, cancel) = (Coverage::default(), Cancel::default());
    let free = FreePages::find(&kernel, &mut coverage);
    let census = Census::take(&kernel, &free, &mut coverage, &Quiet, &cancel);
    let mut pages = census.roots;
    for run in &kernel.memmap {
        (run.start.0..run.end.0).for_each(|page| pages.insert(Pfn(page)));
    }
    for slab in &take_inventory(&kernel, &Quiet, &cancel)?.heap.slabs {
        (slab.pfn.0..slab.end().0).for_each(|page| pages.insert(Pfn(page)));
    }
    let is_image = |pfn: Pfn| kernel.image.iter().any(|run| run.contains(pfn));
    let all = pages.runs().flat_map(|(first, pages)| first.0..first.0 + pages).map(Pfn);
    Ok(all.filter(|pfn| with_image || !is_image(*pfn)).collect())
}

/// So many of a million pages, at least one.
fn choose(pages: &[Pfn], share: u64, seed: u64) -> Vec<Pfn> {
    let wanted = (pages.len() as u64 * share / MILLION).max(1) as usize;
    let mut random = Random::of(seed, share);
    let mut chosen = BTreeSet::new();
    while chosen.len() < wanted.min(pages.len()) {
        chosen.insert(pages[random.below(pages.len())]);
    }
    chosen.into_iter().collect()
}

/// How the dumps of one share ended.
#[derive(Default)]
struct Row {
    right: u64,
    undetermined: u64,
    refused: u64,
    in_part: u64,
    bad: u64,
    seconds: f64,
}

impl Row {
    fn run(&mut self, dump: &Path, truth: &Truth, without: &[Pfn], seed: u64) {
        let start = Instant::now();
        let changes = Changes { without, ..Changes::default() };
        let found = std::panic::catch_unwind(|| diagnose(dump, changes));
        self.seconds = self.seconds.max(start.elapsed().as_secs_f64());
        let found = match found {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => {
                self.refused += 1;
                return;
            }
            Err(_) => {
                println!("    seed {seed}: a panic");
                self.bad += 1;
                return;
            }
        };
        match Outcome::of(truth, &found) {
            Outcome::Right => self.right += 1,
            Outcome::Undetermined => self.undetermined += 1,
            // Whatever else leaks, the verdict is right; holes are told in every report.
            Outcome::InPart => self.in_part += 1,
            Outcome::Missed if found.is_leak() => self.in_part += 1,
            outcome => {
                println!("    seed {seed}: {}: {found}", outcome.name());
                self.bad += 1;
            }
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Row { right, undetermined, refused, in_part, bad, seconds } = self;
        write!(
            out,
            "right {right}, in part {in_part}, undetermined {undetermined}, refused {refused}, wrong {bad}; \
             at most {seconds:.1} s"
        )
    }
}
