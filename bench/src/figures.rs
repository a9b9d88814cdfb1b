//! What was measured, as one JSON document, and two of them side by side.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// All figures of one run of this program.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// The commit that was measured, `+changed` if files differed from it.
    pub commit: String,
    /// When it was measured, as the caller tells it.
    pub date: String,
    pub machine: Machine,
    /// What one core copied meanwhile, beside all measurements.
    pub memcpy: Option<Figure>,
    pub figures: Vec<Figure>,
    pub left_out: Vec<LeftOut>,
}

/// Where it was measured.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cpus: usize,
    pub memory_bytes: u64,
    pub kernel: String,
}

/// One figure: the median of its runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: String,
    /// What each run gave, in their order.
    pub runs: Vec<f64>,
}

/// What could not be measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeftOut {
    pub name: String,
    pub reason: String,
}

/// The middle one. Of nothing there is none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

impl Figures {
    /// Nothing measured yet, on this machine.
    pub fn new(commit: String, date: String) -> Result<Figures> {
        Ok(Figures { commit, date, machine: Machine::this()?, ..Figures::default() })
    }

    /// Keeps the runs of one figure and returns their median.
    pub fn add(&mut self, name: impl Into<String>, unit: &str, runs: Vec<f64>) -> Result<f64> {
        let name = name.into();
        let value = median(&runs).with_context(|| format!("{name}: no run"))?;
        self.figures.push(Figure { name, value, unit: unit.into(), runs });
        Ok(value)
    }

    /// Keeps what was copied beside a measurement, in bytes a second, and says it.
    pub fn beside(&mut self, copies: Vec<f64>) -> String {
        let Some(copy) = median(&copies) else { return String::new() };
        let all = self.memcpy.get_or_insert_with(|| Figure {
            name: "memcpy, one core".into(),
            value: copy,
            unit: "bytes/s".into(),
            runs: Vec::new(),
        });
        all.runs.extend(copies);
        all.value = median(&all.runs).unwrap_or(copy);
        format!("meanwhile memcpy, one core: {:.2} GB/s", copy / 1e9)
    }

    pub fn leave_out(&mut self, name: &str, reason: &str) {
        self.left_out.push(LeftOut { name: name.into(), reason: reason.into() });
    }

    pub fn read(path: &Path) -> Result<Figures> {
        let text =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} has no figures", path.display()))
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Each figure of both, and how many times the first the second is.
    pub fn beside_those_of(&self, other: &Figures) -> String {
        let mut out = String::new();
        for (name, figures) in [("first", self), ("second", other)] {
            let Machine { cpu, cpus, memory_bytes, kernel } = &figures.machine;
            let gib = memory_bytes >> 30;
            let (commit, date) = (&figures.commit, &figures.date);
            let _ = writeln!(out, "{name:7}{commit}, {date}: {cpus} of {cpu}, {gib} GiB, {kernel}");
        }
        if self.machine != other.machine {
            out += "not the same machine: only ratios inside one run can be compared\n";
        }
        let _ = writeln!(out, "{:>14} {:>14} {:>7}", "first", "second", "ratio");
        let all = |figures: &'_ Figures| -> Vec<(String, String, f64)> {
            let all = figures.memcpy.iter().chain(&figures.figures);
            all.map(|f| (f.name.clone(), f.unit.clone(), f.value)).collect()
        };
        let (ours, theirs) = (all(self), all(other));
        let value = |list: &[(String, String, f64)], name: &str, unit: &str| {
            list.iter().find(|(n, u, _)| n == name && u == unit).map(|(_, _, value)| *value)
        };
        let text = |value: Option<f64>| value.map_or("-".to_owned(), significant);
        let only_there = theirs.iter().filter(|(name, unit, _)| value(&ours, name, unit).is_none());
        for (name, unit, _) in ours.iter().chain(only_there) {
            let (a, b) = (value(&ours, name, unit), value(&theirs, name, unit));
            let ratio = a.zip(b).filter(|(a, _)| *a != 0.0);
            let ratio = ratio.map_or("-".to_owned(), |(a, b)| format!("{:.3}", b / a));
            let _ = writeln!(out, "{:>14} {:>14} {ratio:>7}  {name} [{unit}]", text(a), text(b));
        }
        out
    }
}

/// Four digits that count, more before the point.
fn significant(value: f64) -> String {
    let before = value.abs().log10().floor();
    let decimals = if before.is_finite() { (3.0 - before).clamp(0.0, 6.0) } else { 0.0 };
    format!("{value:.*}", decimals as usize)
}

impl Machine {
    fn this() -> Result<Machine> {
        let field = |path: &str, name: &str| -> Result<String> {
            let text = std::fs::read_to_string(path)?;
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
            Ok(line.map_or("unknown", |(_, value)| value.trim()).to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal")?;
        let kib: u64 = memory.trim_end_matches(" kB").parse().context("/proc/meminfo")?;
        Ok(Machine {
            cpu: field("/proc/cpuinfo", "model name")?,
            cpus: std::thread::available_parallelism()?.get(),
            memory_bytes: kib * 1024,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(runs: &[f64]) -> Figures {
        let mut figures = Figures::new("0123abcd+changed".into(), "today".into()).unwrap();
        figures.add("marking", "s", runs.to_vec()).unwrap();
        figures.beside(vec![8e9, 1e9, 9e9]);
        figures.leave_out("crash", "no network");
        figures
    }

    #[test]
    fn a_written_document_is_read_again_with_medians_of_its_runs() {
        let file = std::env::temp_dir().join(format!("sysak-figures-{}", std::process::id()));
        figures(&[5.0, 1.0, 2.5]).write(&file).unwrap();
        let read = Figures::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!((read.figures[0].value, read.figures[0].runs[0]), (2.5, 5.0));
        assert_eq!(read.memcpy.unwrap().value, 8e9);
        assert_eq!(
            (read.commit.as_str(), read.machine),
            ("0123abcd+changed", Machine::this().unwrap())
        );
        assert_eq!(read.left_out[0].reason, "no network");
    }

    #[test]
    fn figures_of_two_documents_stand_side_by_side_with_their_ratio() {
        let (first, mut second) = (figures(&[2.0]), figures(&[3.0]));
        second.add("only there", "bytes", vec![1024.0]).unwrap();
        let text = first.beside_those_of(&second);
        let last: Vec<_> = text
            .lines()
            .skip(3)
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            last,
            [
                "8000000000 8000000000 1.000 memcpy, one core [bytes/s]",
                "2.000 3.000 1.500 marking [s]",
                "- 1024 - only there [bytes]",
            ]
        );
        second.machine.cpus += 1;
        assert!(first.beside_those_of(&second).contains("not the same machine"));
    }
}
