//! `sysak inspect`: what an expert asks next, of an address, an object, a slab cache or a dump.

use anyhow::Result;
use sysak_base::Va;
use sysak_inspect::Question;
use sysak_report::Speech;
use sysak_report::document::Detail;
use sysak_snapshot::to_report::rounded;

use super::dump;
use super::session::Session;
use crate::args::{Inspect, Inspected};

/// Runs the command; the result is the exit status.
pub fn run(args: &Inspect, speech: Speech) -> Result<u8> {
    let question = match &args.what {
        Inspected::Cache { name } => Question::Cache(name.clone()),
        Inspected::Object { address, depth } => Question::Object(Va(*address), *depth),
        Inspected::Refs { address } => Question::Refs(Va(*address)),
        Inspected::Addr { address } => Question::Addr(Va(*address)),
        Inspected::Dump { files, log } => return dump::run(files, *log, args, speech),
    };
    let session = Session::open(&args.source, &args.output, speech)?;
    let (target, mut kernel) = (session.target_report(), session.kernel()?);
    let (stages, cancel) = (session.stages(), &session.cancel);
    let mut answer = sysak_inspect::answer(target, &mut kernel, &question, stages, cancel)?;
    answer.timings.total_s = Some(rounded(session.elapsed()));
    session.print(answer, Detail::default()).map(|()| 0)
}
