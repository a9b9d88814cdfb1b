//! A fingerprint of an object's content: the kind of each of its words.
//!
//! Two objects that the same code initialised have the same fingerprint, though their numbers and
//! list links differ.
//!
//! **Invariant:** a fingerprint never depends on anything but the bytes and the heap.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use sysak_heap::{Heap, ObjectPlace};

/// The kernel's half of the address space on x86-64 ends with image and modules.
pub const IMAGE_FROM: u64 = 0xffff_ffff_8000_0000;
/// `LIST_POISON1` and `LIST_POISON2` lie above this base.
const POISON_BASE: u64 = 0xdead_0000_0000_0000;
/// Error numbers as pointers.
const ERRORS_FROM: u64 = u64::MAX - 4095;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Zero,
    Small,
    Fill(u8),
    Poison,
    Named(u64),
    Object(ObjectPlace),
    Address,
    Other,
}

/// What a word is, where that can be told without looking up whether it leads to an object.
#[inline]
fn plain(word: u64) -> Option<Word> {
    // Whether all bytes are the same.
    let is_fill = word == word.rotate_left(8);
    Some(match () {
        () if word == 0 => Word::Zero,
        () if is_fill => Word::Fill(word as u8),
        () if word <= u64::from(u32::MAX) || word >= ERRORS_FROM => Word::Small,
        () if word >= IMAGE_FROM => Word::Named(word),
        () if word & 0xffff_0000_0000_0000 == POISON_BASE => Word::Poison,
        () => return None,
    })
}

/// What a word is that leads there, or to no object.
#[inline]
fn looked_up(heap: &Heap, word: u64, place: Option<ObjectPlace>) -> Word {
    match place {
        Some(place) => Word::Object(place),
        None if word >= heap.page_offset().0 => Word::Address,
        None => Word::Other,
    }
}

fn classify(heap: &Heap, word: u64) -> Word {
    plain(word).unwrap_or_else(|| looked_up(heap, word, heap.place_of(word)))
}

/// The words of an object; the last one may be part of one.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks(8).map(|part| {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        u64::from_le_bytes(word)
    })
}

/// What all objects of one fingerprint have in common: what each of their words is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Word>);

impl Pattern {
    /// The pattern of an object with these bytes.
    pub fn of(heap: &Heap, bytes: &[u8]) -> Pattern {
        Pattern(words(bytes).map(|word| classify(heap, word)).collect())
    }

    /// Whether an object has this pattern, as far as can be told without looking up addresses. These are added to
    /// `pointers`, all or none.
    #[inline]
    pub fn may_match(&self, bytes: &[u8], pointers: &mut Vec<u64>) -> bool {
        let before = pointers.len();
        for (expected, word) in self.0.iter().zip(words(bytes)) {
            let is_like = match (expected, plain(word)) {
                (Word::Object(_) | Word::Address | Word::Other, None) => {
                    pointers.push(word);
                    true
                }
                (expected, Some(found)) => *expected == found,
                (_, None) => false,
            };
            if !is_like {
                pointers.truncate(before);
                return false;
            }
        }
        true
    }

    /// Whether it has, by where those addresses lead; takes as many off `pointers` and `places`.
    #[inline]
    pub fn matches(
        &self,
        heap: &Heap,
        pointers: &mut impl Iterator<Item = (u64, Option<ObjectPlace>)>,
    ) -> bool {
        let mut is_like = true;
        for expected in &self.0 {
            if matches!(expected, Word::Object(_) | Word::Address | Word::Other)
                && let Some((word, place)) = pointers.next()
            {
                is_like &= looked_up(heap, word, place) == *expected;
            }
        }
        is_like
    }
}

/// The fingerprint of an object's bytes; never 0.
pub fn of(heap: &Heap, bytes: &[u8]) -> u64 {
    let mut hash = Hash(0x9e37_79b9_7f4a_7c15);
    for word in words(bytes) {
        match classify(heap, word) {
            Word::Zero => hash.add(1, 0),
            Word::Small => hash.add(2, 0),
            Word::Fill(byte) => hash.add(3, u64::from(byte)),
            Word::Poison => hash.add(4, 0),
            Word::Named(address) => hash.add(5, address),
            Word::Object(ObjectPlace { cache, offset }) => {
                hash.add(6, u64::from(cache) << 32 | offset);
            }
            Word::Address => hash.add(7, 0),
            Word::Other => hash.add(8, 0),
        }
    }
    hash.0.max(1)
}

struct Hash(u64);

impl Hash {
    /// One multiplication and rotation a word: speed matters, adversaries do not.
    #[inline]
    fn add(&mut self, class: u64, value: u64) {
        let mixed = self.0 ^ value.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ class;
        self.0 = mixed.wrapping_mul(0xc4ce_b9fe_1a85_ec53).rotate_left(29);
    }
}

/// The most frequent of very many values, in bounded memory.
///
/// Misra and Gries, "Finding repeated elements" (1982): with k counters every value
/// that makes up more than one k-th of them survives, and no count is too high.
#[derive(Clone, Debug, Default)]
pub struct FrequentValues<T> {
    counters: HashMap<u64, (u64, T), IdentityHash>,
}

/// The hash of a fingerprint is the fingerprint: it is a hash already.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdentityHash(u64);

impl BuildHasher for IdentityHash {
    type Hasher = IdentityHash;

    fn build_hasher(&self) -> IdentityHash {
        IdentityHash(0)
    }
}

impl Hasher for IdentityHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

/// Counters: a group of less than 1/512 of its cache may be lost.
const COUNTERS: usize = 512;

impl<T: Copy> FrequentValues<T> {
    /// Counts one value; the first bearer of a counted value is stored.
    pub fn add(&mut self, value: u64, bearer: T) {
        if let Some((count, _)) = self.counters.get_mut(&value) {
            *count += 1;
        } else if self.counters.len() < COUNTERS {
            self.counters.insert(value, (1, bearer));
        } else {
            self.counters.retain(|_, (count, _)| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// The values most counted, with a bearer of each, biggest first.
    pub fn top(&self, many: usize) -> Vec<(u64, T)> {
        let mut all: Vec<_> = self.counters.iter().map(|(v, (n, t))| (*n, *v, *t)).collect();
        all.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        all.into_iter().take(many).map(|(_, value, bearer)| (value, bearer)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_heap::testing::Ram;

    #[test]
    fn numbers_and_links_may_differ_but_symbols_may_not() {
        let ram = Ram::new(16);
        let heap = ram.heap(&[(4, 0)]);
        let base = heap.page_offset().0;
        let object = |link: u64, number: u64, symbol: u64| -> u64 {
            let words = [base + 0x4000 + link * 64, number, symbol, 0];
            of(&heap, &words.map(u64::to_le_bytes).concat())
        };
        let like = object(1, 7, 0xffff_ffff_8123_4567);
        assert_eq!(like, object(60, 4_000_000, 0xffff_ffff_8123_4567));
        assert_ne!(like, object(1, 7, 0xffff_ffff_8123_4568));
        assert_ne!(like, object(1, 0, 0xffff_ffff_8123_4567), "zero is no number");
    }

    #[test]
    fn the_majority_survives_a_flood_of_singletons() {
        let mut hitters = FrequentValues::default();
        for n in 0..100_000u64 {
            hitters.add(1_000 + n, n);
            if n % 50 == 0 {
                hitters.add(7, n);
            }
        }
        assert_eq!(hitters.top(1)[0].0, 7);
    }
}
