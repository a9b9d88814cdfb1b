//! Rounds of watching: record, let drain, take a snapshot, until more of it would not change the answer.
//!
//! An object is called unreachable only when two snapshots at least [`DRAIN`](crate::decision::DRAIN) apart say so, or
//! when one snapshot says so and its cache is a leak already by two snapshots.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use sysak_alloctrace::Seen;
use sysak_base::{Cancel, Va};
use sysak_heap::{Class, Tally, tally};
use sysak_kernel::{Kernel, KernelError, user_memory};
use sysak_report::Stage;
use sysak_snapshot::{Snapshot, Stages};

use super::{Counted, FunctionId, Traced, Watch};
use crate::confirm::Suspects;
use crate::decision::{AfterRound, End, RoundFacts, Rounds as Decisions, Until};
use crate::plan::Scope;
use crate::rank::PROVED_OBJECTS;
use crate::second_opinion::{self, Opinion};
use crate::suspects::{self, clear_written, leaking_caches};
use crate::turnover::CacheTurnover;

/// A record whose object is allocated still, and whether nothing leads to it.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    /// The record and its place.
    pub traced: Traced,
    /// Whether nothing leads to it, by the rule of this module.
    pub unreachable: bool,
}

/// What watching found out.
pub struct Rounds<'a> {
    /// The last snapshot.
    pub snapshot: Snapshot,
    /// Objects of each cache by that snapshot, suspects confirmed.
    pub tallies: Vec<Tally>,
    /// Snapshots taken while watching.
    pub snapshots: u32,
    /// The second opinion on what looked lost in the last snapshot.
    pub opinion: Option<Opinion>,
    /// Caches whose unreachable objects came and went, and how.
    pub alive: HashMap<u16, CacheTurnover>,
    /// What was watched.
    pub watched: Watched<'a>,
}

/// What was watched.
pub struct Watched<'a> {
    /// What is outstanding.
    pub proofs: Vec<Proof>,
    /// Caches of which a function was proved to lose objects.
    pub proved: HashSet<u16>,
    /// How many records there were.
    pub counted: Counted,
    /// Events seen.
    pub seen: Seen,
    /// The watch itself: names, growth, cost.
    pub watch: Watch<'a>,
    /// Why it ended.
    pub end: End,
    /// So much longer would be needed for a proof.
    pub wait_more: Option<Duration>,
    /// Caches that were followed; empty for all.
    pub followed: Vec<u16>,
    /// Between the last two snapshots.
    pub between_looks: Duration,
    /// By how much the data that waits in pipes and sockets grew; `None` where nobody looked again.
    pub unread_growth_bytes: Option<u64>,
    /// Of each snapshot, the seconds since the first one and the unreachable bytes of each cache.
    pub lost: Vec<(f64, Vec<u64>)>,
    /// Bytes of vmalloc areas in the first snapshot, by who asked for them; `None` where nobody looked again.
    pub areas_before: Option<HashMap<Va, u64>>,
}

/// The watch, and what it starts from.
pub struct Start<'a, 'k> {
    /// The kernel.
    pub kernel: &'k Kernel<'a>,
    /// No longer than this.
    pub limit: Duration,
    /// What is judged.
    pub scope: Scope,
    /// The first snapshot.
    pub first: Snapshot,
    /// What it found unreached.
    pub suspects: Suspects,
    /// Caches that are followed; empty for all.
    pub followed: Vec<u16>,
    /// Whether the first snapshot found a group above the noise.
    pub is_suspect: bool,
    /// Whether all that is suspect has a note of who asked for it: that needs no proof.
    pub is_noted: bool,
}

type Counts = HashMap<(u16, FunctionId), u64>;

