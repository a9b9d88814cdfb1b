//! What a diagnosis says, and whether it is right.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sysak_base::{Cancel, Quiet};
use sysak_kernel::{Kernel, modules};
use sysak_memleak::plan::Plan;
use sysak_memleak::{diagnose, to_report};
use sysak_report::{Finding, FindingVerdict, Report, Verdict};
use sysak_target::elf::{self, Segment};
use sysak_target::{Changes, Replaced};

/// What a diagnosis says of a dump.
pub struct Truth {
    verdict: Verdict,
    /// What leaks.
    leaks: Vec<Leak>,
    /// Classes of which something could not be judged.
    unjudged: Vec<String>,
}

/// A class or cache that leaks.
struct Leak {
    name: String,
    object_size: Option<u64>,
    objects: u64,
}

impl Leak {
    /// Whether it is the same: a cache whose name is damaged leaks as many objects of its size.
    fn is(&self, other: &Leak) -> bool {
        let near = self.objects.abs_diff(other.objects) * 20 <= other.objects;
        self.name == other.name || self.object_size == other.object_size && near
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leaks: Vec<&str> = self.leaks.iter().map(|leak| leak.name.as_str()).collect();
        write!(out, "{:?} {}", self.verdict, leaks.join(", "))?;
        if self.unjudged.is_empty() {
            Ok(())
        } else {
            write!(out, "; unjudged: {}", self.unjudged.join(", "))
        }
    }
}

/// A copy of a dump that a program is run over, with some words replaced each time.
pub struct Copy {
    path: PathBuf,
    segments: Vec<Segment>,
}

impl Copy {
    /// Copies a dump.
    pub fn of(dump: &Path, path: &Path) -> Result<Copy> {
        std::fs::copy(dump, path).context("cannot copy the dump")?;
        // The headers; the rest of a large file is of no interest here.
        let mut head = vec![0; 1 << 20];
        let read = File::open(path)?.read(&mut head)?;
        let segments = elf::parse(&head[..read])?.segments;
        let mut permissions = std::fs::metadata(path)?.permissions();
        permissions.set_mode(0o600);
        std::fs::set_permissions(path, permissions)?;
        Ok(Copy { path: path.to_owned(), segments })
    }

    /// What a `sysak` says of the copy with some words replaced.
    pub fn diagnose(&self, sysak: &Path, replaced: &[Replaced]) -> Result<Truth> {
        let file = File::options().read(true).write(true).open(&self.path)?;
        let mut before = Vec::new();
        for Replaced { at, word } in replaced {
            let fits = |s: &&Segment| s.paddr <= at.0 && at.0 + 8 <= s.paddr + s.bytes;
            let segment = self.segments.iter().find(fits).context("a word outside of the dump")?;
            let place = segment.offset + (at.0 - segment.paddr);
            let mut old = [0; 8];
            file.read_exact_at(&mut old, place)?;
            before.push((place, old));
            file.write_all_at(&word.to_le_bytes(), place)?;
        }
        let mut command = Command::new(sysak);
        command.args(["memleak", "--format", "json", "--vmcore"]).arg(&self.path);
        let output = command.stdin(Stdio::null()).output();
        for (place, old) in before.into_iter().rev() {
            file.write_all_at(&old, place)?;
        }
        let output = output.context("cannot run sysak")?;
        match serde_json::from_slice(&output.stdout) {
            Ok(report) => Ok(Truth::of(&report)),
            Err(_) => bail!("{}", String::from_utf8_lossy(&output.stderr).trim()),
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Diagnoses a dump as it would be with some changes.
pub fn diagnose(dump: &Path, changes: Changes<'_>) -> Result<Truth> {
    let mut target = sysak_target::open_changed(dump, changes)?;
    modules::read_modules(target.memory.as_ref(), &target.types, &mut target.symbols);
    let mut kernel =
        Kernel::new(target.memory.as_ref(), &target.anchors, &target.types, &target.symbols)?;
    // Explanations change no verdict.
    let plan = Plan { explain_limit: Some(Duration::ZERO), ..Plan::default() };
    let found = diagnose::diagnose(&mut kernel, &plan, &Quiet, &Cancel::default())?;
    let report = to_report::report(Default::default(), &kernel, &found, &plan, Duration::default());
    Ok(Truth::of(&report))
}

impl Truth {
    /// Whether anything is said to leak.
    pub fn is_leak(&self) -> bool {
        self.verdict == Verdict::Leak
    }

    fn of(report: &Report) -> Truth {
        let leaking = report.findings.iter().filter(|one| one.verdict == FindingVerdict::Leak);
        let leak = |finding: &Finding| Leak {
            name: match &finding.cache {
                Some(cache) => cache.to_string(),
                None => format!("{:?}", finding.class),
            },
            object_size: finding.object_size_bytes,
            objects: finding.unreachable_objects.unwrap_or(0),
        };
        let open =
            report.coverage.books.iter().filter(|book| book.unjudged_bytes > 0 || !book.found);
        Truth {
            verdict: report.verdict,
            leaks: leaking.map(leak).collect(),
            unjudged: open.map(|book| format!("{:?}", book.class)).collect(),
        }
    }
}

/// Whether a damaged image was judged rightly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As the dump without damage.
    Right,
    /// No answer was given.
    Undetermined,
    /// Some of what leaks is not named, and the report says that it could not judge all of that class.
    InPart,
    /// Something that leaks is not called a leak.
    Missed,
    /// Something that does not leak is called a leak, or the program ended.
    FalseLeak,
}

impl Outcome {
    /// Compares with what was found without damage.
    pub fn of(truth: &Truth, found: &Truth) -> Outcome {
        let is_in = |all: &[Leak], one: &Leak| all.iter().any(|other| one.is(other));
        let is_new = found.leaks.iter().any(|leak| !is_in(&truth.leaks, leak));
        let is_missed = truth.leaks.iter().any(|leak| !is_in(&found.leaks, leak));
        match found.verdict {
            _ if is_new => Outcome::FalseLeak,
            Verdict::Undetermined => Outcome::Undetermined,
            _ if is_missed && found.is_leak() && !found.unjudged.is_empty() => Outcome::InPart,
            _ if is_missed => Outcome::Missed,
            _ => Outcome::Right,
        }
    }

    /// Whether it must not be.
    pub fn is_bad(self) -> bool {
        matches!(self, Outcome::Missed | Outcome::FalseLeak)
    }

    /// As the list of images says it.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Right => "right",
            Outcome::Undetermined => "undetermined",
            Outcome::InPart => "in part",
            Outcome::Missed => "MISSED",
            Outcome::FalseLeak => "FALSE LEAK",
        }
    }
}
