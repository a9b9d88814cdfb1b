//! Groups the objects of suspects and of the biggest caches, and judges each cache.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::Instant;

use sysak_analysis::alike::{self, Chosen, Likeness};
use sysak_analysis::rank::{self, Ranked};
use sysak_analysis::{content, lost, verdict};
use sysak_base::heap::{Class, Object};
use sysak_base::{Cancel, PAGE_SIZE, Progress, Stage, Va};
use sysak_kernel::Kernel;

use crate::diagnose::{Caller, Case, Diagnosis};
use crate::guess::{self, Guesser};
use crate::makers;
use crate::plan::{Plan, Scope};
use crate::suspects::suspects;
use crate::watch::{FunctionId, Growth};
use crate::ways::{self, Guide};

/// Pages of a cache that are looked at where it is shown, but not suspected: 4 MiB.
const SHOWN_PAGES: u64 = 1024;
/// Caches that are shown because much of what was allocated stayed.
const WATCHED: usize = 3;
/// Memory that can be read a few times over without anybody noticing: 1 GiB.
const CHEAP_BYTES: u64 = 1 << 30;
/// A cache whose memory needs an explanation has so much, and such a share of all memory.
const BIG_BYTES: u64 = 32 << 20;
const BIG_SHARE: u64 = 100;
/// Fewer objects that stayed are not worth showing.
const MANY: u64 = 20;

