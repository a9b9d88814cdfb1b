//! Links call sites with objects: the cache and the size say which sites fit, and the stores, the
//! module and the exact size say how strongly each of them is linked.
//!
//! **Invariant:** a site of another cache or size is never linked.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

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
    /// Words and halves of words that nearly all of them share: offset and value.
    pub constants: Vec<(u64, u64)>,
    /// Modules that their pointers lead to.
    pub modules: Vec<String>,
}

/// What links a call site with the objects, beside the cache or the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The code stores an address, or a number that hardly any other code stores, where the objects
    /// have it.
    StoredRare,
    /// The code stores another constant where the objects have it.
    StoredConstant,
    /// The same, of a constant that much code stores.
    StoredCommon,
    /// The code is in a module to which pointers in the objects lead.
    Module,
    /// By its declaration the function returns a pointer to their likeliest type.
    ReturnsType,
    /// By its declaration the function takes a pointer to their likeliest type.
    TakesType,
    /// It asks for exactly the size of that type.
    ExactSize,
}

impl Link {
    fn strength(self) -> u32 {
        match self {
            Link::StoredRare => 6,
            Link::Module => 5,
            Link::ReturnsType => 4,
            Link::StoredConstant => 3,
            Link::ExactSize => 2,
            Link::TakesType | Link::StoredCommon => 1,
        }
    }
}

/// A call site that may have allocated the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedSite {
    /// The call site.
    pub site: CallSite,
    /// What links it with them; nothing where only the cache or the size does.
    pub links: Vec<Link>,
}

impl LinkedSite {
    /// How strongly it is linked.
    pub fn strength(&self) -> u32 {
        self.links.iter().map(|link| link.strength()).sum()
    }

    /// Whether more than a size links it.
    pub fn is_linked(&self) -> bool {
        self.links.iter().any(|link| !matches!(link, Link::ExactSize | Link::TakesType))
    }

    /// Whether so much links it that it may stand first; each part of the rule was measured
    /// (docs/design/allocators.md). `own_cache`: the pointer to a cache of its own has linked it, too.
    pub(crate) fn may_stand_first(&self, own_cache: bool) -> bool {
        let sum = |is_counted: fn(&Link) -> bool| -> u32 {
            self.links.iter().filter(|link| is_counted(link)).map(|link| link.strength()).sum()
        };
        let stored = sum(|link| {
            matches!(link, Link::StoredRare | Link::StoredConstant | Link::StoredCommon)
        });
        if own_cache {
            // The type of such objects is known, and every function of theirs returns or takes it.
            return stored >= Link::StoredConstant.strength();
        }
        let has = |wanted| self.links.contains(&wanted);
        stored >= Link::StoredRare.strength()
            || has(Link::Module) && (stored > 0 || has(Link::ReturnsType))
            || has(Link::ReturnsType) && has(Link::ExactSize)
    }
}

/// Numbers up to this are stored by too much code to link any.
const LARGEST_COMMON: u64 = 16;
/// A number that so many functions store anywhere is rare, and one that more than the second do is
/// common.
const RARE_FUNCTIONS: usize = 2;
const COMMON_FUNCTIONS: usize = 20;
/// Addresses of the kernel's image and modules. Higher values are small negative numbers.
const IMAGE_FROM: u64 = 0xffff_ffff_8000_0000;
const IMAGE_TO: u64 = 0xffff_ffff_ff00_0000;

/// The call sites that may have allocated the objects, the strongest linked first. `declared` says
/// how a function's declaration links it with them.
pub fn linked_sites(
    sites: &CallSites,
    symbols: &Kallsyms,
    traits: &Traits,
    declared: &dyn Fn(Va) -> Option<Link>,
) -> Vec<LinkedSite> {
    let stored_by = StoredBy::of(sites, traits);
    let fitting = sites.list.iter().filter(|site| fits(site, traits));
    let fitting = fitting.filter(|site| !contradicts(site, traits));
    let linked = fitting.map(|site| {
        let mut links = links(site, symbols, traits, &stored_by);
        links.extend(declared(site.function));
        LinkedSite { site: site.clone(), links }
    });
    let mut linked: Vec<LinkedSite> = linked.collect();
    linked.sort_by_key(|one| (Reverse(one.strength()), one.site.at));
    linked
}

/// How many functions store a constant of the objects anywhere.
struct StoredBy(HashMap<u64, HashSet<Va>>);

impl StoredBy {
    fn of(sites: &CallSites, traits: &Traits) -> StoredBy {
        let mut functions: HashMap<u64, HashSet<Va>> =
            traits.constants.iter().map(|(_, value)| (*value, HashSet::new())).collect();
        for site in &sites.list {
            for (_, stored) in &site.stores {
                for (value, functions) in &mut functions {
                    if is_same(*stored, *value) {
                        functions.insert(site.function);
                    }
                }
            }
        }
        StoredBy(functions)
    }

    fn link(&self, value: u64) -> Link {
        let functions = self.0.get(&value).map_or(0, HashSet::len);
        if is_address(value) || functions <= RARE_FUNCTIONS {
            Link::StoredRare
        } else if functions <= COMMON_FUNCTIONS {
            Link::StoredConstant
        } else {
            Link::StoredCommon
        }
    }
}

fn is_address(value: u64) -> bool {
    (IMAGE_FROM..IMAGE_TO).contains(&value)
}

