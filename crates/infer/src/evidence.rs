//! What an object's words say for a type and against it.
//!
//! **Invariant:** much weak evidence never outweighs strong evidence.

use sysak_base::Va;
use sysak_heap::Object;
use sysak_symbols::TypeId;

use crate::kernel_view::{KernelView, Word, word_at};

/// An object whose words are compared with types, often with thousands of them.
pub struct Sample {
    /// Which object.
    pub object: Object,
    /// Its address.
    pub at: Va,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What its words are.
    pub(crate) words: Vec<Word>,
}

impl Sample {
    /// Classifies its words.
    pub fn new(view: &KernelView<'_>, object: Object, at: Va, bytes: Vec<u8>) -> Sample {
        let words = (0..bytes.len()).step_by(8).map(|at| view.word(word_at(&bytes, at)));
        Sample { object, at, words: words.collect(), bytes }
    }
}

/// A word that speaks for a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Bytes from the object's start.
    pub at: u32,
    /// How strongly, in bits.
    pub weight: f64,
    /// In which way.
    pub kind: EvidenceKind,
}

/// In which way a word speaks for a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceKind {
    /// It points to an object of the declared type.
    Object(TypeId),
    /// It points to a variable that is named like the declared type.
    Variable(u64),
    /// It points to a function with the declared parameters.
    Function(u64),
    /// It is a link of a list that closes.
    Linked,
    /// It was taken off a list.
    Unlinked,
    /// It points to a page, as declared.
    Page,
}

/// The sum of what speaks for a type and against it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    /// Weak evidence for the type: hundreds of small numbers say no more than a few do.
    weak: f64,
    /// Weak evidence against it: the same holds for pointers that are not set.
    unset: f64,
    /// All other evidence.
    rest: f64,
}

/// Evidence for a type below this is weak.
const WEAK: f64 = 1.5;
/// Evidence against a type above this is weak.
const UNSET: f64 = -0.6;
/// All weak evidence together counts for no more than this.
const MOST_WEAK: f64 = 5.0;

impl Sum {
    pub(crate) fn add(&mut self, bits: f64) {
        match bits {
            0.0..WEAK => self.weak += bits,
            UNSET..0.0 => self.unset += bits,
            _ => self.rest += bits,
        }
    }

    pub(crate) fn value(self) -> f64 {
        self.weak.min(MOST_WEAK) + self.unset.max(-MOST_WEAK) + self.rest
    }
}
