//! What to do next, decided from facts alone: no kernel, no clock, so that tests can drive every way through.
//!
//! **Invariant:** a machine is never watched, or looked at again, unless that could change the answer.

use std::time::Duration;

use sysak_report::Stage;

use crate::rank::PROVED_OBJECTS;

/// How long what is in flight may drain.
pub const DRAIN: Duration = Duration::from_secs(5);
/// Where nothing is suspect, so long is enough to see what is allocated and stays.
const QUIET: Duration = Duration::from_secs(8);
/// Where something is, the first round takes no longer than this.
const FIRST_ROUND: Duration = Duration::from_secs(20);
/// Records of one function that make a snapshot worth while: some of them will drain.
const ENOUGH: u64 = PROVED_OBJECTS + 10;
/// A few unreachable objects are worth more waiting; fewer are noise.
const PROMISING: u64 = 3;
/// Where memory grows, so long is needed to tell a start from a habit.
const GROWTH: Duration = Duration::from_secs(60);
/// Rounds that only confirm, no more than these.
const MOST_CONFIRMING: u32 = 2;

/// What the first snapshot and the plan say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstFacts {
    /// Whether the target goes on changing: a crash dump does not.
    pub is_live: bool,
    /// The step in which the snapshot was ended early.
    pub interrupted: Option<Stage>,
    /// Whether a group of unreachable objects is above the noise.
    pub is_suspect: bool,
    /// Whether watching allocations is wanted.
    pub watch_wanted: bool,
    /// Whether only vmalloc areas are asked for or suspect.
    pub only_areas: bool,
    /// Whether the kernel has events of vmalloc areas.
    pub has_area_events: bool,
}

/// What comes after the first snapshot, or after a watch that could not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Watch allocations, with snapshots in between.
    Watch,
    /// Wait, and take a second snapshot.
    Confirm,
    /// Judge what is known; something may have ended early.
    Judge(Option<Stage>),
}

impl FirstFacts {
    /// What comes after the first snapshot.
    pub fn next(self) -> Next {
        if !self.is_live || self.interrupted.is_some() {
            return Next::Judge(self.interrupted);
        }
        // Not every kernel has events of vmalloc areas.
        match self.watch_wanted && (!self.only_areas || self.has_area_events) {
            true => Next::Watch,
            false => self.without_watching(),
        }
    }

    /// What comes where nothing can be watched.
    pub fn without_watching(self) -> Next {
        if self.is_suspect { Next::Confirm } else { Next::Judge(None) }
    }
}

/// What collecting waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// No longer than this.
    pub most: Duration,
    /// Not before this.
    pub least: Duration,
    /// Enough when one function has so many aged records.
    pub enough: u64,
}

impl Until {
    /// So long, whatever is seen.
    pub fn exactly(time: Duration) -> Until {
        Until { most: time, least: time, enough: u64::MAX }
    }
}

/// What one round of watching and the snapshot after it say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundFacts {
    /// Whether a function is proved to lose objects.
    pub is_proved: bool,
    /// Whether a cache leaks by its unreachable objects alone.
    pub leaks: bool,
    /// Whether all that leaks has a note of who asked for it.
    pub is_noted: bool,
    /// The most objects of one function that this snapshot found unreachable, confirmed or not.
    pub seen_once: u64,
    /// Whether memory that cannot be taken back grows.
    pub grows: bool,
    /// How long allocations were recorded so far.
    pub collected: Duration,
    /// How much of the time limit is left.
    pub left: Duration,
}

/// Why watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A function is proved to lose objects, or growth was watched for long enough.
    Conclusive,
    /// Nothing is suspect, and nothing grows.
    Quiet,
    /// The time was over.
    TimeLimit,
    /// Somebody ended it in that step.
    Interrupted(Stage),
}

/// What comes after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRound {
    /// Another round.
    Again(Until),
    /// No more rounds.
    End(End),
    /// A proof would take so much longer than there is time.
    OutOfTime(Duration),
}

/// Rounds of watching: what they were for so far.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    is_suspect: bool,
    confirming: u32,
    has_waited: bool,
}

impl Rounds {
    /// The machine, and what its first round waits for.
    ///
    /// `is_suspect`: the first snapshot found a group above the noise. `is_noted`: the kernel itself notes who
    /// asked for all of it.
    pub fn start(is_suspect: bool, is_noted: bool, limit: Duration) -> (Rounds, Until) {
        let until = match is_noted {
            true => Until::exactly(DRAIN.min(limit)),
            false => first_round(is_suspect, limit),
        };
        (Rounds { is_suspect, confirming: 0, has_waited: false }, until)
    }

    /// Whether the rounds still look for who loses what is suspect.
    pub fn is_suspect(&self) -> bool {
        self.is_suspect
    }

    /// What would change the answer.
    pub fn next(&mut self, facts: RoundFacts) -> AfterRound {
        let promising = if facts.leaks { 1 } else { PROMISING };
        if facts.is_proved || facts.leaks && facts.is_noted {
            return AfterRound::End(End::Conclusive);
        }
        if facts.seen_once >= PROVED_OBJECTS && self.confirming < MOST_CONFIRMING {
            self.confirming += 1;
            return AfterRound::Again(Until::exactly(Duration::ZERO));
        }
        if facts.seen_once >= promising && self.confirming == 0 {
            return wait_for(facts);
        }
        if self.is_suspect && !facts.leaks {
            // The suspicion was none: what grows is watched as on any machine.
            self.is_suspect = false;
            return AfterRound::Again(first_round(false, facts.left));
        }
        if !facts.grows {
            return AfterRound::End(if facts.leaks { End::Conclusive } else { End::Quiet });
        }
        if self.has_waited || facts.leaks {
            return AfterRound::End(End::Conclusive);
        }
        self.has_waited = true;
        AfterRound::Again(Until::exactly(GROWTH.min(facts.left.saturating_sub(DRAIN))))
    }
}

fn first_round(is_suspect: bool, limit: Duration) -> Until {
    let room = limit.saturating_sub(DRAIN).max(Duration::from_secs(1));
    if is_suspect {
        Until { most: FIRST_ROUND.min(room), least: DRAIN.min(room), enough: ENOUGH }
    } else {
        Until::exactly(QUIET.min(room))
    }
}

/// How much longer it takes, at the rate seen, until there are enough.
fn wait_for(facts: RoundFacts) -> AfterRound {
    let missing = ENOUGH.saturating_sub(facts.seen_once) as f64;
    let rate = facts.seen_once as f64 / facts.collected.as_secs_f64().max(0.001);
    let more = Duration::from_secs_f64((missing / rate).clamp(1.0, 86_400.0));
    match more + DRAIN > facts.left {
        true => AfterRound::OutOfTime(more),
        false => AfterRound::Again(Until::exactly(more)),
    }
}

#[cfg(test)]
mod tests;
