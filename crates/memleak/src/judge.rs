//! Judges every cache worth a word: groups its objects by content, and says whether its unreachable ones are a leak.
//!
//! **Invariant:** a judged case never changes; explanations are values beside it.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use sysak_base::Cancel;
use sysak_heap::{Class, Object};
use sysak_infer::content::{self, ContentSymbol, FingerprintGroup};
use sysak_kernel::Kernel;
use sysak_report::Stage;
use sysak_snapshot::{InStage, Stages};

use crate::callers::{Caller, callers};
use crate::lost;
use crate::observed::Observed;
use crate::plan::{Plan, Scope};
use crate::rank::{self, Ranked};
use crate::second_opinion::Hidden;
use crate::similarity::{self, Chosen, Similarity, Template};
use crate::suspects::suspects;
use crate::verdict;
use crate::watch::{FunctionId, Growth};

/// Pages of a cache that are read where it is shown, but not suspected: 4 MiB.
const SHOWN_PAGES: u64 = 1024;
/// Caches that are shown because much of what was allocated stayed.
const WATCHED: usize = 3;
/// Fewer objects that stayed are not worth showing.
const MANY: u64 = 20;

/// A cache and its judgement.
pub struct Case {
    /// Index into the heap's caches.
    pub cache: u16,
    /// Whether its unreachable objects are a leak.
    pub leaks: bool,
    /// Whether they would be one, if memory that could not be read held none of them, and nothing of the cache came
    /// and went.
    pub may_leak: bool,
    /// Groups of objects with similar content.
    pub similarity: Similarity,
    /// Symbols that the objects of the first group lead to.
    pub content_symbols: Vec<ContentSymbol>,
    /// How many objects these were counted over.
    pub sampled: u64,
    /// The cache whose lost objects alone lead to these.
    pub lost_through: Option<u16>,
    /// Who allocated what is outstanding, most guilty first.
    pub functions: Vec<Ranked<FunctionId>>,
    /// Who asked for the memory, where the kernel itself notes that: most lost bytes first.
    pub callers: Vec<Caller>,
    /// How it grew while it was watched.
    pub growth: Option<Growth>,
}

impl Case {
    /// Whether it grows, and no count that user space sees explains it.
    pub fn is_suspected(&self) -> bool {
        !self.leaks && self.growth.as_ref().is_some_and(Growth::is_suspicious)
    }

    /// The biggest group of similar objects: of a leak, the lost ones.
    pub fn first_group(&self) -> Option<FingerprintGroup> {
        let group = self.similarity.groups.first()?;
        Some(first_group(self.cache, group))
    }
}

fn first_group(cache: u16, group: &similarity::Group) -> FingerprintGroup {
    FingerprintGroup {
        cache,
        fingerprint: group.fingerprint,
        only_unreachable: group.unreachable > 0,
    }
}

/// Judges the suspects and the biggest caches, worst first.
pub(crate) fn judge(
    kernel: &Kernel<'_>,
    observed: &mut Observed<'_>,
    plan: &Plan,
    scope: Scope,
    stages: &dyn Stages,
    cancel: &Cancel,
) -> Vec<Case> {
    if observed.interrupted == Some(Stage::Reach) {
        // Marking did not end: what is unmarked proves nothing.
        observed.tallies.iter_mut().for_each(|tally| tally.unreachable = 0);
    }
    let is_suspect = suspects(&observed.snapshot, &observed.tallies, scope).next().is_some();
    let through = match is_suspect {
        true => {
            let heap = &mut observed.snapshot.heap;
            lost::lost_through(heap, kernel.memory, &observed.tallies, cancel)
        }
        false => HashMap::new(),
    };
    let unread_words = observed.snapshot.marked.unreadable_bytes / 8;
    let outermost = match is_suspect && unread_words > 0 {
        true => {
            let heap = &mut observed.snapshot.heap;
            lost::outermost(heap, kernel.memory, &observed.tallies, cancel)
        }
        false => Vec::new(),
    };
    let judge = Judge { kernel, observed, plan, scope, unread_words, outermost, cancel };
    let chosen = judge.choose();
    let depths: Vec<_> = chosen.iter().map(|cache| judge.depth(*cache)).collect();
    let (heap, progress) = (&judge.observed.snapshot.heap, &InStage(stages, Stage::Similarity));
    let context = similarity::Context { heap, readers: kernel.readers, progress, cancel };
    let mut groups = similarity::group(context, &depths, plan.similarity_percent);
    let mut functions = judge.functions(&groups);
    let case = |cache: &u16| {
        let similarity = groups.remove(cache).unwrap_or_default();
        let functions = functions.remove(cache).unwrap_or_default();
        judge.case(*cache, similarity, through.get(cache).copied(), functions)
    };
    let mut cases: Vec<_> = chosen.iter().map(case).collect();
    judge.sort(&mut cases);
    let cut_short = cases.iter().any(|case| case.similarity.interrupted);
    if observed.interrupted.is_none() && cut_short {
        observed.interrupted = Some(Stage::Similarity);
    }
    cases
}