/// Whether a site stores only other addresses where all objects have the same one.
fn contradicts(site: &CallSite, traits: &Traits) -> bool {
    let addresses = traits.constants.iter().filter(|(_, value)| is_address(*value));
    addresses.into_iter().any(|(offset, value)| {
        let mut stored = site.stores.iter().filter(|one| one.0 == *offset).peekable();
        stored.peek().is_some() && stored.all(|one| is_address(one.1) && one.1 != *value)
    })
}

/// Whether a call site may allocate from the objects' cache.
fn fits(site: &CallSite, traits: &Traits) -> bool {
    if site.is_wrapper {
        return false;
    }
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

fn links(site: &CallSite, symbols: &Kallsyms, traits: &Traits, stored_by: &StoredBy) -> Vec<Link> {
    let mut links = Vec::new();
    let mut values = HashSet::new();
    for (offset, value) in &traits.constants {
        let mut stores = site.stores.iter().chain(&site.inherited);
        let is_stored = stores.any(|one| one.0 == *offset && is_same(one.1, *value));
        // One value in many places is what one loop or one copy makes.
        if *value > LARGEST_COMMON && is_stored && values.insert(*value) {
            links.push(stored_by.link(*value));
        }
    }
    let module = symbols.symbolize(site.function).and_then(|symbol| symbol.module);
    if module.is_some_and(|module| traits.modules.iter().any(|other| other == module)) {
        links.push(Link::Module);
    }
    if traits.exact_size.is_some() && site.size == traits.exact_size {
        links.push(Link::ExactSize);
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

    fn site(at: u64, cache: Option<u64>, size: Option<u64>) -> CallSite {
        CallSite {
            at: Va(at),
            function: Va(at),
            allocator: Va(0),
            cache: cache.map(Va),
            takes_cache: true,
            size,
            stores: Vec::new(),
            inherited: Vec::new(),
            is_wrapper: false,
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
        let order: Vec<_> = linked.iter().map(|one| (one.site.at.0, one.strength())).collect();
        assert_eq!(order, [(2, 6), (1, 0), (4, 0), (7, 0)]);
        let declared = |at: Va| (at == Va(7)).then_some(Link::ReturnsType);
        let linked = linked_sites(&sites, &Kallsyms::default(), &traits, &declared);
        assert_eq!((linked[1].site.at, linked[1].strength()), (Va(7), 4));
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

    fn first(sites: Vec<CallSite>, constants: Vec<(u64, u64)>) -> LinkedSite {
        let sites = CallSites { list: sites, ..CallSites::default() };
        let traits = Traits { sizes: Some((32, 64)), constants, ..Traits::default() };
        linked_sites(&sites, &Kallsyms::default(), &traits, &|_| None).remove(0)
    }

    #[test]
    fn a_number_that_much_code_stores_links_less_than_one_of_its_own() {
        let storing = |at, value| CallSite { stores: vec![(8, value)], ..site(at, None, Some(64)) };
        let rare = first(vec![storing(1, 0x4242)], vec![(8, 0x4242)]);
        assert!(rare.links == [Link::StoredRare] && rare.may_stand_first(false));
        let some = first((0..9).map(|at| storing(at, 4096)).collect(), vec![(8, 4096)]);
        assert!(some.links == [Link::StoredConstant] && !some.may_stand_first(false));
        assert!(some.may_stand_first(true), "beside the pointer to a cache of its own");
        let common = first((0..99).map(|at| storing(at, 4096)).collect(), vec![(8, 4096)]);
        assert!(common.links == [Link::StoredCommon] && !common.may_stand_first(true));
    }

    #[test]
    fn one_value_in_many_places_counts_once_and_what_wrappers_store_counts_too() {
        let stores = vec![(8, u64::MAX), (16, u64::MAX), (24, u64::MAX)];
        let storing = CallSite { inherited: stores.clone(), ..site(1, None, Some(64)) };
        let found = first(vec![storing], stores);
        assert_eq!(found.links, [Link::StoredRare], "a negative number is no address");
    }

    #[test]
    fn code_that_stores_another_address_where_all_objects_have_one_made_none_of_them() {
        let storing = |at, ops| CallSite { stores: vec![(8, ops)], ..site(at, None, Some(64)) };
        let sites =
            CallSites { list: vec![storing(1, OPS), storing(2, OPS + 64)], ..CallSites::default() };
        let traits =
            Traits { sizes: Some((32, 64)), constants: vec![(8, OPS)], ..Traits::default() };
        let linked = linked_sites(&sites, &Kallsyms::default(), &traits, &|_| None);
        let left: Vec<_> = linked.iter().map(|one| one.site.at.0).collect();
        assert_eq!(left, [1]);
    }

    #[test]
    fn a_type_that_a_function_takes_or_a_module_alone_names_nobody() {
        let with =
            |links: &[Link]| LinkedSite { site: site(1, None, Some(64)), links: links.to_vec() };
        for weak in [
            &[Link::TakesType, Link::ExactSize][..],
            &[Link::Module, Link::ExactSize],
            &[Link::ReturnsType],
        ] {
            assert!(!with(weak).may_stand_first(false), "{weak:?}");
            assert!(!with(weak).may_stand_first(true), "{weak:?}");
        }
        assert!(with(&[Link::ReturnsType, Link::ExactSize]).may_stand_first(false));
        assert!(with(&[Link::Module, Link::StoredCommon]).may_stand_first(false));
    }
}
