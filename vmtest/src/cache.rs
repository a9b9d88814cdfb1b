//! Where downloads and builds are kept, and how a folder gets there whole or not at all.
//!
//! **Invariant:** a finished folder appears by one rename; what a killed run left has another name
//! and is never used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The cache folder, made if it is not there.
pub fn root() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let root = base.join("sysak-vmtest");
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    Ok(root)
}

/// Returns `folder`, made by `fill` in a temporary place first if it does not exist yet.
pub fn folder(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().context("a cache folder has a parent")?;
    fs::create_dir_all(parent)?;
    let scratch = Scratch::new(parent)?;
    fill(&scratch.0)?;
    match fs::rename(&scratch.0, folder) {
        // Another run may have been faster; its folder is as good as ours.
        Err(_) if folder.is_dir() => Ok(()),
        done => done.with_context(|| format!("cannot make {}", folder.display())),
    }
}

/// A temporary folder that is removed when dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(parent: &Path) -> Result<Scratch> {
        remove_litter(parent);
        let path = (0..1000)
            .map(|n| parent.join(format!("tmp-{}-{n}", std::process::id())))
            .find(|path| fs::create_dir(path).is_ok())
            .with_context(|| format!("cannot make a temporary folder in {}", parent.display()))?;
        Ok(Scratch(path))
    }
}

/// Removes the folders of runs that were ended before they could do so.
fn remove_litter(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("tmp-")?.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // A failure leaves only litter.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Renamed away or removed: either is what we want, and a failure leaves only litter.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a host command to its end and returns its standard output.
pub fn run(command: &mut Command) -> Result<String> {
    let output =
        command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said =
            if said.trim().is_empty() { String::from_utf8_lossy(&output.stdout) } else { said };
        bail!("{command:?} ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The files below `folder` whose name `wanted` accepts, sorted.
pub fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => left.push(entry.path()),
                Ok(_) if entry.file_name().to_str().is_some_and(wanted) => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}
