//! The diagnosis: takes snapshots, watches in between, judges, and explains.
//!
//! A crash dump gets one snapshot. On a live machine allocations are watched between the
//! first snapshot and the last; without that a second one confirms each suspect, where there is one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use sysak_alloctrace::{LoadError, TraceError};
use sysak_base::{Budget, Cancel};
use sysak_heap::{Class, Tally, tally};
use sysak_kernel::{Kernel, KernelError};
use sysak_report::{Refusal, RefusalKind, Stage};
use sysak_snapshot::{Snapshot, Stages};

use crate::confirm::Suspects;
use crate::decision::{FirstFacts, Next};
use crate::explain::{Explanation, budget, explain};
use crate::judge::{Case, judge};
use crate::observed::Observed;
use crate::plan::{Plan, Scope, WatchPlan};
use crate::second_opinion;
use crate::suspects::{self, FirstSuspects, find_suspects, leaking_caches, suspects, wait};
use crate::watch::Watch;
use crate::watch::rounds::{self, Rounds, Start};

/// The tracer follows no more caches by name.
const MOST_FOLLOWED: usize = 8;

/// Why there is no diagnosis.
#[derive(Debug, thiserror::Error)]
pub enum DiagnoseError {
    /// The kernel could not be walked.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The cache that was asked for does not exist.
    #[error(
        "no slab cache is named {name}{}: see /proc/slabinfo or --all-caches for names",
        near.as_ref().map_or(String::new(), |near| format!(" (did you mean {near}?)"))
    )]
    NoSuchCache {
        /// The name asked for.
        name: String,
        /// A similar one that exists.
        near: Option<String>,
    },
}

/// What was found out.
pub struct Diagnosis<'a> {
    /// What was to be judged.
    pub scope: Scope,
    /// What was observed.
    pub observed: Observed<'a>,
    /// Caches beyond the scope that look like a leak by their unreachable objects, most bytes first.
    pub elsewhere: Vec<u16>,
    /// Caches worth a word, worst first.
    pub cases: Vec<Case>,
    /// What could be explained of them, by their index in the heap.
    pub explanations: HashMap<u16, Explanation>,
    /// The time that explaining had, where that was not enough for all.
    pub unexplained: Option<Duration>,
}

impl Diagnosis<'_> {
    /// Whether anything leaks.
    pub fn leaks(&self) -> bool {
        self.cases.iter().any(|case| case.leaks)
    }

    /// Whether a cache would leak, if memory that could not be read held none of it.
    pub fn may_leak(&self) -> bool {
        self.cases.iter().any(|case| case.may_leak)
    }

    /// The step in which somebody ended it. The watch can be ended after all that the verdict needs.
    pub fn interrupted(&self) -> Option<Stage> {
        self.observed.watch_ended_in().or(self.observed.interrupted)
    }

    /// What may end the steps after it: whoever ended the watch wants the report of what was seen, not the end of all.
    pub fn patience(&self, cancel: &Cancel) -> Cancel {
        match self.observed.watch_ended_in() {
            Some(_) => Cancel::default(),
            None => cancel.clone(),
        }
    }

    /// Whether anything grows that nobody accounts for.
    pub fn suspects(&self) -> bool {
        self.cases.iter().any(Case::is_suspected)
    }
}

/// Diagnoses a kernel.
pub fn diagnose<'a>(
    kernel: &mut Kernel<'a>,
    plan: &Plan,
    stages: &dyn Stages,
    cancel: &Cancel,
) -> Result<Diagnosis<'a>, DiagnoseError> {
    let (run, begun) = (Run { plan, stages, cancel }, Instant::now());
    let snapshot = Snapshot::take(kernel, stages, cancel)?;
    let scope = match (&plan.only_cache, plan.only_class) {
        (Some(name), _) => Scope::Cache(find_cache(&snapshot, name)?),
        (None, Some(class)) => Scope::Class(class),
        (None, None) => Scope::All,
    };
    let mut observed = observe(kernel, &run, snapshot, scope)?;
    // Whoever ends the watch wants the report of what was seen, not the end of everything.
    let patient = Cancel::default();
    let cancel = if observed.watch_ended_in().is_some() { &patient } else { cancel };
    let is_judged =
        observed.interrupted.is_none_or(|stage| matches!(stage, Stage::Reach | Stage::Settle));
    let (mut cases, mut explanations, mut unexplained) = (Vec::new(), HashMap::new(), None);
    if is_judged {
        let start = Instant::now();
        cases = judge(kernel, &mut observed, plan, scope, stages, cancel);
        observed.snapshot.times.similarity += start.elapsed();
    }
    let elsewhere = leaks_elsewhere(kernel, &mut observed, scope, cancel);
    if is_judged && observed.interrupted.is_none() {
        let start = Instant::now();
        let limit = budget(observed.snapshot.times.look(), begun.elapsed(), plan.explain_limit);
        let cancel = cancel.within(Budget::new(limit, Box::new(move || start.elapsed())));
        explanations = explain(kernel, &mut observed, &cases, scope, &cancel);
        observed.snapshot.times.explain += start.elapsed();
        unexplained = cancel.is_out_of_time().then_some(limit);
    }
    Ok(Diagnosis { scope, observed, elsewhere, cases, explanations, unexplained })
}

