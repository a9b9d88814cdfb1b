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

/// Runs a command once: what it cost, and its output.
///
/// Exit statuses in `allowed` are no failure: a leak that is found ends with 1.
pub fn run(command: &[String], allowed: &[i32]) -> Result<(Cost, String)> {
    let (program, args) = command.split_first().context("empty command")?;
    // Under `time`, so that the kernel's accounting is of this child and no other.
    let report = std::env::temp_dir().join(format!("sysak-bench-{}", std::process::id()));
    let start = Instant::now();
    let output = Command::new("/usr/bin/time")
        .args(["-q", "-o"])
        .arg(&report)
        .args(["-f", "%U %S %M", "--", program])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program} (is the package `time` installed?)"))?;
    let wall = start.elapsed();
    let (status, said) = (output.status, String::from_utf8_lossy(&output.stdout).into_owned());
    let text = std::fs::read_to_string(&report)?;
    std::fs::remove_file(&report)?;
    if !status.code().is_some_and(|code| allowed.contains(&code)) {
        let reason = String::from_utf8_lossy(&output.stderr);
        let reason = reason.trim().lines().last().unwrap_or("it gives no reason").to_owned();
        bail!("{program} ended with {status}: {reason}");
    }
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user, system, kib] = numbers[..] else { bail!("unexpected output of time: {text}") };
    let cpu = Duration::from_secs_f64(user + system);
    Ok((Cost { wall, cpu, resident_bytes: kib as u64 * 1024 }, said))
}
