//! Counts the most frequent keys in bounded room.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

/// Keys that are told apart; when there are more, the rarer half is forgotten.
const MOST: usize = 128;

/// Keys, their counts, and something kept with each.
///
/// A forgotten key that comes again starts anew, so a count is a lower bound, and
/// what is frequent throughout is never forgotten.
pub(super) struct Top<K, V> {
    counts: HashMap<K, (u64, V)>,
}

impl<K, V> Default for Top<K, V> {
    fn default() -> Self {
        Top { counts: HashMap::new() }
    }
}

impl<K: Copy + Ord + Hash, V: Default> Top<K, V> {
    /// Counts one more of a key.
    pub(super) fn count(&mut self, key: K) -> &mut V {
        if self.counts.len() >= MOST && !self.counts.contains_key(&key) {
            self.forget();
        }
        let (count, kept) = self.counts.entry(key).or_default();
        *count += 1;
        kept
    }

    /// Keys with count and what was kept; ties by key.
    pub(super) fn biggest_first(self) -> impl Iterator<Item = (K, u64, V)> {
        let mut all: Vec<_> =
            self.counts.into_iter().map(|(key, (count, kept))| (key, count, kept)).collect();
        all.sort_unstable_by_key(|(key, count, _)| (Reverse(*count), *key));
        all.into_iter()
    }

    fn forget(&mut self) {
        let mut order: Vec<_> =
            self.counts.iter().map(|(key, (count, _))| (Reverse(*count), *key)).collect();
        order.sort_unstable();
        for (_, key) in &order[MOST / 2..] {
            self.counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rare_keys_do_not_displace_a_frequent_one() {
        let mut top: Top<u32, ()> = Top::default();
        for key in 0..100_000 {
            top.count(key + 10);
            top.count(7);
        }
        assert!(top.counts.len() <= MOST);
        let biggest: Vec<_> = top.biggest_first().map(|(key, count, ())| (key, count)).collect();
        assert_eq!(biggest[0], (7, 100_000));
        assert!(biggest[1].1 <= 1, "forgetting never adds");
    }

    #[test]
    fn what_is_counted_already_makes_nothing_be_forgotten() {
        let mut top: Top<usize, ()> = Top::default();
        (0..MOST).chain([MOST - 1, 0]).for_each(|key| {
            top.count(key);
        });
        assert_eq!(top.counts.len(), MOST);
        let biggest: Vec<_> = top.biggest_first().map(|(key, count, ())| (key, count)).collect();
        assert_eq!(biggest[..3], [(0, 2), (MOST - 1, 2), (1, 1)]);
    }

    #[test]
    fn equal_counts_are_in_the_order_of_their_keys() {
        let mut top: Top<u32, ()> = Top::default();
        for key in [3, 1, 2, 2, 1, 3, 9] {
            top.count(key);
        }
        let keys: Vec<u32> = top.biggest_first().map(|(key, ..)| key).collect();
        assert_eq!(keys, [1, 2, 3, 9]);
    }
}
