//! The lost do not move: a group whose members are freed or written to is in use, whatever leads to it.
//!
//! To clear only the members that moved would accuse the others, as if a ring that is refilled lost what has its turn
//! later. So the whole cache is cleared, but for a big group of like content of which nothing moved while the rest did:
//! that may be an old leak beside a busy ring, or a ring that nobody uses now. Nobody can tell which.

use std::collections::HashMap;

use sysak_heap::Cache;

use crate::verdict;

/// How some suspects moved between two snapshots. What is lost does not move: nobody can free it or write to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turnover {
    /// Suspects of the first snapshot.
    pub before: u64,
    /// Those of them that were freed since.
    pub freed: u64,
    /// Those of them that were written to since.
    pub changed: u64,
}

/// So many must have moved, and such a share of the group: a few dozen objects in flight look lost on any busy machine.
const MOVED: u64 = 64;
const MOVED_SHARE: u64 = 20;
/// A group stands still that moved by less than such a part of what its cache did.
const STILL_SHARE: u64 = 10;

impl Turnover {
    /// How many moved.
    pub fn moved(&self) -> u64 {
        self.freed + self.changed
    }
}

/// What kind of content an object has; see [`crate::confirm`].
pub type Kind = u16;

/// How the suspects of one cache moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheTurnover {
    /// All of them.
    pub all: Turnover,
    /// The same counts for each kind of content, of objects whose content hash was recorded.
    pub kinds: HashMap<Kind, Turnover>,
    /// Unreachable objects of the second snapshot, confirmed or not.
    pub after: u64,
}

impl CacheTurnover {
    /// Whether the cache is in use as a whole: its suspects come and go, and their number does not grow with that.
    pub fn is_alive(&self) -> bool {
        let (before, moved) = (self.all.before, self.all.moved());
        let grew = self.after.saturating_sub(before);
        moved >= MOVED && moved * MOVED_SHARE >= before && grew * 2 <= moved
    }

    /// Whether suspects of a kind are as many as a leak, and stood still while others of their cache moved.
    pub fn is_still(&self, kind: Kind, cache: &Cache) -> bool {
        let Some(same) = self.kinds.get(&kind) else { return false };
        let expected = u128::from(self.all.moved()) * u128::from(same.before);
        let moved = u128::from(same.moved()) * u128::from(self.all.before);
        verdict::is_many(same.before, cache) && moved * u128::from(STILL_SHARE) < expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::Va;

    #[test]
    fn a_group_that_moves_and_does_not_grow_is_in_use() {
        let turnover = |before, freed, changed, after| {
            let all = Turnover { before, freed, changed };
            CacheTurnover { all, after, ..CacheTurnover::default() }.is_alive()
        };
        assert!(turnover(2048, 200, 0, 2048), "a ring whose buffers are replaced");
        assert!(turnover(2048, 0, 200, 2048), "or written to");
        assert!(turnover(2048, 64, 50, 2048) && !turnover(2048, 50, 50, 2048), "a twentieth");
        assert!(!turnover(600, 63, 0, 600), "as many are in flight on a busy machine");
        assert!(!turnover(30_000, 200, 0, 30_000), "in flight beside a leak");
        assert!(!turnover(1000, 100, 0, 1051) && turnover(1000, 100, 0, 1050), "it grows besides");
        assert!(turnover(5000, 4000, 0, 1000), "it shrinks");
    }

    #[test]
    fn what_stands_still_beside_a_busy_ring_is_not_cleared_with_it() {
        let cache = |bytes| Cache::new(Va(1), "kmalloc".into(), bytes, bytes).unwrap();
        // A ring of which a tenth moved, and others.
        let is_still = |before, changed, bytes| {
            let ring = Turnover { before: 2000, freed: 100, changed: 100 };
            let others = Turnover { before, changed, ..Turnover::default() };
            let all =
                Turnover { before: ring.before + before, changed: ring.changed + changed, ..ring };
            let kinds = HashMap::from([(1, ring), (2, others)]);
            let turnover = CacheTurnover { all, kinds, after: all.before };
            assert!(!turnover.is_still(1, &cache(bytes)) && !turnover.is_still(3, &cache(bytes)));
            turnover.is_still(2, &cache(bytes))
        };
        assert!(is_still(1500, 0, 64), "an old leak");
        assert!(is_still(1500, 8, 64) && !is_still(1500, 9, 64), "a tenth of what the cache did");
        assert!(!is_still(999, 0, 64), "no leak by its number");
        assert!(is_still(256, 0, 4096) && !is_still(255, 0, 4096), "a MiB");
    }
}
