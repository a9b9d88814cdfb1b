//! The words of an object, and what each of them is.
//!
//! **Invariant:** how many bytes, objects and types are looked at is bounded.

use std::collections::{HashMap, HashSet};

use sysak_base::Va;
use sysak_base::numbers;
use sysak_heap::{Class, Object};
use sysak_holders::HolderResolver;
use sysak_infer::TypeInferrer;
use sysak_infer::object_types::LIKELY;
use sysak_memleak::to_report::types::object_type;
use sysak_report::{Contents, Dump, Place, Word, WordKind};

use crate::address::of_object;
use crate::wording::{address_place, object_place};

/// Bytes of an object that are shown.
const SHOWN_BYTES: u64 = 4096;
/// Objects that one object points to and that are shown.
const MOST_NEXT: usize = 16;
/// Objects that are shown altogether.
const MOST_OBJECTS: usize = 200;
/// `LIST_POISON1` and `LIST_POISON2` of x86-64 (include/linux/poison.h).
const POISONS: [(u64, &str); 2] =
    [(0xdead_0000_0000_0100, "LIST_POISON1"), (0xdead_0000_0000_0122, "LIST_POISON2")];
/// Error numbers as pointers.
const ERRORS_FROM: u64 = u64::MAX - 4094;

/// Objects whose type is inferred.
const MOST_TYPED: usize = 20;

/// The words of an object, and of the objects that they lead to, `depth` steps far. The `inferrer`
/// names their types and fields.
pub fn dump(
    resolver: &HolderResolver<'_, '_>,
    inferrer: &mut TypeInferrer<'_>,
    object: Object,
    at: Va,
    depth: u32,
) -> Dump {
    let mut shown = HashSet::from([object]);
    let mut found = dump_words(resolver, object, at, depth, &mut shown);
    let mut left = MOST_TYPED;
    add_types(resolver, inferrer, &mut found, &mut left);
    found
}

/// Adds the likeliest type of each object, and the names of its members to the words.
fn add_types(
    resolver: &HolderResolver<'_, '_>,
    inferrer: &mut TypeInferrer<'_>,
    dump: &mut Dump,
    left: &mut usize,
) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    let object = dump.spot.start.and_then(|start| resolver.snapshot().heap.find_object(start.0.0));
    if let Some(inferred) = object.and_then(|object| inferrer.of_object(object)) {
        if inferred.confidence >= LIKELY {
            let fields: HashMap<u64, &String> =
                inferred.fields.iter().map(|(at, name)| (u64::from(*at), name)).collect();
            for word in &mut dump.words {
                word.field = fields.get(&word.offset.0).map(|name| name.as_str().into());
            }
        }
        dump.object_type = object_type(std::slice::from_ref(&inferred));
    }
    dump.leads_to.iter_mut().for_each(|next| add_types(resolver, inferrer, next, left));
}

/// The words of an object and of what they lead to, without types.
fn dump_words(
    resolver: &HolderResolver<'_, '_>,
    object: Object,
    at: Va,
    depth: u32,
    shown: &mut HashSet<Object>,
) -> Dump {
    let heap = &resolver.snapshot().heap;
    let (words, cut) = contents(resolver, object);
    // Both links of an empty list point to the list itself: equal words, but two fields.
    let typed = heap.cache_of(object).class == Class::Slab;
    let mut found = Dump { spot: of_object(resolver, object, at), cut, ..Dump::default() };
    let mut next = Vec::new();
    for (offset, value) in (0..).step_by(8).zip(words) {
        let is_same = |last: &&mut Word| last.value.0 == value && (value == 0 || !typed);
        if let Some(last) = found.words.last_mut().filter(is_same) {
            last.count += 1;
            continue;
        }
        found.words.push(word(resolver, object, offset, value));
        if let Some(other) = heap.find_object(value)
            && found.words.last().is_some_and(|word| word.kind == WordKind::Object)
            && heap.cache_of(other).class == Class::Slab
            && depth > 0
            && next.len() < MOST_NEXT
            && shown.len() < MOST_OBJECTS
            && shown.insert(other)
        {
            next.push((other, Va(value)));
        }
    }
    let below =
        next.into_iter().map(|(other, at)| dump_words(resolver, other, at, depth - 1, shown));
    found.leads_to = below.collect();
    found
}

