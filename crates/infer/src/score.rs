//! How well an object's words fit a type.
//!
//! Each part of the type's layout adds to the score what its word speaks for the type or
//! against it, roughly in bits. What a pointer leads to weighs most: a list that closes, an object
//! of the right type, a function of the right parameters.
//!
//! **Invariant:** a score costs at most one look at each part and a few reads of eight bytes.

use sysak_base::Va;
use sysak_heap::Object;
use sysak_symbols::{IntKind, Shape, TypeId};

use crate::known::Known;
use crate::layout::{Kind, Layout, Part};
use crate::names::{self, Block};
use crate::world::{Word, World, text_len, word_at};

/// An object whose words are compared, with thousands of types mostly.
pub struct Sample {
    /// Which object.
    pub object: Object,
    /// Where it lies.
    pub at: Va,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What its words are.
    pub(crate) words: Vec<Word>,
}

impl Sample {
    /// Looks its words up.
    pub fn new(world: &World<'_>, object: Object, at: Va, bytes: Vec<u8>) -> Sample {
        let words = (0..bytes.len()).step_by(8).map(|at| world.word(word_at(&bytes, at)));
        Sample { object, at, words: words.collect(), bytes }
    }
}

/// What speaks for a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// Bytes from the object's start.
    pub at: u32,
    /// How much, in bits.
    pub weight: f64,
    /// In which way.
    pub what: What,
}

/// In which way a word speaks for a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It leads to an object of the type that it should.
    Leads(TypeId),
    /// It leads to a variable that is called like the type that it should lead to.
    Named(u64),
    /// It leads to a function of the parameters that it should.
    Calls(u64),
    /// It is a link of a list that closes.
    Linked,
    /// It was taken off a list.
    Unlinked,
    /// It leads to a page as it should.
    Page,
    /// Something less.
    Other,
}

/// What an object behind a pointer scores that is, and that is not, what it should be.
const GOOD_FIT: f64 = 6.0;
const BAD_FIT: f64 = -4.0;

/// More of these are not worth telling, and say no more.
const MOST_MARKS: usize = 64;

/// How well an object that a pointer leads to fits what it should be; `None` where nobody knows.
pub type Fit<'a> = dyn Fn(Object, TypeId) -> Option<f64> + 'a;

/// How well a sample fits a layout, and what of it is worth telling.
pub fn score(
    world: &World<'_>,
    known: &Known,
    layout: &Layout,
    sample: &Sample,
    fit: &Fit<'_>,
) -> (f64, Vec<Mark>) {
    let mut scorer = Scorer { world, known, sample, fit, marks: Vec::new() };
    let mut total = Sum::default();
    scorer.parts(&layout.parts, &mut total);
    (total.value() + scorer.rest(layout.bytes), scorer.marks)
}

/// What speaks for a type and against it.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    /// Hundreds of numbers that are small, as numbers are, say no more than a few.
    weak: f64,
    /// And so do hundreds of pointers that are not set.
    unset: f64,
    rest: f64,
}

/// What speaks for a type less than this is weak.
const WEAK: f64 = 1.5;
/// What speaks against it no more than this is weak, too.
const UNSET: f64 = -0.6;
/// All that is weak together says no more than this.
const MOST_WEAK: f64 = 5.0;

impl Sum {
    fn add(&mut self, bits: f64) {
        match bits {
            0.0..WEAK => self.weak += bits,
            UNSET..0.0 => self.unset += bits,
            _ => self.rest += bits,
        }
    }

    fn value(self) -> f64 {
        self.weak.min(MOST_WEAK) + self.unset.max(-MOST_WEAK) + self.rest
    }
}

struct Scorer<'a, 'w> {
    world: &'a World<'w>,
    known: &'a Known,
    sample: &'a Sample,
    fit: &'a Fit<'a>,
    marks: Vec<Mark>,
}

