//! A guest that is ready to crash: a second kernel waits in memory of its own, as kdump sets it up.
//!
//! The crash kernel has the same command channel, so that the host goes on as before.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::args::Args;
use crate::cache;
use crate::distro::Kernel;
use crate::guest::{self, Guest};
use crate::initramfs::Archive;
use crate::qemu::Threads;

/// What distributions set aside on a machine of a few GiB.
pub const CRASH_MEMORY_MIB: u64 = 256;
/// As kdump-tools and kdump-utils have it; without `quiet`, so that a boot that fails is seen.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 nr_cpus=1 irqpoll reset_devices";
/// Writes dumps in the crash kernel, with the libraries of this machine.
const MAKEDUMPFILE: &str = "/usr/bin/makedumpfile";

/// Boots a guest and loads its crash kernel.
pub fn boot(kernel: &Kernel, args: &Args) -> Result<Guest> {
    let sysak = args.sysak.as_deref();
    let mut second = guest::base(kernel, sysak)?;
    program(&mut second, Path::new(MAKEDUMPFILE))?;
    let mut first = guest::initramfs(kernel, sysak)?;
    first.folder("crash");
    first.copy("crash/kernel", &kernel.image)?;
    first.file("crash/initramfs", &second.finish());
    let told = format!("crashkernel={CRASH_MEMORY_MIB}M");
    let mut guest = Guest::boot_with(kernel, args, Threads::Two, &first.finish(), &told)?;
    guest.text(&format!("load crash-kernel /crash/kernel /crash/initramfs '{COMMAND_LINE}'"))?;
    // The next dump should not have it twice.
    guest.text("rm -r /crash")?;
    Ok(guest)
}

/// Adds a program of this machine and the libraries that it needs, at the places where it looks for them.
fn program(archive: &mut Archive, path: &Path) -> Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let missing = || format!("no {} (package makedumpfile)", path.display());
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
