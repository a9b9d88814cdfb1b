//! Suspects: caches with more unreachable objects than noise, and what a second snapshot leaves of them.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use sysak_base::{Cancel, Quiet};
use sysak_heap::{Tally, tally};
use sysak_kernel::Kernel;
use sysak_report::Stage;
use sysak_snapshot::{Snapshot, Stages};

use crate::confirm::{Suspects, in_use};
use crate::plan::Scope;
use crate::second_opinion::{self, Opinion};
use crate::similarity::{self, Context, Similarity};
use crate::turnover::CacheTurnover;
use crate::verdict;

/// What is written to within this time is in use, however torn the list that it is on.
const WRITE_WAIT: Duration = Duration::from_millis(300);

/// What the first snapshot of a live machine makes suspicious.
#[derive(Default)]
pub struct FirstSuspects {
    /// Every unreachable object, held in another shape or not: what is held now may be lost in the next snapshot.
    pub all: Option<Suspects>,
    /// Whether a group of them is above the noise.
    pub is_suspect: bool,
    /// The second opinion on them.
    pub opinion: Option<Opinion>,
}

/// The suspects of the first snapshot. An object that somebody writes to at this moment is none, objects unlike
/// each other are no leak in any snapshot, and those that are held in another shape than a pointer are not lost.
pub fn find_suspects(
    seen: &mut Snapshot,
    tallies: &mut Vec<Tally>,
    kernel: &Kernel<'_>,
    scope: Scope,
    cancel: &Cancel,
) -> FirstSuspects {
    if suspects(seen, tallies, scope).next().is_none() {
        return FirstSuspects::default();
    }
    let all = Some(clear_written(seen, kernel));
    *tallies = tally(&seen.heap);
    let opinion = second_opinion(seen, tallies, kernel, scope, cancel);
    // Where it cleared nothing, the caches that it was asked about are suspect as before.
    let is_suspect = opinion.as_ref().is_some_and(|opinion| {
        !opinion.has_cleared() || !leaking_caches(seen, tallies, kernel, scope, cancel).is_empty()
    });
    FirstSuspects { all, is_suspect, opinion }
}

/// The second opinion on the caches that leak by their unreachable objects alone, if there are any.
pub fn second_opinion(
    seen: &mut Snapshot,
    tallies: &mut Vec<Tally>,
    kernel: &Kernel<'_>,
    scope: Scope,
    cancel: &Cancel,
) -> Option<Opinion> {
    suspects(seen, tallies, scope).next()?;
    let accused = leaking_caches(seen, tallies, kernel, scope, cancel);
    let accused: Vec<u16> = accused.into_iter().collect();
    let is_accused = !accused.is_empty();
    is_accused.then(|| second_opinion::ask(kernel, seen, tallies, &accused, cancel))
}

/// Takes down every unreachable object, and clears those of suspicion that are written to meanwhile.
pub fn clear_written(seen: &mut Snapshot, kernel: &Kernel<'_>) -> Suspects {
    let found = Suspects::of(&seen.heap, kernel.memory);
    std::thread::sleep(WRITE_WAIT);
    found.confirm(&mut seen.heap, kernel.memory);
    found
}

/// Confirms the unreachable objects of a snapshot by those of the one before. Caches whose suspects moved since are
/// cleared, with all that they lead to, but for what stands still in them: the caches, and how they moved.
pub fn confirm(
    suspects: &Suspects,
    seen: &mut Snapshot,
    kernel: &Kernel<'_>,
    cancel: &Cancel,
) -> HashMap<u16, CacheTurnover> {
    let mut alive = suspects.confirm(&mut seen.heap, kernel.memory);
    alive.retain(|_, turnover| turnover.is_alive());
    let moving = in_use(&seen.heap, kernel.memory, &alive);
    seen.go_on(kernel, &moving, cancel);
    alive
}

/// Caches that leak by their unreachable objects alone.
pub fn leaking_caches(
    seen: &Snapshot,
    tallies: &[Tally],
    kernel: &Kernel<'_>,
    scope: Scope,
    cancel: &Cancel,
) -> HashSet<u16> {
    let suspects: Vec<u16> = suspects(seen, tallies, scope).collect();
    let context = Context { heap: &seen.heap, readers: kernel.readers, progress: &Quiet, cancel };
    let groups = similarity::group_lost(context, &suspects);
    let is_leak = |(cache, similarity): (u16, Similarity)| {
        let info = &seen.heap.caches[usize::from(cache)];
        verdict::is_leak(&tallies[usize::from(cache)], &similarity, info).then_some(cache)
    };
    groups.into_iter().filter_map(is_leak).collect()
}

/// Caches with more unreachable objects than noise.
pub fn suspects(seen: &Snapshot, tallies: &[Tally], scope: Scope) -> impl Iterator<Item = u16> {
    let caches = (0..seen.heap.caches.len() as u16).zip(tallies);
    caches.filter_map(move |(index, tally)| {
        let info = &seen.heap.caches[usize::from(index)];
        (scope.has(&seen.heap, index) && verdict::is_suspect(tally, info)).then_some(index)
    })
}

/// Waits, telling progress; false when cancelled.
pub fn wait(settle: Duration, stages: &dyn Stages, cancel: &Cancel) -> bool {
    let start = Instant::now();
    while start.elapsed() < settle {
        if cancel.is_set() {
            return false;
        }
        let (done, total) = (start.elapsed().as_millis() as u64, settle.as_millis() as u64);
        stages.tell(Stage::Settle, done, total);
        std::thread::sleep(Duration::from_millis(50).min(settle));
    }
    !cancel.is_set()
}
