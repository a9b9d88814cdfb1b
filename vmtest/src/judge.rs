//! drgn as an independent judge of the slab walk and of the test modules: fetches what it needs, and runs it on a
//! vmcore.
//!
//! It needs the kernel's DWARF, about 1 GB to download for each kernel, so only `--drgn` and `--peers` ask for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache;
use crate::distro::{self, Kernel};

/// The version whose verdicts these tests were written against.
const DRGN: &str = "drgn==0.3.0";

/// Lists the live objects of `vmcore` into `output`, one `CACHE 0xADDRESS` a line.
pub fn drgn_objects(kernel: &Kernel, vmcore: &Path, output: &Path) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("judges/drgn_objects.py");
    let vmlinux = vmlinux(kernel)?;
    cache::run(Command::new(python()?).arg(script).arg(vmcore).arg(vmlinux).arg(output))?;
    Ok(())
}

/// What drgn finds of the memory in `truth` that is no slab object: `MODULE CLASS RIGHT WRONG` a line.
pub fn drgn_memory(kernel: &Kernel, vmcore: &Path, truth: &Path) -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("judges/drgn_memory.py");
    let vmlinux = vmlinux(kernel)?;
    cache::run(Command::new(python()?).arg(script).arg(vmcore).arg(vmlinux).arg(truth))
}

/// A Python that has drgn, in an environment of its own.
pub fn python() -> Result<PathBuf> {
    let venv = cache::root()?.join("venv");
    let python = venv.join("bin/python3");
    if !python.exists() {
        cache::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    if cache::run(Command::new(&python).args(["-c", "import drgn"])).is_err() {
        cache::run(Command::new(&python).args(["-m", "pip", "install", "-q", DRGN]))?;
    }
    Ok(python)
}

/// The kernel with its debug information, out of the distribution's `-dbg` package.
pub fn vmlinux(kernel: &Kernel) -> Result<PathBuf> {
    let folder = cache::root()?.join("debug").join(&kernel.release);
    cache::folder(&folder, |scratch| {
        eprintln!("vmtest: downloading debug information, about 1 GB");
        let apt = distro::apt(&kernel.name)?;
        let package = format!("linux-image-{}-dbg", kernel.release);
        cache::run(apt.command("apt-get").arg("download").arg(package).current_dir(scratch))?;
        let packages = cache::find(scratch, &|name| name.ends_with(".deb"));
        let package = packages.first().context("apt-get downloaded nothing")?;
        // One file of thousands is wanted: tar ends at it, and dpkg-deb with a broken pipe then.
        let unpack = "dpkg-deb --fsys-tarfile \"$0\" | tar -x -C \"$1\" --occurrence=1 \
                      --strip-components=5 --wildcards './usr/lib/debug/boot/vmlinux-*'";
        cache::run(Command::new("sh").args(["-c", unpack]).arg(package).arg(scratch))?;
        fs::remove_file(package)?;
        Ok(())
    })?;
    let found = cache::find(&folder, &|name| name.starts_with("vmlinux-"));
    found.first().cloned().context("the -dbg package has no vmlinux")
}
