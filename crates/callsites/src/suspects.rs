//! Which code may have allocated objects that nobody saw being allocated: of a leak that has
//! stopped, and in a crash dump.
//!
//! **Danger:** code that allocates such objects need not have allocated these. Only what more
//! than the size links with them is named.

use std::collections::HashSet;

use sysak_base::Va;
use sysak_heap::Heap;
use sysak_infer::content::{self, FingerprintGroup, ContentSymbol};
use sysak_infer::object_types::modules_of;
use sysak_infer::{Handling, InferredType, Types};
use sysak_kernel::Kernel;

use crate::{Ranked, Sites, Suspect, rank};

/// Functions that are named.
const MOST: usize = 5;
/// So many that are all linked alike say nothing.
const MOST_ALIKE: usize = 10;
/// What it is worth that a function gives back, or takes, a pointer to the likeliest type.
const GIVES: u32 = 4;
const TAKES: u32 = 3;
/// Objects whose words are compared.
const SAMPLE: usize = 100;
/// Of a hundred objects so many must hold the same word.
const NEARLY_ALL: usize = 90;
/// A type that is this likely says how many bytes were asked for.
const SURE: f64 = 0.6;
/// A type that is less likely links no function with the objects.
const LIKELY: f64 = 0.3;
/// No longer part of an object is compared.
const LONGEST: u64 = 4096;

/// What the kernel's text tells about who may have allocated the objects.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    /// The calls that are worth naming, the strongest linked first, one of each function.
    pub named: Vec<Ranked>,
    /// Functions with a call that fits.
    pub functions: u64,
}

/// Objects whose call sites are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'s> {
    /// Index of their cache in the heap's.
    pub cache: u16,
    /// Those of them that are alike, where they were grouped.
    pub group: Option<FingerprintGroup>,
    /// What these point to.
    pub content_symbols: &'s [ContentSymbol],
    /// The type that they most likely have.
    pub inferred: Option<&'s InferredType>,
}

/// The calls in the kernel's text that may have allocated some objects.
pub fn matching(
    kernel: &Kernel<'_>,
    heap: &Heap,
    types: &Types,
    subject: &Subject<'_>,
    sites: &Sites,
) -> Matching {
    let info = &heap.caches[usize::from(subject.cache)];
    let guess = subject.inferred.filter(|guess| guess.confidence >= LIKELY);
    let mut modules = modules_of(kernel, subject.content_symbols);
    modules.extend(guess.and_then(|guess| guess.module.clone()));
    let suspect = Suspect {
        cache: info.va,
        sizes: kmalloc_sizes(heap, subject.cache),
        exact_size: guess.filter(|one| one.confidence >= SURE).map(|one| one.bytes.into()),
        constants: constants(kernel, heap, subject),
        modules,
    };
    let handling = |function: Va| {
        let symbol = kernel.symbols.symbolize(function)?;
        match types.handling(symbol.name.split('.').next()?, guess?.id)? {
            Handling::Returns => Some(GIVES),
            Handling::Takes => Some(TAKES),
        }
    };
    let mut known = HashSet::new();
    let mut ranked = rank(sites, kernel.symbols, &suspect, &handling);
    ranked.retain(|one| known.insert(one.site.function));
    let functions = ranked.len() as u64;
    // What is linked much less strongly than the first would only be taken for guilty.
    let strongest = ranked.first().map_or(0, |first| first.links);
    ranked.retain(|one| one.links * 2 >= strongest);
    // And so would a few of very many that are all alike.
    if ranked.len() > MOST_ALIKE {
        ranked.clear();
    }
    ranked.truncate(MOST);
    Matching { named: ranked, functions }
}

/// Words that nearly all objects of the first group share: offset and word.
fn constants(kernel: &Kernel<'_>, heap: &Heap, subject: &Subject<'_>) -> Vec<(u64, u64)> {
    let Some(group) = &subject.group else { return Vec::new() };
    let mut objects = content::sample(heap, kernel.memory, group);
    objects.truncate(SAMPLE);
    let size = u64::from(heap.caches[usize::from(subject.cache)].object_size).min(LONGEST);
    let read = |at: &Va| {
        let mut raw = vec![0; size as usize];
        kernel.memory.read(*at, &mut raw).ok().map(|()| raw)
    };
    let all: Vec<Vec<u8>> = objects.iter().filter_map(read).collect();
    let Some(first) = all.first() else { return Vec::new() };
    let word = |raw: &[u8], at: usize| {
        raw[at..at + 8].iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte))
    };
    let offsets = (0..first.len() / 8 * 8).step_by(8);
    let shared = offsets.filter_map(|at| {
        let value = word(first, at);
        let same = all.iter().filter(|raw| word(raw, at) == value).count();
        (value != 0 && same * 100 >= all.len() * NEARLY_ALL).then_some((at as u64, value))
    });
    shared.collect()
}

/// Of a kmalloc cache, the sizes that it serves: more than the next smaller one's.
fn kmalloc_sizes(heap: &Heap, cache: u16) -> Option<(u64, u64)> {
    let is_kmalloc = |name: &str| name.starts_with("kmalloc-") || name.starts_with("dma-kmalloc-");
    let info = &heap.caches[usize::from(cache)];
    is_kmalloc(&info.name).then(|| {
        let sizes = heap.caches.iter().filter(|other| is_kmalloc(&other.name));
        let below = sizes.map(|other| other.object_size).filter(|size| *size < info.object_size);
        (below.max().unwrap_or(0).into(), info.object_size.into())
    })
}
