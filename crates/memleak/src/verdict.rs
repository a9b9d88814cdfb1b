//! When lost objects are a leak.

use sysak_heap::Tally;
use sysak_heap::{Cache, Class};
use sysak_kernel::Books;

use crate::plan::Plan;
use crate::similarity::Similarity;

/// So many similar objects that nothing leads to are a leak.
///
/// Clean guests (5.10, 6.1, 6.12, and a live 6.18) show at most a few dozen
/// unreachable objects per cache, unlike each other: objects known only by physical
/// address, or by an encoding that hides the pointer.
pub const LEAK_OBJECTS: u64 = 1000;
/// So many objects of a cache that its owner has destroyed are a leak: the kernel itself calls any a bug, but a few may
/// be held by what goes away in a moment.
pub const LEFT_OBJECTS: u64 = 20;
/// So many bytes of similar objects are a leak, however few objects they are.
pub const LEAK_BYTES: u64 = 1 << 20;

/// Whether a cache's unreachable objects are worth a second snapshot.
pub fn is_suspect(tally: &Tally, cache: &Cache) -> bool {
    let least = if cache.destroyed { LEFT_OBJECTS } else { LEAK_OBJECTS };
    tally.unreachable >= least || tally.unreachable_bytes >= LEAK_BYTES
}

/// Whether the biggest group of similar objects that nothing leads to is a leak. Outside of
/// slabs, where so few are unreached on clean machines, all of them count.
pub fn is_leak(tally: &Tally, similarity: &Similarity, cache: &Cache) -> bool {
    if cache.class != Class::Slab || cache.destroyed {
        return is_suspect(tally, cache);
    }
    let similar = similarity.groups.iter().map(|group| group.unreachable).max().unwrap_or(0);
    // A leak of many kinds of content is recognised by its share of the whole cache.
    let most = tally.unreachable * 2 >= tally.live;
    let counted = if most { tally.unreachable } else { similar };
    is_many(counted, cache)
}

/// Whether so many objects of a slab cache are a leak, if they are alike and lost.
pub fn is_many(objects: u64, cache: &Cache) -> bool {
    objects >= LEAK_OBJECTS || objects * u64::from(cache.stride) >= LEAK_BYTES
}

/// Whether lost objects, of which no other lost object leads to so many, are lost whatever stands in words that could
/// not be read: each of these leads to one at most, and from there to others.
pub fn stands(outermost: u64, unread_words: u64) -> bool {
    outermost >= unread_words.saturating_add(LEAK_OBJECTS)
}

/// Whether "nothing leaks" can be said: of all memory that is asked for, so much was judged that a leak cannot hide in
/// the rest.
///
/// An accusation needs no such thing. What could not be judged counts as in use and was searched for pointers, so what
/// is lost is lost whatever the rest turns out to be. What could not be read is another thing ([`stands`]).
pub fn can_clear(books: &Books, plan: &Plan) -> bool {
    let asked = match (&plan.only_cache, plan.only_class) {
        (Some(_), _) => Some(Class::Slab),
        (None, class) => class,
    };
    let book = |class| match class {
        Class::Slab => &books.slab,
        Class::Page => &books.page,
        Class::Vmalloc => &books.vmalloc,
        Class::PerCpu => &books.percpu,
    };
    match asked {
        Some(class) => book(class).is_closed(),
        None => [Class::Slab, Class::Page, Class::Vmalloc, Class::PerCpu]
            .into_iter()
            .all(|class| book(class).is_closed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::similarity::Group;
    use sysak_base::Va;
    use sysak_kernel::Book;

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
            let tally =
                Tally { unreachable: white, unreachable_bytes: white_bytes, ..Tally::default() };
            is_suspect(&tally, &cache(64))
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

    #[test]
    fn what_is_left_of_a_cache_that_was_destroyed_is_a_leak_sooner() {
        let tally = |white| Tally { live: 40, unreachable: white, ..Tally::default() };
        let mut destroyed = cache(64);
        destroyed.destroyed = true;
        let unlike = Similarity::default();
        assert!(is_leak(&tally(LEFT_OBJECTS), &unlike, &destroyed));
        assert!(!is_leak(&tally(LEFT_OBJECTS - 1), &unlike, &destroyed));
        assert!(!is_leak(&tally(LEFT_OBJECTS), &unlike, &cache(64)));
    }

    #[test]
    fn nothing_is_cleared_while_a_book_that_was_asked_for_is_open() {
        let plan = |only_class| Plan { only_class, ..Plan::default() };
        let open = Book { pages: 100, unjudged_pages: 2, is_missing: false };
        let books = Books { vmalloc: open, ..Books::default() };
        assert!(!can_clear(&books, &plan(None)));
        assert!(!can_clear(&books, &plan(Some(Class::Vmalloc))));
        assert!(can_clear(&books, &plan(Some(Class::Slab))), "the book of slabs is closed");
        let only_cache = Plan { only_cache: Some("dentry".into()), ..plan(None) };
        assert!(can_clear(&books, &only_cache));
        assert!(can_clear(&Books::default(), &plan(None)));
    }
}
