//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};

/// Objects of the largest case that the design is made for.
const OBJECTS: u64 = 419_440_512;
/// The measurements, in their order.
const PARTS: [&str; 6] = ["scan", "peers", "packed", "scale", "terabyte", "tracing"];

pub struct Args {
    pub sysak: PathBuf,
    /// A guest's memory: for `scan`, `peers` and `packed`.
    pub vmcore: Option<PathBuf>,
    /// The same memory in other files.
    pub packed: Vec<PathBuf>,
    /// An image of millions of objects.
    pub many: Option<PathBuf>,
    /// Where the peers are, as `vmtest --peers` prints it.
    pub peers: Option<PathBuf>,
    pub objects: u64,
    pub threads: usize,
    only: Vec<String>,
    /// Where all figures are written.
    pub json: Option<PathBuf>,
    pub commit: String,
    pub date: String,
}

impl Args {
    pub fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Args> {
        let mut args = Args {
            sysak: PathBuf::from("target/dist/sysak"),
            vmcore: None,
            packed: Vec::new(),
            many: None,
            peers: None,
            objects: OBJECTS,
            threads: 2,
            only: Vec::new(),
            json: None,
            commit: "unknown".into(),
            date: "unknown".into(),
        };
        while let Some(word) = words.next() {
            let mut value =
                || words.next().with_context(|| format!("{} needs a value", word.display()));
            match word.to_str() {
                Some("--sysak") => args.sysak = value()?.into(),
                Some("--vmcore") => args.vmcore = Some(value()?.into()),
                Some("--packed-vmcore") => args.packed.push(value()?.into()),
                Some("--many-objects-vmcore") => args.many = Some(value()?.into()),
                Some("--peers") => args.peers = Some(value()?.into()),
                Some("--objects") => args.objects = parsed(&value()?)?,
                Some("--threads") => args.threads = parsed(&value()?)?,
                Some("--only") => args.only.push(parsed(&value()?)?),
                Some("--json") => args.json = Some(value()?.into()),
                Some("--commit") => args.commit = parsed(&value()?)?,
                Some("--date") => args.date = parsed(&value()?)?,
                _ => anyhow::bail!("unknown argument {}", word.display()),
            }
        }
        for part in &args.only {
            ensure!(PARTS.contains(&part.as_str()), "--only is one of {}", PARTS.join(", "));
        }
        Ok(args)
    }

    /// Whether this part is to be measured: all are, unless some are named.
    pub fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

fn parsed<T: FromStr>(word: &OsString) -> Result<T> {
    let value = word.to_str().and_then(|text| text.parse().ok());
    value.with_context(|| format!("{} cannot be read as a value", word.display()))
}