/// What every judgement is made from.
struct Judge<'j, 'k> {
    kernel: &'j Kernel<'k>,
    observed: &'j Observed<'k>,
    plan: &'j Plan,
    scope: Scope,
    /// Words that marking would have read, and could not.
    unread_words: u64,
    /// By cache, where there are such words: lost objects that no other lost object leads to.
    outermost: Vec<u64>,
    cancel: &'j Cancel,
}

impl Judge<'_, '_> {
    /// Suspects, and the cache asked for, are counted to the last object. Of a huge cache
    /// that is only shown as a user of memory, so much is looked at as tells what it holds.
    fn depth(&self, cache: u16) -> Chosen {
        let tally = &self.observed.tallies[usize::from(cache)];
        let whole = self.scope == Scope::Cache(cache) || self.is_suspect(cache);
        let every = if whole { 1 } else { tally.pages.div_ceil(SHOWN_PAGES).max(1) };
        Chosen { cache, every }
    }

    fn is_suspect(&self, cache: u16) -> bool {
        let Observed { snapshot, tallies, .. } = self.observed;
        let cache = usize::from(cache);
        verdict::is_suspect(&tallies[cache], &snapshot.heap.caches[cache])
    }

    fn choose(&self) -> Vec<u16> {
        if let Scope::Cache(cache) = self.scope {
            return vec![cache];
        }
        let heap = &self.observed.snapshot.heap;
        let mut biggest: Vec<u16> = (0..heap.caches.len() as u16)
            .filter(|cache| self.observed.tallies[usize::from(*cache)].slabs > 0)
            .filter(|cache| self.scope.has(heap, *cache))
            .collect();
        biggest.sort_by_key(|cache| Reverse(self.observed.tallies[usize::from(*cache)].pages));
        let is_slab = |cache: &u16| heap.caches[usize::from(*cache)].class == Class::Slab;
        let (slabs, others): (Vec<u16>, Vec<u16>) = biggest.into_iter().partition(is_slab);
        let (shown, rest) = slabs.split_at(self.plan.biggest.min(slabs.len()));
        let watched = self.watched_caches();
        let is_shown = |cache: &&u16| {
            self.is_suspect(**cache)
                || watched.contains(cache)
                || self.hidden(**cache).is_some()
                || self.observed.alive.contains_key(cache)
        };
        shown.iter().chain(rest.iter().chain(&others).filter(is_shown)).copied().collect()
    }

    /// What holds a cache's objects in another shape than a pointer, where that clears them.
    fn hidden(&self, cache: u16) -> Option<&Hidden> {
        let opinion = self.observed.opinion.as_ref()?;
        opinion.caches.get(&cache).filter(|hidden| hidden.cleared > 0)
    }

    /// Caches of which watching has something to tell: a function that loses objects, growth,
    /// or most of what was allocated and stayed.
    fn watched_caches(&self) -> HashSet<u16> {
        let Some(watched) = &self.observed.watched else { return HashSet::new() };
        let mut stayed: HashMap<u16, u64> = HashMap::new();
        for proof in &watched.proofs {
            *stayed.entry(proof.traced.cache).or_insert(0) += 1;
        }
        let mut most: Vec<_> = stayed.into_iter().filter(|(_, n)| *n >= MANY).collect();
        most.sort_by_key(|(cache, n)| (Reverse(*n), *cache));
        let most = most.into_iter().take(WATCHED).map(|(cache, _)| cache);
        let grows = (0..self.observed.snapshot.heap.caches.len() as u16)
            .filter(|cache| self.growth(*cache).is_some_and(|growth| growth.is_suspicious()));
        watched.proved.iter().copied().chain(most).chain(grows).collect()
    }

