//! Lists the call sites in the kernel's text: `cargo run --release --example sites -- VMCORE`.
//!
//! With a second argument SEEN it says how many of the calls that were seen allocating are among
//! them: SEEN has a line for each, with the return address in hexadecimal and the bytes asked for.
//! `docs/design/allocators.md` says how to get them.

mod dump;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use sysak_base::{Cancel, Va};
use sysak_callsites::{CallSite, CallSites};
use sysak_kernel::Kernel;

/// Bytes of a call with a distance.
const CALL: u64 = 5;
/// Calls that were not found that are printed.
const SHOWN: usize = 40;

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let vmcore = words.next().context("which crash dump?")?;
    let seen = words.next();
    let target = dump::open(Path::new(&vmcore))?;
    let kernel =
        Kernel::new(target.memory.as_ref(), &target.anchors, &target.types, &target.symbols)?;
    let start = Instant::now();
    let sites = sysak_callsites::find(kernel.readers, kernel.symbols, &Cancel::default());
    let took = start.elapsed();
    match seen {
        Some(seen) => {
            let seen = std::fs::read_to_string(seen).context("cannot read what was seen")?;
            compare(&kernel, &sites, &seen)?;
        }
        None => sites.list.iter().for_each(|site| println!("{site:x?}")),
    }
    eprintln!("{} call sites in {took:?}", sites.list.len());
    Ok(())
}

/// Prints how many of the calls in `seen` are among the call sites, and which are not.
fn compare(kernel: &Kernel<'_>, sites: &CallSites, seen: &str) -> Result<()> {
    // A wrapper's call may allocate several objects: a site with a size is worth more than one without.
    let mut list: Vec<&CallSite> = sites.list.iter().collect();
    list.sort_by_key(|site| site.size.is_some());
    let by_return: HashMap<u64, &CallSite> =
        list.into_iter().map(|site| (site.at.0 + CALL, site)).collect();
    let mut asked: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for line in seen.lines() {
        let mut words = line.split_whitespace();
        let (Some(at), Some(bytes)) = (words.next(), words.next()) else { continue };
        let at = u64::from_str_radix(at.trim_start_matches("0x"), 16).context("an address")?;
        asked.entry(at).or_default().push(bytes.parse().context("bytes")?);
    }
    let (mut found, mut told, mut right, mut shown) = (0, 0, 0, 0);
    for (at, sizes) in &asked {
        match by_return.get(at) {
            Some(site) => {
                found += 1;
                told += usize::from(site.size.is_some() || site.cache.is_some());
                let is_right = site.size.is_some_and(|size| sizes.iter().all(|one| *one == size));
                right += usize::from(is_right);
                if site.size.is_some() && !is_right && shown < SHOWN {
                    shown += 1;
                    let symbol = kernel.symbols.symbolize(Va(*at));
                    let name = symbol.map_or(at.to_string(), |symbol| symbol.to_string());
                    println!("another size: {name}: {:?}, seen {sizes:?}", site.size);
                }
            }
            None if shown < SHOWN => {
                shown += 1;
                let symbol = kernel.symbols.symbolize(Va(*at));
                println!("not found: {}", symbol.map_or(at.to_string(), |one| one.to_string()));
            }
            None => {}
        }
    }
    let all = asked.len();
    println!("{} calls in the text; {all} were seen, {found} of these found", sites.list.len());
    println!("{told} with a cache or a constant size, {right} with the size that was seen");
    Ok(())
}
