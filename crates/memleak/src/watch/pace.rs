//! What watching costs, and what to leave out when it costs too much.
//!
//! Stacks are thinned first, then records. The events themselves cannot be: where
//! they alone cost more than the budget, the report says so.

use sysak_alloctrace::{Seen, Tracer};

/// Nanoseconds that an event costs which is not recorded, that a record adds, and that a
/// stack adds: measured by `make bench`, rounded up.
const EVENT_NS: u64 = 40;
const RECORD_NS: u64 = 60;
const STACK_NS: u64 = 1500;
/// Stacks each CPU may take between two ticks, at least and at most.
const STACKS: std::ops::RangeInclusive<u64> = 1..=200;
/// Never fewer records than one of so many allocations.
const THINNEST: u32 = 1 << 10;

/// Watches the cost and thins what is recorded.
pub struct Pace {
    budget_percent: f64,
    cpus: u64,
    before: Seen,
    /// One of so many allocations is recorded now.
    pub one_in: u32,
    /// The most that `one_in` ever was.
    pub thinnest: u32,
    /// Whether fewer stacks were taken than there was use for.
    pub stacks_thinned: bool,
    allowed: u64,
    spent_ns: u64,
    watched_ns: u64,
}

impl Pace {
    /// For a budget in percent of one CPU.
    pub fn new(budget_percent: f64, cpus: u64) -> Pace {
        Pace {
            budget_percent,
            cpus: cpus.max(1),
            before: Seen::default(),
            one_in: 1,
            thinnest: 1,
            stacks_thinned: false,
            allowed: *STACKS.end(),
            spent_ns: 0,
            watched_ns: 0,
        }
    }

    /// Begins after a pause: what was seen meanwhile is no burst. Lets the first tick take stacks.
    pub fn begin(&mut self, tracer: &Tracer, seen: Seen) {
        self.before = seen;
        tracer.tick(self.allowed as u32);
    }

    /// Takes what was seen so far; `tick_ns` have passed since the last time.
    pub fn tick(&mut self, tracer: &Tracer, seen: &Seen, tick_ns: u64) {
        let allowed = self.judge(seen, tick_ns);
        tracer.thin(self.one_in);
        tracer.tick(allowed as u32);
    }

    /// How many stacks each CPU may take until the next tick.
    fn judge(&mut self, seen: &Seen, tick_ns: u64) -> u64 {
        let since = |now: u64, before: u64| now.saturating_sub(before);
        let before = &self.before;
        let events = since(seen.allocs, before.allocs) + since(seen.frees, before.frees);
        let records = since(seen.recorded, before.recorded);
        let stacks = since(seen.stacks, before.stacks);
        let plain_ns = events * EVENT_NS + records * RECORD_NS;
        self.spent_ns += plain_ns + stacks * STACK_NS;
        self.watched_ns += tick_ns;
        let budget_ns = (tick_ns as f64 * self.budget_percent / 100.0) as u64;
        // Halving what is recorded helps only where records are what costs.
        if plain_ns > budget_ns && records * RECORD_NS * 4 > budget_ns {
            self.one_in = (self.one_in * 2).min(THINNEST);
        } else if plain_ns * 4 < budget_ns && self.one_in > 1 {
            self.one_in /= 2;
        }
        self.thinnest = self.thinnest.max(self.one_in);
        self.stacks_thinned |= stacks < records && self.allowed < *STACKS.end();
        self.before = Seen { sites: Default::default(), ..seen.clone() };
        let left_ns = budget_ns.saturating_sub(plain_ns);
        self.allowed = (left_ns / STACK_NS / self.cpus).clamp(*STACKS.start(), *STACKS.end());
        self.allowed
    }

    /// What it cost so far, in percent of one CPU, by the figures above.
    pub fn overhead_percent(&self) -> Option<f64> {
        let percent = self.spent_ns as f64 * 100.0 / self.watched_ns as f64;
        (self.watched_ns > 0).then(|| (percent * 100.0).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 250_000_000;

    fn seen(allocs: u64, recorded: u64) -> Seen {
        Seen { allocs, frees: allocs, recorded, ..Seen::default() }
    }

    #[test]
    fn a_quiet_machine_is_recorded_whole() {
        let mut pace = Pace::new(5.0, 2);
        assert_eq!(pace.judge(&seen(1000, 1000), TICK), *STACKS.end());
        assert_eq!((pace.one_in, pace.overhead_percent()), (1, Some(0.06)));
    }

    #[test]
    fn stacks_are_thinned_first_then_records_and_both_come_back() {
        let mut pace = Pace::new(5.0, 2);
        let some = pace.judge(&seen(100_000, 70_000), TICK);
        assert!(some < *STACKS.end() && pace.one_in == 1, "{some}");
        assert_eq!(pace.judge(&seen(300_000, 270_000), TICK), *STACKS.start());
        assert_eq!(pace.one_in, 2);
        pace.judge(&seen(300_100, 270_100), TICK);
        assert_eq!((pace.one_in, pace.thinnest), (1, 2));
    }
}
