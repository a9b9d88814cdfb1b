//! The whole diagnosis from packed dumps, beside the ELF file of the same moment.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::child::{self, Cost};

const ROUNDS: usize = 5;
/// Explanations as long as they take: what is done must not depend on how fast it is.
const UNHURRIED: [&str; 2] = ["--explain-limit", "86400"];

/// Prints what each file costs, and how often the ELF's costs that is; the files are read in turn, round by round.
pub fn measure(sysak: &Path, elf: &Path, packed: &[PathBuf]) -> Result<()> {
    println!(
        "whole diagnosis of one guest, by the file it is read from; medians of {ROUNDS} rounds"
    );
    let sysak = sysak.display().to_string();
    let files: Vec<_> = std::iter::once(elf).chain(packed.iter().map(PathBuf::as_path)).collect();
    let mut costs = vec![Vec::new(); files.len()];
    for _ in 0..ROUNDS {
        for (file, costs) in files.iter().zip(&mut costs) {
            let file = file.display().to_string();
            let command = [sysak.as_str(), "memleak", "--vmcore", &file, "--format", "json"];
            costs.push(child::median(&[&command[..], &UNHURRIED].concat(), 1, &[0, 1])?);
        }
    }
    let middle = |costs: &[Cost], figure: fn(&Cost) -> f64| {
        let mut figures: Vec<f64> = costs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let medians = |costs: &Vec<Cost>| {
        let seconds: [fn(&Cost) -> f64; 2] =
            [|cost| cost.cpu.as_secs_f64(), |cost| cost.wall.as_secs_f64()];
        seconds.map(|figure| middle(costs, figure))
    };
    let [elf_cpu, elf_wall] = medians(&costs[0]);
    for (file, costs) in files.iter().zip(&costs) {
        let [cpu, wall] = medians(costs);
        println!(
            "  cpu {cpu:6.2} s ({:4.1} times)   wall {wall:6.2} s ({:4.1} times)   {}",
            cpu / elf_cpu,
            wall / elf_wall,
            file.display()
        );
    }
    Ok(())
}
