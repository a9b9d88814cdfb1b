//! Follows typed pointers: what a pointer in an object of a known type leads to has a known type,
//! too.
//!
//! **Danger:** a pointer may be stale. What its words contradict is not taken for the declared type.
//!
//! **Invariant:** each object is followed once, and for a bounded number of rounds.

use sysak_base::Va;
use sysak_heap::Object;
use sysak_symbols::{Shape, TypeId};

use crate::building_blocks::Block;
use crate::evidence::Sample;
use crate::inference::{Inference, LONGEST};
use crate::kernel_view::{Word, word_at};
use crate::known::{KnownType, TypedPointer, typed};
use crate::layout::Kind;
use crate::score::score;

/// Where BTF has the per-CPU variables.
const PER_CPU_SECTION: &str = ".data..percpu";
/// Elements of an array that are looked at.
const MOST_ELEMENTS: usize = 64;

/// Words of a known type.
#[derive(Clone, Copy)]
struct Words<'r> {
    id: TypeId,
    /// The object that they are, if they are a whole one.
    object: Option<Object>,
    raw: &'r [u8],
}

/// A pointer in words of a known type.
#[derive(Clone, Copy)]
struct Pointer {
    /// The type that it lies in, and where.
    owner: TypeId,
    at: u32,
    /// The type that it points into, and how far.
    target: TypeId,
    inside: u32,
    /// The object that it lies in.
    from: Option<Object>,
    /// The address.
    value: u64,
}

