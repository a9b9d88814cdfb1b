//! How fast kernel-owned memory is scanned, against what one core can copy.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use sysak_base::{Cancel, Quiet};
use sysak_kernel::Kernel;
use sysak_snapshot::Snapshot;
use sysak_target::Options;

const RUNS: usize = 7;

/// Prints the speed of one core's memcpy and of marking, measured in turn.
pub fn measure(vmcore: &Path) -> Result<()> {
    let options = Options { vmcore: vec![vmcore.to_owned()], ..Options::default() };
    let cancel = Cancel::default();
    let target = sysak_target::open(&options, &cancel, &Quiet)?;
    let kernel =
        Kernel::new(target.memory.as_memory(), &target.anchors, &target.types, &target.symbols)?;
    let (mut copies, mut scans) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let copy = memcpy_speed();
        let seen = Snapshot::take(&kernel, &Quiet, &cancel)?;
        if run > 0 {
            copies.push(copy);
            scans.push(seen.marked.bytes_scanned as f64 / seen.times.reach.as_secs_f64());
        }
    }
    let (copy, scan) = (median(copies), median(scans));
    println!("scan of kernel-owned memory, {}", vmcore.display());
    println!("  memcpy, one core   {:6.2} GB/s", copy / 1e9);
    println!(
        "  marking            {:6.2} GB/s   {:.0} % of memcpy (target: 40 %)",
        scan / 1e9,
        scan * 100.0 / copy
    );
    Ok(())
}

/// Bytes a second, copying memory that is larger than the caches.
fn memcpy_speed() -> f64 {
    let from = vec![1u8; 128 << 20];
    let mut to = vec![0u8; 128 << 20];
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
        best = best.min(start.elapsed());
    }
    from.len() as f64 / best.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
