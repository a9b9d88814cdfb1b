//! Matches call sites with the objects of a cache: for leaks that have stopped, and for crash dumps.
//!
//! **Danger:** code that allocates such objects need not have allocated these. Hundreds of call sites
//! ask for a size: a function is named only if something else links it, and more than any other.

use std::collections::HashSet;

use sysak_base::Va;
use sysak_base::numbers;
use sysak_heap::Heap;
use sysak_infer::content::{self, ContentSymbol, FingerprintGroup};
use sysak_infer::object_types::modules_of;
use sysak_infer::{Handling, InferredType, Types};
use sysak_kernel::Kernel;

use crate::{CallSites, Link, LinkedSite, Traits, linked_sites};

/// Functions that are named.
const MOST: usize = 5;
/// Objects whose words are compared.
const SAMPLE: usize = 100;
/// A word is a constant where this share of the objects has it.
const CONSTANT_PERCENT: usize = 90;
/// A type that is this likely says how many bytes were requested.
const SURE: f64 = 0.6;
/// A type that is less likely links no function with the objects.
const LIKELY: f64 = 0.3;
/// Addresses of the kernel are higher: the upper halves of two agree by chance.
const ADDRESSES_FROM: u64 = 0xffff_0000_0000_0000;
/// Bytes of an object that are compared.
const LONGEST: u64 = 4096;

/// The call sites that match some objects.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    /// The call sites to report, the strongest linked first, one of each function.
    pub named: Vec<LinkedSite>,
    /// Functions with a call that fits the cache and the size.
    pub functions: u64,
}

/// Objects whose call sites are searched.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'s> {
    /// Index of their cache in the heap's.
    pub cache: u16,
    /// The group to match, where they were grouped by content.
    pub group: Option<FingerprintGroup>,
    /// The symbols that these lead to.
    pub content_symbols: &'s [ContentSymbol],
    /// The type that they most likely have.
    pub inferred: Option<&'s InferredType>,
}

/// The call sites in the kernel's text that may have allocated some objects.
pub fn matching(
    kernel: &Kernel<'_>,
    heap: &Heap,
    types: &Types,
    subject: &Subject<'_>,
    sites: &CallSites,
) -> Matching {
    let info = &heap.caches[usize::from(subject.cache)];
    let inferred = subject.inferred.filter(|inferred| inferred.confidence >= LIKELY);
    let mut modules = modules_of(kernel, subject.content_symbols);
    modules.extend(inferred.and_then(|inferred| inferred.module.clone()));
    let traits = Traits {
        cache: info.va,
        sizes: kmalloc_sizes(heap, subject.cache),
        exact_size: inferred.filter(|one| one.confidence >= SURE).map(|one| one.bytes.into()),
        constants: constants(kernel, heap, subject),
        modules,
    };
    let declared = |function: Va| {
        let symbol = kernel.symbols.symbolize(function)?;
        match types.handling(symbol.name.split('.').next()?, inferred?.id)? {
            Handling::Returns => Some(Link::ReturnsType),
            Handling::Takes => Some(Link::TakesType),
        }
    };
    let mut known = HashSet::new();
    let mut linked = linked_sites(sites, kernel.symbols, &traits, &declared);
    linked.retain(|one| known.insert(one.site.function));
    let functions = linked.len() as u64;
    // Of merged caches the others' users pass the pointer on, where it is not seen.
    let own_cache = traits.sizes.is_none() && info.aliases.is_empty();
    Matching { named: named(linked, own_cache), functions }
}

/// Those to name of the call sites that fit, the strongest linked first.
///
/// `own_cache`: the objects have a cache of their own, so that a pointer to it has linked them all.
fn named(mut linked: Vec<LinkedSite>, own_cache: bool) -> Vec<LinkedSite> {
    if own_cache && linked.len() == 1 {
        return linked;
    }
    let Some(first) = linked.first() else { return Vec::new() };
    let strongest = first.strength();
    let is_told_apart = linked.get(1).is_none_or(|second| second.strength() < strongest);
    if !is_told_apart || !first.may_stand_first(own_cache) {
        return Vec::new();
    }
    // A much weaker link than the strongest is no reason to name a function.
    linked.retain(|one| one.is_linked() && one.strength() * 2 >= strongest);
    linked.truncate(MOST);
    linked
}

