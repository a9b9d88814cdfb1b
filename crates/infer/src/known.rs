//! What is known of the types of objects: by their cache, by what points to them, by content.
//!
//! **Invariant:** an object whose cache says its type is never of another one.

use std::collections::HashMap;

use sysak_heap::{Class, Heap, Object};
use sysak_symbols::TypeId;

use crate::{Types, names};

/// The type of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Typed {
    /// Its type; of an array, that of an element.
    pub id: TypeId,
    /// Whether as many stand behind each other as fit.
    pub many: bool,
    /// Whether it is the whole object, and not only how it begins.
    pub whole: bool,
}

/// A pointer to an object from something of a known type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hint {
    /// Where in the object it points.
    pub offset: u32,
    /// What it points to, by its own type.
    pub target: TypeId,
    /// The type of that which points.
    pub owner: TypeId,
    /// Where in that the pointer lies.
    pub at: u32,
}

/// Hints kept of an object: the first of each kind.
const MOST_HINTS: usize = 3;

/// What is known of the types of objects.
#[derive(Default)]
pub struct Known {
    caches: Vec<Option<TypeId>>,
    hints: HashMap<Object, Vec<Hint>>,
    content: HashMap<Object, Typed>,
}

impl Known {
    /// What the caches' names tell, but for those of `hidden`.
    pub fn by_caches(types: &Types, heap: &Heap, hidden: &[u16]) -> Known {
        let caches = heap.caches.iter().enumerate().map(|(index, cache)| {
            let is_told = cache.class == Class::Slab && !hidden.contains(&(index as u16));
            is_told.then(|| type_of_cache(types, cache)).flatten()
        });
        Known { caches: caches.collect(), ..Known::default() }
    }

    /// The type that a cache's name tells.
    pub fn of_cache(&self, cache: u16) -> Option<TypeId> {
        self.caches.get(usize::from(cache)).copied().flatten()
    }

    /// The type of an object, where anything tells it.
    pub fn of_object(&self, types: &Types, heap: &Heap, object: Object) -> Option<Typed> {
        let cache = heap.slabs[object.slab as usize].cache;
        if let Some(id) = self.of_cache(cache) {
            return Some(Typed { id, many: false, whole: true });
        }
        if let Some(typed) = self.content.get(&object) {
            return Some(*typed);
        }
        let info = &heap.caches[usize::from(cache)];
        let hints = self.hints.get(&object)?;
        let all = hints.iter().filter(|hint| hint.offset == 0);
        all.filter_map(|hint| typed(types, hint.target, info.object_size)).max_by_key(|t| t.whole)
    }

    /// What points to an object.
    pub fn hints(&self, object: Object) -> &[Hint] {
        self.hints.get(&object).map_or(&[], Vec::as_slice)
    }

    /// Notes a pointer to an object; true where it is the first of its kind.
    pub fn add_hint(&mut self, types: &Types, object: Object, hint: Hint) -> bool {
        let hints = self.hints.entry(object).or_default();
        let is_new = |known: &Hint| known.offset != hint.offset || known.target != hint.target;
        let fits = hints.len() < MOST_HINTS && hints.iter().all(is_new);
        if fits && !matches!(types.shape(hint.target).1, sysak_symbols::Shape::Void) {
            hints.push(hint);
        }
        fits
    }

    /// Notes what an object's content tells.
    pub fn add_content(&mut self, object: Object, typed: Typed) {
        self.content.insert(object, typed);
    }

    /// Objects of which anything points to or tells the type.
    pub fn len(&self) -> usize {
        self.hints.len() + self.content.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hints.is_empty() && self.content.is_empty()
    }
}

/// The one type that all names of a cache tell.
fn type_of_cache(types: &Types, cache: &sysak_heap::Cache) -> Option<TypeId> {
    let mut all = std::iter::once(&cache.name).chain(&cache.aliases);
    if all.clone().any(|name| names::is_general(name)) {
        return None;
    }
    let first = names::of_cache(types, all.next()?, cache.object_size)?;
    all.all(|name| names::of_cache(types, name, cache.object_size) == Some(first)).then_some(first)
}

/// What an object of `object_size` bytes is where something points to its start as to a
/// `target`: a struct that fits its size is all of it, a smaller one how it begins. Of numbers,
/// letters and pointers there are as many as fit.
pub fn typed(types: &Types, target: TypeId, object_size: u32) -> Option<Typed> {
    use sysak_symbols::Shape;
    let (id, shape) = types.shape(target);
    match shape {
        Shape::Struct(bytes) | Shape::Union(bytes) if bytes > 0 && bytes <= object_size => {
            let whole = bytes > names::class_below(object_size);
            Some(Typed { id, many: false, whole })
        }
        Shape::Int { .. } | Shape::Pointer(_) | Shape::Enum(_) => {
            Some(Typed { id, many: true, whole: true })
        }
        _ => None,
    }
}
