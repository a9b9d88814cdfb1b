//! The report for a person.

use std::io::{self, Write};

use crate::{Lang, Report};

/// How the text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to use colours.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
}

/// Writes the report for a person.
pub fn text(report: &Report, _: Lang, _: Style, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", report.summary)
}
