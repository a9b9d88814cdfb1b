//! A fingerprint of an object's content: the kind of each of its words.
//!
//! Two objects that the same code initialised have the same fingerprint, though their numbers and
//! list links differ.
//!
//! **Invariant:** a fingerprint never depends on anything but the bytes and the heap.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use sysak_heap::{Class, Heap};

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
    Object { cache: u16, offset: u64 },
    Address,
    Other,
}

fn classify(heap: &Heap, word: u64) -> Word {
    let bytes = word.to_le_bytes();
    if word == 0 {
        return Word::Zero;
    }
    if bytes.iter().all(|byte| *byte == bytes[0]) {
        return Word::Fill(bytes[0]);
    }
    if word <= u64::from(u32::MAX) || word >= ERRORS_FROM {
        return Word::Small;
    }
    if word >= IMAGE_FROM {
        return Word::Named(word);
    }
    if word & 0xffff_0000_0000_0000 == POISON_BASE {
        return Word::Poison;
    }
    if let Some(object) = heap.find_object(word) {
        let cache = heap.slabs[object.slab as usize].cache;
        // Pages and areas have all sizes: the offset in them says nothing.
        let is_slab = heap.cache_of(object).class == Class::Slab;
        let offset = if is_slab { word.wrapping_sub(heap.object_va(object).0) } else { 0 };
        return Word::Object { cache, offset };
    }
    if word >= heap.page_offset().0 { Word::Address } else { Word::Other }
}

/// The fingerprint of an object's bytes; never 0.
pub fn of(heap: &Heap, bytes: &[u8]) -> u64 {
    let mut hash = Hash(0x9e37_79b9_7f4a_7c15);
    for part in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        match classify(heap, u64::from_le_bytes(word)) {
            Word::Zero => hash.add(1, 0),
            Word::Small => hash.add(2, 0),
            Word::Fill(byte) => hash.add(3, u64::from(byte)),
            Word::Poison => hash.add(4, 0),
            Word::Named(address) => hash.add(5, address),
            Word::Object { cache, offset } => hash.add(6, u64::from(cache) << 32 | offset),
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
