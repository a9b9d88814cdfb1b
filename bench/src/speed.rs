//! How fast kernel-owned memory is scanned, against what one core can copy.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use sysak_base::{Cancel, Quiet};
use sysak_kernel::Kernel;
use sysak_snapshot::Snapshot;
use sysak_target::Options;

use crate::figures::Figures;

const RUNS: usize = 7;

/// Prints the speed of one core's memcpy and of marking, measured in turn.
pub fn measure(vmcore: &Path, figures: &mut Figures) -> Result<()> {
    let options = Options { vmcore: vec![vmcore.to_owned()], ..Options::default() };
    let cancel = Cancel::default();
    let target = sysak_target::open(&options, &cancel, &Quiet)?;
    let kernel =
        Kernel::new(target.memory.as_ref(), &target.anchors, &target.types, &target.symbols)?;
    let (mut copies, mut scans) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let copy = memcpy();
        let seen = Snapshot::take(&kernel, &Quiet, &cancel)?;
        if run > 0 {
            copies.push(copy);
            scans.push(seen.marked.bytes_scanned as f64 / seen.times.reach.as_secs_f64());
        }
    }
    println!("scan of kernel-owned memory, {}; medians of {RUNS} runs", vmcore.display());
    let shares = scans.iter().zip(&copies).map(|(scan, copy)| scan / copy).collect();
    let scan = figures.add("marking, one thread", "bytes/s", scans)?;
    let share = figures.add("marking, one thread, of memcpy", "ratio", shares)?;
    println!("  marking {:.2} GB/s, {:.0} % of memcpy (target: 40 %)", scan / 1e9, share * 100.0);
    println!("  {}", figures.beside(copies));
    Ok(())
}

/// Bytes a second that one core copies, of memory that is larger than the caches.
pub fn memcpy() -> f64 {
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
