//! How well an object's words fit a type.
//!
//! Each part of the type's layout adds evidence for or against the type, roughly in bits. Pointers
//! weigh most: a list that closes, an object of the declared type, a function with the declared
//! parameters.
//!
//! **Invariant:** a score costs at most one look at each part and a few reads of eight bytes.

use sysak_base::Va;
use sysak_heap::Object;
use sysak_symbols::{IntKind, Shape, TypeId};

use crate::building_blocks;
use crate::evidence::{Evidence, EvidenceKind, Sample, Sum};
use crate::kernel_view::{KernelView, Word, text_len, word_at};
use crate::known::KnownTypes;
use crate::layout::{Kind, Layout, Part};
use crate::names;

/// The object behind a pointer is of the declared type from the first score on; up to the second it
/// is not.
const GOOD_FIT: f64 = 6.0;
const BAD_FIT: f64 = -4.0;

/// Evidence that is kept of one sample.
const MOST_EVIDENCE: usize = 64;

/// How well the object that a pointer leads to fits the declared type; `None` where that is not
/// known.
pub type Fit<'a> = dyn Fn(Object, TypeId) -> Option<f64> + 'a;

/// How well a sample fits a layout, and the evidence.
pub fn score(
    view: &KernelView<'_>,
    known: &KnownTypes,
    layout: &Layout,
    sample: &Sample,
    fit: &Fit<'_>,
) -> (f64, Vec<Evidence>) {
    let mut scorer = Scorer { view, known, sample, fit, evidence: Vec::new() };
    let mut total = Sum::default();
    scorer.parts(&layout.parts, &mut total);
    (total.value() + scorer.rest(layout.bytes), scorer.evidence)
}

/// Scores one sample by one layout.
pub(crate) struct Scorer<'a, 'w> {
    pub(crate) view: &'a KernelView<'w>,
    known: &'a KnownTypes,
    pub(crate) sample: &'a Sample,
    fit: &'a Fit<'a>,
    evidence: Vec<Evidence>,
}

impl Scorer<'_, '_> {
    fn parts(&mut self, parts: &[Part], total: &mut Sum) {
        parts.iter().for_each(|part| total.add(self.part(part)));
    }

    /// Bytes behind the type's end are unused: they are zero in most objects.
    fn rest(&self, from: u32) -> f64 {
        let from = from.next_multiple_of(8) as usize;
        let words = (from..self.sample.bytes.len()).step_by(8);
        let each = words.map(|at| match self.word(at as u32) {
            Word::Zero => 0.0,
            Word::Object(..) | Word::Text | Word::Data | Word::Page => -1.5,
            _ => -0.7,
        });
        each.sum::<f64>().max(-12.0)
    }

    pub(crate) fn raw(&self, at: u32) -> u64 {
        word_at(&self.sample.bytes, at as usize)
    }

    pub(crate) fn word(&self, at: u32) -> Word {
        match at.is_multiple_of(8) {
            true => self.sample.words.get(at as usize / 8).copied().unwrap_or(Word::Zero),
            false => self.view.word(self.raw(at)),
        }
    }

    pub(crate) fn add_evidence(&mut self, at: u32, weight: f64, kind: EvidenceKind) -> f64 {
        if self.evidence.len() < MOST_EVIDENCE {
            self.evidence.push(Evidence { at, weight, kind });
        }
        weight
    }

    fn part(&mut self, part: &Part) -> f64 {
        if part.at as usize >= self.sample.bytes.len() {
            return 0.0;
        }
        match &part.kind {
            Kind::Pointer(target, shape) => self.pointer(part.at, (*target, *shape)),
            Kind::Function(list) => self.function(part.at, *list),
            Kind::Number(of) => self.number(part, *of),
            Kind::Enum(low, high) => self.enumeration(part, *low, *high),
            Kind::Chars => self.letters(part),
            Kind::Block(block) => self.block(part.at, *block),
            Kind::Choice(choices) => self.choice(choices),
            Kind::Padding => self.padding(part),
            Kind::Any => 0.0,
        }
    }

    /// The score of the choice that fits best, less for many: one of them fits by accident.
    fn choice(&mut self, choices: &[Vec<Part>]) -> f64 {
        let before = self.evidence.len();
        let mut best: Option<(f64, Vec<Evidence>)> = None;
        for parts in choices {
            let mut total = Sum::default();
            self.parts(parts, &mut total);
            let score = total.value();
            let evidence = self.evidence.split_off(before.min(self.evidence.len()));
            if best.as_ref().is_none_or(|(other, _)| score > *other) {
                best = Some((score, evidence));
            }
        }
        let Some((score, evidence)) = best else { return 0.0 };
        self.evidence.extend(evidence);
        score - (choices.len() as f64).log2() * 0.5
    }

    fn pointer(&mut self, at: u32, (target, shape): (TypeId, Shape)) -> f64 {
        let value = self.raw(at);
        let name = || self.view.types.name(target);
        let is_struct = matches!(shape, Shape::Struct(_) | Shape::Union(_));
        let is_plain = matches!(shape, Shape::Void | Shape::Int { .. } | Shape::Forward);
        match self.word(at) {
            Word::Zero => -0.05,
            Word::Object(object, inside) => self.leads_to(at, object, inside, (target, shape)),
            Word::Data if is_struct => match self.is_named_like(value, name()) {
                true => self.add_evidence(at, 5.0, EvidenceKind::Variable(value)),
                false => 0.3,
            },
            Word::Data => 0.8,
            Word::Page if building_blocks::is_page(name()) => {
                self.add_evidence(at, 5.0, EvidenceKind::Page)
            }
            Word::Page if is_plain => -1.0,
            Word::Page => -5.0,
            Word::Text if is_plain => -0.5,
            Word::Text => -5.0,
            Word::Kernel => 0.4,
            Word::PerCpu => 1.0,
            Word::Free => -2.0,
            Word::Negative => -1.5,
            Word::Poison => -2.0,
            Word::User if is_plain => 0.5,
            Word::User => -4.0,
            Word::Small | Word::Half | Word::Letters | Word::Other => -6.0,
        }
    }

