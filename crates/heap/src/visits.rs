//! Visiting lost objects, each once.
//!
//! **Invariant:** every object is left in the state that it was found in.

use crate::{Heap, Object};

/// Knows which lost objects were visited. That takes no memory: a visited one is grey for the time being.
#[derive(Debug)]
pub struct LostVisits<'h> {
    heap: &'h mut Heap,
}

impl Heap {
    /// Starts with no lost object visited. Only once marking is done: no object is grey then.
    pub fn visit_lost(&mut self) -> LostVisits<'_> {
        LostVisits { heap: self }
    }
}

impl LostVisits<'_> {
    /// The heap, where what was visited is not white.
    pub fn heap(&self) -> &Heap {
        self.heap
    }

    /// Visits an object; true when it is lost and was not visited before.
    pub fn visit(&mut self, object: Object) -> bool {
        self.heap.mark(object)
    }

    /// Calls `each` with the index of every lost object of a slab, visited or not.
    pub fn for_each_lost(&self, slab: u32, each: impl FnMut(u16)) {
        self.heap.for_each_undone(slab, each);
    }
}

impl Drop for LostVisits<'_> {
    fn drop(&mut self) {
        self.heap.forget_grey();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Ram;

    #[test]
    fn a_lost_object_is_visited_once_and_is_white_again_at_the_end() {
        let mut heap = Ram::new(16).heap(&[(4, 0)]);
        let object = |index| Object { slab: 0, index };
        heap.reach(object(1));
        let mut visits = heap.visit_lost();
        assert!(visits.visit(object(0)) && !visits.visit(object(0)), "only once");
        assert!(!visits.visit(object(1)), "not lost");
        let mut lost = 0;
        visits.for_each_lost(0, |_| lost += 1);
        assert_eq!(lost, 63);
        drop(visits);
        assert!(heap.is_white(object(0)) && !heap.is_white(object(1)));
    }
}
