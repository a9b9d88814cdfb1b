//! The static diagnosis of a vmcore, beside what the peers need for a part of it.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::child::{self, Cost};
use crate::figures::Figures;
use crate::speed;

const ROUNDS: usize = 3;
/// Walks one cache and counts its live objects: the least that a diagnosis needs.
const DRGN_ONE_CACHE: &str = "
from drgn.helpers.linux.slab import for_each_slab_cache, slab_cache_for_each_allocated_object
cache = next(c for c in for_each_slab_cache(prog) if c.name.string_() == b'kmalloc-64')
print(sum(1 for _ in slab_cache_for_each_allocated_object(cache, 'void')))
";
/// The same question to crash, which counts by the slabs' own counters.
const CRASH_ONE_CACHE: &str = "kmem -s kmalloc-64\nquit\n";

/// Where the peers are, or why they cannot be had.
pub struct Peers(HashMap<String, Result<String, String>>);

impl Peers {
    /// From lines `NAME PATH` and `NAME - REASON`.
    pub fn read(file: Option<&Path>) -> Result<Peers> {
        let text = match file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?,
            None => String::new(),
        };
        Ok(Peers::parse(&text))
    }

    fn parse(text: &str) -> Peers {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let found = lines.map(|(name, rest)| match rest.strip_prefix("- ") {
            Some(reason) => (name.to_owned(), Err(reason.to_owned())),
            None => (name.to_owned(), Ok(rest.to_owned())),
        });
        Peers(found.collect())
    }

    /// The path of one.
    pub fn path(&self, name: &str) -> Result<String, String> {
        let nobody_looked = || Err(format!("--peers does not name {name}"));
        self.0.get(name).cloned().unwrap_or_else(nobody_looked)
    }
}

struct Program {
    name: &'static str,
    does: &'static str,
    /// Or why it cannot run.
    command: Result<Vec<String>, String>,
    /// Exit statuses that are no failure.
    ends: &'static [i32],
    /// Reads the answer out of the output: without one it did not do its work.
    answer: fn(&str) -> Option<String>,
    costs: Vec<Cost>,
    found: String,
}

/// Prints what sysak costs on the image, and drgn and crash where they can be had.
pub fn measure(sysak: &Path, vmcore: &Path, peers: &Peers, figures: &mut Figures) -> Result<()> {
    let image = vmcore.display().to_string();
    let drgn_script = Script::new("drgn", DRGN_ONE_CACHE)?;
    let crash_script = Script::new("crash", CRASH_ONE_CACHE)?;
    // Both want the kernel's debug information, which sysak does not.
    let peer = |name, command: &dyn Fn(String, String) -> Vec<String>| {
        Ok(command(peers.path(name)?, peers.path("vmlinux")?))
    };
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let ours = [&sysak.display().to_string(), "memleak", "--vmcore", &image, "--format", "json"];
    let drgn = peer("drgn", &|drgn, vmlinux| {
        words(&[&drgn, "-q", "-c", &image, "-s", &vmlinux, &drgn_script.0])
    });
    let crash = peer("crash", &|crash, vmlinux| {
        words(&[&crash, "-s", "-i", &crash_script.0, &vmlinux, &image])
    });
    let mut programs = [
        Program {
            name: "sysak",
            does: "the whole diagnosis: all pages, objects and pointers, verdict, types, holders",
            command: Ok(words(&ours)),
            ends: &[0, 1],
            answer: verdict,
            costs: Vec::new(),
            found: String::new(),
        },
        Program {
            name: "drgn",
            does: "walks one cache, kmalloc-64, and counts its live objects",
            command: drgn,
            ends: &[0],
            answer: counted_by_drgn,
            costs: Vec::new(),
            found: String::new(),
        },
        Program {
            name: "crash",
            does: "adds up the slabs of one cache: kmem -s kmalloc-64",
            command: crash,
            ends: &[0],
            answer: counted_by_crash,
            costs: Vec::new(),
            found: String::new(),
        },
    ];
    let mut copies = Vec::new();
    // The first round warms up.
    for round in 0..=ROUNDS {
        for program in &mut programs {
            let Ok(command) = &program.command else { continue };
            let run = child::run(command, program.ends).and_then(|(cost, said)| {
                Ok((cost, (program.answer)(&said).context("its output has no answer")?))
            });
            match run {
                Ok((cost, found)) if round > 0 => {
                    program.costs.push(cost);
                    program.found = found;
                }
                Ok(_) => {}
                Err(error) => program.command = Err(format!("{error:#}")),
            }
        }
        copies.push(speed::memcpy());
    }
    println!("static diagnosis, {image}; medians of {ROUNDS} runs, in turn");
    for program in &programs {
        program.show(figures)?;
    }
    println!("  {}", figures.beside(copies));
    Ok(())
}

