//! The static diagnosis: looks, groups what is alike, and judges.
//!
//! On a live machine a second look confirms each suspect; where the first finds
//! no group above the noise there is nothing to confirm.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sysak_analysis::alike::{self, Chosen, Likeness};
use sysak_analysis::confirm::Suspects;
use sysak_analysis::content::{self, Held};
use sysak_analysis::lost::{self, Tally};
use sysak_analysis::verdict;
use sysak_base::{Cancel, Progress, Quiet, Stage, Va};
use sysak_kernel::{Kernel, KernelError};

use crate::look::{Look, look};

/// How to diagnose.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Only this cache is judged and shown.
    pub only_cache: Option<String>,
    /// From how many percent of equal bytes two objects are alike.
    pub similarity_percent: u32,
    /// How long after the first look the second one comes; `None` where time stands still.
    pub settle: Option<Duration>,
    /// How many of the biggest caches are described where nothing leaks.
    pub biggest: usize,
}

/// Pages of a cache that are looked at where it is shown, but not suspected: 4 MiB.
const SHOWN_PAGES: u64 = 1024;

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
pub struct Diagnosis {
    /// The look that counts: the second one where there were two.
    pub look: Look,
    /// Objects of each cache.
    pub tallies: Vec<Tally>,
    /// Caches worth telling about, worst first.
    pub cases: Vec<Case>,
    /// Whether suspects were confirmed in a second look.
    pub confirmed: bool,
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
}

impl Diagnosis {
    /// Whether anything leaks.
    pub fn leaks(&self) -> bool {
        self.cases.iter().any(|case| case.leaks)
    }
}

