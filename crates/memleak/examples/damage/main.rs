//! Diagnoses a crash dump many times over, with one to ten damaged words in the kernel's structures each time:
//! `cargo run --release --example damage -- [--images N] [--seed N] [--image N] [--kind WORD]
//! [--sysak FILE] [--unlisted] VMCORE...`
//!
//! Each dump is diagnosed as it is first; what it leaks then is the truth. The words of an image follow from the
//! seed and the image's number alone. Dumps are never copied or changed: words are replaced in memory.
//! With `--unlisted` instead: once for each symbol that sysak knows by name, without that symbol.
//!
//! Ends with status 1 where an image has a false leak, or misses a leak without being `undetermined`.

mod image;
mod outcome;
mod places;
mod random;
mod unlisted;

use std::collections::BTreeMap;
use std::panic::UnwindSafe;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use image::Image;
use outcome::{Copy, Outcome, Truth, diagnose};
use places::Places;
use random::Random;
use sysak_target::{Changes, Replaced};

/// What is asked for.
struct Args {
    images: u64,
    seed: u64,
    only_image: Option<u64>,
    only_kind: Option<String>,
    /// A program to run over a copy, instead of what this one is built from.
    sysak: Option<PathBuf>,
    unlisted: bool,
    dumps: Vec<PathBuf>,
}

impl Args {
    fn parse() -> Result<Args> {
        let mut args = Args {
            images: 150,
            seed: 1,
            only_image: None,
            only_kind: None,
            sysak: None,
            unlisted: false,
            dumps: Vec::new(),
        };
        let mut words = std::env::args_os().skip(1);
        while let Some(word) = words.next() {
            let mut text = || {
                let value = words.next().and_then(|value| value.into_string().ok());
                value.with_context(|| format!("{} needs a value", word.display()))
            };
            match word.to_str() {
                Some("--images") => args.images = text()?.parse()?,
                Some("--seed") => args.seed = text()?.parse()?,
                Some("--image") => args.only_image = Some(text()?.parse()?),
                Some("--unlisted") => args.unlisted = true,
                Some("--kind") => args.only_kind = Some(text()?),
                Some("--sysak") => args.sysak = Some(text()?.into()),
                Some(option) if option.starts_with("--") => bail!("unknown option {option}"),
                _ => args.dumps.push(word.into()),
            }
        }
        if args.dumps.is_empty() { bail!("which crash dump?") } else { Ok(args) }
    }
}

fn main() -> Result<()> {
    let args = Args::parse()?;
    let mut table = Table::default();
    for dump in &args.dumps {
        let subject = Subject::of(dump, args.sysak.as_deref())?;
        let truth = subject.diagnose(&[])?;
        println!("{}: {truth}", dump.display());
        if args.unlisted {
            for name in unlisted::known(dump)? {
                let unlisted = Changes { unlisted: Some(&name), ..Changes::default() };
                let (outcome, found) = judge(&truth, || diagnose(dump, unlisted));
                println!("{name:28} {:12} {found}", outcome.name());
                table.count("a symbol", outcome);
            }
            continue;
        }
        let places = Places::of(dump)?;
        places.print();
        let images = match args.only_image {
            Some(image) => image..image + 1,
            None => 0..args.images,
        };
        for number in images {
            let mut random = Random::of(args.seed, number);
            let Some(image) = Image::choose(&places, &mut random, args.only_kind.as_deref()) else {
                bail!("the dump has no word of that kind");
            };
            table.run(&subject, number, &image, &truth);
        }
    }
    table.print();
    match table.bad {
        0 => Ok(()),
        bad => bail!("{bad} images are judged wrongly"),
    }
}

/// What is diagnosed, and by what.
enum Subject<'a> {
    /// A dump, in this process.
    Here(&'a Path),
    /// A copy of it, by a program.
    By(&'a Path, Copy),
}

impl Subject<'_> {
    fn of<'a>(dump: &'a Path, sysak: Option<&'a Path>) -> Result<Subject<'a>> {
        let name = format!("sysak-damage-{}", std::process::id());
        Ok(match sysak {
            Some(sysak) => Subject::By(sysak, Copy::of(dump, &std::env::temp_dir().join(name))?),
            None => Subject::Here(dump),
        })
    }

    fn diagnose(&self, replaced: &[Replaced]) -> Result<Truth> {
        match self {
            Subject::Here(dump) => {
                diagnose(dump, Changes { words: replaced, ..Changes::default() })
            }
            Subject::By(sysak, copy) => copy.diagnose(sysak, replaced),
        }
    }
}

/// How many images of each kind ended in each way.
#[derive(Default)]
struct Table {
    rows: BTreeMap<String, [u64; 5]>,
    bad: u64,
}

impl Table {
    fn run(&mut self, subject: &Subject<'_>, number: u64, image: &Image, truth: &Truth) {
        let (outcome, found) = judge(truth, || subject.diagnose(&image.words()));
        println!("{number:4} {:12} {found}", outcome.name());
        if outcome.is_bad() {
            image.print();
        }
        self.count(image.name(), outcome);
    }

    fn count(&mut self, row: &str, outcome: Outcome) {
        self.rows.entry(row.to_owned()).or_default()[outcome as usize] += 1;
        self.bad += u64::from(outcome.is_bad());
    }

    fn print(&self) {
        let mut all = [0; 5];
        let [right, undetermined, part, missed, wrong] =
            ["right", "undet.", "in part", "missed", "false"];
        println!(
            "\n{:36} {right:>7} {undetermined:>7} {part:>7} {missed:>7} {wrong:>7}",
            "damaged"
        );
        for (kind, row) in &self.rows {
            print_row(kind, *row);
            all.iter_mut().zip(row).for_each(|(all, one)| *all += one);
        }
        print_row("all", all);
    }
}

/// Runs a diagnosis and compares it with the truth; also gives its text.
fn judge(
    truth: &Truth,
    diagnose: impl FnOnce() -> Result<Truth> + UnwindSafe,
) -> (Outcome, String) {
    match std::panic::catch_unwind(diagnose) {
        Ok(Ok(found)) => (Outcome::of(truth, &found), found.to_string()),
        Ok(Err(refused)) => (Outcome::Undetermined, format!("refused: {refused:#}")),
        Err(_) => (Outcome::FalseLeak, "a panic".to_owned()),
    }
}

fn print_row(name: &str, row: [u64; 5]) {
    let [right, undetermined, in_part, missed, wrong] = row;
    println!("{name:36} {right:7} {undetermined:7} {in_part:7} {missed:7} {wrong:7}");
}
