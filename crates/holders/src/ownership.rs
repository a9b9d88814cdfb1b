//! Which references keep what they lead to.
//!
//! Most words that lead to an object only find it: the links of its neighbours in a list, a hash chain
//! or a tree, a table that all share, an array of objects kept for reuse. A list's neighbour does not
//! hold the object, but who has the head of the list does.
//!
//! **Danger:** lists change while they are read. What is broken holds nothing.

use sysak_base::Va;
use sysak_heap::references::{From, Reference, RootObjects};
use sysak_heap::reverse::Ownership;
use sysak_heap::{Class, Object};
use sysak_kernel::links::{Link, comes_back, head_of, link, top_of};
use sysak_kernel::shape::{MOUNT_CACHE, is_parked};

use crate::HolderResolver;
use crate::distance::PROCESS;
use crate::ownership_rules::{Heads, StructRules};
use crate::place::Place;

/// The head of a list, and what its variable is aligned to.
const LIST_VARIABLE_BYTES: u64 = 64;
/// Links of one list that are walked.
const LONGEST_LIST: usize = 1 << 18;

impl Ownership for HolderResolver<'_, '_> {
    fn ends_at(&self, object: Object) -> bool {
        self.has_owner(object)
    }

    fn rank(&self, one: &Reference) -> u32 {
        self.owner_distance(one).unwrap_or(u32::MAX)
    }

    fn settles(&self, rank: u32) -> bool {
        rank <= PROCESS
    }

    fn keeping(&self, one: Reference) -> Option<Reference> {
        if self.is_timer(&one) {
            return Some(one);
        }
        if !self.may_keep(&one) {
            return None;
        }
        let From::Object(from) = one.from else { return Some(one) };
        match link(self.kernel.memory, one.at, one.word) {
            Some(Link::Back | Link::Up) => None,
            Some(Link::Next) => {
                self.head_instead(one, from).filter(|one| !self.is_between_mounts(one))
            }
            Some(Link::Down) => {
                let top = top_of(self.kernel.memory, Va(one.word & !3))?;
                self.instead(top, one).filter(|one| !self.is_between_mounts(one))
            }
            None => Some(one)
                .filter(|_| !self.is_neighbour(from, one.at, &one))
                .filter(|one| !self.is_between_mounts(one)),
        }
    }
}

impl HolderResolver<'_, '_> {
    /// Whether a reference may keep an object, whatever links it is part of.
    pub(crate) fn may_keep(&self, one: &Reference) -> bool {
        let heap = &self.snapshot.heap;
        let offset = one.word.wrapping_sub(heap.object_va(one.to).0);
        let is_in_slab =
            matches!(one.from, From::Object(from) if heap.cache_of(from).class == Class::Slab);
        if !is_in_slab && self.rules.leads_to_shared(one.at) {
            return false;
        }
        // A pointer to the whole object leads to its first link, too.
        if self.rules_of(one.to).any(|rules| rules.is_index_link(offset))
            && (offset != 0 || link(self.kernel.memory, one.at, one.word) == Some(Link::Next))
        {
            return false;
        }
        match one.from {
            From::Object(from) => {
                let from_cache = heap.slabs[from.slab as usize].cache;
                let offset = one.at.0.wrapping_sub(heap.object_va(from).0);
                self.rules_of(one.to).all(|rules| rules.may_be_held_by(from_cache))
                    && !self.rules_of(from).any(|rules| rules.leads_away(offset))
                    && !(self.rules.may_be_own(from_cache) && self.is_ours(from))
            }
            From::Root => !self.is_in_parked(one.at),
            From::Register => true,
        }
    }

    /// What is known of an object, by the struct that it is.
    fn rules_of(&self, object: Object) -> impl Iterator<Item = &StructRules> {
        self.rules.of_object(self.kernel.memory, &self.snapshot.heap, object)
    }

    /// Whether a mount leads to another one. They do so in many ways; their name space keeps them.
    fn is_between_mounts(&self, one: &Reference) -> bool {
        let is_mount = |object| self.rules_of(object).any(|rules| rules.is_of(MOUNT_CACHE));
        matches!(one.from, From::Object(from) if is_mount(from)) && is_mount(one.to)
    }

    /// Whether a place is part of a per-CPU variable that keeps objects for reuse.
    fn is_in_parked(&self, at: Va) -> bool {
        let Place::PerCpu(pointer) = self.places.of(at) else { return false };
        self.kernel.symbols.symbolize_per_cpu(pointer).is_some_and(|one| is_parked(one.name))
    }

    /// Whether an object is part of our own process.
    fn is_ours(&self, object: Object) -> bool {
        let at = self.snapshot.heap.object_va(object);
        self.processes.ours.contains(&at) || self.places.thread(at).is_some_and(|one| one.ours)
    }

    /// Whether a word of an object stands where the word stands that leads to it: objects of one
    /// cache that are linked through one member.
    fn is_neighbour(&self, from: Object, at: Va, one: &Reference) -> bool {
        let heap = &self.snapshot.heap;
        let cache = |object: Object| heap.slabs[object.slab as usize].cache;
        let offset = |object, address: u64| address.wrapping_sub(heap.object_va(object).0);
        cache(from) == cache(one.to) && offset(from, at.0) == offset(one.to, one.word)
    }

