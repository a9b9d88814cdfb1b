//! In whose memory hidden references stand.

use std::collections::HashMap;

use sysak_base::Cancel;
use sysak_heap::Object;
use sysak_heap::hidden::{Place, Shape};
use sysak_holders::{HolderResolver, Step, owners_of};

use crate::second_opinion::{HiddenReferences, Opinion};

/// Places of one cache whose owners are looked for: those of most objects.
const MOST_PLACES: usize = 64;

/// References of one shape in the memory of one holder.
#[derive(Clone, Debug)]
pub struct HeldBy {
    /// What the references look like.
    pub shape: Shape,
    /// In whose memory they stand.
    pub holder: Step,
    /// How many objects they lead to.
    pub objects: u64,
    /// How many they would lead to by chance.
    pub by_chance: u64,
}

/// Who holds the objects of each cache that a second opinion was given on; most objects first.
pub(super) fn name(
    resolver: &HolderResolver<'_, '_>,
    opinion: &Opinion,
    cancel: &Cancel,
) -> HashMap<u16, Vec<HeldBy>> {
    let shown = |references: &[HiddenReferences]| -> Vec<HiddenReferences> {
        references.iter().take(MOST_PLACES).cloned().collect()
    };
    let references: Vec<(u16, HiddenReferences)> = opinion
        .caches
        .iter()
        .flat_map(|(cache, hidden)| shown(&hidden.references).into_iter().map(|one| (*cache, one)))
        .collect();
    let objects: Vec<Object> =
        references.iter().filter_map(|(_, one)| object(resolver, one)).collect();
    let owners =
        if objects.is_empty() { Vec::new() } else { owners_of(resolver, &objects, cancel) };
    let owners: HashMap<Object, Step> = objects
        .into_iter()
        .zip(owners)
        .filter_map(|(object, owner)| Some((object, owner?.1)))
        .collect();
    let mut named: HashMap<u16, Vec<HeldBy>> =
        opinion.caches.keys().map(|cache| (*cache, Vec::new())).collect();
    for (cache, one) in references {
        let owner = object(resolver, &one).and_then(|object| owners.get(&object)).cloned();
        let holder = owner.unwrap_or_else(|| step(resolver, one.place));
        let of_cache = named.entry(cache).or_default();
        match of_cache.iter_mut().find(|held| held.shape == one.shape && held.holder == holder) {
            Some(held) => {
                held.objects += one.objects;
                held.by_chance += one.by_chance;
            }
            None => {
                let HiddenReferences { shape, objects, by_chance, .. } = one;
                of_cache.push(HeldBy { shape, holder, objects, by_chance });
            }
        }
    }
    named.values_mut().for_each(|held| held.sort_by_key(|one| std::cmp::Reverse(one.objects)));
    named
}

/// The object that references stand in, if it is one.
fn object(resolver: &HolderResolver<'_, '_>, one: &HiddenReferences) -> Option<Object> {
    match one.place {
        Place::Memory(range) => resolver.snapshot().heap.find_object(range.start().0),
        Place::Field(_, _, sample) => Some(sample),
    }
}

/// What can be said of a place whose owner is not known.
fn step(resolver: &HolderResolver<'_, '_>, place: Place) -> Step {
    let heap = &resolver.snapshot().heap;
    match place {
        Place::Memory(range) => match heap.find_object(range.start().0) {
            Some(object) => resolver.object_step(object, range.start()),
            None => resolver.root_step(range.start()),
        },
        Place::Field(_, offset, sample) => {
            resolver.object_step(sample, heap.object_va(sample).at(u64::from(offset)))
        }
    }
}
