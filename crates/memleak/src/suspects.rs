//! Suspects: caches with more unreachable objects than noise, and what a second snapshot leaves of them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use sysak_base::{Cancel, Quiet};
use sysak_heap::{Tally, tally};
use sysak_kernel::Kernel;
use sysak_report::Stage;
use sysak_snapshot::{Snapshot, Stages};

use crate::confirm::Suspects;
use crate::plan::{Plan, Scope};
use crate::similarity::{self, Chosen, Similarity};
use crate::verdict;

/// What is written to within this time is in use, however torn the list that it is on.
const WRITE_WAIT: Duration = Duration::from_millis(300);

/// The suspects of the first snapshot, if a group of them is above the noise. An object that somebody writes to at this
/// moment is none, and objects unlike each other are no leak in any snapshot.
pub fn find_suspects(
    seen: &mut Snapshot,
    tallies: &mut Vec<Tally>,
    kernel: &Kernel<'_>,
    plan: &Plan,
    scope: Scope,
    cancel: &Cancel,
) -> Option<Suspects> {
    suspects(seen, tallies, scope).next()?;
    let found = clear_written(seen, kernel);
    *tallies = tally(&seen.heap);
    let leaking = leaking_caches(seen, tallies, kernel, plan, scope, cancel);
    (!leaking.is_empty()).then_some(found)
}

/// Takes down every unreachable object, and clears those of suspicion that are written to meanwhile.
pub fn clear_written(seen: &mut Snapshot, kernel: &Kernel<'_>) -> Suspects {
    let found = Suspects::of(&seen.heap, kernel.memory);
    std::thread::sleep(WRITE_WAIT);
    found.confirm(&mut seen.heap, kernel.memory);
    found
}

/// Caches that leak by their unreachable objects alone.
pub fn leaking_caches(
    seen: &Snapshot,
    tallies: &[Tally],
    kernel: &Kernel<'_>,
    plan: &Plan,
    scope: Scope,
    cancel: &Cancel,
) -> HashSet<u16> {
    let chosen: Vec<_> =
        suspects(seen, tallies, scope).map(|cache| Chosen { cache, every: 1 }).collect();
    let percent = plan.similarity_percent;
    let groups = similarity::group(&seen.heap, kernel.memory, &chosen, percent, &Quiet, cancel);
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
