//! What was observed of a kernel, before anything is judged.

use std::collections::HashMap;

use sysak_heap::Tally;
use sysak_report::{Refusal, Stage};
use sysak_snapshot::Snapshot;

use crate::decision::End;
use crate::second_opinion::Opinion;
use crate::turnover::CacheTurnover;
use crate::watch::rounds::Watched;

/// What the snapshots and the watch saw, before anything is judged.
pub struct Observed<'a> {
    /// The snapshot that counts: the last one.
    pub snapshot: Snapshot,
    /// Objects of each cache.
    pub tallies: Vec<Tally>,
    /// How many snapshots were taken.
    pub snapshots: u32,
    /// What watching allocations showed; `None` where nothing was watched.
    pub watched: Option<Watched<'a>>,
    /// The second opinion on what looked lost in the last snapshot; `None` where nothing was to be accused.
    pub opinion: Option<Opinion>,
    /// Caches whose unreachable objects came and went, and how: none of them is accused.
    pub alive: HashMap<u16, CacheTurnover>,
    /// Why nothing was watched although it was wanted.
    pub refused: Option<Refusal>,
    /// The step in which what the verdict needs was ended early.
    pub interrupted: Option<Stage>,
}

impl Observed<'_> {
    /// The step of the watch in which somebody ended it.
    pub fn watch_ended_in(&self) -> Option<Stage> {
        match self.watched.as_ref()?.end {
            End::Interrupted(stage) => Some(stage),
            End::Conclusive | End::Quiet | End::TimeLimit => None,
        }
    }

    /// Without a watch.
    pub(crate) fn of(
        snapshot: Snapshot,
        tallies: Vec<Tally>,
        snapshots: u32,
        interrupted: Option<Stage>,
    ) -> Self {
        Observed {
            snapshot,
            tallies,
            snapshots,
            watched: None,
            opinion: None,
            alive: HashMap::new(),
            refused: None,
            interrupted,
        }
    }
}
