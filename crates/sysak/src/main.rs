//! The `sysak` binary: parses, runs, prints, and ends with the contract's exit status.
//!
//! **Invariant:** only this crate reads arguments and the environment, opens stdout, or exits.

mod args;
mod cmd;
mod problem;
mod progress;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;

use args::{Cli, Command};
use sysak_report::Speech;

#[global_allocator]
static MEMORY: sysak_target::Wiping = sysak_target::Wiping::new();

/// Could not tell, bad usage, or no privilege.
const UNDETERMINED: u8 = 2;

fn main() -> ExitCode {
    // Answers the shell and ends, where it is the shell that asks (`COMPLETE=bash sysak`).
    CompleteEnv::with_factory(Cli::command).complete();
    let cli = Cli::parse();
    let (speech, told) =
        Speech::choose(cli.command.output().lang(), |name| std::env::var(name).ok());
    if let Some(told) = told {
        eprintln!("sysak: {told}");
    }
    let ended = match &cli.command {
        Command::Memleak(args) => cmd::memleak::run(args, speech),
        Command::Memgraph(args) => cmd::memgraph::run(args, speech),
        Command::Inspect(args) => cmd::inspect::run(args, speech),
    };
    match ended {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // It may name a cache of the target.
            eprintln!("sysak: {}", speech.show(&problem::told(&error, speech.lang)));
            ExitCode::from(UNDETERMINED)
        }
    }
}
