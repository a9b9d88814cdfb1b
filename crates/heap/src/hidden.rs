//! Hidden references: addresses of objects in another shape than an aligned pointer.
//!
//! Devices know buffers by physical address, packed structures keep pointers off their alignment, handles are
//! distances of 32 bits. Marking sees none of these. So before objects are accused, one more pass over memory in
//! use looks for them.
//!
//! **Danger:** a number equals an address by chance, and a log may name what was lost long ago. So a place is a
//! holder only if nearly everything that stands there leads to objects of the accused caches ([`Holder`]). Even
//! then it is no proof.
//!
//! **Invariant:** nothing is marked or cleared here. References in free memory, in lost objects and in memory that is
//! left out are ignored.

use sysak_base::{Cancel, Ranges, Readers, VaRange};

use crate::bit_set::BitSet;
use crate::marking::Roots;
use crate::states::States;
use crate::{Heap, Object};

mod filter;
mod reader;
mod scan;
mod shapes;
mod span;
mod sweep;
#[cfg(test)]
mod tests;
mod wanted;
mod weigh;

pub use shapes::{Shape, Width};

use scan::{Hit, Scanned};
use wanted::Wanted;

/// A place leads to so many suspects at least: fewer are chance.
pub const MIN_FOUND: usize = 16;
/// Of 100 slots of a place that are not zero, so many lead to objects of the accused caches. By chance 3 to 17 do.
pub const MIN_PRECISION_PERCENT: u64 = 80;
/// So many times more than by chance.
const TIMES_CHANCE: u64 = 10;

/// What is asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Everything that was allocated, marked.
    pub heap: &'a Heap,
    /// Where it is read, and by how many threads.
    pub readers: Readers<'a>,
    /// The caches whose unreached objects are accused.
    pub caches: &'a [u16],
    /// Ends it early.
    pub cancel: &'a Cancel,
}

/// Where hidden references stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In one piece of memory.
    Memory(VaRange),
    /// In a field of a cache's objects, so many bytes from their start; one of the objects.
    Field(u16, u32, Object),
}

/// A place from which hidden references of one shape lead to suspects.
#[derive(Clone, Debug)]
pub struct Holder {
    /// What they look like.
    pub shape: Shape,
    /// Where they stand.
    pub place: Place,
    /// Their places that are in use.
    pub slots: u64,
    /// How many of these lead to objects of the accused caches.
    pub hits: u64,
    /// How many would lead to suspects by chance.
    pub by_chance: u64,
    /// The suspects that they lead to, by cache; one that another holder leads to as well counts for the first.
    pub found: Vec<(u16, u64)>,
}

/// What was found.
#[derive(Default)]
pub struct Found {
    /// Who holds suspects.
    pub holders: Vec<Holder>,
    /// Bytes that were read.
    pub bytes_scanned: u64,
    /// Whether it was ended early.
    pub interrupted: bool,
    suspects: BitSet,
}

impl Found {
    /// Whether any holder leads to a suspect.
    pub fn has(&self, heap: &Heap, suspect: Object) -> bool {
        self.suspects.has(heap.bit(suspect))
    }
}

/// What one pass over the memory in use found: possible references to suspects, of all widths.
pub struct Search {
    wanted: Wanted,
    scanned: Scanned,
    /// What was in use when it was last looked through, where more may be since.
    states: Option<States>,
}

impl Search {
    /// A search for hidden references to the unreached objects of the caches. Nothing was looked through yet.
    pub fn new(question: &Question<'_>) -> Search {
        Search { wanted: Wanted::new(question), scanned: Scanned::default(), states: None }
    }

    /// Looks through the roots and all reachable objects.
    pub fn scan(mut self, question: &Question<'_>, roots: Roots<'_>) -> Search {
        if !self.wanted.is_empty() {
            self.scanned = sweep::scan_all(question, &self.wanted, roots);
        }
        self
    }

    /// Objects are about to become reachable.
    pub fn remember(&mut self, heap: &Heap) {
        self.states.get_or_insert_with(|| heap.states());
    }

    /// Goes on with those that have become reachable since: their memory is in use now.
    pub fn go_on(&mut self, question: &Question<'_>, left_out: &Ranges) {
        let Some(states) = self.states.take().filter(|_| !self.wanted.is_empty()) else { return };
        let more = sweep::scan_reached_since(question, &self.wanted, left_out, &states);
        self.scanned.add(more);
    }

    /// Who holds those of the suspects that are unreached still, by references of one width.
    pub fn found(&self, question: &Question<'_>, width: Width) -> Found {
        let Scanned { wide, narrow, bytes, interrupted } = &self.scanned;
        let hits = match width {
            Width::Wide => wide,
            Width::Narrow => narrow,
        };
        let heap = question.heap;
        let is_asked = |hit: &&Hit| {
            let cache = heap.slabs[hit.to.slab as usize].cache;
            heap.is_white(hit.to) && question.caches.contains(&cache)
        };
        let hits: Vec<Hit> = hits.iter().filter(is_asked).copied().collect();
        let (bytes_scanned, interrupted) = (*bytes, *interrupted);
        let mut found = Found { bytes_scanned, interrupted, ..Found::default() };
        if !interrupted && !hits.is_empty() {
            found.suspects = BitSet::new(heap.objects());
            found.holders = weigh::holders(question, &self.wanted, hits, &mut found.suspects);
        }
        found
    }
}
