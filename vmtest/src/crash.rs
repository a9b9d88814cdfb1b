//! A guest that is ready to crash: a second kernel waits in memory of its own, as kdump sets it up.
//!
//! The crash kernel has the same command channel, so that the host goes on as before.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::args::Args;
use crate::cache;
use crate::distro::Kernel;
use crate::guest::{self, Guest};
use crate::initramfs::Archive;
use crate::qemu::Threads;

/// How memory is set aside for the crash kernel, and how that gets there.
pub struct Way {
    /// Words of the first kernel's command line. 256 MiB are what distributions set aside on a machine of a few GiB.
    set_aside: &'static str,
    /// Whether the memory is above 4 GiB, which the guest must have for that.
    is_high: bool,
    /// The command without the crash kernel's command line.
    load: &'static str,
}

/// The kernel itself writes the ELF header of /proc/vmcore (`kexec_file_load`).
pub const LOADED_BY_KERNEL: Way = Way {
    set_aside: "crashkernel=256M",
    is_high: false,
    load: "load crash-kernel /crash/kernel /crash/initramfs",
};
/// kexec-tools write it (`kexec_load`).
pub const LOADED_BY_KEXEC_TOOLS: Way = Way {
    load: "kexec -p -c /crash/kernel --initrd=/crash/initramfs --command-line",
    ..LOADED_BY_KERNEL
};
/// Two regions, as it needs some memory below 4 GiB besides. kexec-tools let the kernel write the header.
pub const HIGH: Way = Way {
    set_aside: "crashkernel=256M,high crashkernel=72M,low",
    is_high: true,
    load: "kexec -p -s /crash/kernel --initrd=/crash/initramfs --command-line",
};

/// QEMU puts all but 3 GiB of it above 4 GiB.
const HIGH_MEMORY_MIB: u64 = 5 << 10;
/// As kdump-tools and kdump-utils have it; without `quiet`, so that a boot that fails is seen.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 nr_cpus=1 irqpoll reset_devices";
/// Writes dumps in the crash kernel, with the libraries of this machine.
const MAKEDUMPFILE: (&str, &str) = ("/usr/bin/makedumpfile", "makedumpfile");
const KEXEC: (&str, &str) = ("/usr/sbin/kexec", "kexec-tools");

/// Boots a guest and loads its crash kernel.
pub fn boot(kernel: &Kernel, args: &Args, way: &Way) -> Result<Guest> {
    let sysak = args.sysak.as_deref();
    let mut second = guest::base(kernel, sysak)?;
    program(&mut second, MAKEDUMPFILE)?;
    let mut first = guest::initramfs(kernel, sysak)?;
    first.folder("crash");
    first.copy("crash/kernel", &kernel.image)?;
    first.file("crash/initramfs", &second.finish());
    if way.load.starts_with("kexec") {
        program(&mut first, KEXEC)?;
    }
    let mut args = args.clone();
    if way.is_high {
        args.memory_mib = args.memory_mib.max(HIGH_MEMORY_MIB);
    }
    let mut guest = Guest::boot_with(kernel, &args, Threads::Two, &first.finish(), way.set_aside)?;
    expect_set_aside(&mut guest, way)?;
    guest.text(&format!("{} '{COMMAND_LINE}'", way.load))?;
    // The next dump should not have it twice.
    guest.text("rm -r /crash")?;
    Ok(guest)
}

/// The memory is where it was asked for: one region below 4 GiB, or one on each side.
fn expect_set_aside(guest: &mut Guest, way: &Way) -> Result<()> {
    let regions = guest.text("grep 'Crash kernel' /proc/iomem")?;
    let start = |line: &str| u64::from_str_radix(line.trim().split('-').next()?, 16).ok();
    let (high, low): (Vec<u64>, Vec<u64>) =
        regions.lines().filter_map(start).partition(|start| *start >= 4 << 30);
    let wanted = (usize::from(way.is_high), 1);
    ensure!((high.len(), low.len()) == wanted, "{} set aside:\n{regions}", way.set_aside);
    Ok(())
}

/// Adds a program of this machine and the libraries that it needs, at the places where it looks for them.
fn program(archive: &mut Archive, (path, package): (&str, &str)) -> Result<()> {
    let path = Path::new(path);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let missing = || format!("no {} (package {package})", path.display());
    archive.copy(&format!("bin/{name}"), path).with_context(missing)?;
    let needed = cache::run(Command::new("ldd").arg(path))?;
    for folder in ["lib", "lib/x86_64-linux-gnu", "lib64"] {
        archive.folder(folder);
    }
    let library =
        |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned);
    for library in needed.lines().filter_map(library) {
        archive.copy(library.trim_start_matches('/'), Path::new(&library))?;
    }
    Ok(())
}