/// Watches in rounds.
pub fn run<'a>(
    mut watch: Watch<'a>,
    start: Start<'a, '_>,
    stages: &dyn Stages,
    cancel: &Cancel,
) -> Result<Rounds<'a>, KernelError> {
    let Start { kernel, limit, scope, first, mut suspects, mut followed, .. } = start;
    let is_suspect = start.is_suspect;
    let areas_before = area_bytes(&first);
    let unread = |snapshot: &Snapshot| user_memory::unread_bytes(kernel, &snapshot.heap, cancel);
    let unread_before = unread(&first);
    let started = Instant::now();
    let mut lost = vec![(0.0, lost_bytes(&first))];
    let mut seen = first;
    let mut snapshots = 0;
    let mut ended = Instant::now();
    let (mut machine, mut until) = Decisions::start(is_suspect, start.is_noted, limit);
    loop {
        let mut stopped = watch_once(&mut watch, kernel, until, stages, cancel);
        let between_looks = ended.elapsed();
        if stopped.is_none() {
            let before = seen.times;
            // The last snapshot's memory is given back before the next needs as much.
            drop(seen);
            seen = Snapshot::take(kernel, stages, cancel)?;
            seen.times.add(before);
            snapshots += 1;
            ended = Instant::now();
            stopped = seen.interrupted;
        }
        if let Some(stage) = stopped {
            return Ok(interrupted(watch, seen, snapshots, followed, stage));
        }
        let now = clear_written(&mut seen, kernel);
        lost.push((started.elapsed().as_secs_f64(), lost_bytes(&seen)));
        let judged = judge(
            &mut watch,
            &mut seen,
            |seen| suspects::confirm(&suspects, seen, kernel, cancel),
            |seen, tallies| leaking_caches(seen, tallies, kernel, scope, cancel),
            |seen, tallies, caches| second_opinion::ask(kernel, seen, tallies, caches, cancel),
        );
        let (end, wait_more) = match machine.next(judged.facts(&watch, limit)) {
            AfterRound::Again(again) => {
                let is_one_cache = matches!(scope, Scope::Cache(_));
                if !machine.is_suspect() && !followed.is_empty() && !is_one_cache {
                    followed.clear();
                    // What cannot be followed besides is left out, as at the start.
                    let _ = watch.follow_all();
                }
                (until, suspects) = (again, now);
                continue;
            }
            AfterRound::End(end) => (end, None),
            AfterRound::OutOfTime(more) => (End::TimeLimit, Some(more)),
        };
        let Judged { tallies, proofs, proved, counted, opinion, alive, .. } = judged;
        let watched = Watched {
            proofs,
            proved,
            counted,
            seen: watch.seen(),
            watch,
            end,
            wait_more,
            followed,
            between_looks,
            unread_growth_bytes: Some(unread(&seen).saturating_sub(unread_before)),
            lost,
            areas_before: Some(areas_before),
        };
        return Ok(Rounds { snapshot: seen, tallies, snapshots, opinion, alive, watched });
    }
}

/// Records allocations, and lets what is in flight drain; the step in which somebody ended it.
fn watch_once(
    watch: &mut Watch<'_>,
    kernel: &Kernel<'_>,
    until: Until,
    stages: &dyn Stages,
    cancel: &Cancel,
) -> Option<Stage> {
    match () {
        () if !watch.collect(kernel, until, stages, cancel) => Some(Stage::Collect),
        () if !watch.drain(kernel, stages, cancel) => Some(Stage::Drain),
        () => None,
    }
}

/// The unreachable bytes of each cache, confirmed or not.
fn lost_bytes(seen: &Snapshot) -> Vec<u64> {
    tally(&seen.heap).iter().map(|tally| tally.unreachable_bytes).collect()
}

/// Bytes of vmalloc areas, by who asked for them.
fn area_bytes(seen: &Snapshot) -> HashMap<Va, u64> {
    let mut bytes = HashMap::new();
    for area in &seen.areas {
        *bytes.entry(area.caller).or_insert(0) += area.bytes;
    }
    bytes
}

/// What a round found.
struct Judged {
    tallies: Vec<Tally>,
    proofs: Vec<Proof>,
    proved: HashSet<u16>,
    counted: Counted,
    opinion: Option<Opinion>,
    alive: HashMap<u16, CacheTurnover>,
    /// Whether a cache leaks by its unreached objects alone.
    leaks: bool,
    /// Whether only vmalloc areas do.
    is_noted: bool,
    /// The most objects of one function that this snapshot found unreachable, confirmed or not.
    seen_once: u64,
}

impl Judged {
    fn facts(&self, watch: &Watch<'_>, limit: Duration) -> RoundFacts {
        RoundFacts {
            is_proved: !self.proved.is_empty(),
            leaks: self.leaks,
            is_noted: self.is_noted,
            seen_once: self.seen_once,
            grows: watch.grows(),
            collected: watch.collected,
            left: limit.saturating_sub(watch.collected + watch.drained),
        }
    }
}