impl Scorer<'_, '_> {
    fn parts(&mut self, parts: &[Part], total: &mut Sum) {
        parts.iter().for_each(|part| total.add(self.part(part)));
    }

    /// What lies behind the type's end is nobody's: seldom more than zeros.
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

    fn raw(&self, at: u32) -> u64 {
        word_at(&self.sample.bytes, at as usize)
    }

    fn word(&self, at: u32) -> Word {
        match at.is_multiple_of(8) {
            true => self.sample.words.get(at as usize / 8).copied().unwrap_or(Word::Zero),
            false => self.world.word(self.raw(at)),
        }
    }

    fn mark(&mut self, at: u32, weight: f64, what: What) -> f64 {
        if self.marks.len() < MOST_MARKS {
            self.marks.push(Mark { at, weight, what });
        }
        weight
    }

    fn part(&mut self, part: &Part) -> f64 {
        if part.at as usize >= self.sample.bytes.len() {
            return 0.0;
        }
        match &part.kind {
            Kind::Pointer(target) => self.pointer(part.at, *target),
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

    /// The choice that fits best; of many, one fits by accident.
    fn choice(&mut self, choices: &[Vec<Part>]) -> f64 {
        let before = self.marks.len();
        let mut best: Option<(f64, Vec<Mark>)> = None;
        for parts in choices {
            let mut total = Sum::default();
            self.parts(parts, &mut total);
            let score = total.value();
            let marks = self.marks.split_off(before.min(self.marks.len()));
            if best.as_ref().is_none_or(|(other, _)| score > *other) {
                best = Some((score, marks));
            }
        }
        let Some((score, marks)) = best else { return 0.0 };
        self.marks.extend(marks);
        score - (choices.len() as f64).log2() * 0.5
    }

    fn pointer(&mut self, at: u32, target: TypeId) -> f64 {
        let value = self.raw(at);
        let types = self.world.types;
        let (target, shape) = types.shape(target);
        let name = || types.name(target);
        let is_struct = matches!(shape, Shape::Struct(_) | Shape::Union(_));
        let is_plain = matches!(shape, Shape::Void | Shape::Int { .. } | Shape::Forward);
        match self.word(at) {
            Word::Zero => -0.05,
            Word::Object(object, inside) => self.leads_to(at, object, inside, (target, shape)),
            Word::Data if is_struct => match self.is_called_like(value, name()) {
                true => self.mark(at, 5.0, What::Named(value)),
                false => 0.3,
            },
            Word::Data => 0.8,
            Word::Page if names::is_page(name()) => self.mark(at, 5.0, What::Page),
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

    /// A pointer to an object: of the type that it should be?
    fn leads_to(
        &mut self,
        at: u32,
        object: Object,
        inside: u32,
        (target, shape): (TypeId, Shape),
    ) -> f64 {
        let (types, heap) = (self.world.types, self.world.heap);
        if object == self.sample.object && inside == 0 && matches!(shape, Shape::Void) {
            return 0.5;
        }
        let size = heap.cache_of(object).object_size;
        if let Some(typed) = self.known.of_object(types, heap, object) {
            if types.begins_at(typed.id, inside, target) {
                return self.mark(at, 6.0, What::Leads(typed.id));
            }
            return match shape {
                Shape::Void => 0.0,
                Shape::Int { bytes: 1, .. } => -1.0,
                _ if typed.whole => -5.0,
                _ => -1.0,
            };
        }
        let room = size.saturating_sub(inside);
        match types.size(target) {
            Some(bytes) if bytes > room => -5.0,
            // A whole object of this size class.
            Some(bytes) if inside == 0 && bytes > names::class_below(size) => {
                match (self.fit)(object, target) {
                    Some(fit) if fit >= GOOD_FIT => self.mark(at, 4.0, What::Leads(target)),
                    Some(fit) if fit <= BAD_FIT => -3.0,
                    _ => 2.0,
                }
            }
            Some(_) => 0.5,
            None => 0.0,
        }
    }

    /// Whether a variable is called like a type: `inotify_fsnotify_ops` like `fsnotify_ops`.
    fn is_called_like(&self, value: u64, name: &str) -> bool {
        let symbol = self.world.symbols.symbolize(Va(value));
        let Some(symbol) = symbol.filter(|symbol| symbol.offset == 0) else { return false };
        let last = name.rsplit('_').next().unwrap_or(name);
        let is_table = matches!(last, "ops" | "operations" | "type" | "class" | "ktype" | "proto");
        // `ext4_file_operations` may be anybody's operations, but of files they are.
        let middle = name.split('_').next().unwrap_or(name);
        symbol.name.contains(name)
            || (is_table && symbol.name.contains(last) && symbol.name.contains(middle))
    }

    fn function(&mut self, at: u32, list: TypeId) -> f64 {
        let value = self.raw(at);
        match self.word(at) {
            Word::Zero => -0.3,
            // A handler of a program's, or a number instead of one.
            Word::User | Word::Small => -0.5,
            Word::Text => match self.world.signatures(value) {
                Some(found) if found.is_empty() => 1.5,
                Some(found) => {
                    let wanted = self.world.types.signature(list);
                    match wanted.is_some_and(|wanted| found.contains(&wanted)) {
                        true => self.mark(at, 7.0, What::Calls(value)),
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

    fn is_address(&self, at: u32) -> bool {
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

    fn block(&mut self, at: u32, block: Block) -> f64 {
        let own = self.sample.at.at(at.into()).0;
        let [first, second] = [self.raw(at), self.raw(at + 8)];
        let read = |at: u64| self.world.read_word(at);
        match block {
            Block::List => match (self.word(at), self.word(at + 8)) {
                (Word::Zero, Word::Zero) => -0.5,
                (Word::Poison, Word::Poison) => self.mark(at, 5.0, What::Unlinked),
                _ if first == own && second == own => self.mark(at, 5.0, What::Linked),
                (next, _) if is_place(next) => {
                    let [after, before] = [read(first.wrapping_add(8)), read(second)];
                    match (after == Some(own), before == Some(own)) {
                        (true, true) => self.mark(at, 8.0, What::Linked),
                        // Read from a live machine, or taken off without a trace.
                        (true, _) | (_, true) => 1.0,
                        _ => -4.0,
                    }
                }
                _ => -6.0,
            },
            Block::Chain => match (self.word(at), self.word(at + 8)) {
                (Word::Zero, Word::Zero) => -0.2,
                (_, Word::Poison) => self.mark(at, 4.0, What::Unlinked),
                (_, before) if is_place(before) => match read(second & !1).map(|word| word & !1) {
                    Some(word) if word == own => self.mark(at, 6.0, What::Linked),
                    _ => -4.0,
                },
                _ => -6.0,
            },
            Block::Tree => {
                let parent = first & !3;
                let is_link = |word: u64| word == 0 || is_place(self.world.word(word));
                match () {
                    () if first == 0 && second == 0 => -0.3,
                    () if parent == own => self.mark(at, 4.0, What::Linked),
                    () if !is_link(parent) || !is_link(second) => -6.0,
                    () if parent != 0
                        && [8, 16]
                            .iter()
                            .any(|side| read(parent.wrapping_add(*side)) == Some(own)) =>
                    {
                        self.mark(at, 7.0, What::Linked)
                    }
                    () => -2.0,
                }
            }
            Block::Lock => match first as u32 {
                0 => 0.0,
                _ if self.is_address(at & !7) => -5.0,
                _ => -0.7,
            },
            Block::Count => match first as u32 {
                0 => -0.2,
                _ if self.is_address(at & !7) => -5.0,
                1..=100_000 => 0.9,
                _ => -1.0,
            },
        }
    }
}

/// Whether a word can be a link.
fn is_place(word: Word) -> bool {
    matches!(word, Word::Object(..) | Word::Data | Word::Kernel | Word::Free)
}
