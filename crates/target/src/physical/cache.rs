//! Pages that were read last, where reading one costs more than keeping it.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use sysak_base::{PAGE_SIZE, Pfn};

/// The bytes of a page.
pub(super) type Page = [u8; PAGE_SIZE as usize];

/// Shelves of the cache, each with a lock: threads that read different pages seldom wait for each other.
const SHELVES: u64 = 16;
/// Places on a shelf that a page may be in.
const WAYS: u64 = 8;

/// Pages by their number; each has a few places where it may be, so that little is searched. `T` is what fills a page,
/// one for each shelf.
pub(super) struct Cache<T> {
    sets_per_shelf: u64,
    shelves: OnceLock<Vec<Mutex<Shelf<T>>>>,
}

/// Room for a page.
type Slot = Option<(Pfn, Box<Page>)>;

/// Some places, and what fills them.
#[derive(Default)]
struct Shelf<T> {
    slots: Vec<Slot>,
    /// How many pages were filled here.
    fills: u64,
    filler: T,
}

impl<T: Default> Cache<T> {
    /// A cache that keeps so many pages, a multiple of the shelves and their ways.
    pub(super) fn of(slots: u64) -> Cache<T> {
        Cache { sets_per_shelf: slots / SHELVES / WAYS, shelves: OnceLock::new() }
    }

    /// Calls `read` with a page, if it is kept.
    pub(super) fn kept<R>(&self, page: Pfn, read: impl FnOnce(&Page) -> R) -> Option<R> {
        let mut shelf = self.shelf(page);
        let set = self.set(&mut shelf.slots, page);
        let (_, bytes) = set.iter().flatten().find(|one| one.0 == page)?;
        Some(read(bytes))
    }

    /// Calls `read` with a page; one that is not kept is filled first, in place of any: sweeps over a little more than
    /// fits would find nothing of what was read longest ago.
    pub(super) fn with<R>(
        &self,
        page: Pfn,
        fill: impl FnOnce(&mut T, &mut Page) -> Option<()>,
        read: impl FnOnce(&Page) -> R,
    ) -> Option<R> {
        let mut shelf = self.shelf(page);
        let Shelf { slots, fills, filler } = &mut *shelf;
        let set = self.set(slots, page);
        let has = |slot: &Slot| slot.as_ref().is_some_and(|one| one.0 == page);
        let way = match set.iter().position(has) {
            Some(way) => way,
            None => {
                *fills += 1;
                let way = set.iter().position(Option::is_none).unwrap_or(any_of(*fills, WAYS));
                let before = set[way].take().map(|(_, bytes)| bytes);
                let mut bytes = before.unwrap_or_else(|| Box::new([0; PAGE_SIZE as usize]));
                fill(filler, &mut bytes)?;
                set[way] = Some((page, bytes));
                way
            }
        };
        set[way].as_ref().map(|(_, bytes)| read(bytes))
    }

    /// Where a page may be kept.
    fn shelf(&self, page: Pfn) -> MutexGuard<'_, Shelf<T>> {
        let shelves = self.shelves.get_or_init(|| (0..SHELVES).map(|_| Mutex::default()).collect());
        let shelf = &shelves[(page.0 % SHELVES) as usize];
        // A panic elsewhere leaves whole pages: they are put here filled.
        shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slots of its shelf that a page may have.
    fn set<'s>(&self, slots: &'s mut Vec<Slot>, page: Pfn) -> &'s mut [Slot] {
        slots.resize_with((self.sets_per_shelf * WAYS) as usize, || None);
        let first = page.0 / SHELVES % self.sets_per_shelf * WAYS;
        &mut slots[first as usize..][..WAYS as usize]
    }
}

/// One of so many, in no order that is like that of a sweep: a multiplication by the golden ratio.
fn any_of(number: u64, many: u64) -> usize {
    ((number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % many) as usize
}
