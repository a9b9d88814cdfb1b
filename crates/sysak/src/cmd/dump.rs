//! `sysak inspect dump`: what a crash dump is, and what can be done with it; also for one that cannot be diagnosed.

use std::time::Instant;

use anyhow::{Result, bail};
use sysak_inspect::Opened;
use sysak_report::Speech;
use sysak_report::document::Detail;
use sysak_snapshot::to_report::rounded;

use super::output;
use super::session::Session;
use crate::args::Inspect;
use crate::problem::{self, Refused};

/// Runs the command, which shows so many lines of the log; the result is the exit status.
pub fn run(log: u32, args: &Inspect, speech: Speech) -> Result<u8> {
    let Some(path) = &args.source.vmcore else { bail!(Refused::NoDump) };
    let start = Instant::now();
    let file = sysak_target::open_dump_file(path)?;
    let session = Session::open(&args.source, &args.output, speech);
    let told = |error: &anyhow::Error| problem::told(error, speech.lang);
    let opened = match &session {
        Ok(session) => Opened {
            target: Some(session.target_report()),
            symbols: Some(session.target.symbols.len() as u64),
            types: Some(session.target.types.len() as u64),
            refused: session.kernel().err().as_ref().map(told),
        },
        Err(error) => Opened { refused: Some(told(error)), ..Opened::default() },
    };
    let mut dump = sysak_inspect::crash_dump(&file, opened, log as usize);
    dump.timings.total_s = Some(rounded(start.elapsed()));
    match session {
        Ok(session) => session.print(dump, Detail::default())?,
        Err(_) => output::print(dump, &args.output, speech, Detail::default())?,
    }
    Ok(0)
}
