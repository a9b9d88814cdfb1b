//! Boots distribution kernels in QEMU and tests the static `sysak` binary against known leaks.
//!
//! A kernel comes from the distribution's packages, the guest is a busybox initramfs with the
//! project's test modules, and the host drives it command by command over a virtio port. The truth
//! is what the modules say they lost and hold, address by address.
//!
//! **Invariant:** every QEMU is owned by a [`qemu::Machine`] and dies with it; every wait has an
//! end; nothing is written outside the cache folder and the paths given on the command line.

mod agent;
mod args;
mod build;
mod cache;
mod checks;
mod distro;
mod guest;
mod initramfs;
mod judge;
mod memgraph;
mod meminfo;
mod qemu;
mod scenario;
mod slabinfo;
mod sysak;
mod text;
mod toolchain;
mod truth;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::args::{Args, Mode};
use crate::checks::Checks;
use crate::guest::Guest;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vmtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode> {
    let args = Args::parse(std::env::args().skip(1))?;
    match &args.mode {
        Mode::Help => {
            print!("{}", args::USAGE);
            Ok(ExitCode::SUCCESS)
        }
        Mode::Fetch => fetch(&args),
        Mode::QuickGuest { kernel, command } => quick_guest(&args, kernel, command),
        Mode::Test => test(&args),
    }
}

/// Downloads and builds what the tests need, and runs nothing.
fn fetch(args: &Args) -> Result<ExitCode> {
    for name in &args.kernels {
        let kernel = distro::kernel(name)?;
        build::modules(&kernel)?;
        println!("{name}: {}", kernel.release);
    }
    Ok(ExitCode::SUCCESS)
}

/// Boots, runs one command, prints what it printed, and ends the guest.
fn quick_guest(args: &Args, kernel: &str, command: &str) -> Result<ExitCode> {
    let kernel = distro::kernel(kernel)?;
    let mut guest = Guest::boot(&kernel, args, args.threads)?;
    let output = guest.run(command, Duration::from_secs(args.timeout_s))?;
    std::io::stdout().write_all(&output.stdout)?;
    std::io::stderr().write_all(&output.stderr)?;
    eprintln!(
        "[{} booted in {:.1} s, command ended with {}]",
        kernel.release, guest.boot_s, output.code
    );
    if let Some(folder) = &args.keep {
        let truth = guest.truths()?;
        guest.capture(folder, &kernel.name, &truth)?;
    }
    Ok(ExitCode::from(u8::try_from(output.code).unwrap_or(1)))
}

/// Runs every scenario on every kernel asked for and prints the table of checks.
fn test(args: &Args) -> Result<ExitCode> {
    let mut checks = Checks::default();
    for name in &args.kernels {
        let tested = distro::kernel(name)
            .and_then(|kernel| scenario::run(&kernel, args, &mut checks))
            .with_context(|| format!("kernel {name}"));
        if let Err(error) = tested {
            checks.check(
                name,
                "the scenarios run to their end",
                "yes",
                &format!("{error:#}"),
                false,
            );
        }
    }
    Ok(checks.finish())
}
