//! Progress, stage by stage: what the stages are is the tools' knowledge, not that of the crates that do the work.

use sysak_base::{Progress, Quiet};
use sysak_report::Stage;

/// Where a tool's progress goes; called often, so an implementation throttles itself.
pub trait Stages {
    /// `done` of `total` units of a stage are done.
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

impl Stages for Quiet {
    fn tell(&self, _: Stage, _: u64, _: u64) {}
}

/// The progress of one stage.
#[derive(Clone, Copy)]
pub struct InStage<'a>(pub &'a dyn Stages, pub Stage);

impl Progress for InStage<'_> {
    fn tell(&self, done: u64, total: u64) {
        self.0.tell(self.1, done, total);
    }
}
