//! What is known of caches and lists, to tell which references keep what they lead to.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use sysak_base::Va;
use sysak_heap::Heap;
use sysak_infer::code_of;
use sysak_kernel::Kernel;
use sysak_kernel::modules::find_shared_links;
use sysak_kernel::shape::{
    FieldPlace, LinkPlaces, TASK_CACHE, finding_cache, holding_caches, is_inode_cache,
};

use crate::place::Places;

/// Both words of a link.
const LINK_BYTES: u64 = 16;
/// Links whose list's head is remembered.
const MOST_KNOWN: usize = 1 << 18;
/// One in so many links is remembered, by its address: a walk meets one after a few steps.
const REMEMBERED: u64 = 8;

/// By the address of a link: the head of its list, if it has one.
#[derive(Default)]
pub(crate) struct Heads(RefCell<HashMap<Va, Option<Va>>>);

/// What is known of the caches, and of the lists that were walked.
#[derive(Default)]
pub(crate) struct OwnershipRules {
    /// By cache: where in its objects the links into shared tables stand.
    index_links: Vec<Vec<FieldPlace>>,
    /// By cache: where in its objects words stand that lead to what is above or beside.
    leading_away: Vec<Vec<FieldPlace>>,
    /// By cache: the caches whose objects may hold its objects; `None` means every cache.
    held_by: Vec<Option<HashSet<u16>>>,
    /// By cache: whether parts of our own process may be among its objects.
    is_own: Vec<bool>,
    /// By cache: the caches whose objects are an index of its objects, and hold none of them.
    found_by: Vec<Vec<u16>>,
    /// Pointers in each `struct module` to the kset of all modules, by address in the direct map.
    shared_links: HashSet<Va>,
    /// Where the kernel's own code lies.
    pub(crate) code: Option<(Va, Va)>,
    /// Heads of lists of objects of one cache.
    pub(crate) heads: Heads,
    /// Heads of lists of objects of any kind.
    pub(crate) mixed_heads: Heads,
}

impl OwnershipRules {
    /// Finds the rules. `systems` has the offset of the superblock pointer in the inodes of each cache; `own`
    /// has the addresses of our own process's objects, its threads excepted.
    pub(crate) fn find(
        kernel: &Kernel<'_>,
        heap: &Heap,
        systems: &HashMap<u16, u64>,
        own: &HashSet<Va>,
    ) -> OwnershipRules {
        let caches = heap.caches.len();
        let mut rules = OwnershipRules {
            index_links: vec![Vec::new(); caches],
            leading_away: vec![Vec::new(); caches],
            held_by: vec![None; caches],
            found_by: vec![Vec::new(); caches],
            is_own: heap.caches.iter().map(|cache| cache.has_name(TASK_CACHE)).collect(),
            code: code_of(kernel.symbols),
            ..OwnershipRules::default()
        };
        for object in own.iter().filter_map(|at| heap.find_object(at.0)) {
            rules.is_own[usize::from(heap.slabs[object.slab as usize].cache)] = true;
        }
        if let Some(shape) = &kernel.shape.user_memory.owner {
            rules.index_links = by_cache(heap, &shape.index_links);
            for (cache, system) in systems
                .iter()
                .filter(|(cache, _)| is_inode_cache(&heap.caches[usize::from(**cache)].name))
            {
                let place =
                    |at: &u64| FieldPlace { at: system.wrapping_add(*at), bytes: LINK_BYTES };
                rules.index_links[usize::from(*cache)].extend(shape.inode_links.iter().map(place));
            }
            rules.leading_away = by_cache(heap, &shape.leading_away);
        }
        for (cache, info) in (0u16..).zip(&heap.caches) {
            if let Some(by) = holding_caches(&info.name) {
                let by = by.iter().flat_map(|name| caches_named(heap, name)).collect();
                rules.held_by[usize::from(cache)] = Some(by);
            }
            if let Some(by) = finding_cache(&info.name) {
                rules.found_by[usize::from(cache)].extend(caches_named(heap, by));
            }
        }
        rules
    }

    /// Adds the pointers to the kset of all modules.
    pub(crate) fn with_modules(
        mut self,
        kernel: &Kernel<'_>,
        places: &Places<'_, '_>,
    ) -> OwnershipRules {
        let links = find_shared_links(kernel.memory, kernel.types, kernel.symbols);
        let pieces = links.into_iter().flat_map(|at| places.direct_map_pieces(at, 8));
        self.shared_links = pieces.map(|(at, _)| at).collect();
        self
    }

    /// Whether a link into a shared table stands at an offset of a cache's objects. Other structs may
    /// have been merged into the cache: what leads into the middle of a link is no link.
    pub(crate) fn is_index_link(&self, cache: u16, offset: u64) -> bool {
        self.index_links[usize::from(cache)].iter().any(|place| place.at == offset)
    }

    /// Whether the word at an offset of a cache's objects leads to what is above or beside them.
    pub(crate) fn leads_away(&self, cache: u16, offset: u64) -> bool {
        let is_within = |place: &FieldPlace| offset.wrapping_sub(place.at) < place.bytes;
        self.leading_away[usize::from(cache)].iter().any(is_within)
    }

    /// Whether a word is a module's pointer to the kset of all modules, or a link to its other members.
    pub(crate) fn leads_to_shared(&self, at: Va) -> bool {
        self.shared_links.contains(&at)
    }

    /// Whether objects of one cache may be held by objects of another.
    pub(crate) fn may_hold(&self, held: u16, by: u16) -> bool {
        let is_found_by = self.found_by[usize::from(held)].contains(&by);
        let held_by = self.held_by[usize::from(held)].as_ref();
        !is_found_by && held_by.is_none_or(|caches| caches.contains(&by))
    }

    /// Whether parts of our own process may be among a cache's objects.
    pub(crate) fn may_be_own(&self, cache: u16) -> bool {
        self.is_own[usize::from(cache)]
    }
}

impl Heads {
    /// Whether the head of a link's list is worth remembering.
    pub(crate) fn remembers(link: Va) -> bool {
        // The upper bits depend on all bits of the address: links stand at equal distances.
        link.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) < u64::MAX / REMEMBERED
    }

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

fn by_cache(heap: &Heap, all: &[LinkPlaces]) -> Vec<Vec<FieldPlace>> {
    let mut found = vec![Vec::new(); heap.caches.len()];
    for links in all {
        for cache in caches_named(heap, links.cache) {
            found[usize::from(cache)].extend(&links.places);
        }
    }
    found
}

fn caches_named<'h>(heap: &'h Heap, name: &'h str) -> impl Iterator<Item = u16> + 'h {
    (0..).zip(&heap.caches).filter(move |(_, cache)| cache.has_name(name)).map(|(index, _)| index)
}