    /// A pointer to an object: whether that is of the declared type.
    fn leads_to(
        &mut self,
        at: u32,
        object: Object,
        inside: u32,
        (target, shape): (TypeId, Shape),
    ) -> f64 {
        let (types, heap) = (self.view.types, self.view.heap);
        if object == self.sample.object && inside == 0 && matches!(shape, Shape::Void) {
            return 0.5;
        }
        let size = heap.cache_of(object).object_size;
        if let Some(typed) = self.known.of_object(types, heap, object) {
            if self.known.begins_at(types, typed.id, inside, target) {
                return self.add_evidence(at, 6.0, EvidenceKind::Object(typed.id));
            }
            return match shape {
                Shape::Void => 0.0,
                Shape::Int { bytes: 1, .. } => -1.0,
                _ if typed.is_whole => -5.0,
                _ => -1.0,
            };
        }
        let room = size.saturating_sub(inside);
        match types.size_of_shape(shape) {
            Some(bytes) if bytes > room => -5.0,
            // A whole object of this size class.
            Some(bytes) if inside == 0 && bytes > names::class_below(size) => {
                match (self.fit)(object, target) {
                    Some(fit) if fit >= GOOD_FIT => {
                        self.add_evidence(at, 4.0, EvidenceKind::Object(target))
                    }
                    Some(fit) if fit <= BAD_FIT => -3.0,
                    _ => 2.0,
                }
            }
            Some(_) => 0.5,
            None => 0.0,
        }
    }

    /// Whether a variable is named like a type: `inotify_fsnotify_ops` like `fsnotify_ops`.
    fn is_named_like(&self, value: u64, name: &str) -> bool {
        let symbol = self.view.symbols.symbolize(Va(value));
        let Some(symbol) = symbol.filter(|symbol| symbol.offset == 0) else { return false };
        let last = name.rsplit('_').next().unwrap_or(name);
        let is_table = matches!(last, "ops" | "operations" | "type" | "class" | "ktype" | "proto");
        // `ext4_file_operations` is one file system's table of `file_operations`.
        let middle = name.split('_').next().unwrap_or(name);
        symbol.name.contains(name)
            || (is_table && symbol.name.contains(last) && symbol.name.contains(middle))
    }

    fn function(&mut self, at: u32, list: TypeId) -> f64 {
        let value = self.raw(at);
        match self.word(at) {
            Word::Zero => -0.3,
            // A handler in a program, or a small number in place of an address.
            Word::User | Word::Small => -0.5,
            Word::Text => match self.view.signatures(value) {
                Some(found) if found.is_empty() => 1.5,
                Some(found) => {
                    let wanted = self.view.types.signature(list);
                    match wanted.is_some_and(|wanted| found.contains(&wanted)) {
                        true => self.add_evidence(at, 7.0, EvidenceKind::Function(value)),
                        false => -4.0,
                    }
                }
                None => -4.0,
            },
            _ => -6.0,
        }
    }

    fn value(&self, part: &Part) -> u64 {
        let value = self.raw(part.at);
        match part.bytes {
            1..=7 => value & ((1 << (part.bytes * 8)) - 1),
            _ => value,
        }
    }

    /// Whether a number is part of what is an address.
    fn is_half_address(&self, part: &Part) -> bool {
        part.bytes < 8 && self.is_address(part.at & !7)
    }

    pub(crate) fn is_address(&self, at: u32) -> bool {
        matches!(
            self.word(at),
            Word::Object(..) | Word::Text | Word::Data | Word::Page | Word::Poison
        )
    }

    fn number(&mut self, part: &Part, of: IntKind) -> f64 {
        if self.is_half_address(part) {
            return -2.0;
        }
        let value = self.value(part);
        match (of, part.bytes) {
            (IntKind::Bool, _) if value > 1 => -5.0,
            (IntKind::Bool, _) => 0.3,
            (_, 8) => match self.word(part.at) {
                Word::Zero => 0.0,
                Word::Small | Word::Half => 0.8,
                Word::Object(..) | Word::Text | Word::Data | Word::Page => -3.0,
                Word::Poison => -4.0,
                Word::Negative if of == IntKind::Unsigned => -0.5,
                _ => 0.3,
            },
            _ if value == 0 => 0.0,
            _ if value < 1 << 16 => 0.6,
            _ => 0.1,
        }
    }

    fn enumeration(&self, part: &Part, low: i64, high: i64) -> f64 {
        if self.is_half_address(part) {
            return -4.0;
        }
        let value = i64::from(self.value(part) as u32 as i32);
        match (low..=high).contains(&value) {
            true if value == 0 => 0.0,
            true => 0.8,
            false => -3.0,
        }
    }

    fn letters(&mut self, part: &Part) -> f64 {
        let start = part.at as usize;
        let end = (start + part.bytes as usize).min(self.sample.bytes.len());
        match text_len(&self.sample.bytes[start..end]) {
            Some(0) => 0.0,
            Some(1..=2) => 0.5,
            Some(_) => 3.0,
            None => -2.0,
        }
    }

    fn padding(&self, part: &Part) -> f64 {
        match () {
            () if part.bytes >= 8 && self.is_address(part.at) => -2.0,
            () if self.value(part) == 0 => 0.0,
            () => -0.5,
        }
    }
}
