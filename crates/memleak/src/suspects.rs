//! Suspects: caches with more unreached objects than noise, and what a second look leaves of them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::confirm::Suspects;
use crate::similarity::{self, Chosen, Similarity};
use crate::verdict;
use sysak_base::{Cancel, Quiet};
use sysak_heap::{Tally, tally};
use sysak_kernel::Kernel;

use crate::plan::{Plan, Scope};
use sysak_report::Stage;
use sysak_snapshot::{Snapshot, Stages};

/// What is written to within this time is in use, however torn the list that it is on.
const GLANCE: Duration = Duration::from_millis(300);

/// The suspects of the first look, if a group of them is above the noise. What somebody
/// writes to at this very moment is none; and objects unlike each other are no leak in
/// any look.
pub fn sift(
    seen: &mut Snapshot,
    tallies: &mut Vec<Tally>,
    kernel: &Kernel<'_>,
    plan: &Plan,
    scope: Scope,
    cancel: &Cancel,
) -> Option<Suspects> {
    suspects(seen, tallies, scope).next()?;
    let found = glance(seen, kernel);
    *tallies = tally(&seen.heap);
    let leaking = leaking_caches(seen, tallies, kernel, plan, scope, cancel);
    (!leaking.is_empty()).then_some(found)
}

/// Every unreached object, and clears of suspicion those that are written to meanwhile.
pub fn glance(seen: &mut Snapshot, kernel: &Kernel<'_>) -> Suspects {
    let found = Suspects::of(&seen.heap, kernel.memory);
    std::thread::sleep(GLANCE);
    found.confirm(&mut seen.heap, kernel.memory);
    found
}

/// Caches that leak by their unreached objects alone.
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

/// Caches with more unreached objects than noise.
pub fn suspects(seen: &Snapshot, tallies: &[Tally], scope: Scope) -> impl Iterator<Item = u16> {
    let caches = (0..seen.heap.caches.len() as u16).zip(tallies);
    caches.filter_map(move |(index, tally)| {
        (scope.has(&seen.heap, index) && verdict::is_suspect(tally)).then_some(index)
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