/// What looks like a leak but was not to be judged: whoever asks for one class must not believe that all is well.
fn leaks_elsewhere(
    kernel: &Kernel<'_>,
    observed: &mut Observed<'_>,
    scope: Scope,
    cancel: &Cancel,
) -> Vec<u16> {
    let Observed { snapshot, tallies, interrupted, .. } = observed;
    if scope == Scope::All || interrupted.is_some() {
        return Vec::new();
    }
    let leaking = |snapshot: &Snapshot, tallies: &[Tally]| -> Vec<u16> {
        let found = leaking_caches(snapshot, tallies, kernel, Scope::All, cancel);
        found.into_iter().filter(|cache| !scope.has(&snapshot.heap, *cache)).collect()
    };
    let mut found = leaking(snapshot, tallies);
    if !found.is_empty() {
        second_opinion::ask(kernel, snapshot, tallies, &found, cancel);
        found = leaking(snapshot, tallies);
    }
    let bytes = |cache: u16| tallies[usize::from(cache)].unreachable_bytes;
    found.sort_by_key(|cache| (Reverse(bytes(*cache)), *cache));
    found
}

/// What the first snapshot of a live machine saw.
struct First {
    snapshot: Snapshot,
    tallies: Vec<Tally>,
    suspects: FirstSuspects,
    scope: Scope,
}

/// What every step is handed on.
struct Run<'r> {
    plan: &'r Plan,
    stages: &'r dyn Stages,
    cancel: &'r Cancel,
}

/// Takes all further snapshots and watches, as far as that could change the answer.
fn observe<'a>(
    kernel: &mut Kernel<'a>,
    run: &Run<'_>,
    mut snapshot: Snapshot,
    scope: Scope,
) -> Result<Observed<'a>, DiagnoseError> {
    let mut tallies = tally(&snapshot.heap);
    let plan = run.plan;
    let Some(settle) = plan.settle.filter(|_| snapshot.interrupted.is_none()) else {
        let interrupted = snapshot.interrupted;
        let opinion = match interrupted {
            None => {
                suspects::second_opinion(&mut snapshot, &mut tallies, kernel, scope, run.cancel)
            }
            Some(_) => None,
        };
        let observed = Observed::of(snapshot, tallies, 1, interrupted);
        return Ok(Observed { opinion, ..observed });
    };
    let suspects = find_suspects(&mut snapshot, &mut tallies, kernel, scope, run.cancel);
    let first = First { snapshot, tallies, suspects, scope };
    let facts = first.facts(plan);
    let (next, refused) = match (facts.next(), &plan.watch) {
        (Next::Watch, Some(wanted)) => {
            let followed = followed(&first, wanted);
            match start_watch(kernel, wanted, &first, &followed) {
                Ok(watch) => return watched(kernel, run, wanted.limit, watch, first, followed),
                Err(refused) => (facts.without_watching(), Some(refused)),
            }
        }
        (next, _) => (next, None),
    };
    if next == Next::Confirm {
        return Ok(Observed { refused, ..confirm(kernel, run, settle, first)? });
    }
    let opinion = first.suspects.opinion;
    let observed = Observed::of(first.snapshot, first.tallies, 1, None);
    Ok(Observed { refused, opinion, ..observed })
}

impl First {
    fn facts(&self, plan: &Plan) -> FirstFacts {
        let events = plan.watch.as_ref().and_then(|wanted| wanted.events);
        FirstFacts {
            is_live: plan.settle.is_some(),
            interrupted: self.snapshot.interrupted,
            is_suspect: self.suspects.is_suspect,
            watch_wanted: plan.watch.is_some(),
            only_areas: self.scope == Scope::Class(Class::Vmalloc) || self.is_noted(),
            has_area_events: events.is_some_and(|events| events.areas),
        }
    }

    /// Whether only vmalloc areas are suspect: who asked for them the kernel notes itself.
    fn is_noted(&self) -> bool {
        let class = |cache: u16| self.snapshot.heap.caches[usize::from(cache)].class;
        let mut suspects = suspects(&self.snapshot, &self.tallies, self.scope).peekable();
        let is_suspect = self.suspects.is_suspect && suspects.peek().is_some();
        is_suspect && suspects.all(|cache| class(cache) == Class::Vmalloc)
    }
}

/// Takes a second snapshot after a while; what is a suspect in both stays one.
fn confirm<'a>(
    kernel: &Kernel<'a>,
    run: &Run<'_>,
    settle: Duration,
    first: First,
) -> Result<Observed<'a>, DiagnoseError> {
    let First { snapshot, tallies, suspects, scope } = first;
    if !wait(settle, run.stages, run.cancel) {
        return Ok(Observed::of(snapshot, tallies, 1, Some(Stage::Settle)));
    }
    let before = snapshot.times;
    // The first snapshot's memory is given back before the second needs as much.
    drop(snapshot);
    let mut snapshot = Snapshot::take(kernel, run.stages, run.cancel)?;
    snapshot.times.add(before);
    let alive = suspects.all.map(|all| suspects::confirm(&all, &mut snapshot, kernel, run.cancel));
    let alive = alive.unwrap_or_default();
    let (mut tallies, interrupted) = (tally(&snapshot.heap), snapshot.interrupted);
    let opinion = suspects::second_opinion(&mut snapshot, &mut tallies, kernel, scope, run.cancel);
    Ok(Observed { opinion, alive, ..Observed::of(snapshot, tallies, 2, interrupted) })
}

