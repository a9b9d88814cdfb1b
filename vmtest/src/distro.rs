//! Kernels from the distribution's packages: image, modules and headers, unpacked into the cache.
//!
//! Debian's other suites are reached with a sources list of our own, whose mirror is the one that
//! this machine is set up with. Nothing is installed. A kernel is the newest one of a suite, or the
//! newest of a version where a suite has several.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache;

/// A kernel on disk.
pub struct Kernel {
    /// The name it was asked for by.
    pub name: String,
    /// `uname -r` of it.
    pub release: String,
    pub image: PathBuf,
    /// Where its packages are unpacked.
    pub root: PathBuf,
    pub headers: PathBuf,
}

impl Kernel {
    /// The first two numbers of its version.
    pub fn version(&self) -> (u32, u32) {
        let mut numbers =
            self.release.split(['.', '-', '+']).map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

/// Where apt looks: the machine's own sources, or one suite of Debian.
pub struct Apt {
    options: Vec<String>,
}

/// Downloads the kernel called `name`, unless the cache has it.
pub fn kernel(name: &str) -> Result<Kernel> {
    let root = cache::root()?.join("kernels").join(name);
    cache::folder(&root, |scratch| download(name, scratch, &root))?;
    let (image, release) = image(&root)?;
    let headers = root.join("usr/src").join(format!("linux-headers-{release}"));
    Ok(Kernel { name: name.into(), release, image, root, headers })
}

fn download(name: &str, scratch: &Path, final_root: &Path) -> Result<()> {
    eprintln!("vmtest: downloading kernel {name}");
    let packages = scratch.join("packages");
    fs::create_dir(&packages)?;
    let apt = apt(name)?;
    let (image, headers) = if is_ubuntu() {
        ("linux-image-generic", "linux-headers-generic")
    } else {
        ("linux-image-amd64", "linux-headers-amd64")
    };
    let (mut wanted, versioned) = match Source::of(name)?.version {
        Some(version) => apt.newest_of(version)?,
        None => {
            (apt.depends(image, &["linux-image-"])?, apt.depends(headers, &["linux-headers-"])?)
        }
    };
    for package in wanted.clone() {
        wanted.extend(apt.depends(&package, &["linux-modules-", "linux-binary-"])?);
    }
    for package in &versioned {
        wanted.extend(apt.depends(package, &["linux-headers-", "linux-kbuild-"])?);
    }
    wanted.extend(versioned);
    cache::run(apt.command("apt-get").arg("download").args(&wanted).current_dir(&packages))?;
    for package in cache::find(&packages, &|file| file.ends_with(".deb")) {
        cache::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(scratch))?;
    }
    fs::remove_dir_all(&packages)?;
    relocate_headers(scratch, final_root)
}

/// The package source that has the kernel called `name`.
pub fn apt(name: &str) -> Result<Apt> {
    if is_ubuntu() {
        // Untested. Ubuntu has one kernel per release: whatever name was asked for, it is that.
        return Ok(Apt { options: Vec::new() });
    }
    Apt::debian(Source::of(name)?.suite)
}

/// The suite that has the kernel called `name`.
pub fn suite_of(name: &str) -> Result<&'static str> {
    Ok(Source::of(name)?.suite)
}

fn is_ubuntu() -> bool {
    system_says("ID=ubuntu")
}

/// Whether /etc/os-release has this line.
fn system_says(line: &str) -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|l| l == line))
}

/// Where Debian has a kernel.
struct Source {
    suite: &'static str,
    /// The version to take the newest of, where the suite has several.
    version: Option<&'static str>,
}

impl Source {
    fn of(name: &str) -> Result<Source> {
        let newest = |suite| Source { suite, version: None };
        Ok(match name {
            "5.10" => newest("bullseye"),
            "6.1" => newest("bookworm"),
            // The headers bring programs, which need the C library of their suite or an older one.
            "6.12" if system_says("VERSION_CODENAME=bookworm") => newest("bookworm-backports"),
            "6.12" | "trixie" => newest("trixie"),
            "7.2" => Source { suite: "trixie-backports", version: Some("7.2") },
            "7.3" => Source { suite: "trixie-backports", version: Some("7.3") },
            "backports" => newest("trixie-backports"),
            "sid" => newest("sid"),
            _ => bail!("unknown kernel {name} (see --help)"),
        })
    }
}

