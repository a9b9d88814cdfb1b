//! Watch, let drain, look again: until more of it would not change the answer.
//!
//! An object is called unreachable only when two looks at least [`DRAIN`] apart say so, or
//! when one look says so and its cache is a leak already by two looks.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use sysak_analysis::confirm::Suspects;
use sysak_analysis::lost::{self, Tally};
use sysak_analysis::rank::PROVED_OBJECTS;
use sysak_base::heap::Class;
use sysak_base::{Cancel, Memory, Progress, Stage, Va};
use sysak_kernel::{Kernel, KernelError, holders};
use sysak_trace::Seen;

use super::{Counted, DRAIN, FunctionId, Traced, Until, Watch};
use crate::look::{Look, look};
use crate::plan::{Plan, Scope};
use crate::suspects::{glance, leaking_caches};

/// Where nothing is suspect, so long is enough to see what is allocated and stays.
const QUIET: Duration = Duration::from_secs(8);
/// Where something is, the first round takes no longer than this.
const FIRST_ROUND: Duration = Duration::from_secs(20);
/// Records of one function that make a look worth while: some of them will drain.
const ENOUGH: u64 = PROVED_OBJECTS + 10;
/// A few unreachable objects are worth more waiting; fewer are noise.
const PROMISING: u64 = 3;
/// Where memory grows, so long is needed to tell a start from a habit.
const GROWTH: Duration = Duration::from_secs(60);
/// Rounds that only confirm, no more than these.
const MOST_CONFIRMING: u32 = 2;

/// Why watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A function is proved to lose objects, or growth was watched for long enough.
    Conclusive,
    /// Nothing was lost while it was watched.
    Quiet,
    /// The time was over.
    TimeLimit,
    /// Somebody ended it.
    Interrupted,
}

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
    /// The last look.
    pub look: Look,
    /// Objects of each cache by that look, suspects confirmed.
    pub tallies: Vec<Tally>,
    /// Looks taken while watching.
    pub looks: u32,
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
    /// Between the last two looks.
    pub between_looks: Duration,
    /// By how much the data that waits in pipes and sockets grew.
    pub unread_growth_bytes: u64,
    /// Bytes of vmalloc areas in the first look, by who asked for them.
    pub areas_before: HashMap<Va, u64>,
}

/// The watch, and what it starts from.
pub struct Start<'a, 'k> {
    /// The kernel.
    pub kernel: &'k Kernel<'a>,
    /// How to diagnose.
    pub plan: &'k Plan,
    /// No longer than this.
    pub limit: Duration,
    /// What is judged.
    pub scope: Scope,
    /// The first look.
    pub first: Look,
    /// What it found unreached.
    pub suspects: Suspects,
    /// Caches that are followed; empty for all.
    pub followed: Vec<u16>,
    /// Whether the first look found a group above the noise.
    pub is_suspect: bool,
    /// Whether all that is suspect has a note of who asked for it: that needs no proof.
    pub is_noted: bool,
}

type Counts = HashMap<(u16, FunctionId), u64>;

/// Watches in rounds.
pub fn run<'a>(
    mut watch: Watch<'a>,
    start: Start<'a, '_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Rounds<'a>, KernelError> {
    let Start { kernel, plan, limit, scope, first, mut suspects, mut followed, .. } = start;
    let is_suspect = start.is_suspect;
    let areas_before = area_bytes(&first);
    let unread = |look: &Look| holders::unread_bytes(kernel, &look.heap, cancel);
    let unread_before = unread(&first);
    let mut seen = first;
    let mut looks = 0;
    let mut ended = Instant::now();
    let mut so_far = SoFar { is_suspect, confirming: 0, has_waited: false };
    let mut until = match start.is_noted {
        true => Until::exactly(DRAIN.min(limit)),
        false => first_round(is_suspect, limit),
    };
    loop {
        let going =
            watch.collect(kernel, until, progress, cancel) && watch.drain(kernel, progress, cancel);
        let between_looks = ended.elapsed();
        if going {
            let before = seen.times;
            // The last look's memory is given back before the next needs as much.
            drop(seen);
            seen = look(kernel, progress, cancel)?;
            seen.times.add(before);
            looks += 1;
            ended = Instant::now();
        }
        if !going || seen.interrupted.is_some() {
            return Ok(interrupted(watch, seen, looks, followed));
        }
        let now = glance(&mut seen, kernel);
        let judged = judge(
            &mut watch,
            &mut seen,
            &suspects,
            |seen, tallies| leaking_caches(seen, tallies, kernel, plan, scope, cancel),
            kernel.memory,
        );
        let left = limit.saturating_sub(watch.collected + watch.drained);
        let (end, wait_more) = match so_far.next(&judged, &watch, left) {
            Next::Round(again) => {
                if !so_far.is_suspect && !followed.is_empty() && !matches!(scope, Scope::Cache(_)) {
                    followed.clear();
                    // What cannot be followed besides is left out, as at the start.
                    let _ = watch.follow_all();
                }
                (until, suspects) = (again, now);
                continue;
            }
            Next::End(end) => (end, None),
            Next::OutOfTime(more) => (End::TimeLimit, Some(more)),
        };
        let Judged { tallies, proofs, proved, counted, .. } = judged;
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
            unread_growth_bytes: unread(&seen).saturating_sub(unread_before),
            areas_before,
        };
        return Ok(Rounds { look: seen, tallies, looks, watched });
    }
}

