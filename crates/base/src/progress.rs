//! What a long computation tells its caller, and how it is told to stop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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

/// A flag that a signal handler sets and every long loop looks at; perhaps with a budget of time.
#[derive(Clone, Debug, Default)]
pub struct Cancel(pub Arc<AtomicBool>, Option<Arc<Budget>>);

impl Cancel {
    /// Whether the work should end now, keeping what it has.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) || self.1.as_ref().is_some_and(|budget| budget.is_spent())
    }

    /// The same, which also ends the work when its budget is spent.
    pub fn within(&self, budget: Budget) -> Cancel {
        Cancel(self.0.clone(), Some(Arc::new(budget)))
    }

    /// Whether any work was ended because its budget was spent.
    pub fn is_out_of_time(&self) -> bool {
        self.1.as_ref().is_some_and(|budget| budget.has_ended.load(Ordering::Relaxed))
    }
}

/// The time since something, by whatever clock.
pub type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// Time that a piece of work may take.
pub struct Budget {
    clock: Clock,
    until: Duration,
    has_ended: AtomicBool,
}

impl Budget {
    /// So much time from now on, by a clock.
    pub fn new(time: Duration, clock: Clock) -> Budget {
        let until = clock().saturating_add(time);
        Budget { clock, until, has_ended: AtomicBool::new(false) }
    }

    fn is_spent(&self) -> bool {
        let is_spent = self.has_ended.load(Ordering::Relaxed) || (self.clock)() >= self.until;
        if is_spent {
            self.has_ended.store(true, Ordering::Relaxed);
        }
        is_spent
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("until", &self.until).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_budget_ends_the_work_when_its_clock_says_so_and_tells_that_it_did() {
        let seconds = Arc::new(AtomicU64::new(100));
        let clock = seconds.clone();
        let read = move || Duration::from_secs(clock.load(Ordering::Relaxed));
        let by_hand = Cancel::default();
        let cancel = by_hand.within(Budget::new(Duration::from_secs(3), Box::new(read)));
        seconds.store(102, Ordering::Relaxed);
        assert!(!cancel.is_set());
        seconds.store(103, Ordering::Relaxed);
        assert!(!cancel.is_out_of_time(), "nobody asked");
        assert!(cancel.is_set() && cancel.clone().is_out_of_time());
        assert!(!by_hand.is_set(), "the budget is that of one piece of work");
    }

    #[test]
    fn who_ends_the_work_by_hand_ends_what_has_a_budget_too() {
        let by_hand = Cancel::default();
        let cancel = by_hand.within(Budget::new(Duration::MAX, Box::new(|| Duration::ZERO)));
        by_hand.0.store(true, Ordering::Relaxed);
        assert!(cancel.is_set() && !cancel.is_out_of_time());
    }
}
