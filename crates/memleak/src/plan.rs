//! What is wanted of a diagnosis.

use std::time::Duration;

use sysak_heap::{Class, Heap};
use sysak_kernel::shape::EventShape;

/// How to diagnose.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Only this cache is judged and shown.
    pub only_cache: Option<String>,
    /// Only memory of this class is judged.
    pub only_class: Option<Class>,
    /// From how many percent of equal bytes two objects are similar.
    pub similarity_percent: u32,
    /// How long after the first snapshot the second one comes; `None` for a crash dump.
    pub settle: Option<Duration>,
    /// How many of the biggest caches are described where nothing leaks.
    pub biggest: usize,
    /// Whether what was judged is explained: structs, call sites, holders. None of it changes a verdict.
    pub explain: bool,
    /// How to watch allocations; `None` to judge from snapshots alone.
    pub watch: Option<WatchPlan>,
}

/// How to watch allocations of a live machine.
#[derive(Clone, Debug)]
pub struct WatchPlan {
    /// No longer than this.
    pub limit: Duration,
    /// What it may cost, in percent of one CPU.
    pub budget_percent: f64,
    /// Whether every cache is followed, whatever is suspect.
    pub all: bool,
    /// The kernel's allocation events; `None` where it has none.
    pub events: Option<EventShape>,
}

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All that was allocated.
    All,
    /// Memory of one class.
    Class(Class),
    /// One cache, an index into the heap's.
    Cache(u16),
}

impl Scope {
    /// Whether a cache is judged.
    pub fn has(self, heap: &Heap, cache: u16) -> bool {
        match self {
            Scope::All => true,
            Scope::Class(class) => heap.caches[usize::from(cache)].class == class,
            Scope::Cache(only) => only == cache,
        }
    }
}
