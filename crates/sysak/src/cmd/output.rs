//! Prints what a command found: format, language, redaction, width.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};

use anyhow::Result;
use sysak_report::document::Detail;
use sysak_report::{Format, Present, Print, Speech, Style, wants_colour};

use crate::args::{self, Output};

/// Columns of a report where neither a terminal nor `COLUMNS` tells.
const WIDTH: usize = 100;

/// Prints a model on standard output in the shape and language that were asked for. Whoever closes the pipe early
/// (`sysak … | head`) has seen enough: that is no error, and the exit status still tells the verdict.
pub fn print(model: impl Present, output: &Output, speech: Speech, detail: Detail) -> Result<()> {
    let stdout = io::stdout();
    let format = match output.format {
        args::Format::Text => Format::Text(style(&stdout, speech)),
        args::Format::Json => Format::Json,
    };
    let mut out = BufWriter::new(stdout.lock());
    let salt = output.redact.then(salt);
    let print = Print { format, lang: speech.lang, detail, salt };
    match print.write(model, &mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

/// A number that nobody can guess, so that hashed addresses cannot be looked up.
fn salt() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// How text looks on this standard output.
fn style(stdout: &io::Stdout, speech: Speech) -> Style {
    let set = |name| std::env::var_os(name);
    let colour =
        wants_colour(stdout.is_terminal(), set("NO_COLOR").as_deref(), set("TERM").as_deref());
    let asked = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    let width = match rustix::termios::tcgetwinsize(stdout) {
        Ok(size) => size.ws_col.into(),
        Err(_) => asked().unwrap_or(WIDTH),
    };
    Style { colour, width, ascii: speech.ascii }
}
