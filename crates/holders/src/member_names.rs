//! What the words of objects on a way are called: by the struct that the objects are.
//!
//! **Invariant:** how many objects' structs are looked for does not depend on how many ways there are.

use std::collections::HashMap;

use sysak_heap::{Class, Heap, Object};
use sysak_symbols::TypeId;

use crate::retention_path::MemberNaming;
use sysak_infer::TypeInferrer;

/// Steps of the ways to one cache's objects whose struct is looked for, and those that are compared
/// with them.
const MOST_GUESSED: usize = 12;
const MOST_COMPARED: usize = 256;

/// Names words of objects by the struct that these are, as far as that can be told.
pub(crate) struct MemberNames<'g, 'w> {
    heap: &'w Heap,
    guesser: &'g mut TypeInferrer<'w>,
    known: HashMap<Object, Option<TypeId>>,
    /// By the cache and the kinds of words: what is made alike is one struct.
    alike: HashMap<(u16, u64), Option<TypeId>>,
    /// Where the members of the structs that caches' names tell are first met.
    members: HashMap<String, u64>,
    words: HashMap<(u16, u64), u64>,
    /// Whether structs are looked for that no cache's name tells.
    closely: bool,
    compared: usize,
    guessed: usize,
}

impl<'g, 'w> MemberNames<'g, 'w> {
    pub(crate) fn new(
        heap: &'w Heap,
        guesser: &'g mut TypeInferrer<'w>,
        closely: bool,
    ) -> MemberNames<'g, 'w> {
        MemberNames {
            heap,
            guesser,
            known: HashMap::new(),
            alike: HashMap::new(),
            members: HashMap::new(),
            words: HashMap::new(),
            closely,
            compared: 0,
            guessed: 0,
        }
    }

    /// Goes on with the ways to another cache's objects.
    pub(crate) fn start(&mut self) {
        (self.compared, self.guessed) = (0, 0);
    }

    fn struct_of(&mut self, objects: &[Object], guess: bool) -> Option<TypeId> {
        let first = *objects.first()?;
        let cache = self.heap.slabs[first.slab as usize].cache;
        if let Some(id) = self.guesser.told(first) {
            return Some(id);
        }
        if let Some(known) = self.known.get(&first) {
            return *known;
        }
        if !(guess && self.closely)
            || self.compared == MOST_COMPARED
            || self.heap.cache_of(first).class != Class::Slab
        {
            return None;
        }
        self.compared += 1;
        let print = (cache, self.guesser.fingerprint(first)?);
        let known = self.alike.get(&print).copied();
        let found = match known {
            Some(known) => known,
            None if self.guessed == MOST_GUESSED => return None,
            None => {
                self.guessed += 1;
                self.guesser.struct_of(objects)
            }
        };
        self.alike.insert(print, found);
        self.known.insert(first, found);
        found
    }
}

impl MemberNaming for MemberNames<'_, '_> {
    fn first_of_member(&mut self, cache: u16, offset: u64) -> u64 {
        if let Some(first) = self.words.get(&(cache, offset)) {
            return *first;
        }
        let id = self.guesser.of_cache(cache);
        let member = id.and_then(|id| self.guesser.member(id, offset));
        let first = member.map_or(offset, |name| *self.members.entry(name).or_insert(offset));
        self.words.insert((cache, offset), first);
        first
    }

    fn member(&mut self, objects: &[Object], offset: u64, guess: bool) -> Option<String> {
        let id = self.struct_of(objects, guess)?;
        self.guesser.member(id, offset)
    }
}
