//! Programs of another suite with all the libraries that they need, unpacked into a folder: nothing is installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::cache;
use crate::distro::Apt;

/// What Debian's packages leave to base-files and to alternatives.
const LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("usr/bin/awk", "mawk"),
];

/// Downloads packages with what they depend on, and unpacks them into `root`.
pub fn unpack(apt: &Apt, wanted: &[&str], root: &Path) -> Result<()> {
    let packages = root.join("packages");
    fs::create_dir_all(packages.join("partial"))?;
    let nothing_installed = packages.join("status");
    fs::write(&nothing_installed, "")?;
    let mut get = apt.command("apt-get");
    get.args(["-q", "-y", "--download-only", "--no-install-recommends"])
        .args(["-o", &format!("Dir::State::status={}", nothing_installed.display())])
        .args(["-o", &format!("Dir::Cache::archives={}", packages.display())])
        .args(["-o", "Debug::NoLocking=1", "install"])
        .args(wanted);
    cache::run(&mut get)?;
    for (link, target) in LINKS {
        if let Some(folder) = root.join(link).parent() {
            fs::create_dir_all(folder)?;
        }
        symlink(target, root.join(link))?;
    }
    for folder in ["usr/lib", "usr/lib64", "usr/bin", "usr/sbin", "dev", "proc", "tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for package in cache::find(&packages, &|file| file.ends_with(".deb")) {
        let content = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&package).output()?;
        let tar = root.join("content.tar");
        fs::write(&tar, &content.stdout)?;
        // A package with files in /lib or /bin must follow the links.
        let mut unpack = Command::new("tar");
        unpack.args(["--keep-directory-symlink", "-xf"]).arg(&tar).arg("-C").arg(root);
        cache::run(&mut unpack)?;
        fs::remove_file(tar)?;
    }
    Ok(fs::remove_dir_all(&packages)?)
}
