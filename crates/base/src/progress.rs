//! What a long computation tells its caller, and how it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The steps of a diagnosis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Opening the target, its types and its symbols.
    Open,
    /// Every page of RAM into one owner.
    Census,
    /// Every slab, which objects are live.
    Walk,
    /// Marking from the roots.
    Reach,
    /// Groups of like content.
    Alike,
    /// Watching allocations and frees.
    Collect,
    /// Watching frees only, so that what is in flight drains.
    Drain,
    /// Waiting for the second look.
    Settle,
    /// The second look.
    SecondLook,
}

/// Where progress goes; called often, so an implementation throttles itself.
pub trait Progress {
    /// `done` of `total` units of `stage` are done.
    fn tell(&self, stage: Stage, done: u64, total: u64);

    /// What was seen so far while allocations are watched.
    fn watching(&self, _: &Watching<'_>) {}
}

/// What watching allocations has seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watching<'a> {
    /// Allocations and frees.
    pub events: u64,
    /// Allocations that were recorded and not freed yet.
    pub outstanding: u64,
    /// The function with most of those.
    pub front_runner: Option<&'a str>,
}

/// Progress that nobody looks at.
pub struct Quiet;

impl Progress for Quiet {
    fn tell(&self, _: Stage, _: u64, _: u64) {}
}

/// A flag that a signal handler sets and every long loop looks at.
#[derive(Clone, Debug, Default)]
pub struct Cancel(pub Arc<AtomicBool>);

impl Cancel {
    /// Whether the work should end now, keeping what it has.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