/// What nearly all objects of the group have at one place: offset and word, or half of a word.
fn constants(kernel: &Kernel<'_>, heap: &Heap, subject: &Subject<'_>) -> Vec<(u64, u64)> {
    let Some(group) = &subject.group else { return Vec::new() };
    let mut objects = content::sample(heap, kernel.memory, group);
    objects.truncate(SAMPLE);
    let size = u64::from(heap.caches[usize::from(subject.cache)].object_size).min(LONGEST);
    let read = |at: &Va| {
        let mut raw = vec![0; size as usize];
        kernel.memory.read(*at, &mut raw).ok().map(|()| raw)
    };
    shared(&objects.iter().filter_map(read).collect::<Vec<_>>())
}

/// Words that nearly all of these have, and halves of other words: a member of four bytes may be the
/// same everywhere beside one that is not.
fn shared(all: &[Vec<u8>]) -> Vec<(u64, u64)> {
    let Some(first) = all.first() else { return Vec::new() };
    let has_most = |is_same: &dyn Fn(&[u8]) -> bool| {
        let same = all.iter().filter(|raw| is_same(raw)).count();
        same * 100 >= all.len() * CONSTANT_PERCENT
    };
    let mut constants = Vec::new();
    for (at, word) in (0u64..).step_by(8).zip(numbers::words(first)) {
        if has_most(&|raw| numbers::word(raw, at) == word) {
            constants.push((at, word));
        } else if word < ADDRESSES_FROM {
            let halves = [at, at + 4].map(|at| (at, numbers::half(first, at)));
            let halves =
                halves.iter().filter(|one| has_most(&|raw| numbers::half(raw, one.0) == one.1));
            constants.extend(halves.map(|&(at, half)| (at, u64::from(half))));
        }
    }
    constants.retain(|constant| constant.1 != 0);
    constants
}

/// The sizes that a kmalloc cache serves: more than the next smaller one does.
fn kmalloc_sizes(heap: &Heap, cache: u16) -> Option<(u64, u64)> {
    let is_kmalloc = |name: &str| name.starts_with("kmalloc-") || name.starts_with("dma-kmalloc-");
    let info = &heap.caches[usize::from(cache)];
    is_kmalloc(&info.name).then(|| {
        let sizes = heap.caches.iter().filter(|other| is_kmalloc(&other.name));
        let below = sizes.map(|other| other.object_size).filter(|size| *size < info.object_size);
        (below.max().unwrap_or(0).into(), info.object_size.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CallSite;

    /// Call sites with these links, in this order.
    fn linked(all: &[&[Link]]) -> Vec<LinkedSite> {
        let site = |(at, links): (u64, &&[Link])| {
            let site = CallSite {
                at: Va(at),
                function: Va(at),
                allocator: Va(0),
                cache: None,
                takes_cache: false,
                size: Some(64),
                stores: Vec::new(),
                inherited: Vec::new(),
                is_wrapper: false,
            };
            LinkedSite { site, links: links.to_vec() }
        };
        (0..).zip(all).map(site).collect()
    }

    fn names(all: &[&[Link]], own_cache: bool) -> Vec<u64> {
        named(linked(all), own_cache).iter().map(|one| one.site.at.0).collect()
    }

    #[test]
    fn a_size_names_nobody_even_where_only_one_asks_for_exactly_that() {
        assert!(names(&[&[Link::ExactSize], &[], &[]], false).is_empty());
        assert!(names(&[&[]], false).is_empty());
        assert!(names(&[], true).is_empty());
    }

    #[test]
    fn the_first_must_be_linked_more_strongly_than_any_other() {
        let (rare, constant): (&[Link], &[Link]) = (&[Link::StoredRare], &[Link::StoredConstant]);
        assert!(names(&[rare, rare, &[]], false).is_empty());
        assert_eq!(names(&[rare, constant, &[Link::ExactSize], &[]], false), [0, 1]);
        assert!(names(&[constant, &[]], false).is_empty(), "too little links it");
    }

    #[test]
    fn a_half_of_a_word_is_a_constant_beside_one_that_differs() {
        let object = |words: [u64; 3]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let objects: Vec<Vec<u8>> = (0..20)
            .map(|serial| object([serial << 32 | 0x400, 0xffff_8880_0000_0000 | serial, 7]))
            .collect();
        assert_eq!(shared(&objects), [(0, 0x400), (16, 7)], "an address has no halves");
        let upper: Vec<Vec<u8>> =
            (0..20).map(|serial| object([0x77 << 32 | serial, 0, 0])).collect();
        assert_eq!(shared(&upper), [(4, 0x77)]);
        assert!(shared(&[]).is_empty());
    }

    #[test]
    fn the_only_function_that_uses_a_cache_of_its_own_is_named() {
        assert_eq!(names(&[&[]], true), [0]);
        assert!(names(&[&[], &[]], true).is_empty());
    }
}
