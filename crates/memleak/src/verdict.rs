//! When lost objects are a leak.

use sysak_heap::Tally;
use sysak_heap::{Cache, Class};

use crate::similarity::Similarity;

/// So many similar objects that nothing leads to are a leak.
///
/// Clean guests (5.10, 6.1, 6.12, and a live 6.18) show at most a few dozen
/// unreachable objects per cache, unlike each other: objects known only by physical
/// address, or by an encoding that hides the pointer.
pub const LEAK_OBJECTS: u64 = 1000;
/// So many bytes of similar objects are a leak, however few objects they are.
pub const LEAK_BYTES: u64 = 1 << 20;

/// Whether a cache's unreachable objects are worth a second snapshot.
pub fn is_suspect(tally: &Tally) -> bool {
    tally.unreachable >= LEAK_OBJECTS || tally.unreachable_bytes >= LEAK_BYTES
}

/// Whether the biggest group of similar objects that nothing leads to is a leak. Outside of
/// slabs, where so few are unreached on clean machines, all of them count.
pub fn is_leak(tally: &Tally, similarity: &Similarity, cache: &Cache) -> bool {
    if cache.class != Class::Slab {
        return is_suspect(tally);
    }
    let similar = similarity.groups.iter().map(|group| group.unreachable).max().unwrap_or(0);
    // A leak of many kinds of content is recognised by its share of the whole cache.
    let most = tally.unreachable * 2 >= tally.live;
    let counted = if most { tally.unreachable } else { similar };
    counted >= LEAK_OBJECTS || counted * u64::from(cache.stride) >= LEAK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::similarity::Group;
    use sysak_base::Va;

    fn with_group(unreachable: u64) -> Similarity {
        let group = Group { fingerprint: 1, objects: unreachable, unreachable, sample: Va(0) };
        Similarity { groups: vec![group], ..Similarity::default() }
    }

    fn cache(size: u32) -> Cache {
        Cache::new(Va(1), "kmalloc".into(), size, size).unwrap()
    }

    #[test]
    fn either_many_objects_or_many_bytes_make_a_suspect() {
        let suspect = |white, white_bytes| {
            is_suspect(&Tally {
                unreachable: white,
                unreachable_bytes: white_bytes,
                ..Tally::default()
            })
        };
        assert!(!suspect(LEAK_OBJECTS - 1, LEAK_BYTES - 1));
        assert!(suspect(LEAK_OBJECTS, 0) && suspect(0, LEAK_BYTES));
    }

    #[test]
    fn outside_of_slabs_all_lost_objects_count_whatever_they_are_like() {
        let tally = |white| Tally { live: 1_000_000, unreachable: white, ..Tally::default() };
        let mut pages = cache(4096);
        pages.class = Class::Page;
        let unlike = Similarity::default();
        assert!(is_leak(&tally(1000), &unlike, &pages));
        assert!(!is_leak(&tally(999), &with_group(999), &pages));
        assert!(!is_leak(&tally(1000), &unlike, &cache(64)));
    }

    #[test]
    fn a_mib_of_alike_objects_is_a_leak_and_one_object_less_is_not() {
        let tally = Tally { live: 1_000_000, unreachable: 300, ..Tally::default() };
        assert!(is_leak(&tally, &with_group(256), &cache(4096)));
        assert!(!is_leak(&tally, &with_group(255), &cache(4096)));
    }

    #[test]
    fn half_of_a_cache_counts_as_the_whole_and_less_does_not() {
        let tally = |live| Tally { live, unreachable: 1000, ..Tally::default() };
        assert!(is_leak(&tally(2000), &with_group(10), &cache(64)));
        assert!(!is_leak(&tally(2001), &with_group(10), &cache(64)));
    }

    #[test]
    fn a_few_lost_objects_are_noise_and_many_unlike_ones_in_a_big_cache_too() {
        let tally = |white| Tally { live: 1_000_000, unreachable: white, ..Tally::default() };
        assert!(!is_leak(&tally(999), &with_group(999), &cache(64)));
        assert!(is_leak(&tally(1000), &with_group(1000), &cache(64)));
        assert!(!is_leak(&tally(5000), &with_group(40), &cache(64)), "unlike each other");
        assert!(is_leak(&tally(260), &with_group(256), &cache(4096)), "a MiB");
    }

    #[test]
    fn a_cache_that_is_lost_as_a_whole_needs_no_likeness() {
        let tally = Tally { live: 3000, unreachable: 2000, ..Tally::default() };
        assert!(is_leak(&tally, &with_group(10), &cache(64)));
    }
}
