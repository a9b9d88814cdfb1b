//! The known types of objects: by their cache's name, by typed pointers to them, by content.
//!
//! **Invariant:** where a cache's name tells the type of its objects, no other type is known of them.

use std::cell::RefCell;
use std::collections::HashMap;

use sysak_heap::{Class, Heap, Object};
use sysak_symbols::TypeId;

use crate::{Types, names};

/// The known type of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KnownType {
    /// Its type; of an array, that of an element.
    pub id: TypeId,
    /// Whether the object is an array: as many elements as fit.
    pub is_array: bool,
    /// Whether it is the whole object, and not only its beginning.
    pub is_whole: bool,
}

/// A pointer to an object from something of a known type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypedPointer {
    /// The offset in the object.
    pub offset: u32,
    /// What it points to, by its own type.
    pub target: TypeId,
    /// The type that the pointer lies in.
    pub owner: TypeId,
    /// The pointer's offset in that.
    pub at: u32,
}

/// Typed pointers that are stored of one object: the first of each kind.
const MOST_POINTERS: usize = 3;
/// Answers to where a type begins in another that are kept.
const MOST_BEGINNINGS: usize = 1 << 16;

/// The known types of objects.
#[derive(Default)]
pub struct KnownTypes {
    caches: Vec<Option<TypeId>>,
    /// The structs that the names of a merged cache tell, where they differ.
    of_names: HashMap<u16, Vec<TypeId>>,
    pointers: HashMap<Object, Vec<TypedPointer>>,
    content: HashMap<Object, KnownType>,
    /// Which types begin where in which: thousands of types are compared with the same pointers.
    begins: RefCell<HashMap<(TypeId, u32, TypeId), bool>>,
}

impl KnownTypes {
    /// The types that caches' names tell, without the caches of `hidden`.
    pub fn by_caches(types: &Types, heap: &Heap, hidden: &[u16]) -> KnownTypes {
        let mut known =
            KnownTypes { caches: vec![None; heap.caches.len()], ..KnownTypes::default() };
        for (index, cache) in (0..).zip(&heap.caches) {
            if cache.class != Class::Slab || hidden.contains(&index) {
                continue;
            }
            let told = types_of_cache(types, cache);
            match told[..] {
                [Some(first), ref others @ ..] if others.iter().all(|one| *one == Some(first)) => {
                    known.caches[usize::from(index)] = Some(first);
                }
                _ => {
                    known.of_names.insert(index, told.into_iter().flatten().collect());
                }
            }
        }
        known
    }

    /// The type that a cache's name tells.
    pub fn of_cache(&self, cache: u16) -> Option<TypeId> {
        self.caches.get(usize::from(cache)).copied().flatten()
    }

    /// Whether the type `wanted` begins `offset` bytes into the type `owner`, as [`Types::begins_at`] tells it.
    pub(crate) fn begins_at(
        &self,
        types: &Types,
        owner: TypeId,
        offset: u32,
        wanted: TypeId,
    ) -> bool {
        let key = (owner, offset, wanted);
        if let Some(begins) = self.begins.borrow().get(&key) {
            return *begins;
        }
        let begins = types.begins_at(owner, offset, wanted);
        let mut known = self.begins.borrow_mut();
        if known.len() < MOST_BEGINNINGS {
            known.insert(key, begins);
        }
        begins
    }

    /// The structs that the names of a merged cache tell, where they differ.
    pub(crate) fn of_names(&self, cache: u16) -> &[TypeId] {
        self.of_names.get(&cache).map_or(&[], Vec::as_slice)
    }

    /// The type of an object, where it is known.
    pub fn of_object(&self, types: &Types, heap: &Heap, object: Object) -> Option<KnownType> {
        let cache = heap.slabs[object.slab as usize].cache;
        if let Some(id) = self.of_cache(cache) {
            return Some(KnownType { id, is_array: false, is_whole: true });
        }
        if let Some(typed) = self.content.get(&object) {
            return Some(*typed);
        }
        let info = &heap.caches[usize::from(cache)];
        let pointers = self.pointers.get(&object)?;
        let all = pointers.iter().filter(|pointer| pointer.offset == 0);
        all.filter_map(|pointer| typed(types, pointer.target, info.object_size))
            .max_by_key(|t| t.is_whole)
    }

    /// The typed pointers to an object.
    pub fn pointers(&self, object: Object) -> &[TypedPointer] {
        self.pointers.get(&object).map_or(&[], Vec::as_slice)
    }

    /// Adds a typed pointer to an object; true where it is the first of its kind.
    pub fn add_pointer(&mut self, types: &Types, object: Object, pointer: TypedPointer) -> bool {
        let pointers = self.pointers.entry(object).or_default();
        let is_new =
            |known: &TypedPointer| known.offset != pointer.offset || known.target != pointer.target;
        let fits = pointers.len() < MOST_POINTERS && pointers.iter().all(is_new);
        if fits && !matches!(types.shape(pointer.target).1, sysak_symbols::Shape::Void) {
            pointers.push(pointer);
        }
        fits
    }

    /// Adds the type that an object's content tells.
    pub fn add_by_content(&mut self, object: Object, typed: KnownType) {
        self.content.insert(object, typed);
    }

    /// Typed pointers' targets and objects typed by content.
    pub fn len(&self) -> usize {
        self.pointers.len() + self.content.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty() && self.content.is_empty()
    }
}

/// What each name of a cache tells; nothing where one is of a general cache.
fn types_of_cache(types: &Types, cache: &sysak_heap::Cache) -> Vec<Option<TypeId>> {
    let all = std::iter::once(&cache.name).chain(&cache.aliases);
    if all.clone().any(|name| names::is_general(name)) {
        return Vec::new();
    }
    all.map(|name| names::of_cache(types, name, cache.object_size)).collect()
}

/// The type of an object of `object_size` bytes by a pointer to its start, declared as one to
/// `target`. A struct of that size is the whole object, a smaller one its beginning. Numbers and
/// pointers are the elements of an array.
pub fn typed(types: &Types, target: TypeId, object_size: u32) -> Option<KnownType> {
    use sysak_symbols::Shape;
    let (id, shape) = types.shape(target);
    match shape {
        Shape::Struct(bytes) | Shape::Union(bytes) if bytes > 0 && bytes <= object_size => {
            let is_whole = bytes > names::class_below(object_size);
            Some(KnownType { id, is_array: false, is_whole })
        }
        Shape::Int { .. } | Shape::Pointer(_) | Shape::Enum(_) => {
            Some(KnownType { id, is_array: true, is_whole: true })
        }
        _ => None,
    }
}
