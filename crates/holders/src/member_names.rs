//! Names the words of objects on retention paths, by the structs that the objects are.
//!
//! **Invariant:** how many objects' structs are inferred does not depend on how many paths there
//! are.

use std::collections::HashMap;

use sysak_heap::{Class, Heap, Object};
use sysak_infer::TypeInferrer;
use sysak_symbols::TypeId;

use crate::retention_path::MemberNaming;

/// Structs that are inferred for the paths to one cache's objects.
const MOST_INFERRED: usize = 12;
/// Objects whose fingerprint is compared with those of inferred structs, for one cache.
const MOST_COMPARED: usize = 256;

/// Where the structs of objects on a path may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StructSource {
    /// From the names of caches and from pointers of known types.
    Names,
    /// From these, or inferred from the objects' contents.
    Contents,
}

/// Names words of objects by the structs that these are, as far as the structs are known.
pub(crate) struct MemberNames<'i, 'w> {
    heap: &'w Heap,
    inferrer: &'i mut TypeInferrer<'w>,
    source: StructSource,
    by_object: HashMap<Object, Option<TypeId>>,
    /// By cache and fingerprint: objects with the same fingerprint are one struct.
    by_fingerprint: HashMap<(u16, u64), Option<TypeId>>,
    /// The first offset that was asked for of each member.
    first_offsets: HashMap<String, u64>,
    /// The same, by cache and offset.
    first_of_offset: HashMap<(u16, u64), u64>,
    compared: usize,
    inferred: usize,
}

impl<'i, 'w> MemberNames<'i, 'w> {
    pub(crate) fn new(
        heap: &'w Heap,
        inferrer: &'i mut TypeInferrer<'w>,
        source: StructSource,
    ) -> MemberNames<'i, 'w> {
        MemberNames {
            heap,
            inferrer,
            source,
            by_object: HashMap::new(),
            by_fingerprint: HashMap::new(),
            first_offsets: HashMap::new(),
            first_of_offset: HashMap::new(),
            compared: 0,
            inferred: 0,
        }
    }

    /// Starts with the paths to another cache's objects.
    pub(crate) fn start_cache(&mut self) {
        (self.compared, self.inferred) = (0, 0);
    }

    fn struct_of(&mut self, objects: &[Object], infer: bool) -> Option<TypeId> {
        let first = *objects.first()?;
        if let Some(id) = self.inferrer.known_struct(first) {
            return Some(id);
        }
        if let Some(known) = self.by_object.get(&first) {
            return *known;
        }
        if !(infer && self.source == StructSource::Contents)
            || self.compared == MOST_COMPARED
            || self.heap.cache_of(first).class != Class::Slab
        {
            return None;
        }
        self.compared += 1;
        let cache = self.heap.slabs[first.slab as usize].cache;
        let key = (cache, self.inferrer.fingerprint(first)?);
        let known = self.by_fingerprint.get(&key).copied();
        let found = match known {
            Some(known) => known,
            None if self.inferred == MOST_INFERRED => return None,
            None => {
                self.inferred += 1;
                self.inferrer.struct_of(objects)
            }
        };
        self.by_fingerprint.insert(key, found);
        self.by_object.insert(first, found);
        found
    }
}

impl MemberNaming for MemberNames<'_, '_> {
    fn first_of_member(&mut self, cache: u16, offset: u64) -> u64 {
        if let Some(first) = self.first_of_offset.get(&(cache, offset)) {
            return *first;
        }
        let id = self.inferrer.of_cache(cache);
        let member = id.and_then(|id| self.inferrer.member(id, offset));
        let first = member.map_or(offset, |name| *self.first_offsets.entry(name).or_insert(offset));
        self.first_of_offset.insert((cache, offset), first);
        first
    }

    fn member(&mut self, objects: &[Object], offset: u64, infer: bool) -> Option<String> {
        let id = self.struct_of(objects, infer)?;
        self.inferrer.member(id, offset)
    }
}
