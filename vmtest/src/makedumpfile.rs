//! makedumpfile, on the host: writes a dump anew, filtered and packed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

const NOT_FOUND: &str = "cannot run makedumpfile (package makedumpfile)";
const PARTS: usize = 3;

/// The files that a dump becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Plain,
    Flattened,
    /// Flattened, inside gzip, as kdump-tools leaves it.
    Gzip,
    Split,
}

/// What `--vmcore` is given. Dropping it removes the files behind it.
pub struct Written {
    pub given: PathBuf,
    files: Vec<PathBuf>,
}

impl Drop for Written {
    fn drop(&mut self) {
        // The folder goes with the guest; until then this keeps the disk from filling.
        self.files.iter().for_each(|file| drop(fs::remove_file(file)));
    }
}

/// Whether makedumpfile was built with a way to pack pages; one that was not writes them as they are instead.
pub fn can_pack(packing: &str) -> Result<bool> {
    let output = Command::new("makedumpfile").arg("-v").output().context(NOT_FOUND)?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let mut words = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    Ok(!words.any(|words| words == [packing, "disabled"]))
}

/// Writes the dump `from` anew in `folder`; else what makedumpfile says.
pub fn write(
    from: &Path,
    folder: &Path,
    shape: Shape,
    options: &[&str],
) -> Result<Result<Written, String>> {
    let whole = folder.join("written");
    let files = match shape {
        Shape::Split => (1..=PARTS).map(|part| folder.join(format!("part-{part}"))).collect(),
        _ => vec![whole.clone()],
    };
    let mut written = Written { given: whole.clone(), files };
    let errors = folder.join("makedumpfile.stderr");
    let mut command = Command::new("makedumpfile");
    command.args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?);
    match shape {
        Shape::Plain => command.arg(from).arg(&whole),
        Shape::Flattened | Shape::Gzip => command.arg("-F").arg(from).stdout(File::create(&whole)?),
        Shape::Split => command.arg("--split").arg(from).args(&written.files),
    };
    let status = command.status().context(NOT_FOUND)?;
    if !status.success() {
        return Ok(Err(last_words(&fs::read_to_string(&errors)?)));
    }
    match shape {
        Shape::Plain | Shape::Flattened => {}
        Shape::Split => written.given = folder.join("part-*"),
        Shape::Gzip => written.gzip()?,
    }
    Ok(Ok(written))
}

impl Written {
    fn gzip(&mut self) -> Result<()> {
        let status =
            Command::new("gzip").arg("-1f").arg(&self.given).status().context("cannot run gzip")?;
        ensure!(status.success(), "gzip failed");
        self.given.set_extension("gz");
        self.files = vec![self.given.clone()];
        Ok(())
    }
}

/// The last line that gives a reason.
fn last_words(said: &str) -> String {
    let mut lines = said.lines().filter(|line| !line.is_empty() && !line.contains("Failed"));
    lines.next_back().unwrap_or("no reason").to_owned()
}
