//! Matches call sites with the objects of a cache: for leaks that have stopped, and for crash dumps.
//!
//! **Danger:** code that allocates such objects need not have allocated these. Where many call
//! sites are linked equally, none of them is named.

use std::collections::HashSet;

use sysak_base::Va;
use sysak_heap::Heap;
use sysak_infer::content::{self, ContentSymbol, FingerprintGroup};
use sysak_infer::object_types::modules_of;
use sysak_infer::{Handling, InferredType, Types};
use sysak_kernel::{Kernel, read};

use crate::{CallSites, LinkedSite, Traits, linked_sites};

/// Functions that are named.
const MOST: usize = 5;
/// More functions that are linked about equally are not named at all.
const MOST_EQUAL: usize = 10;
/// The strength of the link where a function returns, or takes, a pointer to the likeliest type.
const RETURNS: u32 = 4;
const TAKES: u32 = 3;
/// Objects whose words are compared.
const SAMPLE: usize = 100;
/// A word is a constant where this share of the objects has it.
const CONSTANT_PERCENT: usize = 90;
/// A type that is this likely says how many bytes were requested.
const SURE: f64 = 0.6;
/// A type that is less likely links no function with the objects.
const LIKELY: f64 = 0.3;
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
            Handling::Returns => Some(RETURNS),
            Handling::Takes => Some(TAKES),
        }
    };
    let mut known = HashSet::new();
    let mut linked = linked_sites(sites, kernel.symbols, &traits, &declared);
    linked.retain(|one| known.insert(one.site.function));
    let functions = linked.len() as u64;
    // A much weaker link than the strongest is no reason to name a function.
    let strongest = linked.first().map_or(0, |first| first.strength);
    linked.retain(|one| one.strength * 2 >= strongest);
    if linked.len() > MOST_EQUAL {
        linked.clear();
    }
    linked.truncate(MOST);
    Matching { named: linked, functions }
}

/// Words that nearly all objects of the group share: offset and word.
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
    let offsets = (0u64..).step_by(8);
    let shared = offsets.zip(read::words(first)).filter(|&(at, value)| {
        let same = all.iter().filter(|raw| read::word(raw, at) == value).count();
        value != 0 && same * 100 >= all.len() * CONSTANT_PERCENT
    });
    shared.collect()
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