    /// For a link that leads on along a list: the reference of the list's head, if the link is
    /// not that itself.
    fn head_instead(&self, one: Reference, from: Object) -> Option<Reference> {
        if self.is_callback(Va(one.word)) {
            return None;
        }
        if self.is_neighbour(from, one.at, &one) {
            let head = self.head(one.to, Va(one.word))?;
            return self.instead(head, one);
        }
        if let Some(variable) = self.variable_in_list(one.at) {
            return self.instead(variable, one);
        }
        // The last of a list leads to the head: it does not hold that.
        let before = self.kernel.memory.read_u64(one.at.at(8)).ok().map(Va);
        let is_member = |before: Va| {
            before != one.at
                && self.is_link_of_cache(from, one.at, before)
                && self.kernel.memory.read_u64(before) == Ok(one.at.0)
        };
        (!before.is_some_and(is_member)).then_some(one)
    }

    /// Whether a link is part of an entry that waits to be called: the word before it leads to code. What
    /// is waited for does not hold who waits.
    fn is_callback(&self, link: Va) -> bool {
        let before = self.kernel.memory.read_u64(Va(link.0.wrapping_sub(8)));
        let code = before.ok().zip(self.rules.code);
        code.is_some_and(|(word, (start, end))| (start.0..end.0).contains(&word))
    }

    /// Whether another object of an object's cache has a link at an address, where that has its own.
    fn is_link_of_cache(&self, object: Object, link: Va, other: Va) -> bool {
        let heap = &self.snapshot.heap;
        heap.find_object(other.0).is_some_and(|found| {
            let cache = |object: Object| heap.slabs[object.slab as usize].cache;
            let offset = |object, address: Va| address.0.wrapping_sub(heap.object_va(object).0);
            cache(found) == cache(object) && offset(found, other) == offset(object, link)
        })
    }

    /// The head of the list that a link of an object is part of.
    fn head(&self, object: Object, link: Va) -> Option<Va> {
        self.head_of_list(&self.rules.heads, link, &|other| {
            self.is_link_of_cache(object, link, other)
        })
    }

    /// The variable that is the head of a list of objects of many kinds. Parts of other variables may be members.
    fn variable_in_list(&self, link: Va) -> Option<Va> {
        let is_head = |at| {
            self.variable_bytes(at).is_some_and(|bytes| {
                bytes <= LIST_VARIABLE_BYTES || self.is_only_variable_in_list(at)
            })
        };
        self.head_of_list(&self.rules.mixed_heads, link, &|other| !is_head(other))
    }

    /// Whether no other variable begins in the list that a variable begins with. How long a variable is, is only
    /// known where the next one has a symbol.
    fn is_only_variable_in_list(&self, variable: Va) -> bool {
        let is_other = |at: Va| at != variable && self.variable_bytes(at).is_some();
        comes_back(self.kernel.memory, variable, LONGEST_LIST, &|at| !is_other(at))
    }

    /// The first link before `link` that is no member of the list; looked up in `heads`, and remembered there.
    fn head_of_list(&self, heads: &Heads, link: Va, is_member: &dyn Fn(Va) -> bool) -> Option<Va> {
        let mut passed = Vec::new();
        let mut pass = |at: Va| {
            if !Heads::remembers(at) {
                return None;
            }
            let known = heads.find(at).map(|head| head.unwrap_or(Va(0)));
            if known.is_none() {
                passed.push(at);
            }
            known
        };
        let found = head_of(self.kernel.memory, link, LONGEST_LIST, is_member, &mut pass);
        let found = found.filter(|head| *head != Va(0));
        heads.remember(passed, found);
        found
    }

    /// How many bytes the variable has at most that begins at an address.
    fn variable_bytes(&self, at: Va) -> Option<u64> {
        self.kernel.symbols.symbolize(at).filter(|symbol| symbol.offset == 0)?.size
    }

    /// A reference at another place instead, if that may keep the object.
    fn instead(&self, at: Va, one: Reference) -> Option<Reference> {
        let instead = self.reference_at(at, one)?;
        self.may_keep(&instead).then_some(instead)
    }

    /// Whether a reference within a cache joins both objects: links of shared tables, LRUs and hash chains join
    /// nothing, and of mounts only their lists and trees do.
    pub(crate) fn may_join(&self, one: &Reference) -> bool {
        let is_link = || {
            let link = link(self.kernel.memory, one.at, one.word);
            link.is_some_and(|link| link != Link::Back)
        };
        self.may_keep(one) && (!self.is_between_mounts(one) || is_link())
    }

    /// A reference at another place instead.
    fn reference_at(&self, at: Va, one: Reference) -> Option<Reference> {
        let heap = &self.snapshot.heap;
        let from = match heap.find_object(at.0) {
            Some(object) if object == one.to || heap.is_white(object) => return None,
            Some(object) => From::Object(object),
            None => self.object_at(at).map_or(From::Root, From::Object),
        };
        Some(Reference { from, at, ..one })
    }
}
