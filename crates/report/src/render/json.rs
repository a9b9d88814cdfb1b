//! The report for programs: one JSON document.

use std::io::{self, Write};

use serde::Serialize;

/// Writes the report as one JSON document and a line feed.
pub fn json(report: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}
