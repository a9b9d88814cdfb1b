//! Links call sites with objects: the cache and the size say which sites fit, and the stores, the
//! module and the exact size say how strongly each of them is linked.
//!
//! **Invariant:** a site of another cache or size is never linked.

use std::cmp::Reverse;

use sysak_base::Va;
use sysak_symbols::Kallsyms;

use crate::{CallSite, CallSites};

/// What is known of the objects whose call sites are searched.
#[derive(Clone, Debug, Default)]
pub struct Traits {
    /// Their cache (`struct kmem_cache`).
    pub cache: Va,
    /// The sizes that a kmalloc cache serves: more than the first, up to the second.
    pub sizes: Option<(u64, u64)>,
    /// The size of their inferred type.
    pub exact_size: Option<u64>,
    /// Words that nearly all of them share: offset and word.
    pub constants: Vec<(u64, u64)>,
    /// Modules that their pointers lead to.
    pub modules: Vec<String>,
}

/// A call site that may have allocated the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedSite {
    /// The call site.
    pub site: CallSite,
    /// How strongly it is linked with them; 0 means by the cache or the size alone.
    pub strength: u32,
}

/// The code stores a constant where the objects have it.
const CONSTANT: u32 = 3;
/// The constant is an address: hardly any other code stores it.
const ADDRESS: u32 = 6;
/// The code is in a module that the objects lead to.
const MODULE: u32 = 5;
/// The sizes are equal, not only of one class.
const EXACT: u32 = 2;
/// Numbers up to this are stored by too much code to link any.
const LARGEST_COMMON: u64 = 16;
/// Addresses of the kernel's image and modules.
const IMAGE_FROM: u64 = 0xffff_ffff_8000_0000;

/// The call sites that may have allocated the objects, the strongest linked first. `declared` says
/// how strongly a function's declaration links it with them.
pub fn linked_sites(
    sites: &CallSites,
    symbols: &Kallsyms,
    traits: &Traits,
    declared: &dyn Fn(Va) -> Option<u32>,
) -> Vec<LinkedSite> {
    let fitting = sites.list.iter().filter(|site| fits(site, traits));
    let linked = fitting.map(|site| {
        let strength = strength(site, symbols, traits) + declared(site.function).unwrap_or(0);
        LinkedSite { site: site.clone(), strength }
    });
    let mut linked: Vec<LinkedSite> = linked.collect();
    linked.sort_by_key(|one| (Reverse(one.strength), one.site.at));
    linked
}

/// Whether a call site may allocate from the objects' cache.
fn fits(site: &CallSite, traits: &Traits) -> bool {
    match (site.cache, traits.sizes) {
        (Some(cache), _) if cache == traits.cache => true,
        // Another cache; or a cache of its own, which only the pointer identifies.
        (Some(_), None) | (None, None) => false,
        // There are several kmalloc caches of one size, and a flag may choose between them.
        (Some(_), Some(_)) if site.size.is_none() => false,
        (_, Some((above, up_to))) => {
            site.size.is_some_and(|size| above < size && size <= up_to)
                && (site.cache.is_none() || !site.takes_cache)
        }
    }
}

fn strength(site: &CallSite, symbols: &Kallsyms, traits: &Traits) -> u32 {
    let mut strength = 0;
    for (offset, value) in &traits.constants {
        let stored = |one: &&(u64, u64)| one.0 == *offset && is_same(one.1, *value);
        if *value > LARGEST_COMMON && site.stores.iter().any(|one| stored(&one)) {
            strength += if *value >= IMAGE_FROM { ADDRESS } else { CONSTANT };
        }
    }
    let module = symbols.symbolize(site.function).and_then(|symbol| symbol.module);
    if module.is_some_and(|module| traits.modules.iter().any(|other| other == module)) {
        strength += MODULE;
    }
    if traits.exact_size.is_some() && site.size == traits.exact_size {
        strength += EXACT;
    }
    strength
}

/// A store of four bytes says nothing of the word's upper half.
fn is_same(stored: u64, word: u64) -> bool {
    stored == word || (stored <= u64::from(u32::MAX) && stored as u32 == word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPS: u64 = 0xffff_ffff_c040_1000;

    fn site(at: u64, cache: Option<u64>, size: Option<u64>) -> CallSite {
        CallSite {
            at: Va(at),
            function: Va(at),
            allocator: "kmalloc_trace",
            cache: cache.map(Va),
            takes_cache: true,
            size,
            stores: Vec::new(),
        }
    }

    #[test]
    fn the_cache_decides_and_stores_give_strength() {
        let list = vec![
            site(1, Some(7), Some(56)),
            CallSite { stores: vec![(8, OPS), (16, 3)], ..site(2, Some(7), Some(60)) },
            site(3, Some(8), Some(56)),
            site(4, None, Some(64)),
            site(5, None, Some(65)),
            site(6, None, None),
            site(7, Some(7), Some(56)),
        ];
        let sites = CallSites { list, ..CallSites::default() };
        let traits = Traits {
            cache: Va(7),
            sizes: Some((32, 64)),
            constants: vec![(8, OPS), (16, 3)],
            ..Traits::default()
        };
        let linked = linked_sites(&sites, &Kallsyms::default(), &traits, &|_| None);
        let order: Vec<_> = linked.iter().map(|one| (one.site.at.0, one.strength)).collect();
        assert_eq!(order, [(2, ADDRESS), (1, 0), (4, 0), (7, 0)]);
        let declared = |at: Va| (at == Va(7)).then_some(9);
        let linked = linked_sites(&sites, &Kallsyms::default(), &traits, &declared);
        assert_eq!((linked[0].site.at, linked[0].strength), (Va(7), 9));
        let named = Traits { cache: Va(8), ..Traits::default() };
        let linked = linked_sites(&sites, &Kallsyms::default(), &named, &|_| None);
        assert_eq!(linked.len(), 1, "only the pointer identifies a cache of its own");
    }

    #[test]
    fn an_exact_size_links_more_strongly() {
        let list = vec![site(1, None, Some(40)), site(2, None, Some(56))];
        let sites = CallSites { list, ..CallSites::default() };
        let traits = Traits { sizes: Some((32, 64)), exact_size: Some(56), ..Traits::default() };
        assert_eq!(
            linked_sites(&sites, &Kallsyms::default(), &traits, &|_| None)[0].site.at,
            Va(2)
        );
    }
}
