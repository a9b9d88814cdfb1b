//! `sysak memleak`: opens the target, diagnoses it, prints the report.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use sysak_heap::{Class, Heap};
use sysak_kernel::shape::EventShape;
use sysak_kernel::user_memory::{self, Wanted};
use sysak_memleak::diagnose::{Diagnosis, diagnose};
use sysak_memleak::plan::{Plan, WatchPlan};
use sysak_memleak::{lists, to_report};
use sysak_report::Speech;
use sysak_report::document::Detail;
use sysak_snapshot::Snapshot;
use sysak_symbols::TypeInfo;

use super::session::Session;
use crate::args::{Memleak, MemoryKind};
use crate::problem::Refused;

/// Caches that are described where nothing leaks.
const BIGGEST: usize = 10;
/// Holders of user memory of each kind that are looked up.
const HOLDERS: usize = 5;

/// Runs the command; the result is the exit status.
pub fn run(args: &Memleak, speech: Speech) -> Result<u8> {
    refuse_contradictions(args)?;
    let session = Session::open(&args.source, &args.output, speech)?;
    let mut kernel = session.kernel()?;
    let plan = plan(args, session.is_live(), &session.target.types);
    let mut diagnosis = diagnose(&mut kernel, &plan, session.stages(), &session.cancel)?;
    let cancel = diagnosis.patience(&session.cancel);
    let user = tells_user_memory(&plan, &diagnosis).then(|| {
        let own_pid = session.own_process();
        let Snapshot { heap, census, coverage, .. } = &mut diagnosis.observed.snapshot;
        let wanted = Wanted { top: HOLDERS, own_pid };
        let found = user_memory::find(&kernel, heap, census, wanted, coverage, &cancel);
        sysak_memgraph::holders(found, HOLDERS, own_pid)
    });
    dump_lists(args, &diagnosis.observed.snapshot.heap)?;
    let target = session.target_report();
    let mut report = to_report::report(target, &kernel, &diagnosis, &plan, session.elapsed());
    report.findings.extend(user.map(|user| sysak_memgraph::finding(&user, &report.census)));
    if args.all_caches {
        report.caches = to_report::all_caches(&diagnosis);
    }
    let verdict = report.verdict;
    session.print(report, Detail { stacks: args.stacks })?;
    Ok(verdict.exit_status())
}

/// Writes the lists of objects that were asked for.
fn dump_lists(args: &Memleak, heap: &Heap) -> Result<()> {
    if let Some(file) = &args.dump_objects {
        dump(file, |out| lists::write_live(heap, out))?;
    }
    if let Some(file) = &args.dump_lost {
        dump(file, |out| lists::write_lost(heap, out))?;
    }
    Ok(())
}

fn dump(file: &Path, list: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let failed_to = |why| Refused::Unwritable(file.to_owned(), why);
    let mut out = BufWriter::new(File::create(file).map_err(failed_to)?);
    Ok(list(&mut out).and_then(|()| out.flush()).map_err(failed_to)?)
}

/// Whether the question is about all memory, and an answer is known.
fn tells_user_memory(plan: &Plan, diagnosis: &Diagnosis<'_>) -> bool {
    plan.only_cache.is_none()
        && plan.only_class.is_none()
        && diagnosis.observed.interrupted.is_none()
}

/// Stands for every cache where a cache's name is asked for.
const ALL: &str = "all";
/// How long a live machine is watched at most.
const WATCH_SECONDS: u64 = 200;
/// Between two looks where nothing is watched.
const SETTLE_SECONDS: u64 = 5;

fn plan(args: &Memleak, live: bool, types: &TypeInfo) -> Plan {
    let seconds = |default| Duration::from_secs(args.interval.unwrap_or(default));
    let all = args.name.as_deref() == Some(ALL);
    Plan {
        only_cache: args.name.clone().filter(|_| !all),
        only_class: only_class(args.kind),
        similarity_percent: args.similarity,
        settle: live.then(|| match args.check {
            true => seconds(SETTLE_SECONDS),
            false => Duration::from_secs(SETTLE_SECONDS),
        }),
        biggest: BIGGEST,
        explain_limit: args.explain_limit.map(Duration::from_secs),
        watch: (live && !args.check).then(|| WatchPlan {
            limit: seconds(WATCH_SECONDS),
            budget_percent: args.max_overhead,
            all,
            events: EventShape::find(types),
        }),
    }
}

fn only_class(kind: MemoryKind) -> Option<Class> {
    match kind {
        MemoryKind::Auto => None,
        MemoryKind::Slab => Some(Class::Slab),
        MemoryKind::Page => Some(Class::Page),
        MemoryKind::Vmalloc => Some(Class::Vmalloc),
        MemoryKind::Percpu => Some(Class::PerCpu),
    }
}

fn refuse_contradictions(args: &Memleak) -> Result<()> {
    let other = matches!(args.kind, MemoryKind::Page | MemoryKind::Vmalloc | MemoryKind::Percpu);
    match &args.name {
        Some(name) if other && name != ALL => {
            bail!(Refused::NameOfOtherClass(name.clone()))
        }
        _ => Ok(()),
    }
}
