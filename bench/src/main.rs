//! Side-by-side measurements in one run: sysak, its peers, and the machine's own limits.
//!
//! Absolute times on a shared machine mean little; compare the ratios inside one run.

mod child;
mod load;
mod made_up;
mod packed;
mod peers;
mod scale;
mod speed;
mod tracing;

use std::path::PathBuf;

use anyhow::{Context, Result};

/// Objects of the largest case that the design is made for.
const OBJECTS: u64 = 419_440_512;

fn main() -> Result<()> {
    let mut vmcore = None;
    let mut million = None;
    let mut packed = Vec::new();
    let mut sysak = PathBuf::from("target/dist/sysak");
    let mut objects = OBJECTS;
    let mut threads = 2;
    let mut only_scale = false;
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{} needs a value", arg.display()));
        match arg.to_str() {
            Some("--vmcore") => vmcore = Some(PathBuf::from(value()?)),
            Some("--many-objects-vmcore") => million = Some(PathBuf::from(value()?)),
            Some("--packed-vmcore") => packed.push(PathBuf::from(value()?)),
            Some("--threads") => {
                threads =
                    value()?.to_str().and_then(|text| text.parse().ok()).context("--threads")?;
            }
            Some("--only-scale") => only_scale = true,
            Some("--only-scan") => return speed::measure(&PathBuf::from(value()?)),
            Some("--only-tracing") => return tracing::measure(),
            Some(load::FLAG) => return load::run(),
            Some("--sysak") => sysak = PathBuf::from(value()?),
            Some("--objects") => {
                objects =
                    value()?.to_str().and_then(|text| text.parse().ok()).context("--objects")?;
            }
            _ => anyhow::bail!("unknown argument {}", arg.display()),
        }
    }
    if only_scale {
        return scale::measure(objects, threads, million.as_deref());
    }
    if let Some(vmcore) = &vmcore {
        speed::measure(vmcore)?;
        peers::measure(&sysak, vmcore)?;
        if !packed.is_empty() {
            packed::measure(&sysak, vmcore, &packed)?;
        }
    } else {
        println!("(no --vmcore FILE: the comparison on a real image is left out)");
    }
    scale::measure(objects, threads, million.as_deref())?;
    tracing::measure()
}
