//! The table of checks and its closing lines.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts the rows; several guests report at once.
#[derive(Default)]
pub struct Checks {
    passed: AtomicU32,
    /// The rows that failed: of a thousand rows they are printed again at the end.
    failed: Mutex<Vec<String>>,
}

impl Checks {
    /// Prints one row at once, so that a run that hangs shows how far it came.
    pub fn check(&self, place: &str, what: &str, expected: &str, got: &str, ok: bool) {
        let row = format!("{place:<24} {what:<44} expected {expected:<28} got {got}");
        if ok {
            self.passed.fetch_add(1, Ordering::Relaxed);
            println!("ok    {row}");
        } else {
            println!("FAIL  {row}");
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(row);
        }
    }

    /// A row that states a figure and judges nothing.
    pub fn note(&self, place: &str, what: &str) {
        println!("      {place:<24} {what}");
    }

    pub fn finish(&self) -> ExitCode {
        let passed = self.passed.load(Ordering::Relaxed);
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        println!();
        failed.iter().for_each(|row| println!("FAIL  {row}"));
        println!("{passed} passed, {} failed", failed.len());
        if failed.is_empty() && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
