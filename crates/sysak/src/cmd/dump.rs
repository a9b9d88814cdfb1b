//! `sysak inspect dump`: what a crash dump is, and what can be done with it; also for one that cannot be diagnosed.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use sysak_base::Cancel;
use sysak_inspect::Opened;
use sysak_report::document::Detail;
use sysak_report::{Speech, Stage};
use sysak_snapshot::{InStage, to_report::rounded};

use super::output;
use super::session::{Session, options};
use crate::args::{Inspect, Source};
use crate::problem::{self, Refused};
use crate::progress::Line;

/// Runs the command, which shows so many lines of the log; the result is the exit status.
pub fn run(files: &[PathBuf], log: u32, args: &Inspect, speech: Speech) -> Result<u8> {
    let vmcore = [&args.source.vmcore, files].concat();
    let source = Source { vmcore, ..args.source.clone() };
    if source.vmcore.is_empty() {
        bail!(Refused::NoDump);
    }
    let (start, line) = (Instant::now(), Line::new(speech));
    let unpacking = InStage(&line, Stage::Unpack);
    let opened = sysak_target::open_dump_file(&options(&source), &Cancel::default(), &unpacking);
    line.clear();
    let told = |error: &anyhow::Error| problem::told(error, speech.lang);
    let mut session = None;
    let diagnose = || match Session::open(&source, &args.output, speech) {
        Ok(opened) => {
            let session = session.insert(opened);
            Opened {
                target: Some(session.target_report()),
                symbols: Some(session.target.symbols.len() as u64),
                types: Some(session.target.types.len() as u64),
                refused: session.kernel().err().as_ref().map(told),
            }
        }
        Err(error) => Opened { refused: Some(told(&error)), ..Opened::default() },
    };
    let mut dump = sysak_inspect::crash_dump(opened?, log as usize, diagnose);
    dump.timings.total_s = Some(rounded(start.elapsed()));
    match session {
        Some(session) => session.print(dump, Detail::default()),
        None => output::print(dump, &args.output, speech, Detail::default()),
    }
    .map(|()| 0)
}