impl Program {
    fn show(&self, figures: &mut Figures) -> Result<()> {
        let name = self.name;
        match &self.command {
            Ok(command) => {
                let [cpu, wall, resident] = add(figures, &format!("vmcore, {name}"), &self.costs)?;
                println!(
                    "  {name:6} cpu {cpu:7.2} s   wall {wall:7.2} s   resident {:5.0} MiB (mapped file included)",
                    resident / f64::from(1 << 20),
                );
                println!("         {}; found: {}", self.does, self.found);
                println!("         {}", command.join(" "));
            }
            Err(reason) => {
                println!("  {name:6} left out: {reason}");
                figures.leave_out(&format!("vmcore, {name}"), reason);
            }
        }
        Ok(())
    }
}

fn verdict(json: &str) -> Option<String> {
    let report: serde_json::Value = serde_json::from_str(json).ok()?;
    Some(format!("verdict {}", report.get("verdict")?.as_str()?))
}

/// The script prints the number alone.
fn counted_by_drgn(output: &str) -> Option<String> {
    let count: u64 = output.trim().parse().ok()?;
    Some(format!("{count} objects"))
}

/// A line of CACHE OBJSIZE ALLOCATED TOTAL SLABS SSIZE NAME.
fn counted_by_crash(output: &str) -> Option<String> {
    let line = output.lines().find(|line| line.ends_with(" kmalloc-64"))?;
    let count: u64 = line.split_whitespace().nth(2)?.parse().ok()?;
    Some(format!("{count} objects"))
}

/// Keeps what runs cost; medians of processor time, time and resident memory.
pub fn add(figures: &mut Figures, name: &str, costs: &[Cost]) -> Result<[f64; 3]> {
    let runs = |figure: fn(&Cost) -> f64| costs.iter().map(figure).collect();
    Ok([
        figures.add(format!("{name}: cpu"), "s", runs(|cost| cost.cpu.as_secs_f64()))?,
        figures.add(format!("{name}: wall"), "s", runs(|cost| cost.wall.as_secs_f64()))?,
        figures.add(
            format!("{name}: resident"),
            "bytes",
            runs(|cost| cost.resident_bytes as f64),
        )?,
    ])
}

/// A file that a peer reads, removed at the end.
struct Script(String);

impl Script {
    fn new(name: &str, text: &str) -> Result<Script> {
        let path = std::env::temp_dir().join(format!("sysak-bench-{}-{name}", std::process::id()));
        std::fs::write(&path, text)?;
        Ok(Script(path.display().to_string()))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // What stays is one small file.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Peers, counted_by_crash};

    #[test]
    fn a_peer_has_a_path_or_a_reason() {
        let peers = Peers::parse("drgn /some where/drgn\ncrash - no network; at all\n");
        assert_eq!(peers.path("drgn").unwrap(), "/some where/drgn");
        assert_eq!(peers.path("crash").unwrap_err(), "no network; at all");
        assert!(peers.path("memleak").unwrap_err().contains("memleak"));
    }

    #[test]
    fn what_crash_prints_without_a_count_is_no_answer() {
        let table = "CACHE  OBJSIZE  ALLOCATED  TOTAL  SLABS  SSIZE  NAME\n\
                     ffff8ccb81042700  64  601282  601344  9396  4k  kmalloc-64\n";
        assert_eq!(counted_by_crash(table).unwrap(), "601282 objects");
        assert!(counted_by_crash("kmem: cannot read kmalloc-64\n").is_none());
    }
}
