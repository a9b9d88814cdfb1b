//! The table of checks and its closing line.

use std::process::ExitCode;

#[derive(Default)]
pub struct Checks {
    passed: u32,
    failed: u32,
}

impl Checks {
    /// Prints one row at once, so that a run that hangs shows how far it came.
    pub fn check(&mut self, place: &str, what: &str, expected: &str, got: &str, ok: bool) {
        if ok {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
        let mark = if ok { "ok  " } else { "FAIL" };
        println!("{mark}  {place:<24} {what:<44} expected {expected:<28} got {got}");
    }

    /// A row that states a figure and judges nothing.
    pub fn note(&self, place: &str, what: &str) {
        println!("      {place:<24} {what}");
    }

    pub fn finish(&self) -> ExitCode {
        println!("\n{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