fn judge(
    watch: &mut Watch<'_>,
    seen: &mut Snapshot,
    confirm: impl Fn(&mut Snapshot) -> HashMap<u16, CacheTurnover>,
    leaking: impl Fn(&Snapshot, &[Tally]) -> HashSet<u16>,
    ask: impl Fn(&mut Snapshot, &mut Vec<Tally>, &[u16]) -> Opinion,
) -> Judged {
    let (traced, counted) = watch.traced(&seen.heap);
    let mut fresh: Vec<bool> = traced.iter().map(|t| seen.heap.is_white(t.object)).collect();
    let alive = confirm(seen);
    for (fresh, traced) in fresh.iter_mut().zip(&traced) {
        *fresh &= !alive.contains_key(&traced.cache);
    }
    let mut tallies = tally(&seen.heap);
    let mut accused = leaking(seen, &tallies);
    let mut proofs = prove(seen, &traced, &fresh, &accused);
    let mut opinion = None;
    accused.extend(proved(&proofs));
    if !accused.is_empty() {
        let caches: Vec<u16> = accused.iter().copied().collect();
        let asked = ask(seen, &mut tallies, &caches);
        accused = leaking(seen, &tallies);
        // What is held was not fresh either.
        let is_cleared = |cache: &u16| asked.caches.get(cache).is_some_and(|one| one.cleared > 0);
        for (fresh, traced) in fresh.iter_mut().zip(&traced) {
            *fresh &= seen.heap.is_white(traced.object) || !is_cleared(&traced.cache);
        }
        proofs = prove(seen, &traced, &fresh, &accused);
        opinion = Some(asked);
    }
    let leaking = accused;
    let proved = proved(&proofs);
    let seen_once = count(&proofs, |index, _| fresh[index]).into_values().max().unwrap_or(0);
    let class = |cache: &u16| seen.heap.caches[usize::from(*cache)].class;
    let (leaks, is_noted) =
        (!leaking.is_empty(), leaking.iter().all(|cache| class(cache) == Class::Vmalloc));
    Judged { tallies, proofs, proved, counted, opinion, alive, leaks, is_noted, seen_once }
}

/// What the records' objects prove: fresh ones are unreachable in this snapshot, confirmed or not.
fn prove(seen: &Snapshot, traced: &[Traced], fresh: &[bool], leaking: &HashSet<u16>) -> Vec<Proof> {
    let of = |(traced, fresh): (&Traced, &bool)| {
        let twice = seen.heap.is_white(traced.object);
        Proof { traced: *traced, unreachable: twice || *fresh && leaking.contains(&traced.cache) }
    };
    traced.iter().zip(fresh).map(of).collect()
}

fn count(proofs: &[Proof], counts: impl Fn(usize, &Proof) -> bool) -> Counts {
    let mut found = Counts::new();
    for (index, proof) in proofs.iter().enumerate() {
        if counts(index, proof) {
            *found.entry((proof.traced.cache, proof.traced.function)).or_insert(0) += 1;
        }
    }
    found
}

fn proved(proofs: &[Proof]) -> HashSet<u16> {
    let counts = count(proofs, |_, proof| proof.unreachable);
    counts
        .into_iter()
        .filter(|(_, unreachable)| *unreachable >= PROVED_OBJECTS)
        .map(|((cache, _), _)| cache)
        .collect()
}

/// What is known when somebody ends it: who allocated, but not what is lost.
fn interrupted(
    mut watch: Watch<'_>,
    seen: Snapshot,
    snapshots: u32,
    followed: Vec<u16>,
    stage: Stage,
) -> Rounds<'_> {
    let whole = seen.interrupted.is_none_or(|stage| stage == Stage::Reach);
    let (traced, counted) = if whole { watch.traced(&seen.heap) } else { Default::default() };
    let proofs = traced.into_iter().map(|traced| Proof { traced, unreachable: false }).collect();
    let tallies = tally(&seen.heap);
    let watched = Watched {
        proofs,
        proved: HashSet::new(),
        counted,
        seen: watch.seen(),
        watch,
        end: End::Interrupted(stage),
        wait_more: None,
        followed,
        between_looks: Duration::ZERO,
        unread_growth_bytes: None,
        lost: Vec::new(),
        areas_before: None,
    };
    Rounds { snapshot: seen, tallies, snapshots, opinion: None, alive: HashMap::new(), watched }
}
