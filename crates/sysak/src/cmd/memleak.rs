//! `sysak memleak`: opens the target, diagnoses it, prints the report.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sysak_base::Stage;
use sysak_heap::{Class, Heap, Object};
use sysak_kernel::Kernel;
use sysak_kernel::shape::EventShape;
use sysak_kernel::user_memory::{self, Wanted};
use sysak_memleak::diagnose::{Diagnosis, diagnose};
use sysak_memleak::plan::{Plan, WatchPlan};
use sysak_memleak::to_report;
use sysak_report::document::Detail;
use sysak_snapshot::Snapshot;
use sysak_symbols::TypeInfo;

use super::session;
use crate::args::{Kind, Memleak};
use crate::progress::Line;

/// Caches that are described where nothing leaks.
const BIGGEST: usize = 10;
/// Holders of user memory of each kind that are looked up.
const HOLDERS: usize = 5;

/// Runs the command; the result is the exit status.
pub fn run(args: &Memleak) -> Result<u8> {
    let start = Instant::now();
    refuse_contradictions(args)?;
    let cancel = session::cancel_on_signals()?;
    if args.source.vmcore.is_none() {
        session::stay_out_of_the_way();
    }
    let line = Line::new(session::language(args.shape.lang));
    let progress: &dyn sysak_base::Progress = &line;
    progress.tell(Stage::Open, 0, 1);
    let mut target = sysak_target::open(&session::options(&args.source), &cancel)?;
    session::complete_symbols(&mut target);
    let mut kernel =
        Kernel::new(target.memory.as_memory(), &target.anchors, &target.types, &target.symbols)?;
    let plan = plan(args, target.identity.live, &target.types);
    let mut diagnosis = diagnose(&mut kernel, &plan, progress, &cancel)?;
    let user = tells_user_memory(&plan, &diagnosis).then(|| {
        let own = session::own_process(target.identity.live);
        let Snapshot { heap, census, coverage, .. } = &mut diagnosis.observed.snapshot;
        let wanted = Wanted { top: HOLDERS, own_pid: own };
        let found = user_memory::find(&kernel, heap, census, wanted, coverage, &cancel);
        sysak_memgraph::holders(found, HOLDERS, own)
    });
    line.clear();
    let heap = &diagnosis.observed.snapshot.heap;
    if let Some(file) = &args.dump_objects {
        let is_slab = |class| class == Class::Slab;
        dump(heap, file, &is_slab, |slab, each| heap.for_each_live(slab, each))?;
    }
    if let Some(file) = &args.dump_lost {
        dump(heap, file, &|_| true, |slab, each| heap.for_each_white(slab, each))?;
    }
    let mut report = to_report::report(
        session::target(&target.identity),
        &kernel,
        &diagnosis,
        &plan,
        start.elapsed(),
    );
    report.findings.extend(user.map(|user| sysak_memgraph::finding(&user, &report.census)));
    if args.all_caches {
        report.caches = to_report::all_caches(&diagnosis);
    }
    let verdict = report.verdict;
    session::print(report, &args.shape, Detail { stacks: args.stacks })?;
    Ok(verdict.exit_status())
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
        watch: (live && !args.check).then(|| WatchPlan {
            limit: seconds(WATCH_SECONDS),
            budget_percent: args.max_overhead,
            all,
            events: EventShape::find(types),
        }),
    }
}

fn only_class(kind: Kind) -> Option<Class> {
    match kind {
        Kind::Auto => None,
        Kind::Slab => Some(Class::Slab),
        Kind::Page => Some(Class::Page),
        Kind::Vmalloc => Some(Class::Vmalloc),
        Kind::Percpu => Some(Class::PerCpu),
    }
}

fn refuse_contradictions(args: &Memleak) -> Result<()> {
    let other = matches!(args.kind, Kind::Page | Kind::Vmalloc | Kind::Percpu);
    match &args.name {
        Some(name) if other && name != ALL => {
            bail!("-n {name} names a slab cache: use it with -t slab or without -t")
        }
        _ => Ok(()),
    }
}

fn dump(
    heap: &Heap,
    file: &Path,
    wanted: &dyn Fn(Class) -> bool,
    each: impl Fn(u32, &mut dyn FnMut(u16)),
) -> Result<()> {
    let describe = || format!("cannot write {}", file.display());
    let mut out = BufWriter::new(File::create(file).with_context(describe)?);
    let mut failed = Ok(());
    for slab in 0..heap.slabs.len() as u32 {
        let cache = &heap.caches[usize::from(heap.slabs[slab as usize].cache)];
        if !wanted(cache.class) {
            continue;
        }
        let name = &cache.name;
        each(slab, &mut |index| {
            if failed.is_ok() {
                let at = heap.object_va(Object { slab, index });
                failed = writeln!(out, "{name} {at}");
            }
        });
    }
    failed.and_then(|()| out.flush()).with_context(describe)
}
