//! Which of the calls that may have made some objects are linked with them by more than size.

use std::cmp::Reverse;

use sysak_base::Va;
use sysak_symbols::Kallsyms;

use crate::{Site, Sites};

/// Objects whose maker is looked for.
#[derive(Clone, Debug, Default)]
pub struct Suspect {
    /// Their cache (`struct kmem_cache`).
    pub cache: Va,
    /// Of a kmalloc cache, the sizes that it serves: more than the first, up to the second.
    pub sizes: Option<(u64, u64)>,
    /// The size of what they are thought to be.
    pub exact_size: Option<u64>,
    /// Words that are the same in nearly all of them: offset and word.
    pub constants: Vec<(u64, u64)>,
    /// Modules that their pointers lead to.
    pub modules: Vec<String>,
}

/// A call that may have made the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The call.
    pub site: Site,
    /// How strongly it is linked with them; 0: by the cache or the size alone.
    pub links: u32,
}

/// A constant that the code stores where the objects hold it.
const CONSTANT: u32 = 3;
/// An address among these: nothing else has the same.
const ADDRESS: u32 = 6;
/// The module that the objects lead to.
const MODULE: u32 = 5;
/// The very size.
const EXACT: u32 = 2;
/// Numbers as small as this are stored by anybody.
const TELLING: u64 = 16;
/// Addresses of the kernel's image and modules.
const IMAGE_FROM: u64 = 0xffff_ffff_8000_0000;

/// The calls that may have made the objects, the strongest linked first. `further` tells how strongly
/// something else links a function with them.
pub fn rank(
    sites: &Sites,
    symbols: &Kallsyms,
    suspect: &Suspect,
    further: &dyn Fn(Va) -> Option<u32>,
) -> Vec<Ranked> {
    let fits = |site: &&Site| match (site.cache, suspect.sizes) {
        (Some(cache), _) if cache == suspect.cache => true,
        // Another cache, or a named one that is told by the pointer alone.
        (Some(_), None) | (None, None) => false,
        // Caches of one size have several kinds, and which is chosen may depend on a flag.
        (Some(_), Some(_)) if site.size.is_none() => false,
        (_, Some((above, up_to))) => {
            site.size.is_some_and(|size| above < size && size <= up_to)
                && (site.cache.is_none() || !site.names_cache)
        }
    };
    let mut ranked: Vec<Ranked> = sites
        .list
        .iter()
        .filter(fits)
        .map(|site| {
            let further = further(site.function).unwrap_or(0);
            Ranked { site: site.clone(), links: links(site, symbols, suspect) + further }
        })
        .collect();
    ranked.sort_by_key(|one| (Reverse(one.links), one.site.at));
    ranked
}

fn links(site: &Site, symbols: &Kallsyms, suspect: &Suspect) -> u32 {
    let mut links = 0;
    for (offset, value) in &suspect.constants {
        let stored = |one: &&(u64, u64)| one.0 == *offset && is_same(one.1, *value);
        if *value > TELLING && site.stores.iter().any(|one| stored(&one)) {
            links += if *value >= IMAGE_FROM { ADDRESS } else { CONSTANT };
        }
    }
    let module = symbols.symbolize(site.function).and_then(|symbol| symbol.module);
    if module.is_some_and(|module| suspect.modules.iter().any(|other| other == module)) {
        links += MODULE;
    }
    if suspect.exact_size.is_some() && site.size == suspect.exact_size {
        links += EXACT;
    }
    links
}

/// A store of four bytes says nothing of the word's upper half.
fn is_same(stored: u64, word: u64) -> bool {
    stored == word || (stored <= u64::from(u32::MAX) && stored as u32 == word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPS: u64 = 0xffff_ffff_c040_1000;

    fn site(at: u64, cache: Option<u64>, size: Option<u64>) -> Site {
        Site {
            at: Va(at),
            function: Va(at),
            allocator: "kmalloc_trace",
            cache: cache.map(Va),
            names_cache: true,
            size,
            stores: Vec::new(),
        }
    }

    #[test]
    fn the_cache_decides_and_what_is_stored_ranks() {
        let list = vec![
            site(1, Some(7), Some(56)),
            Site { stores: vec![(8, OPS), (16, 3)], ..site(2, Some(7), Some(60)) },
            site(3, Some(8), Some(56)),
            site(4, None, Some(64)),
            site(5, None, Some(65)),
            site(6, None, None),
            site(7, Some(7), Some(56)),
        ];
        let sites = Sites { list, ..Sites::default() };
        let suspect = Suspect {
            cache: Va(7),
            sizes: Some((32, 64)),
            constants: vec![(8, OPS), (16, 3)],
            ..Suspect::default()
        };
        let ranked = rank(&sites, &Kallsyms::default(), &suspect, &|_| None);
        let order: Vec<_> = ranked.iter().map(|one| (one.site.at.0, one.links)).collect();
        assert_eq!(order, [(2, ADDRESS), (1, 0), (4, 0), (7, 0)]);
        let further = |at: Va| (at == Va(7)).then_some(9);
        let ranked = rank(&sites, &Kallsyms::default(), &suspect, &further);
        assert_eq!((ranked[0].site.at, ranked[0].links), (Va(7), 9));
        let named = Suspect { cache: Va(8), ..Suspect::default() };
        let ranked = rank(&sites, &Kallsyms::default(), &named, &|_| None);
        assert_eq!(ranked.len(), 1, "of a cache of its own only the pointer tells");
    }

    #[test]
    fn the_very_size_counts() {
        let list = vec![site(1, None, Some(40)), site(2, None, Some(56))];
        let sites = Sites { list, ..Sites::default() };
        let suspect = Suspect { sizes: Some((32, 64)), exact_size: Some(56), ..Suspect::default() };
        assert_eq!(rank(&sites, &Kallsyms::default(), &suspect, &|_| None)[0].site.at, Va(2));
    }
}
