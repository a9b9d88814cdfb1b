//! `sysak inspect`: what an expert asks next, of an address, an object or a slab cache.

use std::time::Instant;

use anyhow::{Result, bail};
use sysak_base::{Cancel, Progress, Stage, Va};
use sysak_heap::Object;
use sysak_holders::HolderResolver;
use sysak_infer::{TypeInferrer, kernel_types};
use sysak_kernel::Kernel;
use sysak_memleak::diagnose::diagnose;
use sysak_memleak::plan::Plan;
use sysak_report::document::Detail;
use sysak_report::{Inspection, Subject};
use sysak_snapshot::Snapshot;
use sysak_snapshot::to_report::rounded;
use sysak_target::Target;

use super::session;
use crate::args::{Inspect, Inspected};
use crate::progress::Line;

/// Objects are alike from this many percent of equal bytes.
const SIMILARITY_PERCENT: u32 = 65;

/// Runs the command; the result is the exit status.
pub fn run(args: &Inspect) -> Result<u8> {
    let start = Instant::now();
    let cancel = session::cancel_on_signals()?;
    if args.source.vmcore.is_none() {
        session::stay_out_of_the_way();
    }
    let line = Line::new(session::language(args.shape.lang));
    let progress: &dyn Progress = &line;
    progress.tell(Stage::Open, 0, 1);
    let mut target = sysak_target::open(&session::options(&args.source), &cancel)?;
    session::complete_symbols(&mut target);
    let mut inspection = match &args.what {
        Inspected::Cache { name } => of_cache(&target, name, progress, &cancel)?,
        what => of_address(&target, what, progress, &cancel)?,
    };
    inspection.timings.total_s = Some(rounded(start.elapsed()));
    line.clear();
    session::print(inspection, &args.shape, Detail::default())?;
    Ok(0)
}

fn kernel(target: &Target) -> Result<Kernel<'_>> {
    let memory = target.memory.as_memory();
    Ok(Kernel::new(memory, &target.anchors, &target.types, &target.symbols)?)
}

/// One look, and one cache judged as `sysak memleak` judges it.
fn of_cache(
    target: &Target,
    name: &str,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Inspection> {
    let mut kernel = kernel(target)?;
    let plan = Plan {
        only_cache: Some(name.to_owned()),
        only_class: None,
        similarity_percent: SIMILARITY_PERCENT,
        settle: None,
        biggest: 1,
        watch: None,
    };
    let diagnosis = diagnose(&mut kernel, &plan, progress, cancel)?;
    refuse_half(diagnosis.observed.interrupted)?;
    let seen = sysak_inspect::cache(&kernel, &diagnosis);
    let subject = Subject::Cache(Box::new(seen));
    Ok(sysak_inspect::document(
        session::target(&target.identity),
        &diagnosis.observed.snapshot,
        subject,
    ))
}

fn of_address(
    target: &Target,
    what: &Inspected,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Inspection> {
    let kernel = kernel(target)?;
    let seen = Snapshot::take(&kernel, progress, cancel)?;
    refuse_half(seen.interrupted)?;
    let resolver = HolderResolver::new(&kernel, &seen);
    let subject = match what {
        Inspected::Addr { address } => Subject::Addr(sysak_inspect::spot(&resolver, Va(*address))),
        Inspected::Object { address, depth } => {
            let object = object(&seen, *address)?;
            let types = kernel_types(&kernel);
            let mut inferrer = TypeInferrer::new(&kernel, &seen.heap, &types);
            let at = Va(*address);
            Subject::Object(sysak_inspect::dump(&resolver, &mut inferrer, object, at, *depth))
        }
        Inspected::Refs { address } => {
            let object = object(&seen, *address)?;
            Subject::Refs(sysak_inspect::refs(&resolver, object, Va(*address), cancel))
        }
        Inspected::Cache { name } => bail!("{name} is no address"),
    };
    Ok(sysak_inspect::document(session::target(&target.identity), &seen, subject))
}

/// Half a look tells nothing of one object.
fn refuse_half(interrupted: Option<Stage>) -> Result<()> {
    match interrupted {
        None => Ok(()),
        Some(_) => bail!("stopped before the end: nothing is known yet"),
    }
}

fn object(seen: &Snapshot, address: u64) -> Result<Object> {
    match seen.heap.find_object(address) {
        Some(object) => Ok(object),
        None => bail!(
            "{} lies in no slab object, block, area or per-CPU allocation: \
             `sysak inspect addr` tells what it is",
            Va(address)
        ),
    }
}
