//! The whole diagnosis from packed dumps, beside the ELF file of the same moment.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::figures::Figures;
use crate::{child, peers, speed};

const ROUNDS: usize = 5;
/// Explanations as long as they take: what is done must not depend on how fast it is.
const UNHURRIED: [&str; 2] = ["--explain-limit", "86400"];

/// Prints what each file costs, and how often the ELF's costs that is; the files are read in turn, round by round.
pub fn measure(sysak: &Path, elf: &Path, packed: &[PathBuf], figures: &mut Figures) -> Result<()> {
    println!(
        "whole diagnosis of one guest, by the file it is read from; medians of {ROUNDS} rounds"
    );
    let sysak = sysak.display().to_string();
    let files: Vec<_> = std::iter::once(elf).chain(packed.iter().map(PathBuf::as_path)).collect();
    let (mut costs, mut copies) = (vec![Vec::new(); files.len()], Vec::new());
    for round in 0..=ROUNDS {
        for (file, costs) in files.iter().zip(&mut costs) {
            let file = file.display().to_string();
            let command = [sysak.as_str(), "memleak", "--vmcore", &file, "--format", "json"];
            let command = command.into_iter().chain(UNHURRIED).map(str::to_owned);
            let (cost, _) = child::run(&command.collect::<Vec<_>>(), &[0, 1])?;
            // The first round warms up.
            if round > 0 {
                costs.push(cost);
            }
        }
        copies.push(speed::memcpy());
    }
    let mut of_elf = None;
    for (file, costs) in files.iter().zip(&costs) {
        let name = file.file_name().unwrap_or(file.as_os_str()).display();
        let [cpu, wall, _] = peers::add(figures, &format!("packed, {name}"), costs)?;
        let (elf_cpu, elf_wall) = *of_elf.get_or_insert((cpu, wall));
        println!(
            "  cpu {cpu:6.2} s ({:4.1} times)   wall {wall:6.2} s ({:4.1} times)   {}",
            cpu / elf_cpu,
            wall / elf_wall,
            file.display()
        );
    }
    println!("  {}", figures.beside(copies));
    Ok(())
}
