//! Side-by-side measurements in one run: sysak, its peers, and the machine's own limits.
//!
//! Absolute times on a shared machine mean little; compare the ratios inside one run.

mod args;
mod child;
mod figures;
mod load;
mod made_up;
mod packed;
mod peers;
mod scale;
mod speed;
mod tracing;

use std::path::Path;

use anyhow::Result;

use crate::args::Args;
use crate::figures::Figures;
use crate::peers::Peers;

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    match words.as_slice() {
        [load] if load == load::FLAG => return load::run(),
        [compare, first, second] if compare == "--compare" => {
            let (first, second) =
                (Figures::read(Path::new(first))?, Figures::read(Path::new(second))?);
            print!("{}", first.beside_those_of(&second));
            return Ok(());
        }
        _ => {}
    }
    let args = Args::parse(words.into_iter())?;
    let mut figures = Figures::new(args.commit.clone(), args.date.clone())?;
    measure(&args, &mut figures)?;
    match &args.json {
        Some(path) => figures.write(path),
        None => Ok(()),
    }
}

fn measure(args: &Args, figures: &mut Figures) -> Result<()> {
    let peers = Peers::read(args.peers.as_deref())?;
    match &args.vmcore {
        Some(vmcore) => {
            if args.wants("scan") {
                speed::measure(vmcore, figures)?;
            }
            if args.wants("peers") {
                peers::measure(&args.sysak, vmcore, &peers, figures)?;
            }
            if args.wants("packed") && !args.packed.is_empty() {
                packed::measure(&args.sysak, vmcore, &args.packed, figures)?;
            }
        }
        None => println!("(no --vmcore FILE: the comparison on a real image is left out)"),
    }
    if args.wants("scale") {
        scale::measure(args.objects, args.threads, args.many.as_deref(), figures)?;
    }
    if args.wants("terabyte") {
        scale::measure_terabyte(args.threads, figures)?;
    }
    if args.wants("tracing") {
        tracing::measure(&peers, figures)?;
    }
    Ok(())
}