impl Apt {
    /// One suite of Debian, from the mirror of this machine, its lists kept in the cache.
    fn debian(suite: &str) -> Result<Apt> {
        let folder = cache::root()?.join("apt").join(suite);
        for sub in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(sub))?;
        }
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let signed = if Path::new(keyring).exists() {
            format!("[signed-by={keyring}] ")
        } else {
            String::new()
        };
        let list = folder.join("sources.list");
        let mirror = mirror()?;
        // Backports lack what their suite has in the same version.
        let below = suite.strip_suffix("-backports");
        let suites = [below, Some(suite)].into_iter().flatten();
        let lines = suites.map(|suite| format!("deb {signed}{mirror} {suite} main\n"));
        fs::write(&list, lines.collect::<String>())?;
        let apt = Apt {
            options: vec![
                format!("Dir::Etc::sourcelist={}", list.display()),
                "Dir::Etc::sourceparts=/dev/null".into(),
                format!("Dir::State::lists={}", folder.join("lists").display()),
                format!("Dir::Cache={}", folder.join("cache").display()),
                format!("APT::Default-Release={suite}"),
                "APT::Sandbox::User=root".into(),
                "Acquire::Languages=none".into(),
                "Acquire::Retries=3".into(),
            ],
        };
        cache::run(apt.command("apt-get").args(["-q", "update"]))?;
        Ok(apt)
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").args(self.options.iter().flat_map(|o| ["-o", o]));
        command
    }

    /// The packages of the newest kernel of a version: image and headers.
    fn newest_of(&self, version: &str) -> Result<(Vec<String>, Vec<String>)> {
        let prefix = format!("linux-headers-{version}.");
        let listing = cache::run(self.command("apt-cache").args(["pkgnames", &prefix]))?;
        // Other builds of it (cloud, real time) have a word more.
        let patch = |name: &str| {
            let rest = name.strip_prefix(&prefix)?.strip_suffix("-amd64")?;
            let (patch, suffix) = rest.split_once('+').unwrap_or((rest, ""));
            patch.parse::<u32>().ok().filter(|_| !suffix.contains('-'))
        };
        let newest = listing.lines().filter_map(|name| Some((patch(name)?, name))).max();
        let (_, headers) = newest.with_context(|| format!("no headers of kernel {version}"))?;
        Ok((vec![headers.replace("-headers-", "-image-")], vec![headers.to_owned()]))
    }

    /// The direct dependencies of `package` whose names begin with one of `prefixes`.
    fn depends(&self, package: &str, prefixes: &[&str]) -> Result<Vec<String>> {
        let listing = cache::run(self.command("apt-cache").args(["depends", package]))?;
        let names = listing.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names
            .filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
            .map(str::to_owned)
            .collect())
    }
}

/// The mirror that this machine's apt is set up with.
fn mirror() -> Result<String> {
    let sites = |filter: &[&str]| {
        cache::run(
            Command::new("apt-get")
                .args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
                .args(filter),
        )
    };
    // The label is known only once the lists were fetched.
    let listing = match sites(&["Label: Debian"]) {
        Ok(listing) if !listing.trim().is_empty() => listing,
        _ => sites(&[])?,
    };
    let first = listing.lines().next().context("apt has no package source set up")?;
    Ok(first.trim().to_owned())
}

/// Debian's header packages name each other by absolute path: makes that their place in the cache.
fn relocate_headers(scratch: &Path, final_root: &Path) -> Result<()> {
    let place = final_root.join("usr/src").display().to_string();
    for folder in fs::read_dir(scratch.join("usr/src"))?.flatten() {
        for name in ["Makefile", ".kernelvariables"] {
            let path = folder.path().join(name);
            // The common package's Makefile is the kernel's own, hundreds of times longer.
            match fs::read_to_string(&path) {
                Ok(text) if text.len() < 4096 => {
                    fs::write(&path, text.replace("/usr/src", &place))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The newest kernel image of some unpacked packages, and its release: in `boot`, or beside the
/// modules, as packages have it since v7.1.
fn image(root: &Path) -> Result<(PathBuf, String)> {
    let in_boot = cache::find(&root.join("boot"), &|name| name.starts_with("vmlinuz-"));
    if let Some(image) = in_boot.last() {
        let file = image.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        return Ok((image.clone(), file.trim_start_matches("vmlinuz-").to_owned()));
    }
    let beside = cache::find(&root.join("usr/lib/modules"), &|name| name == "vmlinuz");
    let image = beside.last().with_context(|| format!("no kernel image in {}", root.display()))?;
    let folder = image.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    Ok((image.clone(), folder.unwrap_or_default().to_owned()))
}
