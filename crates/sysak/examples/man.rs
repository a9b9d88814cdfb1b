//! Writes the manual pages of the program and its commands: `cargo run -p sysak --example man -- FOLDER`.

// The command line as the program has it. What runs it is not needed here.
#[path = "../src/args.rs"]
#[allow(dead_code)]
mod args;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::CommandFactory;

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("where to? give a folder")?);
    std::fs::create_dir_all(&folder)?;
    clap_mangen::generate_to(args::Cli::command(), &folder)?;
    println!("wrote the manual pages to {}", folder.display());
    Ok(())
}
