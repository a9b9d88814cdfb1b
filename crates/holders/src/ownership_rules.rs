//! What is known of caches and lists, to tell which references keep what they lead to.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use sysak_base::{Memory, Va};
use sysak_heap::{Heap, Object};
use sysak_infer::code_of;
use sysak_kernel::Kernel;
use sysak_kernel::modules::find_shared_links;
use sysak_kernel::shape::{FieldPlace, ObjectRules, TASK_CACHE, is_inode_cache};

use crate::place::Places;

/// Both words of a link.
const LINK_BYTES: u64 = 16;
/// Links whose list's head is remembered.
const MOST_KNOWN: usize = 1 << 18;
/// One in so many links is remembered, by its address: a walk meets one after a few steps.
const REMEMBERED: u64 = 8;

/// By the address of a link: the head of its list; [`NO_HEAD`] where it has none.
#[derive(Default)]
pub(crate) struct Heads(RefCell<HashMap<Va, Va>>);
/// Instead of an `Option`, which would take another word for each of many links.
const NO_HEAD: Va = Va(0);

/// What is known of the caches, and of the lists that were walked.
#[derive(Default)]
pub(crate) struct OwnershipRules {
    /// By cache: the rules of each struct whose objects it allocates. A merged cache allocates those of several.
    structs: Vec<Vec<StructRules>>,
    /// By cache: whether parts of our own process may be among its objects.
    is_own: Vec<bool>,
    /// Pointers in each `struct module` to the kset of all modules, by address in the direct map.
    shared_links: HashSet<Va>,
    /// Where the kernel's own code lies.
    pub(crate) code: Option<(Va, Va)>,
    /// Heads of lists of objects of one cache.
    pub(crate) heads: Heads,
    /// Heads of lists of objects of any kind.
    pub(crate) mixed_heads: Heads,
}

/// What is known of the objects of one struct, in this kernel's caches.
#[derive(Clone)]
pub(crate) struct StructRules {
    /// The name of their cache, before caches were merged.
    cache: &'static str,
    /// How to recognise this struct in a merged cache: the offset of a pointer, and the caches that it points into.
    /// `None` where every object of the cache is of this struct.
    witness: Option<(u64, HashSet<u16>)>,
    /// Where the links into shared tables stand.
    index_links: Vec<FieldPlace>,
    /// Offsets of pointers to a parent or a sibling.
    leading_away: Vec<FieldPlace>,
    /// Only objects of these caches hold this struct; an empty set means any cache.
    held_by: HashSet<u16>,
    /// Caches of index nodes (an xarray's, for example), which find this struct and do not hold it.
    found_by: HashSet<u16>,
}

impl OwnershipRules {
    /// Forgets the lists that were walked.
    pub(crate) fn forget_lists(&self) {
        self.heads.forget();
        self.mixed_heads.forget();
    }

    /// Finds the rules. `systems` has the offset of the superblock pointer in the inodes of each cache; `own`
    /// has the addresses of our own process's objects, its threads excepted.
    pub(crate) fn find(
        kernel: &Kernel<'_>,
        heap: &Heap,
        systems: &HashMap<u16, u64>,
        own: &HashSet<Va>,
    ) -> OwnershipRules {
        let mut rules = OwnershipRules {
            structs: vec![Vec::new(); heap.caches.len()],
            is_own: heap.caches.iter().map(|cache| cache.has_name(TASK_CACHE)).collect(),
            code: code_of(kernel.symbols),
            ..OwnershipRules::default()
        };
        for object in own.iter().filter_map(|at| heap.find_object(at.0)) {
            rules.is_own[usize::from(heap.slabs[object.slab as usize].cache)] = true;
        }
        let Some(shape) = &kernel.shape.user_memory.owner else { return rules };
        for known in &shape.objects {
            for cache in caches_named(heap, known.cache) {
                rules.structs[usize::from(cache)].push(StructRules::find(heap, cache, known));
            }
        }
        let inodes = |cache: &u16| is_inode_cache(&heap.caches[usize::from(*cache)].name);
        for (cache, system) in systems.iter().filter(|(cache, _)| inodes(cache)) {
            let links = shape.inode_links.iter().map(|at| system.wrapping_add(*at));
            rules.structs[usize::from(*cache)].push(StructRules::of_inodes(links));
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

    /// What is known of an object.
    pub(crate) fn of_object<'s>(
        &'s self,
        memory: &dyn Memory,
        heap: &Heap,
        object: Object,
    ) -> impl Iterator<Item = &'s StructRules> {
        let cache = usize::from(heap.slabs[object.slab as usize].cache);
        self.structs[cache].iter().filter(move |rules| rules.fit(memory, heap, object))
    }

    /// Whether a word is a module's pointer to the kset of all modules, or a link to its other members.
    pub(crate) fn leads_to_shared(&self, at: Va) -> bool {
        self.shared_links.contains(&at)
    }

    /// Whether parts of our own process may be among a cache's objects.
    pub(crate) fn may_be_own(&self, cache: u16) -> bool {
        self.is_own[usize::from(cache)]
    }
}

impl StructRules {
    fn find(heap: &Heap, cache: u16, known: &ObjectRules) -> StructRules {
        let named =
            |names: &[&str]| names.iter().flat_map(|name| caches_named(heap, name)).collect();
        let is_merged = !heap.caches[usize::from(cache)].aliases.is_empty();
        let witness = known.witness.filter(|_| is_merged);
        StructRules {
            cache: known.cache,
            witness: witness.map(|witness| (witness.at, named(&[witness.cache]))),
            index_links: known.index_links.clone(),
            leading_away: known.leading_away.clone(),
            held_by: named(known.held_by),
            found_by: named(known.found_by),
        }
    }

