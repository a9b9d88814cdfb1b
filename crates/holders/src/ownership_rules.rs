//! What is known of caches and lists, to tell which references keep what they lead to.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use sysak_base::Va;
use sysak_heap::Heap;
use sysak_infer::code_of;
use sysak_kernel::Kernel;
use sysak_kernel::shape::{FieldPlace, LinkPlaces, holding_caches, is_inode_cache};

/// Both words of a link.
const LINK_BYTES: u64 = 16;
/// Links whose list's head is remembered.
const MOST_KNOWN: usize = 1 << 20;

/// By the address of a link: the head of its list, if it has one.
#[derive(Default)]
pub(crate) struct Heads(RefCell<HashMap<Va, Option<Va>>>);

/// What is known of the caches, and of the lists that were walked.
#[derive(Default)]
pub(crate) struct OwnershipRules {
    /// By cache: where in its objects the links into shared tables stand.
    index_links: HashMap<u16, Vec<FieldPlace>>,
    /// By cache: where in its objects words stand that lead to what is above or beside.
    leading_away: HashMap<u16, Vec<FieldPlace>>,
    /// By cache: the only caches whose objects hold its objects.
    held_by: HashMap<u16, HashSet<u16>>,
    /// Where the kernel's own code lies.
    pub(crate) code: Option<(Va, Va)>,
    /// Heads of lists of objects of one cache.
    pub(crate) heads: Heads,
    /// Heads of lists of objects of any kind.
    pub(crate) mixed_heads: Heads,
}

impl OwnershipRules {
    /// The rules; `systems` says by cache where inodes lead to their file system.
    pub(crate) fn find(
        kernel: &Kernel<'_>,
        heap: &Heap,
        systems: &HashMap<u16, u64>,
    ) -> OwnershipRules {
        let mut rules =
            OwnershipRules { code: code_of(kernel.symbols), ..OwnershipRules::default() };
        if let Some(shape) = &kernel.shape.user_memory.owner {
            rules.index_links = by_cache(heap, &shape.index_links);
            for (cache, system) in systems
                .iter()
                .filter(|(cache, _)| is_inode_cache(&heap.caches[usize::from(**cache)].name))
            {
                let place =
                    |at: &u64| FieldPlace { at: system.wrapping_add(*at), bytes: LINK_BYTES };
                let links = rules.index_links.entry(*cache).or_default();
                links.extend(shape.inode_links.iter().map(place));
            }
            rules.leading_away = by_cache(heap, &shape.leading_away);
        }
        for (cache, info) in (0..).zip(&heap.caches) {
            if let Some(by) = holding_caches(&info.name) {
                let by = by.iter().flat_map(|name| caches_named(heap, name)).collect();
                rules.held_by.insert(cache, by);
            }
        }
        rules
    }

    /// Whether a link into a shared table stands at an offset of a cache's objects. Other structs may
    /// have been merged into the cache: what leads into the middle of a link is no link.
    pub(crate) fn is_index_link(&self, cache: u16, offset: u64) -> bool {
        let places = self.index_links.get(&cache);
        places.is_some_and(|places| places.iter().any(|place| place.at == offset))
    }

    /// Whether the word at an offset of a cache's objects leads to what is above or beside them.
    pub(crate) fn leads_away(&self, cache: u16, offset: u64) -> bool {
        covers(&self.leading_away, cache, offset)
    }

    /// Whether objects of one cache may be held by objects of another.
    pub(crate) fn may_hold(&self, held: u16, by: u16) -> bool {
        self.held_by.get(&held).is_none_or(|caches| caches.contains(&by))
    }
}

impl Heads {
    /// The head of the list that a link is part of, if that is known: of some it is that there is
    /// none.
    pub(crate) fn find(&self, link: Va) -> Option<Option<Va>> {
        self.0.borrow().get(&link).copied()
    }

    /// Remembers the head of the list that some links are part of.
    pub(crate) fn remember(&self, links: Vec<Va>, head: Option<Va>) {
        let mut heads = self.0.borrow_mut();
        if heads.len() + links.len() <= MOST_KNOWN {
            heads.extend(links.into_iter().map(|at| (at, head)));
        }
    }
}

fn by_cache(heap: &Heap, all: &[LinkPlaces]) -> HashMap<u16, Vec<FieldPlace>> {
    let mut found: HashMap<u16, Vec<FieldPlace>> = HashMap::new();
    for links in all {
        for cache in caches_named(heap, links.cache) {
            found.entry(cache).or_default().extend(&links.places);
        }
    }
    found
}

fn covers(all: &HashMap<u16, Vec<FieldPlace>>, cache: u16, offset: u64) -> bool {
    let is_within = |place: &FieldPlace| offset.wrapping_sub(place.at) < place.bytes;
    all.get(&cache).is_some_and(|places| places.iter().any(is_within))
}

fn caches_named<'h>(heap: &'h Heap, name: &'h str) -> impl Iterator<Item = u16> + 'h {
    (0..).zip(&heap.caches).filter(move |(_, cache)| cache.has_name(name)).map(|(index, _)| index)
}
