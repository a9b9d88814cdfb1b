//! Builds the test modules against a kernel's headers, and the guest's program of user loads, once
//! per state of their sources.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice;

use anyhow::Result;

use crate::cache;
use crate::distro::Kernel;

/// The folder with the built `*.ko` for this kernel.
pub fn modules(kernel: &Kernel) -> Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules");
    let files = cache::find(&sources, &|name| {
        name.ends_with(".c") || name.ends_with(".h") || name == "Kbuild"
    });
    let name = format!("{}-{:016x}", kernel.release, state(&files)?);
    let built = cache::root()?.join("modules").join(name);
    cache::folder(&built, |scratch| compile(kernel, &files, scratch))?;
    Ok(built)
}

/// The static program that makes user loads.
pub fn load() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/load.c");
    let built =
        cache::root()?.join("load").join(format!("{:016x}", state(slice::from_ref(&source))?));
    cache::folder(&built, |scratch| {
        let mut gcc = Command::new("gcc");
        gcc.args(["-static", "-O2", "-Wall", "-Wextra", "-s", "-o"]).arg(scratch.join("load"));
        cache::run(gcc.arg(&source)).map(drop)
    })?;
    Ok(built.join("load"))
}

fn state(files: &[PathBuf]) -> Result<u64> {
    let mut hash = DefaultHasher::new();
    for file in files {
        fs::read(file)?.hash(&mut hash);
    }
    Ok(hash.finish())
}

fn compile(kernel: &Kernel, files: &[PathBuf], scratch: &Path) -> Result<()> {
    let work = scratch.join("work");
    fs::create_dir(&work)?;
    for file in files {
        if let Some(name) = file.file_name() {
            fs::copy(file, work.join(name))?;
        }
    }
    eprintln!("vmtest: building the test modules for {}", kernel.release);
    // The compiler that built the kernel may be another one than this machine's.
    cache::run(
        Command::new("make")
            .args(["-s", "-j2", "CC=gcc", "CONFIG_GCC_PLUGINS=", "modules"])
            .arg("-C")
            .arg(&kernel.headers)
            .arg(format!("M={}", work.display())),
    )?;
    for module in cache::find(&work, &|name| name.ends_with(".ko")) {
        if let Some(name) = module.file_name() {
            // Without debug information, but with the BTF where the headers allowed it.
            cache::run(
                Command::new("strip").args(["-g", "-o"]).arg(scratch.join(name)).arg(&module),
            )?;
        }
    }
    fs::remove_dir_all(&work)?;
    Ok(())
}
