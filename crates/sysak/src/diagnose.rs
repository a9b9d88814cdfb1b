//! The diagnosis: looks, watches, looks again, and judges.
//!
//! A crash dump gets one look. On a live machine allocations are watched between the
//! first look and the last; without that a second look confirms each suspect, where there is one.

use std::time::Duration;

use sysak_analysis::alike::Likeness;
use sysak_analysis::confirm::Suspects;
use sysak_analysis::content::Held;
use sysak_analysis::lost::{self, Tally};
use sysak_analysis::rank::Ranked;
use sysak_base::heap::Class;
use sysak_base::{Cancel, Progress, Stage, Va};
use sysak_kernel::{Kernel, KernelError};

use crate::guess::Guess;
use crate::look::{Look, look};
use crate::makers::Makers;
use crate::plan::{Plan, Scope, WatchPlan};
use crate::suspects::{sift, suspects, wait};
use crate::watch::rounds::{self, End, Start, Watched};
use crate::watch::{FunctionId, Growth, Watch};
use crate::ways::Holders;

/// The tracer follows no more caches by name.
const MOST_FOLLOWED: usize = 8;

/// Why there is no diagnosis.
#[derive(Debug, thiserror::Error)]
pub enum DiagnoseError {
    /// The kernel could not be walked.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The cache that was asked for does not exist.
    #[error("no slab cache is named {name}{hint}: see /proc/slabinfo or --all-caches for names")]
    NoSuchCache {
        /// The name asked for.
        name: String,
        /// A similar one that exists.
        hint: String,
    },
}

/// What was found out.
pub struct Diagnosis<'a> {
    /// The look that counts: the last one.
    pub look: Look,
    /// Objects of each cache.
    pub tallies: Vec<Tally>,
    /// Caches worth telling about, worst first.
    pub cases: Vec<Case>,
    /// How often memory was looked at.
    pub looks: u32,
    /// What watching allocations told; `None` where nothing was watched.
    pub watched: Option<Watched<'a>>,
    /// Why nothing was watched although it was wanted.
    pub refused: Option<String>,
    /// The step in which it was ended early.
    pub interrupted: Option<Stage>,
}

/// One cache and what is known of its objects.
pub struct Case {
    /// Index into the heap's caches.
    pub cache: u16,
    /// Whether its unreached objects are a leak.
    pub leaks: bool,
    /// Groups of like content.
    pub likeness: Likeness,
    /// What the objects of the first group lead to.
    pub held: Vec<Held>,
    /// How many objects `held` was counted over.
    pub sampled: u64,
    /// The cache whose lost objects alone lead to these.
    pub lost_through: Option<u16>,
    /// Who allocated what is outstanding, most guilty first.
    pub functions: Vec<Ranked<FunctionId>>,
    /// Who asked for the memory, where the kernel itself notes that: most lost bytes first.
    pub callers: Vec<Caller>,
    /// How it grew while it was watched.
    pub growth: Option<Growth>,
    /// Who holds its objects, where that was looked for.
    pub holders: Option<Holders>,
    /// Which code may have allocated them, where nobody saw who did.
    pub makers: Option<Makers>,
    /// The types that they may have, the likeliest first.
    pub guesses: Vec<Guess>,
}

/// A function that asked for vmalloc areas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Where it goes on: a return address.
    pub at: Va,
    /// Areas of its.
    pub areas: u64,
    /// Those that nothing leads to.
    pub lost: u64,
    /// Bytes of these.
    pub lost_bytes: u64,
    /// By how many bytes its areas grew while allocations were watched.
    pub grew_bytes: u64,
}

impl Diagnosis<'_> {
    /// Whether anything leaks.
    pub fn leaks(&self) -> bool {
        self.cases.iter().any(|case| case.leaks)
    }

    /// Whether anything grows that nobody accounts for.
    pub fn suspects(&self) -> bool {
        self.cases.iter().any(Case::is_suspected)
    }
}

impl Case {
    /// Whether it grows, and no count that user space sees explains it.
    pub fn is_suspected(&self) -> bool {
        !self.leaks && self.growth.as_ref().is_some_and(Growth::is_suspicious)
    }
}

