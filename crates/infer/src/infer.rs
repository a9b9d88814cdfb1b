//! Which type some objects have: every type that could be in a slot of that size is scored.
//!
//! **Danger:** a shape proves nothing. Two structs of the same make cannot be told apart by
//! content, and what no type information has a struct for is nobody's: the confidence says so.
//!
//! **Invariant:** the answer depends on a bounded sample of the objects, and on a bounded number
//! of types.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use sysak_base::Va;
use sysak_heap::Object;
use sysak_symbols::{Shape, TypeId};

use crate::known::{Hint, Known, Typed, typed};
use crate::layout::{Kind, Layout};
use crate::names::{self, Block};
use crate::score::{Mark, Sample, score};
use crate::world::{Word, World};

/// Types that are compared with more than one object.
const PROMISING: usize = 500;
/// Objects that are compared with these.
const FIRST_SAMPLE: usize = 6;
/// Objects that are compared with the types that fit these best.
const SAMPLE: usize = 32;
/// Types that are compared with all of the sample.
const FINALISTS: usize = 40;
/// Candidates that are told.
const TOLD: usize = 5;
/// Bytes of an object that are compared.
const LONGEST: u32 = 4096;
/// Types of one size that are compared.
const MOST_TYPES: usize = 6000;
/// What a type must score to be worth more than none at all, and how sure that makes.
const UNKNOWN: f64 = 2.0;
/// Bits of the score that are worth one of confidence: words of one object depend on each other.
const TEMPERATURE: f64 = 1.5;
/// A type that is declared by a module that the objects lead to; by any other module; and one
/// that describes what is no object of its own.
const OF_ITS_MODULE: f64 = 4.0;
const OF_A_MODULE: f64 = -1.0;
const SELDOM: f64 = -4.0;
/// Where BTF has the per-CPU variables.
const PER_CPU_SECTION: &str = ".data..percpu";
/// Elements of an array that are looked at.
const MOST_ELEMENTS: usize = 64;
/// Fits that are kept, so that they need not be computed again.
const MOST_FITS: usize = 1 << 18;
/// What a word is worth that says next to nothing.
const ALIKE: f64 = 0.5;
/// Words of an object, and objects behind it, that are looked at.
const MOST_BEHIND: usize = 64;
/// What is this likely is taken for true of an object that others lead to.
const SURE: f64 = 0.8;
/// What a typed pointer to the object is worth.
const POINTED: f64 = 9.0;
const POINTED_OTHERWISE: f64 = -3.0;

/// A type that the objects may have.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The type.
    pub id: TypeId,
    /// From 0 to 1: how sure that is, the other candidates and "none of these" considered.
    pub confidence: f64,
    /// Bits that speak for it, on the average of the sample.
    pub score: f64,
    /// What speaks for it most, of the first object of the sample.
    pub marks: Vec<Mark>,
    /// A typed pointer that leads to one of the objects, where there is one.
    pub hint: Option<Hint>,
}

/// Infers types.
pub struct Inference<'w> {
    world: World<'w>,
    known: Known,
    layouts: RefCell<HashMap<TypeId, Rc<Layout>>>,
    fits: RefCell<HashMap<(Object, TypeId), Option<f64>>>,
}

