//! Builds the test modules against a kernel's headers, and the guest's program of user loads, once
//! per state of their sources.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::distro::Kernel;
use crate::toolchain::Toolchain;

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
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let files = cache::find(&sources, &|name| name.ends_with(".c") || name.ends_with(".h"));
    let built = cache::root()?.join("load").join(format!("{:016x}", state(&files)?));
    cache::folder(&built, |scratch| {
        let mut gcc = Command::new("gcc");
        gcc.args(["-static", "-O2", "-Wall", "-Wextra", "-s", "-o"]).arg(scratch.join("load"));
        let code = files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "c"));
        cache::run(gcc.args(code)).map(drop)
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
    let toolchain = Toolchain::find(kernel)?;
    cache::run(
        toolchain
            .make()?
            .args(["-s", "-j2", "CONFIG_GCC_PLUGINS=", "modules"])
            .arg("-C")
            .arg(&kernel.headers)
            .arg(format!("M={}", work.display())),
    )?;
    let types = if toolchain.adds_types() { None } else { base_types(kernel, scratch)? };
    for module in cache::find(&work, &|name| name.ends_with(".ko")) {
        if let Some(name) = module.file_name() {
            if let Some(types) = &types {
                cache::run(
                    Command::new("pahole").args(["-J", "--btf_base"]).arg(types).arg(&module),
                )?;
            }
            // Without debug information, but with the BTF.
            cache::run(
                Command::new("strip").args(["-g", "-o"]).arg(scratch.join(name)).arg(&module),
            )?;
        }
    }
    fs::remove_dir_all(&work)?;
    if let Some(types) = types {
        fs::remove_file(types)?;
    }
    Ok(())
}

/// The kernel's own types, where its headers do not have them and its modules can have types (since
/// v5.11): out of its image, unpacked.
fn base_types(kernel: &Kernel, scratch: &Path) -> Result<Option<PathBuf>> {
    let config = fs::read_to_string(kernel.headers.join(".config")).unwrap_or_default();
    let wanted = config.lines().any(|line| line == "CONFIG_DEBUG_INFO_BTF_MODULES=y");
    if !wanted || kernel.headers.join("vmlinux").exists() {
        return Ok(None);
    }
    let image = fs::read(&kernel.image)?;
    let unpacked = scratch.join("vmlinux");
    for (magic, program) in PACKED {
        let places = image.windows(magic.len()).enumerate().filter(|(_, at)| *at == magic);
        for (start, _) in places {
            let packed = scratch.join("packed");
            fs::write(&packed, &image[start..])?;
            // What follows the packed kernel is no part of it, which the program complains of.
            let mut unpack = Command::new(program);
            unpack.arg("-dc").stdin(fs::File::open(&packed)?).stdout(fs::File::create(&unpacked)?);
            unpack
                .stderr(Stdio::null())
                .status()
                .with_context(|| format!("cannot run {program}"))?;
            fs::remove_file(&packed)?;
            if fs::read(&unpacked)?.starts_with(b"\x7fELF") {
                return Ok(Some(unpacked));
            }
        }
    }
    bail!("{}: no packed kernel in it", kernel.image.display())
}

/// How kernels are packed: the first bytes, and the program that unpacks them.
const PACKED: [(&[u8], &str); 3] =
    [(b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\x1f\x8b\x08", "gzip")];