    /// Of each cache, who allocated what is outstanding.
    fn functions(
        &self,
        groups: &HashMap<u16, Similarity>,
    ) -> HashMap<u16, Vec<Ranked<FunctionId>>> {
        let Some(watched) = &self.observed.watched else { return HashMap::new() };
        let heap = &self.observed.snapshot.heap;
        let read = |object: Object| {
            let mut bytes = vec![0; heap.cache_of(object).object_size as usize];
            self.kernel.memory.read(heap.content_va(object)?, &mut bytes).ok().map(|()| bytes)
        };
        let templates: HashMap<u16, Template> = groups
            .iter()
            .filter_map(|(cache, similarity)| {
                let sample = heap.find_object(similarity.groups.first()?.sample.0)?;
                Some((*cache, Template::new(read(sample)?, self.plan.similarity_percent)))
            })
            .collect();
        let outstanding = watched.proofs.iter().map(|proof| {
            let traced = &proof.traced;
            let template = templates.get(&traced.cache);
            let marked = template.is_some_and(|template| {
                read(traced.object).is_some_and(|bytes| template.is_like(&bytes))
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
        let info = &self.observed.snapshot.heap.caches[usize::from(cache)];
        let watched = self.observed.watched.as_ref()?;
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
        cache: u16,
        similarity: Similarity,
        lost_through: Option<u16>,
        functions: Vec<Ranked<FunctionId>>,
    ) -> Case {
        let Observed { snapshot, tallies, watched, interrupted, .. } = self.observed;
        let heap = &snapshot.heap;
        let tally = &tallies[usize::from(cache)];
        let info = &heap.caches[usize::from(cache)];
        let proved = watched.as_ref().is_some_and(|watched| watched.proved.contains(&cache));
        let is_known = interrupted.is_none() && !similarity.interrupted;
        let may_leak = is_known && (proved || verdict::is_leak(tally, &similarity, info));
        let outermost = self.outermost.get(usize::from(cache)).copied().unwrap_or(u64::MAX);
        let is_certain = !self.kernel.torn && verdict::stands(outermost, self.unread_words);
        let comes_and_goes = self.observed.alive.contains_key(&cache);
        let leaks = may_leak && (proved || is_certain) && !comes_and_goes;
        let (content_symbols, sampled) = self.content_symbols(cache, &similarity);
        let callers = match info.class {
            Class::Vmalloc => {
                let before = watched.as_ref().and_then(|watched| watched.areas_before.as_ref());
                callers(heap, &snapshot.areas, before)
            }
            _ => Vec::new(),
        };
        let growth = self.growth(cache);
        Case {
            cache,
            leaks,
            may_leak,
            similarity,
            content_symbols,
            sampled,
            lost_through,
            functions,
            callers,
            growth,
        }
    }

    /// Symbols that the objects of the first group lead to, and over how many that was counted.
    fn content_symbols(&self, cache: u16, similarity: &Similarity) -> (Vec<ContentSymbol>, u64) {
        let (kernel, heap) = (self.kernel, &self.observed.snapshot.heap);
        let first = similarity.groups.first().filter(|_| !self.cancel.is_set());
        let Some(group) = first else { return (Vec::new(), 0) };
        let objects = content::sample(heap, kernel.memory, &first_group(cache, group));
        let size = u64::from(heap.caches[usize::from(cache)].object_size);
        let is_named = |at| content::is_named(kernel, at);
        let symbols = content::symbols(heap, kernel.memory, &objects, size, &is_named);
        (symbols, objects.len() as u64)
    }

    /// Leaks first, the root of a lost tree before its children, then by bytes.
    fn sort(&self, cases: &mut [Case]) {
        cases.sort_by_key(|case| {
            let tally = &self.observed.tallies[usize::from(case.cache)];
            let lost = if case.leaks { tally.unreachable_bytes } else { 0 };
            let child = case.leaks && case.lost_through.is_some();
            (!case.leaks, child, Reverse(lost), Reverse(tally.pages))
        });
    }
}
