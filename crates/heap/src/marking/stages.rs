//! The steps of marking, in the only order that they can be made in.
//!
//! Each step takes the graph from the one before: [`Marking`] → [`FromRoots`] → [`Excused`] → [`Heap`].

use crate::{Heap, Object, UnmarkedHeap};

use super::{Context, Marked, Roots, mark};

/// Before the first step: nothing is reached but the objects that are never followed.
pub struct Marking<'a> {
    heap: Heap,
    context: Context<'a>,
}

impl<'a> Marking<'a> {
    /// Begins. `never_followed` are objects that count as reachable whatever leads to them, and whose
    /// contents are not followed, neither here nor by any search for references.
    pub fn start(
        heap: UnmarkedHeap,
        never_followed: Vec<Object>,
        context: Context<'a>,
    ) -> Marking<'a> {
        let mut heap = heap.never_marked();
        heap.never_follow(never_followed);
        Marking { heap, context }
    }

    /// The graph so far.
    pub fn heap(&self) -> &Heap {
        &self.heap
    }

    /// Marks everything that the roots lead to.
    pub fn from_roots(mut self, roots: Roots<'_>) -> FromRoots<'a> {
        let marked = mark(&mut self.heap, roots, self.context);
        FromRoots { heap: self.heap, marked, context: self.context }
    }

    /// Ends here: what is in use is not known, and nothing can be called unreachable.
    pub fn skip(self) -> (Heap, Marked) {
        (self.heap, Marked { interrupted: true, ..Marked::default() })
    }
}

/// What the roots lead to is marked.
pub struct FromRoots<'a> {
    heap: Heap,
    marked: Marked,
    context: Context<'a>,
}

impl<'a> FromRoots<'a> {
    /// The kernel's own bookkeeping is in use even where nothing led to it. What was not reached until
    /// now is never followed from now on.
    pub fn excuse(mut self, bookkeeping: Vec<Object>) -> Excused<'a> {
        let is_white = |object: &Object| self.heap.is_white(*object);
        let unreached = bookkeeping.into_iter().filter(is_white).collect();
        self.heap.never_follow(unreached);
        Excused(self)
    }
}

/// Bookkeeping is excused, too.
pub struct Excused<'a>(FromRoots<'a>);

impl Excused<'_> {
    /// The graph so far.
    pub fn heap(&self) -> &Heap {
        &self.0.heap
    }

    /// Whether marking was ended early.
    pub fn is_interrupted(&self) -> bool {
        self.0.marked.interrupted
    }

    /// Goes on from memory that a live kernel has taken into use since the graph was made.
    pub fn from_later_allocations(mut self, roots: Roots<'_>) -> Self {
        mark(&mut self.0.heap, roots, self.0.context);
        self
    }

    /// The graph, and what marking from the roots did.
    pub fn finish(self) -> (Heap, Marked) {
        (self.0.heap, self.0.marked)
    }
}