/// The first words of an object, and whether there are more.
fn contents(resolver: &HolderResolver<'_, '_>, object: Object) -> (Vec<u64>, bool) {
    let (kernel, heap) = (resolver.kernel(), &resolver.snapshot().heap);
    let cache = heap.cache_of(object);
    let (start, all) = match cache.class {
        Class::Slab => (heap.content_va(object), u64::from(cache.object_size)),
        // The first CPU's copy.
        Class::PerCpu => {
            (heap.content_va(object), heap.object_bytes(object) / kernel.cpus().max(1))
        }
        Class::Page | Class::Vmalloc => (heap.content_va(object), heap.object_bytes(object)),
    };
    let bytes = all.min(SHOWN_BYTES);
    let mut raw = vec![0; bytes as usize];
    match start.map(|start| kernel.memory.read(start, &mut raw)) {
        Some(Ok(())) => (numbers::words(&raw).collect(), all > bytes),
        _ => (Vec::new(), true),
    }
}

fn word(resolver: &HolderResolver<'_, '_>, object: Object, offset: u64, value: u64) -> Word {
    let (kind, meaning) = meaning(resolver, object, value);
    Word { offset: offset.into(), value: Contents(value), count: 1, kind, meaning, field: None }
}

fn meaning(
    resolver: &HolderResolver<'_, '_>,
    object: Object,
    value: u64,
) -> (WordKind, Option<Place>) {
    let heap = &resolver.snapshot().heap;
    if value == 0 {
        return (WordKind::Zero, None);
    }
    if let Some((_, name)) = POISONS.iter().find(|(poison, _)| *poison == value) {
        return (WordKind::Poison, Some(Place::kernel(name)));
    }
    if value >= ERRORS_FROM {
        return (WordKind::Error, Some(Place::Named((value as i64).to_string())));
    }
    if let Some(other) = heap.find_object(value)
        && (value > u64::from(u32::MAX) || heap.object_va(other).0 == value)
        && (heap.cache_of(other).class != Class::Vmalloc
            || resolver.symbol_and_offset(Va(value)).is_none())
    {
        let label = match other == object {
            true => Place::Itself(value.wrapping_sub(heap.object_va(object).0).into()),
            false => object_place(&resolver.object_step(other, Va(value)), heap.is_live(other)),
        };
        return (WordKind::Object, Some(label));
    }
    if let Some(name) = resolver.symbol_and_offset(Va(value)) {
        return (WordKind::Symbol, Some(Place::kernel(&name)));
    }
    if let Some(text) = letters(value) {
        return (WordKind::Text, Some(Place::Named(text)));
    }
    if value >= heap.page_offset().0 {
        return (WordKind::Address, address_place(resolver, Va(value)));
    }
    (WordKind::Number, numbers(value).map(Place::Named))
}

/// A small number, or two in one word: two counts are more frequent than one number as big.
fn numbers(value: u64) -> Option<String> {
    let (low, high) = (value as u32, (value >> 32) as u32);
    match high {
        0 => Some(low.to_string()),
        _ if high < 1 << 20 => Some(format!("{low}, {high}")),
        _ => None,
    }
}

/// The text of a word: at least four letters, and only zeros behind them.
fn letters(value: u64) -> Option<String> {
    let bytes = value.to_le_bytes();
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(len);
    let is_text = len >= 4 && text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    (is_text && rest.iter().all(|byte| *byte == 0))
        .then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_numbers_are_distinguished() {
        assert_eq!(letters(u64::from_le_bytes(*b"eth0\0\0\0\0")).as_deref(), Some("eth0"));
        assert_eq!(letters(u64::from_le_bytes(*b"longname")).as_deref(), Some("longname"));
        assert_eq!(letters(0x41), None);
        assert_eq!(letters(u64::from_le_bytes(*b"ab\0cd\0ef")), None);
    }
}
