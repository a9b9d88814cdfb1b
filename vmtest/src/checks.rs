//! The table of checks and its closing line.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the rows; several guests report at once.
#[derive(Default)]
pub struct Checks {
    passed: AtomicU32,
    failed: AtomicU32,
}

impl Checks {
    /// Prints one row at once, so that a run that hangs shows how far it came.
    pub fn check(&self, place: &str, what: &str, expected: &str, got: &str, ok: bool) {
        let count = if ok { &self.passed } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        let mark = if ok { "ok  " } else { "FAIL" };
        println!("{mark}  {place:<24} {what:<44} expected {expected:<28} got {got}");
    }

    /// A row that states a figure and judges nothing.
    pub fn note(&self, place: &str, what: &str) {
        println!("      {place:<24} {what}");
    }

    pub fn finish(&self) -> ExitCode {
        let passed = self.passed.load(Ordering::Relaxed);
        let failed = self.failed.load(Ordering::Relaxed);
        println!("\n{passed} passed, {failed} failed");
        if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
