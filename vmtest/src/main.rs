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
mod crash;
mod distro;
mod guest;
mod initramfs;
mod judge;
mod makedumpfile;
mod memgraph;
mod meminfo;
mod peers;
mod qemu;
mod qemu_elf;
mod scenario;
mod slabinfo;
mod sysak;
mod text;
mod toolchain;
mod truth;
mod unpacked;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;

use crate::args::{Args, Mode};
use crate::checks::Checks;
use crate::distro::Kernel;
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
        Mode::Peers { kernel } => {
            peers::print(&distro::kernel(kernel)?);
            Ok(ExitCode::SUCCESS)
        }
        Mode::QuickGuest { kernel, command } => quick_guest(&args, kernel, command),
        Mode::Test => test(&args),
    }
}

/// Downloads and builds what the tests need, and runs nothing.
fn fetch(args: &Args) -> Result<ExitCode> {
    for name in &args.kernels {
        println!("{name}: {}", prepare(name)?.release);
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

/// Runs every part on every kernel asked for, a few guests at once, and prints the table of checks.
fn test(args: &Args) -> Result<ExitCode> {
    let checks = Checks::default();
    // Downloads and builds come first, one after the other: they share files.
    let kernels: Vec<Kernel> =
        args.kernels.iter().filter_map(|name| noted(&checks, name, prepare(name))).collect();
    let waiting = Mutex::new(scenario::chosen(args, &kernels).into_iter());
    let next = || waiting.lock().ok().and_then(|mut chosen| chosen.next());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                while let Some((part, kernel)) = next() {
                    let place = format!("{} {}", kernel.name, part.name);
                    noted(&checks, &place, part.run(kernel, args, &checks));
                }
            });
        }
    });
    Ok(checks.finish())
}

fn prepare(name: &str) -> Result<Kernel> {
    let kernel = distro::kernel(name)?;
    build::modules(&kernel)?;
    Ok(kernel)
}

/// An error ends one part and is a failed check.
fn noted<T>(checks: &Checks, name: &str, result: Result<T>) -> Option<T> {
    result
        .inspect_err(|error| {
            let got = format!("{error:#}");
            checks.check(name, "the scenarios run to their end", "yes", &got, false);
        })
        .ok()
}
