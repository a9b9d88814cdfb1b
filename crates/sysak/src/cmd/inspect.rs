//! `sysak inspect`: what an expert asks next, of an address, an object or a slab cache.

use anyhow::{Result, bail};
use sysak_base::Va;
use sysak_heap::Object;
use sysak_holders::HolderResolver;
use sysak_infer::{TypeInferrer, kernel_types};
use sysak_memleak::diagnose::diagnose;
use sysak_memleak::plan::Plan;
use sysak_report::document::Detail;
use sysak_report::{Inspection, Stage, Subject};
use sysak_snapshot::Snapshot;
use sysak_snapshot::to_report::rounded;

use super::session::Session;
use crate::args::{Inspect, Inspected};

/// Objects are similar from this many percent of equal bytes.
const SIMILARITY_PERCENT: u32 = 65;

/// Runs the command; the result is the exit status.
pub fn run(args: &Inspect) -> Result<u8> {
    let session = Session::open(&args.source, &args.output)?;
    let mut inspection = match &args.what {
        Inspected::Cache { name } => of_cache(&session, name)?,
        what => of_address(&session, what)?,
    };
    inspection.timings.total_s = Some(rounded(session.elapsed()));
    session.print(inspection, Detail::default())?;
    Ok(0)
}

/// One snapshot, and one cache judged as `sysak memleak` judges it.
fn of_cache(session: &Session<'_>, name: &str) -> Result<Inspection> {
    let mut kernel = session.kernel()?;
    let plan = Plan {
        only_cache: Some(name.to_owned()),
        only_class: None,
        similarity_percent: SIMILARITY_PERCENT,
        settle: None,
        biggest: 1,
        explain: true,
        watch: None,
    };
    let diagnosis = diagnose(&mut kernel, &plan, session.stages(), &session.cancel)?;
    refuse_half(diagnosis.observed.interrupted)?;
    let subject = Subject::Cache(Box::new(sysak_inspect::cache(&kernel, &diagnosis)));
    let snapshot = &diagnosis.observed.snapshot;
    Ok(sysak_inspect::document(session.target_report(), snapshot, subject))
}

fn of_address(session: &Session<'_>, what: &Inspected) -> Result<Inspection> {
    let kernel = session.kernel()?;
    let snapshot = Snapshot::take(&kernel, session.stages(), &session.cancel)?;
    refuse_half(snapshot.interrupted)?;
    let resolver = HolderResolver::new(&kernel, &snapshot);
    let subject = match what {
        Inspected::Addr { address } => Subject::Addr(sysak_inspect::spot(&resolver, Va(*address))),
        Inspected::Object { address, depth } => {
            let object = object(&snapshot, *address)?;
            let types = kernel_types(&kernel);
            let mut inferrer = TypeInferrer::new(&kernel, &snapshot.heap, &types);
            let at = Va(*address);
            Subject::Object(sysak_inspect::dump(&resolver, &mut inferrer, object, at, *depth))
        }
        Inspected::Refs { address } => {
            let object = object(&snapshot, *address)?;
            Subject::Refs(sysak_inspect::refs(&resolver, object, Va(*address), &session.cancel))
        }
        Inspected::Cache { name } => bail!("{name} is no address"),
    };
    Ok(sysak_inspect::document(session.target_report(), &snapshot, subject))
}

/// Half a snapshot says nothing about one object.
fn refuse_half(interrupted: Option<Stage>) -> Result<()> {
    match interrupted {
        None => Ok(()),
        Some(_) => bail!("stopped before the end: nothing is known yet"),
    }
}

fn object(snapshot: &Snapshot, address: u64) -> Result<Object> {
    match snapshot.heap.find_object(address) {
        Some(object) => Ok(object),
        None => bail!(
            "{} lies in no slab object, block, area or per-CPU allocation: \
             `sysak inspect addr` shows what it is",
            Va(address)
        ),
    }
}
