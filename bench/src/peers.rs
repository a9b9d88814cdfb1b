//! The static diagnosis of a vmcore, beside what the peers need for a part of it.

use std::path::Path;

use anyhow::Result;

use crate::child::{self, Cost};

const RUNS: usize = 5;
/// Walks one cache and counts its live objects: the least that a diagnosis needs.
const DRGN_ONE_CACHE: &str = "
from drgn.helpers.linux.slab import for_each_slab_cache, slab_cache_for_each_allocated_object
cache = next(c for c in for_each_slab_cache(prog) if c.name.string_() == b'kmalloc-64')
print(sum(1 for _ in slab_cache_for_each_allocated_object(cache, 'void')))
";

/// Prints what sysak costs on the image, and drgn and crash where they are installed.
pub fn measure(sysak: &Path, vmcore: &Path) -> Result<()> {
    let (sysak, image) = (sysak.display().to_string(), vmcore.display().to_string());
    println!("static diagnosis, {image}");
    let ours = [sysak.as_str(), "memleak", "--vmcore", &image, "--format", "json"];
    show("sysak, all of it", &ours, child::median(&ours, RUNS, &[0, 1]));
    // Both want debuginfo, which sysak does not: SYSAK_BENCH_VMLINUX names it.
    let vmlinux = std::env::var("SYSAK_BENCH_VMLINUX").ok();
    let script = std::env::temp_dir().join(format!("sysak-bench-{}.py", std::process::id()));
    std::fs::write(&script, DRGN_ONE_CACHE)?;
    let script_name = script.display().to_string();
    let drgn = std::env::var("SYSAK_BENCH_DRGN").unwrap_or_else(|_| "drgn".to_owned());
    let mut one_cache = vec![drgn.as_str(), "-q", "-c", &image];
    if let Some(vmlinux) = &vmlinux {
        one_cache.extend(["-s", vmlinux]);
    }
    one_cache.push(&script_name);
    show("drgn, one cache walked", &one_cache, child::median(&one_cache, 1, &[0]));
    match &vmlinux {
        Some(vmlinux) => {
            let start = ["crash", "-s", "-i", "/dev/null", vmlinux.as_str(), &image];
            show("crash, start only", &start, child::median(&start, 1, &[0]));
        }
        None => println!("  crash: left out (set SYSAK_BENCH_VMLINUX to a vmlinux with debuginfo)"),
    }
    std::fs::remove_file(&script)?;
    Ok(())
}

fn show(what: &str, command: &[&str], cost: Result<Cost>) {
    match cost {
        Ok(cost) => println!(
            "  {what:24} cpu {:7.2} s   wall {:7.2} s   resident {:5} MiB (mapped file included)",
            cost.cpu.as_secs_f64(),
            cost.wall.as_secs_f64(),
            cost.resident_bytes >> 20
        ),
        Err(error) => println!("  {what:24} left out: {error:#}"),
    }
    println!("      {}", command.join(" "));
}
