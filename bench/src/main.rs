//! Side-by-side measurements: sysak against its peers and against the machine's own limits.
mod made_up;

use std::time::Instant;

use anyhow::{Context, Result};
use sysak::look::look;
use sysak_base::{Cancel, Quiet};
use sysak_kernel::Kernel;
use sysak_kernel::shape::Shape;
use sysak_symbols::{Kallsyms, TypeInfo};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let objects: u64 = args.next().context("objects")?.parse()?;
    let types = TypeInfo::parse(&std::fs::read("/sys/kernel/btf/vmlinux")?)?;
    let symbols = Kallsyms::parse_proc(b"ffffffff81000000 T _text\nffffffff82001040 R some_ops\n")?;
    let target = made_up::MadeUp::new(Shape::resolve(&types)?, objects, objects / 8);
    let kernel = Kernel::new(&target, &target.anchors(), &types, &symbols)?;
    let start = Instant::now();
    let seen = look(&kernel, &Quiet, &Cancel::default())?;
    let white: u64 = sysak_analysis_tally(&seen.heap);
    println!("{} objects {:?} {:?} lost {white} of {} heap {} MiB", target.objects(), start.elapsed(), seen.times, target.lost(), seen.heap.footprint_bytes() >> 20);
    println!("{:?}", seen.reach);
    Ok(())
}
fn sysak_analysis_tally(heap: &sysak_base::heap::Heap) -> u64 { (0..heap.slabs.len() as u32).map(|s| heap.count(s).white).sum() }
