//! Infers which type some objects have: every type that fits a slot of their size is scored.
//!
//! **Danger:** a high score is no proof. Two structs with the same layout have the same score, and
//! objects without a struct in the type information fit some other one; the confidence says so.
//!
//! **Invariant:** the answer depends on a bounded sample of the objects, and on a bounded number
//! of types.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use sysak_base::Va;
use sysak_heap::Object;
use sysak_symbols::TypeId;

use crate::evidence::{Evidence, Sample};
use crate::fingerprint;
use crate::kernel_view::{KernelView, Word};
use crate::known::{KnownType, KnownTypes, TypedPointer};
use crate::layout::Layout;
use crate::names;
use crate::score::score;

/// Types that are compared with a few objects, after all were compared with one.
const PROMISING: usize = 500;
/// How many objects these few are.
const FIRST_SAMPLE: usize = 6;
/// Objects that are compared with the finalists.
const SAMPLE: usize = 32;
/// Types that are compared with all of the sample.
const FINALISTS: usize = 40;
/// Candidates that are returned.
const MOST_CANDIDATES: usize = 5;
/// Bytes of an object that are compared.
pub(crate) const LONGEST: u32 = 4096;
/// Types of one size that are compared.
const MOST_TYPES: usize = 6000;
/// The score of "none of these types": a type must have more.
const UNKNOWN_SCORE: f64 = 2.0;
/// Bits of the score that make one bit of confidence: words of one object depend on each other.
const TEMPERATURE: f64 = 1.5;
/// The score of a type that is declared by a module that the objects lead to, of one that is
/// declared by any other module, and of one that is seldom allocated by itself.
const OF_ITS_MODULE: f64 = 4.0;
const OF_A_MODULE: f64 = -1.0;
const SELDOM: f64 = -4.0;
/// The score of a type that one of a merged cache's names tells, where the content speaks for it, too.
const OF_ITS_NAMES: f64 = 4.0;
/// Scores that are stored for repeated use.
const MOST_FITS: usize = 1 << 18;
/// Evidence from this weight on is returned with a candidate.
const STRONG: f64 = 3.0;
/// A difference between two scores that says nothing.
const SAME_SCORE: f64 = 0.5;
/// Words of an object whose pointees are inferred, and pointees of all objects.
const MOST_POINTEES: usize = 64;
/// A pointee is taken for a type that is as likely as this.
const SURE: f64 = 0.8;
/// The score of a typed pointer to the object that agrees with a type, and of one that does not.
const POINTER_AGREES: f64 = 9.0;
const POINTER_DISAGREES: f64 = -3.0;

/// A type that the objects may have.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The type.
    pub id: TypeId,
    /// From 0 to 1, the other candidates and "none of these" considered.
    pub confidence: f64,
    /// The score in bits, on the average of the sample.
    pub score: f64,
    /// The strongest evidence for it, in the first object of the sample.
    pub evidence: Vec<Evidence>,
    /// A typed pointer to one of the objects that agrees with it.
    pub pointer: Option<TypedPointer>,
}

/// A type, and how well some objects fit it.
struct Scored {
    id: TypeId,
    score: f64,
}

/// Infers types.
pub struct Inference<'w> {
    pub(crate) view: KernelView<'w>,
    pub(crate) known: KnownTypes,
    layouts: RefCell<HashMap<TypeId, Rc<Layout>>>,
    fits: RefCell<HashMap<(Object, TypeId), Option<f64>>>,
    /// Types that are seldom allocated by themselves.
    seldom: HashSet<TypeId>,
    /// By cache and fingerprint: the type that objects are nearly sure to have by their content, if there is one.
    of_kind: HashMap<(u16, u64), Option<KnownType>>,
}

