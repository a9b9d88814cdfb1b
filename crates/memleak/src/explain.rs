//! What the objects are, which code may have allocated them, and who holds what is not lost.
//!
//! **Danger:** none of it is proof, so none of it changes a judgement.
//!
//! **Invariant:** explaining has a budget of time. What could not be found to its end is left out, so that
//! half of a search never looks like its result.

mod hidden;

use std::collections::HashMap;
use std::time::Duration;

use sysak_base::{Cancel, PAGE_SIZE};
use sysak_callsites::{Matching, Subject, matching};
use sysak_heap::Class;
use sysak_holders::{
    HolderResolver, Holders, StructSource, find_holders, largest_holders, measure_retained,
};
use sysak_infer::{InferredType, TypeInferrer, Types, kernel_types};
use sysak_kernel::Kernel;

use crate::counted::{Counted, CountedObjects};
use crate::judge::Case;
use crate::observed::Observed;
use crate::outside::{GivenAway, given_away};
use crate::plan::Scope;
use crate::rank::PROVED_OBJECTS;

pub use hidden::HeldBy;

/// Memory that can be read a few times over without anybody noticing: 1 GiB.
const CHEAP_BYTES: u64 = 1 << 30;
/// A cache with less memory needs no explanation.
const BIG_BYTES: u64 = 32 << 20;
/// On a large machine it takes more: between that and such a share of all memory.
const BIG_SHARE: u64 = 100;
/// Explaining may take so long, however short the look was.
const LEAST_BUDGET: Duration = Duration::from_secs(3);
/// Who waited for a watch waits as long again for its explanation, but no longer than this.
const MOST_WAITED: Duration = Duration::from_secs(10);

/// What could be explained of a case.
#[derive(Default)]
pub struct Explanation {
    /// The types that the objects may have, the likeliest first.
    pub types: Vec<InferredType>,
    /// Which code may have allocated them, where nobody saw who did.
    pub call_sites: Option<Matching>,
    /// Of a leak: whether they are counted, and who takes references to them.
    pub counted: Option<Counted>,
    /// Of a leak: modules involved in it that pass addresses of memory to a device or a hypervisor.
    pub given_away: Vec<GivenAway>,
    /// Who holds them, where that was looked for.
    pub holders: Option<Holders>,
    /// Who holds them in another shape than a pointer; `None` where no second opinion was asked.
    pub hidden: Option<Vec<HeldBy>>,
}

/// How long explaining may take after a look and a whole diagnosis that took so long.
pub(crate) fn budget(look: Duration, so_far: Duration, limit: Option<Duration>) -> Duration {
    limit.unwrap_or(look.max(so_far.min(MOST_WAITED)).max(LEAST_BUDGET))
}

/// From how many bytes on a cache needs an explanation, on a machine with so much memory. The middle
/// between a size and a share grows more slowly than the machine: on 256 GiB it is 289 MiB.
fn big_bytes(memory_bytes: u64) -> u64 {
    let share = memory_bytes / BIG_SHARE;
    BIG_BYTES.max(share.saturating_mul(BIG_BYTES).isqrt())
}

/// Explains the cases as far as they need it, each by the index of its cache.
pub(crate) fn explain(
    kernel: &Kernel<'_>,
    observed: &mut Observed<'_>,
    cases: &[Case],
    scope: Scope,
    cancel: &Cancel,
) -> HashMap<u16, Explanation> {
    let mut found = explain_hidden(kernel, observed, cancel);
    let question = Question { kernel, observed, cases, is_asked: matches!(scope, Scope::Cache(_)) };
    let held = question.held_caches();
    if held.is_empty() && !cases.iter().any(|case| question.wants_type(case) || case.leaks) {
        return found;
    }
    let types = kernel_types(kernel);
    let mut inferrer = TypeInferrer::new(kernel, &observed.snapshot.heap, &types);
    for (cache, types) in question.types(&mut inferrer, cancel) {
        found.entry(cache).or_default().types = types;
    }
    for (cache, counted) in question.counted(&types, &found, cancel) {
        found.entry(cache).or_default().counted = Some(counted);
    }
    for (cache, sites) in question.call_sites(&types, &found, cancel) {
        found.entry(cache).or_default().call_sites = Some(sites);
    }
    for (cache, given_away) in question.given_away(&found, cancel) {
        found.entry(cache).or_default().given_away = given_away;
    }
    if held.is_empty() || cancel.is_set() {
        return found;
    }
    let resolver = HolderResolver::new(kernel, &observed.snapshot, cancel);
    let structs = match question.is_open() {
        true => StructSource::Contents,
        false => StructSource::Names,
    };
    let mut holders = find_holders(&resolver, &mut inferrer, &held, structs, cancel);
    let largest = largest_holders(&resolver, &held, &holders);
    measure_retained(kernel, &mut observed.snapshot, &largest, &mut holders, cancel);
    for (cache, holders) in held.into_iter().zip(holders) {
        found.entry(cache).or_default().holders = holders;
    }
    found
}

