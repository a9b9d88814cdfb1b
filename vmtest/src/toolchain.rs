//! The compiler of a newer suite, unpacked beside the kernels: its headers ask for options that this
//! machine's gcc does not have, bring programs that want a newer C library, and types that this
//! machine's pahole does not know.
//!
//! Packages are unpacked into a folder of the cache, and the build runs with that folder as its root.
//! The cache appears there at its own place, so that no path changes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::distro::{self, Kernel};
use crate::{cache, unpacked};

/// What a build of modules runs beside the compiler.
const PROGRAMS: [&str; 9] =
    ["make", "dwarves", "dash", "coreutils", "sed", "grep", "mawk", "findutils", "diffutils"];
/// How modules are built for a kernel.
pub enum Toolchain {
    /// With this machine's compiler.
    Own,
    /// With the compiler of the kernel's suite.
    Unpacked(Unpacked),
}

/// A compiler with all that it needs.
pub struct Unpacked {
    root: PathBuf,
    compiler: String,
}

impl Toolchain {
    /// What builds modules for this kernel; downloads it, unless the cache has it.
    pub fn find(kernel: &Kernel) -> Result<Toolchain> {
        let Some(version) = compiler(kernel).filter(|version| Some(*version) > own_compiler())
        else {
            return Ok(Toolchain::Own);
        };
        let compiler = format!("gcc-{version}");
        let name = format!("{}-{compiler}", distro::suite_of(&kernel.name)?);
        let root = cache::root()?.join("toolchains").join(name);
        cache::folder(&root, |scratch| download(kernel, &compiler, scratch))?;
        Ok(Toolchain::Unpacked(Unpacked { root, compiler }))
    }

    /// `make` with the compiler set.
    pub fn make(&self) -> Result<Command> {
        let Toolchain::Unpacked(Unpacked { root, compiler }) = self else {
            let mut make = Command::new("make");
            make.arg("CC=gcc");
            return Ok(make);
        };
        let mut make = enter(root)?;
        make.args(["make", &format!("CC={compiler}"), &format!("HOSTCC={compiler}")]);
        Ok(make)
    }

    /// Whether modules get their types while they are built: the suite's own pahole is there.
    pub fn adds_types(&self) -> bool {
        matches!(self, Toolchain::Unpacked(_))
    }
}

/// The version of the compiler that built the kernel, where its headers name it (Debian's do).
fn compiler(kernel: &Kernel) -> Option<u32> {
    let variables = fs::read_to_string(kernel.headers.join(".kernelvariables")).ok()?;
    named_compiler(&variables)
}

fn named_compiler(variables: &str) -> Option<u32> {
    let mut lines = variables.lines().filter(|line| line.starts_with("CC "));
    lines.find_map(|line| line.rsplit_once("gcc-")?.1.trim().parse().ok())
}

/// The version of this machine's gcc.
fn own_compiler() -> Option<u32> {
    let version = cache::run(Command::new("gcc").arg("-dumpversion")).ok()?;
    version.trim().split('.').next()?.parse().ok()
}

fn download(kernel: &Kernel, compiler: &str, scratch: &Path) -> Result<()> {
    eprintln!("vmtest: downloading {compiler} for kernel {}", kernel.name);
    let wanted: Vec<_> = std::iter::once(compiler).chain(PROGRAMS).collect();
    unpacked::unpack(&distro::apt(&kernel.name)?, &wanted, scratch)
}

/// A command that runs what follows with `root` as its root and the cache at its place.
fn enter(root: &Path) -> Result<Command> {
    let cache = cache::root()?;
    let inside = root.join(cache.strip_prefix("/").unwrap_or(&cache));
    fs::create_dir_all(&inside)?;
    let mut unshare = Command::new("unshare");
    // Without being root, a name space of users makes one so in there.
    if fs::metadata("/proc/self")?.uid() != 0 {
        unshare.arg("--map-root-user");
    }
    let script = r#"mount --rbind /dev "$1/dev" && mount --rbind /proc "$1/proc" &&
        mount --bind "$2" "$3" && root=$1 && shift 3 &&
        exec chroot "$root" /usr/bin/env -i PATH=/usr/bin:/usr/sbin LC_ALL=C "$@""#;
    unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(root).arg(&cache).arg(&inside);
    Ok(unshare)
}

#[cfg(test)]
mod tests {
    use super::named_compiler;

    #[test]
    fn the_headers_name_the_compiler_of_their_kernel() {
        let variables =
            "CCACHE = ccache\nCC = $(if $(X),$(CCACHE)) $(CROSS_COMPILE)gcc-14\nARCH = x86\n";
        assert_eq!(named_compiler(variables), Some(14));
        assert_eq!(named_compiler("override ARCH = x86\n"), None);
    }
}
