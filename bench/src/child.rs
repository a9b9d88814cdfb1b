//! Times another program as a whole process, by the system's own accounting of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What one run cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Wall-clock time.
    pub wall: Duration,
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Largest resident set, mapped files included.
    pub resident_bytes: u64,
}

/// Runs a command `runs` times after one warm-up; the run with the median processor time.
///
/// Exit statuses in `allowed` are no failure: a leak that is found ends with 1.
pub fn median(command: &[&str], runs: usize, allowed: &[i32]) -> Result<Cost> {
    let mut costs = Vec::new();
    for run in 0..=runs {
        let cost = once(command, allowed)?;
        if run > 0 {
            costs.push(cost);
        }
    }
    costs.sort_by_key(|cost| cost.cpu);
    costs.get(runs / 2).copied().context("no run was counted")
}

fn once(command: &[&str], allowed: &[i32]) -> Result<Cost> {
    let (program, args) = command.split_first().context("empty command")?;
    // Under `time`, so that the kernel's accounting is of this child and no other.
    let report = std::env::temp_dir().join(format!("sysak-bench-{}", std::process::id()));
    let start = Instant::now();
    let status = Command::new("/usr/bin/time")
        .args(["-q", "-o"])
        .arg(&report)
        .args(["-f", "%U %S %M", "--", program])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {program} (is the package `time` installed?)"))?;
    let wall = start.elapsed();
    let text = std::fs::read_to_string(&report)?;
    std::fs::remove_file(&report)?;
    if !status.code().is_some_and(|code| allowed.contains(&code)) {
        bail!("{} ended with {status}", command.join(" "));
    }
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user, system, kib] = numbers[..] else { bail!("unexpected output of time: {text}") };
    Ok(Cost {
        wall,
        cpu: Duration::from_secs_f64(user + system),
        resident_bytes: kib as u64 * 1024,
    })
}