/// Names those who hold objects in another shape than a pointer.
fn explain_hidden(
    kernel: &Kernel<'_>,
    observed: &Observed<'_>,
    cancel: &Cancel,
) -> HashMap<u16, Explanation> {
    let Some(opinion) = &observed.opinion else { return HashMap::new() };
    let is_empty = opinion.caches.values().all(|hidden| hidden.references.is_empty());
    let named = match is_empty {
        true => opinion.caches.keys().map(|cache| (*cache, Vec::new())).collect(),
        false => {
            hidden::name(&HolderResolver::new(kernel, &observed.snapshot, cancel), opinion, cancel)
        }
    };
    let explained = |held| Explanation { hidden: Some(held), ..Explanation::default() };
    named.into_iter().map(|(cache, held)| (cache, explained(held))).collect()
}

/// What is to be explained.
struct Question<'q, 'k> {
    kernel: &'q Kernel<'k>,
    observed: &'q Observed<'k>,
    cases: &'q [Case],
    /// Whether one cache was asked for.
    is_asked: bool,
}

impl Question<'_, '_> {
    fn is_slab(&self, case: &Case) -> bool {
        let caches = &self.observed.snapshot.heap.caches;
        caches[usize::from(case.cache)].class == Class::Slab
    }

    /// The type is looked for of what leaks or grows, or was asked for.
    fn wants_type(&self, case: &Case) -> bool {
        self.is_slab(case) && (self.is_asked || case.leaks || case.is_suspected())
    }

    /// The types that the first group of each case may have.
    fn types(
        &self,
        inferrer: &mut TypeInferrer<'_>,
        cancel: &Cancel,
    ) -> Vec<(u16, Vec<InferredType>)> {
        let wanted = self.cases.iter().filter(|case| self.wants_type(case));
        let infer = |case: &Case| {
            let group = case.first_group().filter(|_| !cancel.is_set())?;
            Some((case.cache, inferrer.infer_group(&group, &case.content_symbols)))
        };
        wanted.filter_map(infer).collect()
    }

    /// Code is looked for that may have allocated what leaks or grows, or was asked for, and that nobody saw
    /// being allocated.
    fn wants_call_sites(&self, case: &Case) -> bool {
        let first = case.functions.first();
        let is_proved = first.is_some_and(|first| first.unreachable >= PROVED_OBJECTS);
        let is_suspect = case.leaks && case.lost_through.is_none() || case.is_suspected();
        self.is_slab(case) && (self.is_asked || is_suspect) && !is_proved
    }

    /// Which leaks are of counted objects. Told whatever time is left: without it the report would accuse
    /// whoever allocates.
    fn counted(
        &self,
        types: &Types,
        found: &HashMap<u16, Explanation>,
        cancel: &Cancel,
    ) -> Vec<(u16, Counted)> {
        let counted = CountedObjects::new(self.kernel, types);
        let of = |case: &Case| {
            let cache = &self.observed.snapshot.heap.caches[usize::from(case.cache)];
            let inferred = found.get(&case.cache).and_then(|known| known.types.first());
            Some((case.cache, counted.of(cache, inferred, self.is_kernels(case), cancel)?))
        };
        let leaks = |case: &&Case| case.leaks && case.lost_through.is_none();
        self.cases.iter().filter(leaks).filter_map(of).collect()
    }

    /// Whether a function of the kernel itself was seen allocating the objects.
    fn is_kernels(&self, case: &Case) -> bool {
        let Some(watched) = &self.observed.watched else { return false };
        let names = &watched.watch.names;
        let first = case.functions.first().map(|first| names.function(first.key).at);
        let symbol = first.and_then(|at| self.kernel.symbols.symbolize_return(at));
        symbol.is_some_and(|symbol| symbol.module.is_none())
    }

