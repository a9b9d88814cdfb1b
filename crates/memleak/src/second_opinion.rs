//! The second opinion: before objects are accused, are their addresses anywhere in use in another shape than a pointer?
//!
//! [`sysak_heap::hidden`] finds who may hold them so. Here it is decided whether that clears them. A cleared object
//! counts as reachable, and so does all that it leads to; the report names the holder.
//!
//! **Danger:** a log of addresses in live memory clears as many lost objects as it has entries. So less than a
//! fifth of a group clears nobody.

use std::collections::HashMap;
use std::time::Instant;

use sysak_base::Cancel;
use sysak_heap::hidden::{Found, Place, Shape, Width};
use sysak_heap::{Object, Tally, tally};
use sysak_kernel::Kernel;
use sysak_snapshot::Snapshot;

/// Objects that marking goes on from at once.
const AT_ONCE: usize = 1 << 16;

/// A place that holds some of a cache's objects in another shape than a pointer.
#[derive(Clone, Debug)]
pub struct HiddenReferences {
    /// What the references look like.
    pub shape: Shape,
    /// Where they stand.
    pub place: Place,
    /// How many objects they lead to.
    pub objects: u64,
    /// How many they would lead to by chance.
    pub by_chance: u64,
}

/// What was found of one cache.
#[derive(Clone, Debug, Default)]
pub struct Hidden {
    /// The places, those of most objects first.
    pub references: Vec<HiddenReferences>,
    /// How many objects were cleared: those and what they lead to.
    pub cleared: u64,
}

/// The second opinion on the suspects of a snapshot.
#[derive(Default)]
pub struct Opinion {
    /// Of each cache that was asked about.
    pub caches: HashMap<u16, Hidden>,
}

/// Whether hidden references to `found` of a group of `suspects` clear those. Numbers of 32 bits equal an address
/// too often: they must lead to half of the group.
pub fn clears(width: Width, suspects: u64, found: u64) -> bool {
    match width {
        Width::Wide => found > 0 && found * 5 >= suspects,
        Width::Narrow => found > 0 && found * 2 >= suspects,
    }
}

/// Asks about the unreached objects of some caches, and clears those that are held; `tallies` follow.
pub fn ask(
    kernel: &Kernel<'_>,
    snapshot: &mut Snapshot,
    tallies: &mut Vec<Tally>,
    caches: &[u16],
    cancel: &Cancel,
) -> Opinion {
    let start = Instant::now();
    let mut opinion = Opinion::default();
    opinion.caches.extend(caches.iter().map(|cache| (*cache, Hidden::default())));
    let mut left = caches.to_vec();
    let mut search = snapshot.search_hidden(kernel, &left, cancel);
    for width in [Width::Wide, Width::Narrow] {
        if left.is_empty() || cancel.is_set() {
            break;
        }
        if opinion.has_cleared() {
            // What was cleared is memory in use now, and leads to others.
            snapshot.go_on_searching(kernel, &mut search, cancel);
        }
        let found = search.found(&snapshot.hidden_question(kernel, &left, cancel), width);
        if found.interrupted {
            break;
        }
        opinion.note(&found);
        let is_cleared = |cache: &u16| {
            clears(width, tallies[usize::from(*cache)].unreachable, count(&found, *cache))
        };
        let cleared: Vec<u16> = left.iter().copied().filter(is_cleared).collect();
        if cleared.is_empty() {
            continue;
        }
        let before = tallies.clone();
        search.remember(&snapshot.heap);
        clear(kernel, snapshot, &found, &cleared, cancel);
        *tallies = tally(&snapshot.heap);
        for (cache, hidden) in &mut opinion.caches {
            let lost = |tallies: &[Tally]| tallies[usize::from(*cache)].unreachable;
            hidden.cleared += lost(&before).saturating_sub(lost(tallies));
        }
        left.retain(|cache| !cleared.contains(cache));
        left.retain(|cache| tallies[usize::from(*cache)].unreachable > 0);
    }
    for hidden in opinion.caches.values_mut() {
        hidden.references.sort_by_key(|one| (std::cmp::Reverse(one.objects), one.shape));
    }
    snapshot.times.hidden += start.elapsed();
    opinion
}

/// How many of a cache's suspects were found.
fn count(found: &Found, cache: u16) -> u64 {
    let all = found.holders.iter().flat_map(|holder| &holder.found);
    all.filter(|(of, _)| *of == cache).map(|(_, many)| many).sum()
}

/// Marks the suspects of some caches that were found, and all that they lead to.
fn clear(
    kernel: &Kernel<'_>,
    snapshot: &mut Snapshot,
    found: &Found,
    caches: &[u16],
    cancel: &Cancel,
) {
    let mut held = Vec::new();
    for slab in 0..snapshot.heap.slabs.len() as u32 {
        let heap = &snapshot.heap;
        if caches.contains(&heap.slabs[slab as usize].cache) {
            heap.for_each_white(slab, |index| {
                let object = Object { slab, index };
                if found.has(heap, object) {
                    held.push(object);
                }
            });
        }
        if held.len() >= AT_ONCE {
            snapshot.go_on(kernel, &held, cancel);
            held.clear();
        }
    }
    snapshot.go_on(kernel, &held, cancel);
}

impl Opinion {
    /// Whether it cleared an object.
    pub fn has_cleared(&self) -> bool {
        self.caches.values().any(|hidden| hidden.cleared > 0)
    }

    fn note(&mut self, found: &Found) {
        for holder in &found.holders {
            for (cache, objects) in &holder.found {
                let Some(hidden) = self.caches.get_mut(cache) else { continue };
                hidden.references.push(HiddenReferences {
                    shape: holder.shape,
                    place: holder.place,
                    objects: *objects,
                    by_chance: holder.by_chance,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_a_group_clears_what_was_found_and_less_clears_nobody() {
        assert!(clears(Width::Wide, 1000, 200) && !clears(Width::Wide, 1000, 199));
        assert!(clears(Width::Narrow, 1000, 500) && !clears(Width::Narrow, 1000, 499));
        assert!(!clears(Width::Wide, 0, 0) && !clears(Width::Narrow, 0, 0));
    }
}
