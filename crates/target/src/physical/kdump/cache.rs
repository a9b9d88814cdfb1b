//! Pages that were unpacked last.

use std::sync::{Mutex, OnceLock, PoisonError};

use sysak_base::{PAGE_SIZE, Pfn};

use super::codec::{Page, Unpacker};

/// Pages that are kept: 96 MiB. What marking reads of a small machine fits, and the next pass unpacks nothing.
const SLOTS: u64 = 3 << 13;
/// Shelves of the cache, each with a lock: threads that read different pages seldom wait for each other.
const SHELVES: u64 = 64;

/// Pages by their number; each has one place where it may be, so that nothing is searched.
pub(super) struct Cache(OnceLock<Vec<Mutex<Shelf>>>);

/// Some places, and what unpacks into them.
#[derive(Default)]
struct Shelf {
    slots: Vec<Option<(Pfn, Box<Page>)>>,
    unpacker: Unpacker,
}

impl Cache {
    pub(super) fn new() -> Cache {
        Cache(OnceLock::new())
    }

    /// Calls `read` with a page; one that is not kept is unpacked first.
    pub(super) fn with<T>(
        &self,
        page: Pfn,
        unpack: impl FnOnce(&mut Unpacker, &mut Page) -> Option<()>,
        read: impl FnOnce(&Page) -> T,
    ) -> Option<T> {
        let shelves = self.0.get_or_init(|| (0..SHELVES).map(|_| Mutex::default()).collect());
        let shelf = &shelves[(page.0 % SHELVES) as usize];
        // A panic elsewhere leaves whole pages: they are put here unpacked.
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let Shelf { slots, unpacker } = &mut *shelf;
        slots.resize_with((SLOTS / SHELVES) as usize, || None);
        let slot = &mut slots[(page.0 / SHELVES % (SLOTS / SHELVES)) as usize];
        if slot.as_ref().is_none_or(|(kept, _)| *kept != page) {
            let mut bytes = match slot.take() {
                Some((_, bytes)) => bytes,
                None => Box::new([0; PAGE_SIZE as usize]),
            };
            unpack(unpacker, &mut bytes)?;
            *slot = Some((page, bytes));
        }
        slot.as_ref().map(|(_, bytes)| read(bytes))
    }
}
