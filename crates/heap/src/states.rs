//! The state of every object: free, white, grey or black.
//!
//! Other crates read it. What changes it is made for one job each: [`Marking`](crate::marking::Marking),
//! [`Heap::clear_suspicion`], [`Heap::visit_lost`] and [`retained`](crate::retained::retained).

use std::ops::Range;

use crate::bits::{Alone, Change};
use crate::state_bits::{Some64, StateBits};
use crate::{Heap, Object, Slab};

impl Heap {
    /// Whether the object is allocated, reached or not.
    pub fn is_live(&self, object: Object) -> bool {
        self.states.get(self.bit(object), 1).live() != 0
    }

    /// Whether the object is allocated and nothing led to it so far.
    pub fn is_white(&self, object: Object) -> bool {
        self.states.is_white(self.bit(object))
    }

    /// White becomes grey; true when it was white.
    #[inline]
    pub(crate) fn mark(&mut self, object: Object) -> bool {
        self.states.mark::<Alone>(self.bit(object))
    }

    /// Grey objects of a slab become black; runs of neighbours are given to `each` in ascending
    /// order. Where several threads do so at once, each object is given to one of them.
    pub(crate) fn take_grey<C: Change>(&self, slab: u32, mut each: impl FnMut(Range<u16>)) {
        let Slab { first, objects, .. } = self.slabs[slab as usize];
        for at in (0..objects).step_by(64) {
            let from = first + u64::from(at);
            let many = u64::from(objects - at).min(64);
            let mut grey = self.states.take_grey::<C>(from, many);
            while grey != 0 {
                let start = grey.trailing_zeros() as u16;
                let len = (grey >> start).trailing_ones() as u16;
                grey &= (u64::MAX << start).checked_shl(len.into()).unwrap_or(0);
                each(at + start..at + start + len);
            }
        }
    }

    /// An unreached object counts as reachable all the same: it is in use, whatever leads to it.
    pub fn clear_suspicion(&mut self, object: Object) {
        if self.is_white(object) {
            self.blacken(object);
        }
    }

    fn blacken(&mut self, object: Object) {
        self.states.set(self.bit(object), true, true);
    }

    /// Objects count as reachable whatever leads to them, and their contents are never followed. Free
    /// ones stay free.
    pub(crate) fn never_follow(&mut self, mut objects: Vec<Object>) {
        objects.retain(|object| self.is_live(*object));
        self.never_followed.extend(objects);
        self.blacken_never_followed();
    }

    fn blacken_never_followed(&mut self) {
        let objects = std::mem::take(&mut self.never_followed);
        objects.all().iter().for_each(|object| self.blacken(*object));
        self.never_followed = objects;
    }

    /// Every live object becomes white again, but for those that are never followed.
    pub(crate) fn whiten(&mut self) {
        self.states.whiten();
        self.blacken_never_followed();
    }

    /// The state of every object, to be put back.
    pub(crate) fn states(&self) -> States {
        States(self.states.clone())
    }

    /// Puts back the states that the same objects had before.
    pub(crate) fn put_back(&mut self, states: &States) {
        self.states.clone_from(&states.0);
    }

    /// The reachable objects of a slab, up to 64 from `at` on; where states are given, only those that were white in
    /// them.
    pub(crate) fn reached_word(&self, since: Option<&States>, slab: &Slab, at: u16) -> u64 {
        let many = u64::from(slab.objects - at).min(64);
        let from = slab.first + u64::from(at);
        self.states.get(from, many).high & since.map_or(u64::MAX, |states| states.white(from, many))
    }

    /// Whether any object of a slab is reachable, and was white in the states, if they are given.
    pub(crate) fn has_reached(&self, since: Option<&States>, slab: u32) -> bool {
        let slab = &self.slabs[slab as usize];
        (0..slab.objects).step_by(64).any(|at| self.reached_word(since, slab, at) != 0)
    }

    /// Calls `each` with the index of every such object.
    pub(crate) fn for_each_reached(
        &self,
        since: Option<&States>,
        slab: u32,
        each: impl FnMut(u16),
    ) {
        let slab = &self.slabs[slab as usize];
        for_each_bit(slab, |at| self.reached_word(since, slab, at), each);
    }

    /// Every grey object becomes white again.
    pub(crate) fn forget_grey(&mut self) {
        self.states.forget_grey();
    }

