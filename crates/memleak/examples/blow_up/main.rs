//! Makes a dump of a large machine out of a small guest's: the guest's memory, and further RAM.
//!
//! `cargo run --release -p sysak-memleak --example blow_up -- VMCORE OUT --gib N --from GIB`
//!
//! `VMCORE` is a guest's ELF file, `OUT` becomes a file in makedumpfile's format, its pages packed with zlib. The
//! further RAM has `N` GiB and begins at `GIB`. A tenth of it is the kernel's, set aside at boot, so that it is
//! searched for pointers: copies of the guest's own pages of that kind, packed one by one. The rest is memory of
//! programs, and is left out. The array of `struct page`, the page tables and the resource tree know all of it.
//!
//! The guest must run with `nokaslr` if the further RAM begins at several TiB: else other mappings lie there.
//!
//! **Invariant:** a word that the copies have was a root in the guest before: the dump leaks what the guest leaks.

#[path = "../dump/mod.rs"]
mod dump;
mod file;
mod machine;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use sysak_base::{Cancel, PAGE_SIZE, Pfn, PfnRange, Quiet};
use sysak_kernel::Kernel;
use sysak_snapshot::take_inventory;

use file::DumpFile;
use machine::{Further, Machine};

/// 1 GiB, in pages.
const GIB: u64 = (1 << 30) / PAGE_SIZE;
/// Further RAM begins at a GiB, like its mapping, and ends below 64 TiB.
const MOST_GIB: u64 = 64 << 10;

struct Args {
    vmcore: PathBuf,
    out: PathBuf,
    further: PfnRange,
}

impl Args {
    fn parse() -> Result<Args> {
        let (mut files, mut numbers) = (Vec::new(), [None; 2]);
        let mut words = std::env::args_os().skip(1);
        while let Some(word) = words.next() {
            let number = match word.to_str() {
                Some("--gib") => &mut numbers[0],
                Some("--from") => &mut numbers[1],
                Some(option) if option.starts_with("--") => bail!("unknown option {option}"),
                _ => {
                    files.push(PathBuf::from(word));
                    continue;
                }
            };
            let value = words.next().and_then(|value| value.to_str()?.parse::<u64>().ok());
            *number = value.filter(|gib| (1..MOST_GIB).contains(gib));
        }
        let [Some(gib), Some(from)] = numbers else { bail!("--gib and --from need a number") };
        let Ok([vmcore, out]) = <[_; 2]>::try_from(files) else { bail!("which files?") };
        let further = PfnRange { start: Pfn(from * GIB), end: Pfn((from + gib) * GIB) };
        ensure!(from + gib <= MOST_GIB, "no machine has memory there");
        Ok(Args { vmcore, out, further })
    }
}

fn main() -> Result<()> {
    let args = Args::parse()?;
    let target = dump::open(&args.vmcore)?;
    let memory = target.memory.as_ref();
    let kernel = Kernel::new(memory, &target.anchors, &target.types, &target.symbols)?;
    ensure!(kernel.end_pfn() <= args.further.start, "the guest has memory there");
    let further = Further::new(&kernel, args.further)?;
    let mut machine = Machine::new(&kernel, &further);
    let top = target.anchors.page_table.context("the guest's page tables are not known")?;
    machine.map(top, &further)?;
    machine.add_resource(&target.types, &target.symbols, &further)?;

    let states = memory.page_states().context("not a dump")?;
    let guest = PfnRange { start: Pfn(0), end: kernel.end_pfn() };
    let guest: Vec<_> =
        states.runs(guest).filter(|(state, _)| state.is_readable()).map(|(_, run)| run).collect();
    let notes = file::notes(&args.vmcore)?;
    let mut out = DumpFile::create(&args.out, &guest, &further, &notes)?;
    let mut page = [0; PAGE_SIZE as usize];
    for pfn in guest.iter().flat_map(|run| run.start.0..run.end.0).map(Pfn) {
        machine.read(pfn, &mut page)?;
        out.add(&page)?;
    }
    let samples = samples(&kernel, &further)?;
    eprintln!("the guest's memory is written; {} pages of roots to copy", samples.len());
    let mut next = samples.iter().cycle();
    for pfn in further.dumped().map(Pfn) {
        if further.is_described(pfn) {
            machine.read(pfn, &mut page)?;
            out.add(&page)?;
        } else {
            out.add_packed(next.next().context("the guest has no such page")?)?;
        }
    }
    out.finish()
}

/// Pages that are roots, packed, but for the image and pages of zeroes.
fn samples(kernel: &Kernel<'_>, further: &Further) -> Result<Vec<Vec<u8>>> {
    let inventory = take_inventory(kernel, &Quiet, &Cancel::default())?;
    let roots = inventory.census.roots.runs();
    let roots = roots.flat_map(|(first, pages)| first.0..first.0 + pages).map(Pfn);
    let is_image = |pfn: &Pfn| kernel.image.iter().any(|run| run.contains(*pfn));
    let mut machine = Machine::new(kernel, further);
    let mut page = [0; PAGE_SIZE as usize];
    let mut packed = Vec::new();
    for pfn in roots.filter(|pfn| !is_image(pfn)) {
        if machine.read(pfn, &mut page).is_ok() && page != [0; PAGE_SIZE as usize] {
            packed.push(file::pack(&page)?);
        }
    }
    Ok(packed)
}