impl Diagnosis<'_> {
    /// Groups the objects of suspects and of the biggest caches, and judges them.
    pub(crate) fn examine(
        &mut self,
        kernel: &Kernel<'_>,
        plan: &Plan,
        scope: Scope,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) {
        let start = Instant::now();
        if self.interrupted == Some(Stage::Reach) {
            // Marking did not end: what is unmarked proves nothing.
            self.tallies.iter_mut().for_each(|tally| tally.white = 0);
        }
        let chosen = self.choose(plan, scope);
        let percent = plan.similarity_percent;
        let depths: Vec<_> = chosen.iter().map(|cache| self.depth(*cache, scope)).collect();
        let mut groups =
            alike::group(&self.look.heap, kernel.memory, &depths, percent, progress, cancel);
        let through = if suspects(&self.look, &self.tallies, scope).next().is_some() {
            lost::lost_through(&mut self.look.heap, kernel.memory, &self.tallies, cancel)
        } else {
            HashMap::new()
        };
        let mut functions = self.functions(kernel, &groups, percent);
        let cases: Vec<_> = chosen
            .iter()
            .map(|cache| {
                let likeness = groups.remove(cache).unwrap_or_default();
                let case = self.case(kernel, *cache, likeness, through.get(cache).copied());
                let functions = functions.remove(cache).unwrap_or_default();
                Case { functions, growth: self.growth(*cache), ..case }
            })
            .collect();
        if self.interrupted.is_none() && cases.iter().any(|case| case.likeness.interrupted) {
            self.interrupted = Some(Stage::Alike);
        }
        self.cases = cases;
        self.sort_cases();
        self.look.times.alike += start.elapsed();
        let start = Instant::now();
        if self.interrupted.is_none() {
            self.explain(kernel, scope, cancel);
        }
        self.look.times.explain += start.elapsed();
    }

    /// What the objects are, who allocates what is lost or grows, and who holds what is not lost.
    fn explain(&mut self, kernel: &Kernel<'_>, scope: Scope, cancel: &Cancel) {
        let asked = matches!(scope, Scope::Cache(_));
        let heap = &self.look.heap;
        let held = self.held_caches(kernel, asked);
        if held.is_empty() && !self.cases.iter().any(|case| guess::is_wanted(heap, case, asked)) {
            return;
        }
        let types = guess::types(kernel);
        let mut guesser = Guesser::new(kernel, heap, &types);
        guess::find(&mut guesser, &mut self.cases, asked, cancel);
        makers::find(kernel, heap, &types, &mut self.cases, asked, cancel);
        if held.is_empty() {
            return;
        }
        let guide = Guide::new(kernel, &self.look);
        let mut found = ways::held_by(&guide, &mut guesser, &held, self.is_open(asked), cancel);
        let heavy = ways::heaviest(&guide, &held, &found);
        ways::weigh(kernel, &mut self.look, &heavy, &mut found, cancel);
        for (cache, holders) in held.into_iter().zip(found) {
            if let Some(case) = self.cases.iter_mut().find(|case| case.cache == cache) {
                case.holders = holders;
            }
        }
    }

    /// The caches that are no leak, where it is told who holds them: each step upwards reads the
    /// kernel's memory once more, so on a big machine only where there is something to explain.
    fn held_caches(&self, kernel: &Kernel<'_>, asked: bool) -> Vec<u16> {
        let is_cheap = self.look.reach.bytes_scanned <= CHEAP_BYTES && !kernel.memory.is_live();
        if !is_cheap && !self.is_open(asked) {
            return Vec::new();
        }
        self.cases.iter().filter(|case| !case.leaks).map(|case| case.cache).collect()
    }

    /// Whether anything of what is no leak is to be explained.
    fn is_open(&self, asked: bool) -> bool {
        asked || self.suspects() || self.cases.iter().any(|case| self.is_big(case))
    }

    /// Whether a cache has so much memory that somebody will ask who holds it.
    fn is_big(&self, case: &Case) -> bool {
        let info = &self.look.heap.caches[usize::from(case.cache)];
        let bytes = self.tallies[usize::from(case.cache)].pages * PAGE_SIZE;
        let all = self.look.census.counted_pages() * PAGE_SIZE;
        let is_held = !case.leaks && !info.reclaimable && info.class == Class::Slab;
        is_held && bytes >= BIG_BYTES.max(all / BIG_SHARE)
    }

    /// Suspects, and the cache asked for, are counted to the last object. Of a huge cache
    /// that is only shown as a user of memory, so much is looked at as tells what it holds.
    fn depth(&self, cache: u16, scope: Scope) -> Chosen {
        let tally = &self.tallies[usize::from(cache)];
        let whole = scope == Scope::Cache(cache) || verdict::is_suspect(tally);
        let every = if whole { 1 } else { tally.pages.div_ceil(SHOWN_PAGES).max(1) };
        Chosen { cache, every }
    }

    fn choose(&self, plan: &Plan, scope: Scope) -> Vec<u16> {
        if let Scope::Cache(cache) = scope {
            return vec![cache];
        }
        let heap = &self.look.heap;
        let mut biggest: Vec<u16> = (0..heap.caches.len() as u16)
            .filter(|cache| self.tallies[usize::from(*cache)].slabs > 0)
            .filter(|cache| scope.has(heap, *cache))
            .collect();
        biggest.sort_by_key(|cache| Reverse(self.tallies[usize::from(*cache)].pages));
        let is_slab = |cache: &u16| heap.caches[usize::from(*cache)].class == Class::Slab;
        let (slabs, others): (Vec<u16>, Vec<u16>) = biggest.into_iter().partition(is_slab);
        let (shown, rest) = slabs.split_at(plan.biggest.min(slabs.len()));
        let suspect = |cache: &&u16| verdict::is_suspect(&self.tallies[usize::from(**cache)]);
        let watched = self.watched_caches();
        let told = |cache: &&u16| suspect(cache) || watched.contains(cache);
        shown.iter().chain(rest.iter().chain(&others).filter(told)).copied().collect()
    }

    /// Caches of which watching has something to tell: a function that loses objects, growth,
    /// or most of what was allocated and stayed.
    fn watched_caches(&self) -> HashSet<u16> {
        let Some(watched) = &self.watched else { return HashSet::new() };
        let mut stayed: HashMap<u16, u64> = HashMap::new();
        for proof in &watched.proofs {
            *stayed.entry(proof.traced.cache).or_insert(0) += 1;
        }
        let mut most: Vec<_> = stayed.into_iter().filter(|(_, n)| *n >= MANY).collect();
        most.sort_by_key(|(cache, n)| (Reverse(*n), *cache));
        let most = most.into_iter().take(WATCHED).map(|(cache, _)| cache);
        let grows = (0..self.look.heap.caches.len() as u16)
            .filter(|cache| self.growth(*cache).is_some_and(|growth| growth.is_suspicious()));
        watched.proved.iter().copied().chain(most).chain(grows).collect()
    }

    /// Of each cache, who allocated what is outstanding.
    fn functions(
        &self,
        kernel: &Kernel<'_>,
        groups: &HashMap<u16, Likeness>,
        percent: u32,
    ) -> HashMap<u16, Vec<Ranked<FunctionId>>> {
        let Some(watched) = &self.watched else { return HashMap::new() };
        let heap = &self.look.heap;
        let read = |object: Object| {
            let mut bytes = vec![0; heap.cache_of(object).object_size as usize];
            kernel.memory.read(heap.content_va(object)?, &mut bytes).ok().map(|()| bytes)
        };
        let templates: HashMap<u16, Vec<u8>> = groups
            .iter()
            .filter_map(|(cache, likeness)| {
                let sample = heap.find_object(likeness.groups.first()?.sample.0)?;
                Some((*cache, read(sample)?))
            })
            .collect();
        let outstanding = watched.proofs.iter().map(|proof| {
            let traced = &proof.traced;
            let template = templates.get(&traced.cache);
            let marked = template.is_some_and(|template| {
                read(traced.object)
                    .is_some_and(|bytes| alike::is_similar(template, &bytes, percent))
            });
            rank::Outstanding {
                key: traced.function,
                cache: traced.cache,
                unreachable: proof.unreachable,
                marked,
                bytes: heap.object_bytes(traced.object),
                pid: traced.record.pid,
                comm: traced.record.comm,
                stack: traced.record.stack,
            }
        });
        rank::rank(outstanding)
    }

    /// How a cache grew while it was watched.
    fn growth(&self, cache: u16) -> Option<Growth> {
        let info = &self.look.heap.caches[usize::from(cache)];
        let watched = self.watched.as_ref()?;
        let samples = &watched.watch.samples;
        match info.class {
            Class::Slab => {
                let cache_facts = (u64::from(info.stride), info.reclaimable);
                Growth::of(samples, cache, cache_facts, watched.unread_growth_bytes)
            }
            class => Growth::of_class(samples, class, watched.unread_growth_bytes),
        }
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
        let proved = self.watched.as_ref().is_some_and(|watched| watched.proved.contains(&cache));
        let leaks = self.interrupted.is_none()
            && !likeness.interrupted
            && (proved || verdict::is_leak(tally, &likeness, info));
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
        Case {
            cache,
            leaks,
            likeness,
            held,
            sampled,
            lost_through,
            functions: Vec::new(),
            callers: self.callers(cache),
            growth: None,
            holders: None,
            makers: None,
            guesses: Vec::new(),
        }
    }

    /// Who asked for the areas, by the kernel's own notes of them.
    fn callers(&self, cache: u16) -> Vec<Caller> {
        let heap = &self.look.heap;
        if heap.caches[usize::from(cache)].class != Class::Vmalloc {
            return Vec::new();
        }
        let before = self.watched.as_ref().map(|watched| &watched.areas_before);
        let mut bytes: HashMap<Va, u64> = HashMap::new();
        let mut callers: HashMap<Va, Caller> = HashMap::new();
        for area in &self.look.areas {
            let found = heap.find_object(area.address.0);
            let Some(object) = found.filter(|object| heap.object_va(*object) == area.address)
            else {
                continue;
            };
            let none = Caller { at: area.caller, ..Caller::default() };
            let caller = callers.entry(area.caller).or_insert(none);
            caller.areas += 1;
            *bytes.entry(area.caller).or_insert(0) += area.bytes;
            if heap.is_white(object) {
                caller.lost += 1;
                caller.lost_bytes += heap.object_bytes(object);
            }
        }
        for (at, caller) in &mut callers {
            let before = before.map(|before| before.get(at).copied().unwrap_or(0));
            let now = bytes.get(at).copied().unwrap_or(0);
            caller.grew_bytes = before.map_or(0, |before| now.saturating_sub(before));
        }
        let mut callers: Vec<_> = callers.into_values().collect();
        callers.sort_by_key(|caller| {
            let sizes = (caller.lost_bytes, caller.grew_bytes, caller.areas);
            (Reverse(sizes), caller.at)
        });
        callers
    }

    /// Leaks first, the root of a lost tree before its children, then by bytes.
    fn sort_cases(&mut self) {
        let tallies = &self.tallies;
        self.cases.sort_by_key(|case| {
            let tally = &tallies[usize::from(case.cache)];
            let lost = if case.leaks { tally.white_bytes } else { 0 };
            let child = case.leaks && case.lost_through.is_some();
            (!case.leaks, child, Reverse(lost), Reverse(tally.pages))
        });
    }
}

/// Constant strings and the like follow the last symbol of their section by far: only
/// what begins near the address names it.
const NEAR_BYTES: u64 = 4096;

pub(crate) fn is_named(kernel: &Kernel<'_>, at: Va) -> bool {
    kernel.symbols.symbolize(at).is_some_and(|symbol| symbol.offset < NEAR_BYTES)
}