impl<'w> Inference<'w> {
    /// Starts with the structs that caches' names tell, without the caches of `hidden`.
    pub fn new(view: KernelView<'w>, hidden: &[u16]) -> Inference<'w> {
        let known = KnownTypes::by_caches(view.types, view.heap, hidden);
        let is_seldom = |id: &TypeId| names::is_seldom_allocated(view.types.name(*id));
        let seldom = view.types.sized(0, u32::MAX).filter(is_seldom).collect();
        Inference {
            view,
            known,
            layouts: RefCell::default(),
            fits: RefCell::default(),
            seldom,
            of_kind: HashMap::new(),
        }
    }

    /// The types that are known so far.
    pub fn known(&self) -> &KnownTypes {
        &self.known
    }

    pub(crate) fn layout(&self, id: TypeId) -> Rc<Layout> {
        let mut layouts = self.layouts.borrow_mut();
        layouts.entry(id).or_insert_with(|| Rc::new(Layout::of(self.view.types, id))).clone()
    }

    /// An object's address and bytes.
    pub(crate) fn read(&self, object: Object) -> Option<(Va, Vec<u8>)> {
        let heap = self.view.heap;
        let at = heap.object_va(object);
        let size = heap.cache_of(object).object_size.min(LONGEST);
        Some((at, self.view.read(at.0, size as usize)?))
    }

    /// Reads an object, to be compared with types.
    pub fn sample(&self, object: Object) -> Option<Sample> {
        let (at, bytes) = self.read(object)?;
        Some(Sample::new(&self.view, object, at, bytes))
    }

    /// Types that fit a slot of an object's cache.
    fn possible_types(&self, object: Object) -> Vec<TypeId> {
        let cache = self.view.heap.cache_of(object);
        let (types, size) = (self.view.types, cache.object_size);
        let general = names::is_general(&cache.name);
        // A cache of its own is as large as its struct, rounded up to a word.
        let over = if general { names::class_below(size) } else { size.saturating_sub(8) };
        let fitting = types.sized(over, size);
        let flexible = general.then(|| types.flexible(over)).into_iter().flatten();
        fitting.chain(flexible).take(MOST_TYPES).collect()
    }

    /// The types that fit some objects of one cache best, the best first.
    ///
    /// `modules` are those that the objects lead to, where that is known.
    pub fn infer(&self, objects: &[Object], modules: &[String]) -> Vec<Candidate> {
        let samples: Vec<Sample> =
            objects.iter().take(SAMPLE).filter_map(|object| self.sample(*object)).collect();
        let Some(first) = samples.first() else { return Vec::new() };
        let of_names = self.known.of_names(self.view.heap.slabs[first.object.slab as usize].cache);
        let by_name = |id: TypeId, own: f64| match own > UNKNOWN_SCORE && of_names.contains(&id) {
            true => OF_ITS_NAMES,
            false => 0.0,
        };
        let few = &samples[..samples.len().min(FIRST_SAMPLE)];
        let all = self.possible_types(first.object).into_iter();
        let mut scored: Vec<Scored> = all.map(|id| Scored { id, score: 0.0 }).collect();
        let mut compared = 0;
        for (sample, most) in [(&few[..1], PROMISING), (few, FINALISTS), (&samples[..], FINALISTS)]
        {
            // A sample that did not grow gives the same scores.
            if sample.len() > compared {
                compared = sample.len();
                for one in &mut scored {
                    let own = self.average_score(one.id, sample);
                    one.score = own + self.prior(one.id, modules) + by_name(one.id, own);
                }
                scored.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
            }
            scored.truncate(most);
        }
        self.merge_copies(&mut scored);
        let best = scored.first().map_or(UNKNOWN_SCORE, |one| one.score.max(UNKNOWN_SCORE));
        let weight = |score: f64| ((score - best) / TEMPERATURE).exp2();
        let all: f64 =
            scored.iter().map(|one| weight(one.score)).sum::<f64>() + weight(UNKNOWN_SCORE);
        scored.truncate(MOST_CANDIDATES);
        let candidate = |Scored { id, score }: Scored| {
            let (_, mut evidence) = self.score(id, first);
            evidence.retain(|one| one.weight >= STRONG);
            evidence.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.at.cmp(&b.at)));
            let pointers = samples.iter().flat_map(|one| self.known.pointers(one.object));
            let pointer = pointers
                .copied()
                .find(|pointer| self.view.types.begins_at(id, pointer.offset, pointer.target));
            Candidate { id, confidence: weight(score) / all, score, evidence, pointer }
        };
        scored.into_iter().map(candidate).collect()
    }

    /// The score of a type before any word is compared.
    fn prior(&self, id: TypeId, modules: &[String]) -> f64 {
        let types = self.view.types;
        let own = match types.module(id) {
            Some(module) if modules.iter().any(|other| other == module) => OF_ITS_MODULE,
            Some(_) => OF_A_MODULE,
            None => 0.0,
        };
        let seldom = if self.seldom.contains(&id) { SELDOM } else { 0.0 };
        own + seldom
    }

    /// Two tables' copies of one type are one candidate. So are a struct and a longer one that begins
    /// with it, where the rest of the longer one has no evidence.
    fn merge_copies(&self, scored: &mut Vec<Scored>) {
        let types = self.view.types;
        let mut distinct: Vec<Scored> = Vec::new();
        for one in scored.drain(..) {
            let is_copy = |other: &Scored| {
                let begins =
                    || types.begins_at(one.id, 0, other.id) || types.begins_at(other.id, 0, one.id);
                types.same(other.id, one.id) || other.score - one.score < SAME_SCORE && begins()
            };
            if !distinct.iter().any(is_copy) {
                distinct.push(one);
            }
        }
        *scored = distinct;
    }

    /// How well the samples fit a type, on the average.
    fn average_score(&self, id: TypeId, samples: &[Sample]) -> f64 {
        let layout = self.layout(id);
        let one = |sample: &Sample| {
            let (own, _) = self.score_as(&layout, sample);
            own + self.pointer_score(id, sample.object)
        };
        samples.iter().map(one).sum::<f64>() / samples.len().max(1) as f64
    }

    fn score(&self, id: TypeId, sample: &Sample) -> (f64, Vec<Evidence>) {
        self.score_as(&self.layout(id), sample)
    }

    fn score_as(&self, layout: &Layout, sample: &Sample) -> (f64, Vec<Evidence>) {
        let fit = |object, id| self.fit(object, id);
        score(&self.view, &self.known, layout, sample, &fit)
    }

    /// How well an object fits a type by its own words alone.
    fn fit(&self, object: Object, id: TypeId) -> Option<f64> {
        if let Some(known) = self.fits.borrow().get(&(object, id)) {
            return *known;
        }
        let fit = self.sample(object).map(|sample| {
            score(&self.view, &self.known, &self.layout(id), &sample, &|_, _| None).0
        });
        let mut fits = self.fits.borrow_mut();
        if fits.len() < MOST_FITS {
            fits.insert((object, id), fit);
        }
        fit
    }

    /// The score of a type by the typed pointers to an object.
    fn pointer_score(&self, id: TypeId, object: Object) -> f64 {
        let types = self.view.types;
        let one = |pointer: &TypedPointer| match self.known.begins_at(
            types,
            id,
            pointer.offset,
            pointer.target,
        ) {
            true => POINTER_AGREES,
            false => POINTER_DISAGREES,
        };
        self.known.pointers(object).iter().map(one).fold(0.0, f64::max).max(
            self.known
                .pointers(object)
                .iter()
                .map(one)
                .sum::<f64>()
                .clamp(POINTER_DISAGREES, POINTER_AGREES),
        )
    }

    /// Infers the types of what some objects point to, where these are unknown: pointers to objects
    /// of known types are strong evidence.
    pub fn infer_pointees(&mut self, objects: &[Object]) {
        let mut pointees: Vec<Object> = Vec::new();
        for sample in objects.iter().take(FIRST_SAMPLE).filter_map(|one| self.sample(*one)) {
            for word in sample.words.into_iter().take(MOST_POINTEES) {
                if let Word::Object(object, _) = word
                    && self.known.of_object(self.view.types, self.view.heap, object).is_none()
                    && !objects.contains(&object)
                    && !pointees.contains(&object)
                    && pointees.len() < MOST_POINTEES
                {
                    pointees.push(object);
                }
            }
        }
        for object in pointees {
            let Some(kind) = self.kind(object) else { continue };
            // What holds for one of them holds for those that look the same.
            let typed = match self.of_kind.get(&kind) {
                Some(known) => known.filter(|typed| self.fits(object, *typed)),
                None => self.sure_type(object),
            };
            self.of_kind.entry(kind).or_insert(typed);
            if let Some(typed) = typed {
                self.known.add_by_content(object, typed);
            }
        }
    }

    /// What objects that look the same have in common: the cache, and the fingerprint.
    fn kind(&self, object: Object) -> Option<(u16, u64)> {
        let heap = self.view.heap;
        let (_, bytes) = self.read(object)?;
        Some((heap.slabs[object.slab as usize].cache, fingerprint::of(heap, &bytes)))
    }

    /// The type of one object by its content, where that is nearly sure.
    fn sure_type(&self, object: Object) -> Option<KnownType> {
        let best = self.infer(&[object], &[]).into_iter().next();
        let best = best.filter(|best| best.confidence >= SURE)?;
        Some(KnownType { id: best.id, is_array: false, is_whole: false })
    }

    /// Whether an object's words do not speak against a type.
    pub(crate) fn fits(&self, object: Object, typed: KnownType) -> bool {
        typed.is_array
            || self.sample(object).is_some_and(|sample| self.score(typed.id, &sample).0 > 0.0)
    }

    /// The name of the word at an offset of a type: `list.next`.
    pub fn field(&self, id: TypeId, offset: u32) -> Option<String> {
        self.view.types.field(id, offset)
    }
}