/// Diagnoses a kernel.
pub fn diagnose(
    kernel: &Kernel<'_>,
    plan: &Plan,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Diagnosis, DiagnoseError> {
    let mut seen = look(kernel, progress, cancel)?;
    let only = match &plan.only_cache {
        Some(name) => Some(find_cache(&seen, name)?),
        None => None,
    };
    let mut tallies = lost::tally(&seen.heap);
    let mut interrupted = seen.interrupted;
    let mut confirmed = false;
    if let Some(settle) = plan.settle
        && interrupted.is_none()
        && let Some(suspects) = sift(&mut seen, &mut tallies, kernel, plan, only, cancel)
    {
        if wait(settle, progress, cancel) {
            let first = seen.times;
            // The first look's memory is given back before the second needs as much.
            drop(seen);
            seen = look(kernel, progress, cancel)?;
            seen.times.census += first.census;
            seen.times.walk += first.walk;
            seen.times.reach += first.reach;
            interrupted = seen.interrupted;
            suspects.confirm(&mut seen.heap, kernel.memory);
            confirmed = interrupted.is_none();
        } else {
            interrupted = Some(Stage::Settle);
        }
        tallies = lost::tally(&seen.heap);
    }
    let mut diagnosis =
        Diagnosis { look: seen, tallies, cases: Vec::new(), confirmed, interrupted };
    if interrupted.is_none_or(|stage| matches!(stage, Stage::Reach | Stage::Settle)) {
        diagnosis.examine(kernel, plan, only, progress, cancel);
    }
    Ok(diagnosis)
}

impl Diagnosis {
    /// Groups the objects of suspects and of the biggest caches, and judges them.
    fn examine(
        &mut self,
        kernel: &Kernel<'_>,
        plan: &Plan,
        only: Option<u16>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) {
        let start = Instant::now();
        if self.interrupted == Some(Stage::Reach) {
            // Marking did not end: what is unmarked proves nothing.
            self.tallies.iter_mut().for_each(|tally| tally.white = 0);
        }
        let chosen = self.choose(plan, only);
        let percent = plan.similarity_percent;
        let depths: Vec<_> = chosen.iter().map(|cache| self.depth(*cache, only)).collect();
        let mut groups =
            alike::group(&self.look.heap, kernel.memory, &depths, percent, progress, cancel);
        let through = if suspects(&self.look, &self.tallies, only).next().is_some() {
            lost::lost_through(&mut self.look.heap, kernel.memory, &self.tallies, cancel)
        } else {
            HashMap::new()
        };
        let cases: Vec<_> = chosen
            .iter()
            .map(|cache| {
                let likeness = groups.remove(cache).unwrap_or_default();
                self.case(kernel, *cache, likeness, through.get(cache).copied())
            })
            .collect();
        if self.interrupted.is_none() && cases.iter().any(|case| case.likeness.interrupted) {
            self.interrupted = Some(Stage::Alike);
        }
        self.cases = cases;
        self.sort_cases();
        self.look.times.alike += start.elapsed();
    }

    /// Suspects, and the cache asked for, are counted to the last object. Of a huge cache
    /// that is only shown as a user of memory, so much is looked at as tells what it holds.
    fn depth(&self, cache: u16, only: Option<u16>) -> Chosen {
        let tally = &self.tallies[usize::from(cache)];
        let stride = u64::from(self.look.heap.caches[usize::from(cache)].stride);
        let whole = only == Some(cache) || verdict::is_suspect(tally, stride);
        let every = if whole { 1 } else { tally.pages.div_ceil(SHOWN_PAGES).max(1) };
        Chosen { cache, every }
    }

    fn choose(&self, plan: &Plan, only: Option<u16>) -> Vec<u16> {
        if let Some(cache) = only {
            return vec![cache];
        }
        let heap = &self.look.heap;
        let mut biggest: Vec<u16> = (0..heap.caches.len() as u16)
            .filter(|cache| self.tallies[usize::from(*cache)].slabs > 0)
            .collect();
        biggest.sort_by_key(|cache| std::cmp::Reverse(self.tallies[usize::from(*cache)].pages));
        let (shown, rest) = biggest.split_at(plan.biggest.min(biggest.len()));
        let suspect = |cache: &&u16| {
            let size = u64::from(heap.caches[usize::from(**cache)].stride);
            verdict::is_suspect(&self.tallies[usize::from(**cache)], size)
        };
        shown.iter().chain(rest.iter().filter(suspect)).copied().collect()
    }

    fn case(
        &self,
        kernel: &Kernel<'_>,
        cache: u16,
        likeness: Likeness,
        lost_through: Option<u16>,
    ) -> Case {
        let heap = &self.look.heap;
        let tally = &self.tallies[usize::from(cache)];
        let info = &heap.caches[usize::from(cache)];
        let leaks = self.interrupted.is_none()
            && !likeness.interrupted
            && verdict::is_leak(tally, &likeness, u64::from(info.stride));
        let (mut held, mut sampled) = (Vec::new(), 0);
        if let Some(group) = likeness.groups.first() {
            let only_white = group.unreachable > 0;
            let print = group.fingerprint;
            let objects = content::sample(heap, kernel.memory, cache, print, only_white);
            let size = u64::from(info.object_size);
            let is_named = |at: Va| is_named(kernel, at);
            held = content::held(heap, kernel.memory, &objects, size, &is_named);
            sampled = objects.len() as u64;
        }
        Case { cache, leaks, likeness, held, sampled, lost_through }
    }

    /// Leaks first, the root of a lost tree before its children, then by bytes.
    fn sort_cases(&mut self) {
        let heap = &self.look.heap;
        let tallies = &self.tallies;
        self.cases.sort_by_key(|case| {
            let tally = &tallies[usize::from(case.cache)];
            let stride = u64::from(heap.caches[usize::from(case.cache)].stride);
            let lost = if case.leaks { tally.white * stride } else { 0 };
            let child = case.leaks && case.lost_through.is_some();
            (!case.leaks, child, std::cmp::Reverse(lost), std::cmp::Reverse(tally.pages))
        });
    }
}

/// What is written to within this time is in use, however torn the list that it is on.
const GLANCE: Duration = Duration::from_millis(300);

/// The suspects of the first look, if a group of them is above the noise. What somebody
/// writes to at this very moment is none; and objects unlike each other are no leak in
/// any look.
fn sift(
    seen: &mut Look,
    tallies: &mut Vec<Tally>,
    kernel: &Kernel<'_>,
    plan: &Plan,
    only: Option<u16>,
    cancel: &Cancel,
) -> Option<Suspects> {
    suspects(seen, tallies, only).next()?;
    let found = Suspects::of(&seen.heap, kernel.memory);
    std::thread::sleep(GLANCE);
    found.confirm(&mut seen.heap, kernel.memory);
    *tallies = lost::tally(&seen.heap);
    let chosen: Vec<_> =
        suspects(seen, tallies, only).map(|cache| Chosen { cache, every: 1 }).collect();
    let percent = plan.similarity_percent;
    let groups = alike::group(&seen.heap, kernel.memory, &chosen, percent, &Quiet, cancel);
    let is_leak = |(cache, likeness): (&u16, &Likeness)| {
        let stride = u64::from(seen.heap.caches[usize::from(*cache)].stride);
        verdict::is_leak(&tallies[usize::from(*cache)], likeness, stride)
    };
    groups.iter().any(is_leak).then_some(found)
}

/// Caches with more unreached objects than noise.
fn suspects(seen: &Look, tallies: &[Tally], only: Option<u16>) -> impl Iterator<Item = u16> {
    let caches = seen.heap.caches.iter().zip(tallies).enumerate();
    caches.filter_map(move |(index, (cache, tally))| {
        let index = index as u16;
        let judged = only.is_none_or(|only| only == index);
        (judged && verdict::is_suspect(tally, u64::from(cache.stride))).then_some(index)
    })
}

/// Constant strings and the like follow the last symbol of their section by far: only
/// what begins near the address names it.
const NEAR_BYTES: u64 = 4096;

fn is_named(kernel: &Kernel<'_>, at: Va) -> bool {
    kernel.symbols.symbolize(at).is_some_and(|symbol| symbol.offset < NEAR_BYTES)
}

/// Waits, telling progress; false when cancelled.
fn wait(settle: Duration, progress: &dyn Progress, cancel: &Cancel) -> bool {
    let start = Instant::now();
    while start.elapsed() < settle {
        if cancel.is_set() {
            return false;
        }
        let (done, total) = (start.elapsed().as_millis() as u64, settle.as_millis() as u64);
        progress.tell(Stage::Settle, done, total);
        std::thread::sleep(Duration::from_millis(50).min(settle));
    }
    !cancel.is_set()
}

fn find_cache(seen: &Look, name: &str) -> Result<u16, DiagnoseError> {
    let caches = &seen.heap.caches;
    let named = |cache: &sysak_base::heap::Cache| {
        cache.name == name || cache.aliases.iter().any(|alias| alias == name)
    };
    if let Some(index) = caches.iter().position(named) {
        return Ok(index as u16);
    }
    let all = caches.iter().flat_map(|cache| cache.aliases.iter().chain([&cache.name]));
    let near = all.filter(|other| other.contains(name) || name.contains(other.as_str())).min();
    let hint = near.map_or(String::new(), |near| format!(" (did you mean {near}?)"));
    Err(DiagnoseError::NoSuchCache { name: name.to_owned(), hint })
}