    /// The rules for inodes of any file system, by where their links stand.
    fn of_inodes(links: impl Iterator<Item = u64>) -> StructRules {
        StructRules {
            cache: "inode",
            witness: None,
            index_links: links.map(|at| FieldPlace { at, bytes: LINK_BYTES }).collect(),
            leading_away: Vec::new(),
            held_by: HashSet::new(),
            found_by: HashSet::new(),
        }
    }

    /// Whether an object of the cache is one of the struct.
    fn fit(&self, memory: &dyn Memory, heap: &Heap, object: Object) -> bool {
        self.witness.as_ref().is_none_or(|(at, caches)| {
            let word = memory.read_u64(heap.object_va(object).at(*at));
            let seen = word.ok().and_then(|word| heap.find_object(word));
            seen.is_some_and(|seen| caches.contains(&heap.slabs[seen.slab as usize].cache))
        })
    }

    /// Whether they come from that cache, or would, had it not been merged with another.
    pub(crate) fn is_of(&self, cache: &str) -> bool {
        self.cache == cache
    }

    /// Whether a link into a shared table stands at an offset. What leads into the middle of a link is none.
    pub(crate) fn is_index_link(&self, offset: u64) -> bool {
        self.index_links.iter().any(|place| place.at == offset)
    }

    /// Whether the pointer at an offset leads to a parent or a sibling.
    pub(crate) fn leads_away(&self, offset: u64) -> bool {
        self.leading_away.iter().any(|place| offset.wrapping_sub(place.at) < place.bytes)
    }

    /// Whether objects of a cache may hold them.
    pub(crate) fn may_be_held_by(&self, cache: u16) -> bool {
        !self.found_by.contains(&cache)
            && (self.held_by.is_empty() || self.held_by.contains(&cache))
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
        self.0.borrow().get(&link).map(|head| Some(*head).filter(|head| *head != NO_HEAD))
    }

    /// Forgets all of them: they are many, and few are asked for after a search.
    fn forget(&self) {
        self.0.take();
    }

    /// Remembers the head of the list that some links are part of.
    pub(crate) fn remember(&self, links: Vec<Va>, head: Option<Va>) {
        let mut heads = self.0.borrow_mut();
        let head = head.unwrap_or(NO_HEAD);
        if heads.len() + links.len() <= MOST_KNOWN {
            heads.extend(links.into_iter().map(|at| (at, head)));
        }
    }
}

fn caches_named<'h>(heap: &'h Heap, name: &'h str) -> impl Iterator<Item = u16> + 'h {
    (0..).zip(&heap.caches).filter(move |(_, cache)| cache.has_name(name)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use sysak_base::Pfn;
    use sysak_heap::testing::{BASE, Ram};
    use sysak_heap::{Cache, HeapBuilder};
    use sysak_kernel::shape::{MOUNT_CACHE, Witness};

    use super::*;

    /// A slab of mounts on page 4, one of entries on page 5; some other caches were merged with that of mounts.
    fn heap(merged: &[&str]) -> Heap {
        let cache = |va, name: &str| Cache::new(Va(va), name.into(), 128, 128).unwrap();
        let mut mounts = cache(1, MOUNT_CACHE);
        mounts.aliases = merged.iter().map(|name| (*name).to_owned()).collect();
        let mut heap = HeapBuilder::new(BASE, 16, vec![mounts, cache(2, "dentry")]);
        heap.push(Pfn(4), 0, 0, 32).unwrap();
        heap.push(Pfn(5), 0, 1, 32).unwrap();
        heap.seal().never_marked()
    }

    fn mounts(heap: &Heap) -> OwnershipRules {
        let known = ObjectRules {
            cache: MOUNT_CACHE,
            witness: Some(Witness { at: 32, cache: "dentry" }),
            index_links: vec![FieldPlace { at: 0, bytes: 16 }],
            leading_away: vec![FieldPlace { at: 16, bytes: 8 }],
            held_by: &[],
            found_by: &[],
        };
        let rules = StructRules::find(heap, 0, &known);
        OwnershipRules { structs: vec![vec![rules], Vec::new()], ..OwnershipRules::default() }
    }

    #[test]
    fn in_a_merged_cache_the_rules_of_a_struct_are_for_its_objects_only() {
        let mut ram = Ram::new(16);
        let object = |index| Object { slab: 0, index };
        let heap = heap(&["posix_timers_cache"]);
        let (mount, timer) = (object(1), object(2));
        let entry = heap.object_va(Object { slab: 1, index: 3 });
        ram.put_va(heap.object_va(mount).0 + 32, entry.0);
        ram.put_va(heap.object_va(timer).0 + 32, heap.object_va(mount).0);
        let rules = mounts(&heap);
        let fits = |object| rules.of_object(&ram, &heap, object).any(|one| one.is_of(MOUNT_CACHE));
        assert!(fits(mount));
        assert!(!fits(timer), "what leads to a mount is none");
        assert!(!fits(object(3)), "nor what leads nowhere");
    }

    #[test]
    fn in_a_cache_of_one_struct_they_are_for_all() {
        let (ram, heap) = (Ram::new(16), heap(&[]));
        let rules = mounts(&heap);
        let found = rules.of_object(&ram, &heap, Object { slab: 0, index: 3 }).next().unwrap();
        assert!(found.is_index_link(0) && !found.is_index_link(8));
        assert!(found.leads_away(16) && found.leads_away(20) && !found.leads_away(24));
        assert!(found.may_be_held_by(1), "every cache may");
    }
}