impl Inference<'_> {
    /// Follows the pointers of every object whose type is known, and those of the per-CPU variables,
    /// then the pointers of what they lead to, for so many `rounds`. Returns how many objects have
    /// a known type or a typed pointer to them.
    pub fn follow_typed_pointers(&mut self, rounds: u32, is_cancelled: &dyn Fn() -> bool) -> usize {
        let heap = self.view.heap;
        let mut next: Vec<(Object, KnownType)> = Vec::new();
        for (index, slab) in (0..).zip(&heap.slabs) {
            if let Some(id) = self.known.of_cache(slab.cache) {
                heap.for_each_live(index, |object| {
                    let object = Object { slab: index, index: object };
                    next.push((object, KnownType { id, is_array: false, is_whole: true }));
                });
            }
        }
        self.follow_variables(&mut next);
        for _ in 0..rounds {
            let mut found = Vec::new();
            for (object, typed) in next {
                if is_cancelled() {
                    return self.known.len();
                }
                self.follow(object, typed, &mut found);
            }
            next = found;
        }
        self.known.len()
    }

    /// Follows each CPU's copy of the kernel's per-CPU variables. The type information has no other
    /// variables.
    fn follow_variables(&mut self, found: &mut Vec<(Object, KnownType)>) {
        let types = self.view.types;
        let variables: Vec<(Va, TypeId)> = types
            .variables()
            .filter(|(module, one)| module.is_none() && one.section == PER_CPU_SECTION)
            .filter_map(|(_, one)| Some((self.view.symbols.find(one.name)?, one.type_id)))
            .collect();
        for (pointer, id) in variables {
            let bytes = types.size(id).unwrap_or(0).min(LONGEST);
            for offset in self.view.per_cpu {
                let at = Va(pointer.0.wrapping_add(*offset));
                if let Some(raw) = self.view.read(at.0, bytes as usize) {
                    self.follow_words(Words { id, object: None, raw: &raw }, at, found);
                }
            }
        }
    }

    /// Follows the pointers of one object.
    fn follow(&mut self, object: Object, owner: KnownType, found: &mut Vec<(Object, KnownType)>) {
        let Some((start, raw)) = self.read(object) else { return };
        if !owner.is_array {
            let words = Words { id: owner.id, object: Some(object), raw: &raw };
            return self.follow_words(words, start, found);
        }
        let bytes = self.view.types.size(owner.id).unwrap_or(0).max(1) as usize;
        for (index, one) in raw.chunks_exact(bytes).enumerate().take(MOST_ELEMENTS) {
            let at = start.at((index * bytes) as u64);
            self.follow_words(Words { id: owner.id, object: None, raw: one }, at, found);
        }
    }

    /// The type of an object that is an array of a struct: all elements fit, and two are not empty.
    fn array_of(&self, object: Object, id: TypeId) -> Option<KnownType> {
        let bytes = self.view.types.size(id).filter(|bytes| *bytes >= 8)? as usize;
        if !matches!(self.view.types.shape(id).1, Shape::Struct(_) | Shape::Union(_)) {
            return None;
        }
        let (start, raw) = self.read(object)?;
        let layout = self.layout(id);
        let (mut elements, mut filled, mut total) = (0, 0, 0.0);
        for (index, one) in raw.chunks_exact(bytes).enumerate().take(MOST_ELEMENTS) {
            elements += 1;
            if one.iter().all(|byte| *byte == 0) {
                continue;
            }
            let at = start.at((index * bytes) as u64);
            let one = Sample::new(&self.view, object, at, one.to_vec());
            let (score, _) = score(&self.view, &self.known, &layout, &one, &|_, _| None);
            if score < 0.0 {
                return None;
            }
            filled += 1;
            total += score;
        }
        let is_array = elements >= 2 && filled >= 2 && total >= f64::from(filled) * 1.5;
        is_array.then_some(KnownType { id, is_array: true, is_whole: true })
    }

    fn follow_words(&mut self, words: Words<'_>, at: Va, found: &mut Vec<(Object, KnownType)>) {
        let Words { id: owner, object: from, raw } = words;
        let layout = self.layout(owner);
        for part in &layout.parts {
            let word = |offset: u32| word_at(raw, (part.at + offset) as usize);
            let pointer = Pointer { owner, at: part.at, target: owner, inside: 0, from, value: 0 };
            match part.kind {
                Kind::Pointer(target, _) => {
                    self.follow_pointer(Pointer { target, value: word(0), ..pointer }, found);
                }
                // Most neighbours on a list are linked by the same member. A link to any other
                // offset leads to the list's head or to something else.
                Kind::Block(Block::List | Block::Chain) if from.is_some() => {
                    let own = at.at(part.at.into()).0;
                    for value in [word(0), word(8)].into_iter().filter(|link| *link != own) {
                        self.follow_pointer(Pointer { inside: part.at, value, ..pointer }, found);
                    }
                }
                _ => {}
            }
        }
    }

    /// Adds what a pointer tells of the object that it leads to.
    fn follow_pointer(&mut self, pointer: Pointer, found: &mut Vec<(Object, KnownType)>) {
        let Pointer { owner, at, target, inside, from, value } = pointer;
        let (types, heap) = (self.view.types, self.view.heap);
        let Word::Object(object, offset) = self.view.word(value) else { return };
        let cache = heap.slabs[object.slab as usize].cache;
        if self.known.of_cache(cache).is_some() || Some(object) == from {
            return;
        }
        if matches!(types.shape(target).1, Shape::Void | Shape::Forward | Shape::Other) {
            return;
        }
        let size = heap.caches[usize::from(cache)].object_size;
        let is_link = inside > 0 || owner == target && from.is_some() && at == inside;
        let whole = typed(types, target, size).filter(|typed| typed.is_whole);
        let array = || typed(types, target, size).and_then(|typed| self.array_of(object, typed.id));
        let whole = if is_link || offset > 0 { whole } else { whole.or_else(array) };
        if is_link && (offset != inside || !whole.is_some_and(|typed| self.fits(object, typed))) {
            return;
        }
        let offset = offset - inside;
        let is_first = self.known.pointers(object).is_empty();
        let pointer = TypedPointer { offset, target, owner, at };
        let is_new = self.known.add_pointer(types, object, pointer);
        if is_new
            && is_first
            && offset == 0
            && let Some(typed) = whole
            && (is_link || typed.is_array || self.fits(object, typed))
        {
            self.known.add_by_content(object, typed);
            found.push((object, typed));
        }
    }

    /// Assumes that these objects are of a type, and follows their pointers.
    pub fn assume_type(&mut self, objects: &[Object], id: TypeId) {
        let typed = KnownType { id, is_array: false, is_whole: true };
        let mut found = Vec::new();
        for object in objects {
            self.known.add_by_content(*object, typed);
            self.follow(*object, typed, &mut found);
        }
    }
}