/// Diagnoses a kernel.
pub fn diagnose<'a>(
    kernel: &mut Kernel<'a>,
    plan: &Plan,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Diagnosis<'a>, DiagnoseError> {
    let mut seen = look(kernel, progress, cancel)?;
    let scope = match (&plan.only_cache, plan.only_class) {
        (Some(name), _) => Scope::Cache(find_cache(&seen, name)?),
        (None, Some(class)) => Scope::Class(class),
        (None, None) => Scope::All,
    };
    let mut tallies = lost::tally(&seen.heap);
    let mut diagnosis = match (plan.settle, seen.interrupted) {
        (Some(settle), None) => {
            let suspects = sift(&mut seen, &mut tallies, kernel, plan, scope, cancel);
            let first = First { seen, tallies, suspects, scope };
            further(kernel, &Run { plan, progress, cancel }, settle, first)?
        }
        (_, interrupted) => Diagnosis::of(seen, tallies, 1, interrupted),
    };
    if diagnosis.interrupted.is_none_or(|stage| matches!(stage, Stage::Reach | Stage::Settle)) {
        // Whoever ends the watch wants the report of what was seen, not the end of everything.
        let patient = Cancel::default();
        let by_hand =
            diagnosis.watched.as_ref().is_some_and(|watched| watched.end == End::Interrupted);
        let cancel = if by_hand { &patient } else { cancel };
        diagnosis.examine(kernel, plan, scope, progress, cancel);
    }
    Ok(diagnosis)
}

/// What the first look of a live machine saw.
struct First {
    seen: Look,
    tallies: Vec<Tally>,
    suspects: Option<Suspects>,
    scope: Scope,
}

/// What every step is handed on.
struct Run<'r> {
    plan: &'r Plan,
    progress: &'r dyn Progress,
    cancel: &'r Cancel,
}

/// On a live machine: watches allocations, or confirms suspects in a second look.
fn further<'a>(
    kernel: &mut Kernel<'a>,
    run: &Run<'_>,
    settle: Duration,
    first: First,
) -> Result<Diagnosis<'a>, DiagnoseError> {
    let wanted = run.plan.watch.as_ref().filter(|wanted| is_worth_watching(&first, wanted));
    let Some(wanted) = wanted else {
        return confirm(kernel, run, settle, first);
    };
    let followed = followed(&first, wanted);
    match start_watch(kernel, wanted, &first, &followed) {
        Ok(watch) => watched(kernel, run, wanted.limit, watch, first, followed),
        Err(refused) => {
            let diagnosis = confirm(kernel, run, settle, first)?;
            Ok(Diagnosis { refused: Some(refused), ..diagnosis })
        }
    }
}

/// Whether watching can tell anything: not every kernel has events of vmalloc areas.
fn is_worth_watching(first: &First, wanted: &WatchPlan) -> bool {
    let only_areas = first.scope == Scope::Class(Class::Vmalloc) || first.is_noted();
    !only_areas || wanted.events.is_some_and(|events| events.areas)
}

impl First {
    /// Whether only vmalloc areas are suspect: who asked for them the kernel notes itself.
    fn is_noted(&self) -> bool {
        let class = |cache: u16| self.seen.heap.caches[usize::from(cache)].class;
        let mut suspects = suspects(&self.seen, &self.tallies, self.scope).peekable();
        let is_suspect = self.suspects.is_some() && suspects.peek().is_some();
        is_suspect && suspects.all(|cache| class(cache) == Class::Vmalloc)
    }
}

/// Looks again after a while, where there are suspects; what is one in both looks stays one.
fn confirm<'a>(
    kernel: &Kernel<'a>,
    run: &Run<'_>,
    settle: Duration,
    first: First,
) -> Result<Diagnosis<'a>, DiagnoseError> {
    let First { seen, tallies, suspects, .. } = first;
    let Some(suspects) = suspects else { return Ok(Diagnosis::of(seen, tallies, 1, None)) };
    if !wait(settle, run.progress, run.cancel) {
        return Ok(Diagnosis::of(seen, tallies, 1, Some(Stage::Settle)));
    }
    let before = seen.times;
    // The first look's memory is given back before the second needs as much.
    drop(seen);
    let mut seen = look(kernel, run.progress, run.cancel)?;
    seen.times.add(before);
    suspects.confirm(&mut seen.heap, kernel.memory);
    let (tallies, interrupted) = (lost::tally(&seen.heap), seen.interrupted);
    Ok(Diagnosis::of(seen, tallies, 2, interrupted))
}

