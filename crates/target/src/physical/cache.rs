//! Pages that were read last, where reading one costs more than keeping it.

use std::sync::{Mutex, OnceLock, PoisonError};

use sysak_base::{PAGE_SIZE, Pfn};

/// The bytes of a page.
pub(super) type Page = [u8; PAGE_SIZE as usize];

/// Shelves of the cache, each with a lock: threads that read different pages seldom wait for each other.
const SHELVES: u64 = 64;

/// Pages by their number; each has one place where it may be, so that nothing is searched. `T` is what fills a page,
/// one for each shelf.
pub(super) struct Cache<T> {
    slots_per_shelf: u64,
    shelves: OnceLock<Vec<Mutex<Shelf<T>>>>,
}

/// Some places, and what fills them.
#[derive(Default)]
struct Shelf<T> {
    slots: Vec<Option<(Pfn, Box<Page>)>>,
    filler: T,
}

impl<T: Default> Cache<T> {
    /// A cache that keeps so many pages, a multiple of the shelves.
    pub(super) fn of(slots: u64) -> Cache<T> {
        Cache { slots_per_shelf: slots / SHELVES, shelves: OnceLock::new() }
    }

    /// Calls `read` with a page; one that is not kept is filled first.
    pub(super) fn with<R>(
        &self,
        page: Pfn,
        fill: impl FnOnce(&mut T, &mut Page) -> Option<()>,
        read: impl FnOnce(&Page) -> R,
    ) -> Option<R> {
        let shelves = self.shelves.get_or_init(|| (0..SHELVES).map(|_| Mutex::default()).collect());
        let shelf = &shelves[(page.0 % SHELVES) as usize];
        // A panic elsewhere leaves whole pages: they are put here filled.
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let Shelf { slots, filler } = &mut *shelf;
        slots.resize_with(self.slots_per_shelf as usize, || None);
        let slot = &mut slots[(page.0 / SHELVES % self.slots_per_shelf) as usize];
        if slot.as_ref().is_none_or(|(kept, _)| *kept != page) {
            let mut bytes = match slot.take() {
                Some((_, bytes)) => bytes,
                None => Box::new([0; PAGE_SIZE as usize]),
            };
            fill(filler, &mut bytes)?;
            *slot = Some((page, bytes));
        }
        slot.as_ref().map(|(_, bytes)| read(bytes))
    }
}