    fn call_sites(
        &self,
        types: &Types,
        found: &HashMap<u16, Explanation>,
        cancel: &Cancel,
    ) -> Vec<(u16, Matching)> {
        let (kernel, heap) = (self.kernel, &self.observed.snapshot.heap);
        let wanted: Vec<_> = self.cases.iter().filter(|case| self.wants_call_sites(case)).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let sites = sysak_callsites::find(kernel.readers, kernel.symbols, cancel);
        if cancel.is_set() {
            // Of some of the call sites, the one that stands out need not stand out of all.
            return Vec::new();
        }
        let of = |case: &Case| {
            let subject = Subject {
                cache: case.cache,
                group: case.first_group(),
                content_symbols: &case.content_symbols,
                inferred: found.get(&case.cache).and_then(|known| known.types.first()),
            };
            (case.cache, matching(kernel, heap, types, &subject, &sites))
        };
        wanted.into_iter().take_while(|_| !cancel.is_set()).map(of).collect()
    }

    /// Of each leak, the modules involved in it that pass addresses of memory to a device or a hypervisor.
    fn given_away(
        &self,
        found: &HashMap<u16, Explanation>,
        cancel: &Cancel,
    ) -> Vec<(u16, Vec<GivenAway>)> {
        let watch = self.observed.watched.as_ref().map(|watched| &watched.watch);
        let of = |case: &Case| {
            let sites = found.get(&case.cache).and_then(|known| known.call_sites.as_ref());
            (case.cache, given_away(self.kernel, case, watch, sites, cancel))
        };
        self.cases.iter().filter(|case| case.leaks).map(of).collect()
    }

    /// The caches that are no leak and whose holders are looked for: each step upwards reads the
    /// kernel's memory once more, so on a big machine only where there is something to explain.
    fn held_caches(&self) -> Vec<u16> {
        let is_cheap = self.observed.snapshot.marked.bytes_scanned <= CHEAP_BYTES
            && !self.kernel.memory.is_live();
        if !is_cheap && !self.is_open() {
            return Vec::new();
        }
        self.cases.iter().filter(|case| !case.leaks).map(|case| case.cache).collect()
    }

    /// Whether anything of what is no leak is to be explained.
    fn is_open(&self) -> bool {
        self.is_asked || self.cases.iter().any(|case| case.is_suspected() || self.is_big(case))
    }

    /// Whether a cache has so much memory that somebody will ask who holds it: a good part of the machine,
    /// or more than any other that is shown.
    fn is_big(&self, case: &Case) -> bool {
        let memory_bytes = self.observed.snapshot.census.counted_pages() * PAGE_SIZE;
        let Some(bytes) = self.held_bytes(case) else { return false };
        let most = self.cases.iter().filter_map(|other| self.held_bytes(other)).max();
        bytes >= big_bytes(memory_bytes) || bytes >= BIG_BYTES && Some(bytes) == most
    }

    /// The memory of a cache that is no leak and that the kernel does not take back by itself.
    fn held_bytes(&self, case: &Case) -> Option<u64> {
        let Observed { snapshot, tallies, .. } = self.observed;
        let info = &snapshot.heap.caches[usize::from(case.cache)];
        let is_held = !case.leaks && !info.reclaimable && info.class == Class::Slab;
        is_held.then(|| tallies[usize::from(case.cache)].pages * PAGE_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explaining_takes_as_long_as_the_look_and_at_least_three_seconds() {
        let seconds = Duration::from_secs;
        assert_eq!(budget(seconds(0), seconds(1), None), seconds(3));
        assert_eq!(budget(seconds(19), seconds(20), None), seconds(19));
        assert_eq!(budget(seconds(1), seconds(6), None), seconds(6));
        assert_eq!(budget(seconds(1), seconds(60), None), seconds(10));
        assert_eq!(budget(seconds(9), seconds(9), Some(seconds(1))), seconds(1));
    }

    #[test]
    fn what_needs_an_explanation_grows_more_slowly_than_the_machine() {
        let gib = |count: u64| count << 30;
        assert_eq!(big_bytes(gib(2)), BIG_BYTES);
        assert_eq!(big_bytes(gib(256)) >> 20, 289);
        assert!(big_bytes(gib(4096)) < 2 * gib(1));
        assert!(big_bytes(u64::MAX) >= BIG_BYTES, "no overflow");
    }
}