impl<'w> Inference<'w> {
    /// Starts from what the caches' names tell, those of `hidden` left out.
    pub fn new(world: World<'w>, hidden: &[u16]) -> Inference<'w> {
        let known = Known::by_caches(world.types, world.heap, hidden);
        Inference { world, known, layouts: RefCell::default(), fits: RefCell::default() }
    }

    /// What is known so far.
    pub fn known(&self) -> &Known {
        &self.known
    }

    fn layout(&self, id: TypeId) -> Rc<Layout> {
        let mut layouts = self.layouts.borrow_mut();
        layouts.entry(id).or_insert_with(|| Rc::new(Layout::of(self.world.types, id))).clone()
    }

    /// Where an object lies, and its bytes.
    fn read(&self, object: Object) -> Option<(Va, Vec<u8>)> {
        let heap = self.world.heap;
        let at = heap.object_va(object);
        let size = heap.cache_of(object).object_size.min(LONGEST);
        Some((at, self.world.read(at.0, size as usize)?))
    }

    /// Reads an object, to be compared.
    pub fn sample(&self, object: Object) -> Option<Sample> {
        let (at, bytes) = self.read(object)?;
        Some(Sample::new(&self.world, object, at, bytes))
    }

    /// Types that may be in a slot of an object's cache.
    fn possible(&self, object: Object) -> Vec<TypeId> {
        let cache = self.world.heap.cache_of(object);
        let (types, size) = (self.world.types, cache.object_size);
        let general = names::is_general(&cache.name);
        // A cache of its own is as large as its struct, rounded up to a word.
        let over = if general { names::class_below(size) } else { size.saturating_sub(8) };
        let fitting = types.sized(over, size);
        let flexible = types.flexible().iter().copied();
        let open = flexible.filter(|id| types.size(*id).is_some_and(|bytes| bytes <= over));
        let open = open.filter(|_| general);
        fitting.chain(open).take(MOST_TYPES).collect()
    }

    /// The types that fit some objects of one cache best, the best first.
    ///
    /// `modules` are those that the objects lead to, where that is known.
    pub fn infer(&self, objects: &[Object], modules: &[String]) -> Vec<Candidate> {
        let samples: Vec<Sample> =
            objects.iter().take(SAMPLE).filter_map(|object| self.sample(*object)).collect();
        let Some(first) = samples.first() else { return Vec::new() };
        let few = &samples[..samples.len().min(FIRST_SAMPLE)];
        let all = self.possible(first.object).into_iter();
        let mut scored: Vec<(f64, TypeId)> = all.map(|id| (0.0, id)).collect();
        for (sample, kept) in [(&few[..1], PROMISING), (few, FINALISTS), (&samples[..], FINALISTS)]
        {
            for one in &mut scored {
                one.0 = self.average(one.1, sample) + self.prior(one.1, modules);
            }
            scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            scored.truncate(kept);
        }
        self.merge_copies(&mut scored);
        let best = scored.first().map_or(UNKNOWN, |one| one.0.max(UNKNOWN));
        let weight = |score: f64| ((score - best) / TEMPERATURE).exp2();
        let all: f64 = scored.iter().map(|one| weight(one.0)).sum::<f64>() + weight(UNKNOWN);
        scored.truncate(TOLD);
        let candidate = |(value, id): (f64, TypeId)| {
            let (_, mut marks) = self.score(id, first);
            marks.retain(|mark| mark.weight >= 3.0);
            marks.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.at.cmp(&b.at)));
            let hints = samples.iter().flat_map(|one| self.known.hints(one.object));
            let hint = hints
                .copied()
                .find(|hint| self.world.types.begins_at(id, hint.offset, hint.target));
            Candidate { id, confidence: weight(value) / all, score: value, marks, hint }
        };
        scored.into_iter().map(candidate).collect()
    }

    /// What speaks for a type before any word is compared.
    fn prior(&self, id: TypeId, modules: &[String]) -> f64 {
        let types = self.world.types;
        let own = match types.module(id) {
            Some(module) if modules.iter().any(|other| other == module) => OF_ITS_MODULE,
            Some(_) => OF_A_MODULE,
            None => 0.0,
        };
        let seldom = if names::is_seldom_allocated(types.name(id)) { SELDOM } else { 0.0 };
        own + seldom
    }

    /// Two tables' copies of one type are one candidate; and so are a struct and another that begins
    /// with it, where nothing of what the longer one has more speaks for it.
    fn merge_copies(&self, scored: &mut Vec<(f64, TypeId)>) {
        let types = self.world.types;
        let mut kept: Vec<(f64, TypeId)> = Vec::new();
        for one in scored.drain(..) {
            let is_copy = |other: &(f64, TypeId)| {
                let begins =
                    || types.begins_at(one.1, 0, other.1) || types.begins_at(other.1, 0, one.1);
                types.same(other.1, one.1) || other.0 - one.0 < ALIKE && begins()
            };
            if !kept.iter().any(is_copy) {
                kept.push(one);
            }
        }
        *scored = kept;
    }

    /// How well the samples fit a type, on the average.
    fn average(&self, id: TypeId, samples: &[Sample]) -> f64 {
        let layout = self.layout(id);
        let one = |sample: &Sample| {
            let (own, _) = self.score_as(&layout, sample);
            own + self.pointed(id, sample.object)
        };
        samples.iter().map(one).sum::<f64>() / samples.len().max(1) as f64
    }

    fn score(&self, id: TypeId, sample: &Sample) -> (f64, Vec<Mark>) {
        self.score_as(&self.layout(id), sample)
    }

    fn score_as(&self, layout: &Layout, sample: &Sample) -> (f64, Vec<Mark>) {
        let fit = |object, id| self.fit(object, id);
        score(&self.world, &self.known, layout, sample, &fit)
    }

    /// How well an object fits a type by its own words alone.
    fn fit(&self, object: Object, id: TypeId) -> Option<f64> {
        if let Some(known) = self.fits.borrow().get(&(object, id)) {
            return *known;
        }
        let fit = self.sample(object).map(|sample| {
            score(&self.world, &self.known, &self.layout(id), &sample, &|_, _| None).0
        });
        let mut fits = self.fits.borrow_mut();
        if fits.len() < MOST_FITS {
            fits.insert((object, id), fit);
        }
        fit
    }

    /// What the pointers to an object say of a type.
    fn pointed(&self, id: TypeId, object: Object) -> f64 {
        let types = self.world.types;
        let one = |hint: &Hint| match types.begins_at(id, hint.offset, hint.target) {
            true => POINTED,
            false => POINTED_OTHERWISE,
        };
        self.known.hints(object).iter().map(one).fold(0.0, f64::max).max(
            self.known.hints(object).iter().map(one).sum::<f64>().clamp(POINTED_OTHERWISE, POINTED),
        )
    }

    /// Follows the typed pointers of every object whose type is known, and those of the per-CPU
    /// variables, and then of what they lead to, so many `rounds` far. Returns how many
    /// objects something led to.
    pub fn spread(&mut self, rounds: u32, is_cancelled: &dyn Fn() -> bool) -> usize {
        let heap = self.world.heap;
        let mut next: Vec<(Object, Typed)> = Vec::new();
        for (index, slab) in (0..).zip(&heap.slabs) {
            if let Some(id) = self.known.of_cache(slab.cache) {
                heap.for_each_live(index, |object| {
                    let object = Object { slab: index, index: object };
                    next.push((object, Typed { id, many: false, whole: true }));
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

    /// Follows each CPU's copy of the kernel's per-CPU variables: of all others the type information
    /// says nothing.
    fn follow_variables(&mut self, found: &mut Vec<(Object, Typed)>) {
        let types = self.world.types;
        let variables: Vec<(Va, TypeId)> = types
            .variables()
            .filter(|(module, one)| module.is_none() && one.section == PER_CPU_SECTION)
            .filter_map(|(_, one)| Some((self.world.symbols.find(one.name)?, one.type_id)))
            .collect();
        for (pointer, id) in variables {
            let bytes = types.size(id).unwrap_or(0).min(LONGEST);
            for offset in self.world.per_cpu {
                let at = Va(pointer.0.wrapping_add(*offset));
                if let Some(raw) = self.world.read(at.0, bytes as usize) {
                    self.follow_words((id, None), at, &raw, found);
                }
            }
        }
    }

    /// Notes what the pointers of one object lead to.
    fn follow(&mut self, object: Object, owner: Typed, found: &mut Vec<(Object, Typed)>) {
        let Some((start, raw)) = self.read(object) else { return };
        if !owner.many {
            return self.follow_words((owner.id, Some(object)), start, &raw, found);
        }
        let bytes = self.world.types.size(owner.id).unwrap_or(0).max(1) as usize;
        for (index, one) in raw.chunks_exact(bytes).enumerate().take(MOST_ELEMENTS) {
            let at = start.at((index * bytes) as u64);
            self.follow_words((owner.id, None), at, one, found);
        }
    }

    /// Whether an object is an array of a struct: all of the elements fit, and some are not empty.
    fn many(&self, object: Object, id: TypeId) -> Option<Typed> {
        let bytes = self.world.types.size(id).filter(|bytes| *bytes >= 8)? as usize;
        if !matches!(self.world.types.shape(id).1, Shape::Struct(_) | Shape::Union(_)) {
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
            let one = Sample::new(&self.world, object, at, one.to_vec());
            let (score, _) = score(&self.world, &self.known, &layout, &one, &|_, _| None);
            if score < 0.0 {
                return None;
            }
            filled += 1;
            total += score;
        }
        let is_many = elements >= 2 && filled >= 2 && total >= f64::from(filled) * 1.5;
        is_many.then_some(Typed { id, many: true, whole: true })
    }

    fn follow_words(
        &mut self,
        (owner, object): (TypeId, Option<Object>),
        at: Va,
        raw: &[u8],
        found: &mut Vec<(Object, Typed)>,
    ) {
        let layout = self.layout(owner);
        for part in &layout.parts {
            let word = |offset: u32| crate::world::word_at(raw, (part.at + offset) as usize);
            match part.kind {
                Kind::Pointer(target) => {
                    self.pointer((owner, part.at), (target, 0), (object, word(0)), found);
                }
                // Neighbours on a list hang on it by the same member, mostly: one that does not
                // begin where such an object would is the list's head or something else.
                Kind::Block(Block::List | Block::Chain) if object.is_some() => {
                    let inside = at.at(part.at.into()).0;
                    for link in [word(0), word(8)].into_iter().filter(|link| *link != inside) {
                        self.pointer((owner, part.at), (owner, part.at), (object, link), found);
                    }
                }
                _ => {}
            }
        }
    }

    /// Notes where a word leads to that should point `inside` bytes into a `target`.
    fn pointer(
        &mut self,
        (owner, at): (TypeId, u32),
        (target, inside): (TypeId, u32),
        (from, value): (Option<Object>, u64),
        found: &mut Vec<(Object, Typed)>,
    ) {
        let (types, heap) = (self.world.types, self.world.heap);
        let Word::Object(object, offset) = self.world.word(value) else { return };
        let cache = heap.slabs[object.slab as usize].cache;
        if self.known.of_cache(cache).is_some() || Some(object) == from {
            return;
        }
        let target_shape = types.shape(target).1;
        if matches!(target_shape, Shape::Void | Shape::Forward | Shape::Other) {
            return;
        }
        let size = heap.caches[usize::from(cache)].object_size;
        let is_link = inside > 0 || owner == target && from.is_some() && at == inside;
        let whole = typed(types, target, size).filter(|typed| typed.whole);
        let many = || typed(types, target, size).and_then(|typed| self.many(object, typed.id));
        let whole = if is_link || offset > 0 { whole } else { whole.or_else(many) };
        if is_link && (offset != inside || !whole.is_some_and(|typed| self.fits(object, typed))) {
            return;
        }
        let offset = offset - inside;
        let is_first = self.known.hints(object).is_empty();
        let is_new = self.known.add_hint(types, object, Hint { offset, target, owner, at });
        if is_new
            && is_first
            && offset == 0
            && let Some(typed) = whole
            && (is_link || typed.many || self.fits(object, typed))
        {
            self.known.add_content(object, typed);
            found.push((object, typed));
        }
    }

    /// Takes it for true that these objects are of a type, and follows their pointers.
    pub fn learn(&mut self, objects: &[Object], id: TypeId) {
        let typed = Typed { id, many: false, whole: true };
        let mut found = Vec::new();
        for object in objects {
            self.known.add_content(*object, typed);
            self.follow(*object, typed, &mut found);
        }
    }

    /// Infers the types of what some objects lead to, where nothing tells them yet: an object of
    /// a struct that is hard to tell is often held by one that is easy.
    pub fn look_behind(&mut self, objects: &[Object]) {
        let mut behind: Vec<Object> = Vec::new();
        for sample in objects.iter().take(FIRST_SAMPLE).filter_map(|one| self.sample(*one)) {
            for word in sample.words.into_iter().take(MOST_BEHIND) {
                if let Word::Object(object, _) = word
                    && self.known.of_object(self.world.types, self.world.heap, object).is_none()
                    && !objects.contains(&object)
                    && !behind.contains(&object)
                    && behind.len() < MOST_BEHIND
                {
                    behind.push(object);
                }
            }
        }
        for object in behind {
            let best = self.infer(&[object], &[]).into_iter().next();
            if let Some(best) = best.filter(|best| best.confidence >= SURE) {
                let typed = Typed { id: best.id, many: false, whole: false };
                self.known.add_content(object, typed);
            }
        }
    }

    /// Whether an object's words do not speak against a type.
    fn fits(&self, object: Object, typed: Typed) -> bool {
        typed.many
            || self.sample(object).is_some_and(|sample| self.score(typed.id, &sample).0 > 0.0)
    }

    /// What the word at an offset of a type is called: `list.next`.
    pub fn field(&self, id: TypeId, offset: u32) -> Option<String> {
        self.world.types.field(id, offset)
    }
}