/// The caches to follow: those asked for, else those that look lost, else all.
fn followed(first: &First, wanted: &WatchPlan) -> Vec<u16> {
    if wanted.all {
        return Vec::new();
    }
    if let Scope::Cache(only) = first.scope {
        return vec![only];
    }
    if !first.suspects.is_suspect {
        let others = [Class::Page, Class::PerCpu, Class::Vmalloc].map(Scope::Class);
        let heap = &first.snapshot.heap;
        let all = (0..heap.caches.len() as u16).filter(|_| others.contains(&first.scope));
        return all.filter(|cache| first.scope.has(heap, *cache)).collect();
    }
    let mut caches: Vec<u16> = suspects(&first.snapshot, &first.tallies, first.scope).collect();
    caches.sort_by_key(|cache| {
        std::cmp::Reverse(first.tallies[usize::from(*cache)].unreachable_bytes)
    });
    caches.truncate(MOST_FOLLOWED);
    caches
}

fn start_watch<'a>(
    kernel: &mut Kernel<'a>,
    wanted: &WatchPlan,
    first: &First,
    followed: &[u16],
) -> Result<Watch<'a>, Refusal> {
    let no_events = Refusal { kind: RefusalKind::NoEvents, detail: None };
    let events = wanted.events.ok_or(no_events)?;
    let caches = &first.snapshot.heap.caches;
    let follow = (!followed.is_empty()).then_some(followed);
    let watch =
        Watch::start(kernel, events, caches, follow, wanted.budget_percent).map_err(refusal)?;
    // What is kept about a lost object must not lead to it.
    kernel.own_pages.extend(watch.own_pages());
    kernel.own_pages.sort_unstable();
    Ok(watch)
}

/// Why the tracer was refused.
fn refusal(error: TraceError) -> Refusal {
    let of = |kind, detail: String| Refusal { kind, detail: Some(detail.into()) };
    match error {
        TraceError::NoEvent { event, why } => of(RefusalKind::NoEvent, format!("{event}: {why}")),
        TraceError::Load(error) => match error {
            LoadError::NeedsPrivilege(missing) => of(RefusalKind::NeedsPrivilege, missing.into()),
            LoadError::Forbidden(why) => of(RefusalKind::Forbidden, why.to_string()),
            LoadError::NoHelper => Refusal { kind: RefusalKind::NoHelper, detail: None },
            LoadError::Unsupported(why) => of(RefusalKind::Unsupported, why),
            LoadError::Setup(why) => of(RefusalKind::Setup, why.to_string()),
        },
    }
}

fn watched<'a>(
    kernel: &Kernel<'a>,
    run: &Run<'_>,
    limit: Duration,
    watch: Watch<'a>,
    first: First,
    followed: Vec<u16>,
) -> Result<Observed<'a>, DiagnoseError> {
    let (is_suspect, is_noted) = (first.suspects.is_suspect, first.is_noted());
    let suspects = match first.suspects.all {
        Some(suspects) => suspects,
        None => Suspects::of(&first.snapshot.heap, kernel.memory),
    };
    let start = Start {
        kernel,
        limit,
        scope: first.scope,
        first: first.snapshot,
        suspects,
        followed,
        is_suspect,
        is_noted,
    };
    let rounds = rounds::run(watch, start, run.stages, run.cancel)?;
    let interrupted = match rounds.snapshot.interrupted {
        // Nothing has confirmed the suspects.
        None if is_suspect && rounds.snapshots == 0 => Some(Stage::Settle),
        stage => stage,
    };
    let observed = Observed::of(rounds.snapshot, rounds.tallies, 1 + rounds.snapshots, interrupted);
    let Rounds { watched, opinion, alive, .. } = rounds;
    Ok(Observed { watched: Some(watched), opinion, alive, ..observed })
}

fn find_cache(snapshot: &Snapshot, name: &str) -> Result<u16, DiagnoseError> {
    let caches = &snapshot.heap.caches;
    let named = |cache: &sysak_heap::Cache| cache.class == Class::Slab && cache.has_name(name);
    if let Some(index) = caches.iter().position(named) {
        return Ok(index as u16);
    }
    let all = caches.iter().flat_map(|cache| cache.aliases.iter().chain([&cache.name]));
    let near = all.filter(|other| other.contains(name) || name.contains(other.as_str()));
    let near = near.min_by_key(|other| (other.len().abs_diff(name.len()), *other));
    Err(DiagnoseError::NoSuchCache { name: name.to_owned(), near: near.cloned() })
}
