//! What a long computation tells its caller, and how it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the progress of one step goes; called often, so an implementation throttles itself.
pub trait Progress {
    /// `done` of `total` units are done.
    fn tell(&self, done: u64, total: u64);
}

/// Progress that nobody looks at.
pub struct Quiet;

impl Progress for Quiet {
    fn tell(&self, _: u64, _: u64) {}
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