/// The caches to follow: those asked for, else those that look lost, else all.
fn followed(first: &First, wanted: &WatchPlan) -> Vec<u16> {
    if wanted.all {
        return Vec::new();
    }
    if let Scope::Cache(only) = first.scope {
        return vec![only];
    }
    if first.suspects.is_none() {
        let others = [Class::Page, Class::PerCpu, Class::Vmalloc].map(Scope::Class);
        let heap = &first.seen.heap;
        let all = (0..heap.caches.len() as u16).filter(|_| others.contains(&first.scope));
        return all.filter(|cache| first.scope.has(heap, *cache)).collect();
    }
    let mut caches: Vec<u16> = suspects(&first.seen, &first.tallies, first.scope).collect();
    caches.sort_by_key(|cache| std::cmp::Reverse(first.tallies[usize::from(*cache)].white_bytes));
    caches.truncate(MOST_FOLLOWED);
    caches
}

fn start_watch<'a>(
    kernel: &mut Kernel<'a>,
    wanted: &WatchPlan,
    first: &First,
    followed: &[u16],
) -> Result<Watch<'a>, String> {
    let events = wanted.events.ok_or(
        "the kernel's BTF has no allocation events (is it built with CONFIG_TRACEPOINTS?)",
    )?;
    let caches = &first.seen.heap.caches;
    let follow = (!followed.is_empty()).then_some(followed);
    let watch = Watch::start(kernel, events, caches, follow, wanted.budget_percent)
        .map_err(|error| error.to_string())?;
    // What is kept about a lost object must not lead to it.
    kernel.own_pages.extend(watch.own_pages());
    kernel.own_pages.sort_unstable();
    Ok(watch)
}

fn watched<'a>(
    kernel: &Kernel<'a>,
    run: &Run<'_>,
    limit: Duration,
    watch: Watch<'a>,
    first: First,
    followed: Vec<u16>,
) -> Result<Diagnosis<'a>, DiagnoseError> {
    let (is_suspect, is_noted) = (first.suspects.is_some(), first.is_noted());
    let suspects = match first.suspects {
        Some(suspects) => suspects,
        None => Suspects::of(&first.seen.heap, kernel.memory),
    };
    let start = Start {
        kernel,
        plan: run.plan,
        limit,
        scope: first.scope,
        first: first.seen,
        suspects,
        followed,
        is_suspect,
        is_noted,
    };
    let rounds = rounds::run(watch, start, run.progress, run.cancel)?;
    let interrupted = match rounds.look.interrupted {
        // Nothing has confirmed the suspects.
        None if is_suspect && rounds.looks == 0 => Some(Stage::Settle),
        stage => stage,
    };
    let diagnosis = Diagnosis::of(rounds.look, rounds.tallies, 1 + rounds.looks, interrupted);
    Ok(Diagnosis { watched: Some(rounds.watched), ..diagnosis })
}

impl Diagnosis<'_> {
    fn of(look: Look, tallies: Vec<Tally>, looks: u32, interrupted: Option<Stage>) -> Self {
        Diagnosis {
            look,
            tallies,
            cases: Vec::new(),
            looks,
            watched: None,
            refused: None,
            interrupted,
        }
    }
}

fn find_cache(seen: &Look, name: &str) -> Result<u16, DiagnoseError> {
    let caches = &seen.heap.caches;
    let named =
        |cache: &sysak_base::heap::Cache| cache.class == Class::Slab && cache.has_name(name);
    if let Some(index) = caches.iter().position(named) {
        return Ok(index as u16);
    }
    let all = caches.iter().flat_map(|cache| cache.aliases.iter().chain([&cache.name]));
    let near = all.filter(|other| other.contains(name) || name.contains(other.as_str()));
    let near = near.min_by_key(|other| (other.len().abs_diff(name.len()), *other));
    let hint = near.map_or(String::new(), |near| format!(" (did you mean {near}?)"));
    Err(DiagnoseError::NoSuchCache { name: name.to_owned(), hint })
}
