//! The lost do not move: a group whose members are freed or written to is in use, whatever leads to it.
//!
//! To clear only the members that moved would accuse the others, as if a ring that is refilled lost what has its turn
//! later.

/// How the suspects of one cache moved between two snapshots. What is lost does not move: nobody can free it or
/// write to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turnover {
    /// Suspects of the first snapshot.
    pub before: u64,
    /// Those of them that were freed since.
    pub freed: u64,
    /// Those of them that were written to since.
    pub changed: u64,
    /// Unreachable objects of the second snapshot, confirmed or not.
    pub after: u64,
}

/// So many must have moved, and such a share of the group: a few dozen objects in flight look lost on any busy machine.
const MOVED: u64 = 64;
const MOVED_SHARE: u64 = 20;

impl Turnover {
    /// Whether the group is in use as a whole: its members come and go, and their number does not grow with that.
    pub fn is_alive(&self) -> bool {
        let moved = self.freed + self.changed;
        let grew = self.after.saturating_sub(self.before);
        moved >= MOVED && moved * MOVED_SHARE >= self.before && grew * 2 <= moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_moves_and_does_not_grow_is_in_use() {
        let turnover =
            |before, freed, changed, after| Turnover { before, freed, changed, after }.is_alive();
        assert!(turnover(2048, 200, 0, 2048), "a ring whose buffers are replaced");
        assert!(turnover(2048, 0, 200, 2048), "or written to");
        assert!(turnover(2048, 64, 50, 2048) && !turnover(2048, 50, 50, 2048), "a twentieth");
        assert!(!turnover(600, 63, 0, 600), "as many are in flight on a busy machine");
        assert!(!turnover(30_000, 200, 0, 30_000), "in flight beside a leak");
        assert!(!turnover(1000, 100, 0, 1051) && turnover(1000, 100, 0, 1050), "it grows besides");
        assert!(turnover(5000, 4000, 0, 1000), "it shrinks");
    }
}