/// Bytes of vmalloc areas, by who asked for them.
fn area_bytes(seen: &Look) -> HashMap<Va, u64> {
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
    /// Whether a cache leaks by its unreached objects alone.
    leaks: bool,
    /// Whether only vmalloc areas do.
    is_noted: bool,
    /// The most objects of one function that this look found unreachable, confirmed or not.
    seen_once: u64,
}

fn judge(
    watch: &mut Watch<'_>,
    seen: &mut Look,
    suspects: &Suspects,
    leaking: impl Fn(&Look, &[Tally]) -> HashSet<u16>,
    memory: &dyn Memory,
) -> Judged {
    let (traced, counted) = watch.traced(&seen.heap);
    let fresh: Vec<bool> = traced.iter().map(|t| seen.heap.is_white(t.object)).collect();
    suspects.confirm(&mut seen.heap, memory);
    let tallies = lost::tally(&seen.heap);
    let leaking = leaking(seen, &tallies);
    let of = |(traced, fresh): (Traced, &bool)| {
        let twice = seen.heap.is_white(traced.object);
        Proof { traced, unreachable: twice || (*fresh && leaking.contains(&traced.cache)) }
    };
    let proofs: Vec<Proof> = traced.into_iter().zip(&fresh).map(of).collect();
    let proved = proved(&proofs);
    let seen_once = count(&proofs, |index, _| fresh[index]).into_values().max().unwrap_or(0);
    let class = |cache: &u16| seen.heap.caches[usize::from(*cache)].class;
    let (leaks, is_noted) =
        (!leaking.is_empty(), leaking.iter().all(|cache| class(cache) == Class::Vmalloc));
    Judged { tallies, proofs, proved, counted, leaks, is_noted, seen_once }
}

/// What the rounds so far were for.
struct SoFar {
    is_suspect: bool,
    confirming: u32,
    has_waited: bool,
}

enum Next {
    Round(Until),
    End(End),
    OutOfTime(Duration),
}

impl SoFar {
    /// What would change the answer.
    fn next(&mut self, judged: &Judged, watch: &Watch<'_>, left: Duration) -> Next {
        let promising = if judged.leaks { 1 } else { PROMISING };
        if !judged.proved.is_empty() || judged.leaks && judged.is_noted {
            return Next::End(End::Conclusive);
        }
        if judged.seen_once >= PROVED_OBJECTS && self.confirming < MOST_CONFIRMING {
            self.confirming += 1;
            return Next::Round(Until::exactly(Duration::ZERO));
        }
        if judged.seen_once >= promising && self.confirming == 0 {
            return wait_for(judged.seen_once, watch.collected, left);
        }
        if self.is_suspect && !judged.leaks {
            // The suspicion was none: what grows is watched as on any machine.
            self.is_suspect = false;
            return Next::Round(first_round(false, left));
        }
        if !watch.grows() {
            return Next::End(End::Quiet);
        }
        if self.has_waited || judged.leaks {
            return Next::End(End::Conclusive);
        }
        self.has_waited = true;
        Next::Round(Until::exactly(GROWTH.min(left.saturating_sub(DRAIN))))
    }
}

fn first_round(is_suspect: bool, limit: Duration) -> Until {
    let room = limit.saturating_sub(DRAIN).max(Duration::from_secs(1));
    if is_suspect {
        Until { most: FIRST_ROUND.min(room), least: DRAIN.min(room), enough: ENOUGH }
    } else {
        Until::exactly(QUIET.min(room))
    }
}

/// How much longer it takes, at the rate seen, until there are enough.
fn wait_for(so_far: u64, collected: Duration, left: Duration) -> Next {
    let missing = ENOUGH.saturating_sub(so_far) as f64;
    let rate = so_far as f64 / collected.as_secs_f64().max(0.001);
    let more = Duration::from_secs_f64((missing / rate).clamp(1.0, 86_400.0));
    if more + DRAIN > left { Next::OutOfTime(more) } else { Next::Round(Until::exactly(more)) }
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
fn interrupted(mut watch: Watch<'_>, seen: Look, looks: u32, followed: Vec<u16>) -> Rounds<'_> {
    let whole = seen.interrupted.is_none_or(|stage| stage == Stage::Reach);
    let (traced, counted) = if whole { watch.traced(&seen.heap) } else { Default::default() };
    let proofs = traced.into_iter().map(|traced| Proof { traced, unreachable: false }).collect();
    let tallies = lost::tally(&seen.heap);
    let watched = Watched {
        proofs,
        proved: HashSet::new(),
        counted,
        seen: watch.seen(),
        watch,
        end: End::Interrupted,
        wait_more: None,
        followed,
        between_looks: Duration::ZERO,
        unread_growth_bytes: 0,
        areas_before: HashMap::new(),
    };
    Rounds { look: seen, tallies, looks, watched }
}