    /// Calls `each` with the index of every object of a slab that is white or grey.
    pub(crate) fn for_each_undone(&self, slab: u32, each: impl FnMut(u16)) {
        let slab = &self.slabs[slab as usize];
        let word = |at: u16| {
            let many = u64::from(slab.objects - at).min(64);
            let from = slab.first + u64::from(at);
            let Some64 { high, low } = self.states.get(from, many);
            high ^ low
        };
        for_each_bit(slab, word, each);
    }

    /// The live objects of a slab as a bit set of up to 64 from `at` on.
    pub fn live_word(&self, slab: &Slab, at: u16) -> u64 {
        let many = u64::from(slab.objects - at).min(64);
        let from = slab.first + u64::from(at);
        self.states.get(from, many).live()
    }

    /// The live objects of a slab that were not reached, up to 64 from `at` on.
    pub fn white_word(&self, slab: &Slab, at: u16) -> u64 {
        let many = u64::from(slab.objects - at).min(64);
        let from = slab.first + u64::from(at);
        self.states.get(from, many).white()
    }

    /// Calls `each` with the index of every live object of a slab.
    pub fn for_each_live(&self, slab: u32, each: impl FnMut(u16)) {
        let slab = &self.slabs[slab as usize];
        for_each_bit(slab, |at| self.live_word(slab, at), each);
    }

    /// Calls `each` with the index of every unreached live object of a slab.
    pub fn for_each_white(&self, slab: u32, each: impl FnMut(u16)) {
        let slab = &self.slabs[slab as usize];
        for_each_bit(slab, |at| self.white_word(slab, at), each);
    }

    /// Live and unreached objects of a slab.
    pub fn count(&self, slab: u32) -> Count {
        let slab = &self.slabs[slab as usize];
        let mut count = Count::default();
        for at in (0..slab.objects).step_by(64) {
            let many = u64::from(slab.objects - at).min(64);
            let states = self.states.get(slab.first + u64::from(at), many);
            count.live += u64::from(states.live().count_ones());
            count.white += u64::from(states.white().count_ones());
        }
        count
    }
}

/// The state of every object at one time.
#[derive(Clone, Debug)]
pub(crate) struct States(StateBits);

impl States {
    /// Which of some objects were white: up to 64, by their bits from `from` on.
    fn white(&self, from: u64, many: u64) -> u64 {
        self.0.get(from, many).white()
    }
}

/// Calls `each` with the index of every set bit, where `word` gives those of up to 64 objects.
pub(crate) fn for_each_bit(slab: &Slab, word: impl Fn(u16) -> u64, mut each: impl FnMut(u16)) {
    for at in (0..slab.objects).step_by(64) {
        let mut bits = word(at);
        while bits != 0 {
            each(at + bits.trailing_zeros() as u16);
            bits &= bits - 1;
        }
    }
}

/// Objects of a slab or a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Allocated.
    pub live: u64,
    /// Allocated, and nothing led to them.
    pub white: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slabs::tests::builder;

    fn heap() -> Heap {
        builder().seal().never_marked()
    }

    #[test]
    fn an_object_goes_white_grey_black_and_back() {
        let mut heap = heap();
        let object = Object { slab: 2, index: 40 };
        assert!(heap.mark(object));
        assert!(!heap.mark(object), "grey already");
        let mut seen = Vec::new();
        assert!(heap.mark(Object { slab: 2, index: 41 }));
        heap.take_grey::<Alone>(2, |run| seen.push((run.start, run.end)));
        assert_eq!(seen, [(40, 42)]);
        heap.take_grey::<Alone>(2, |_| panic!("black is not scanned again"));
        assert!(heap.is_live(object) && !heap.is_white(object));
        heap.whiten();
        assert!(heap.is_white(object));
        heap.mark(object);
        heap.forget_grey();
        assert!(heap.is_white(object));
    }

    #[test]
    fn a_free_object_is_never_marked_nor_cleared() {
        let object = Object { slab: 0, index: 7 };
        let mut heap = builder();
        heap.set_free(object);
        let mut heap = heap.seal().never_marked();
        heap.clear_suspicion(object);
        heap.never_follow(vec![object]);
        assert!(!heap.mark(object) && !heap.is_live(object));
        assert_eq!(heap.count(0), Count { live: 41, white: 41 });
    }
}
