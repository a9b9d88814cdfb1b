//! Pages that were unpacked last.

use std::sync::{Mutex, OnceLock, PoisonError};

use sysak_base::{PAGE_SIZE, Pfn};

use super::codec::Page;

/// Pages that are kept: 96 MiB. What marking reads of a small machine fits, and the next pass unpacks nothing.
const SLOTS: usize = 3 << 13;

/// A page that is kept, and which one it is.
type Slot = Option<(Pfn, Box<Page>)>;

/// Pages by their number; each has one place where it may be, so that nothing is searched.
pub(super) struct Cache(OnceLock<Vec<Mutex<Slot>>>);

impl Cache {
    pub(super) fn new() -> Cache {
        Cache(OnceLock::new())
    }

    /// Calls `read` with a page; one that is not kept is unpacked first.
    pub(super) fn with<T>(
        &self,
        page: Pfn,
        unpack: impl FnOnce(&mut Page) -> Option<()>,
        read: impl FnOnce(&Page) -> T,
    ) -> Option<T> {
        let slots = self.0.get_or_init(|| (0..SLOTS).map(|_| Mutex::new(None)).collect());
        let slot = &slots[(page.0 % SLOTS as u64) as usize];
        // A panic elsewhere leaves whole pages: they are put here unpacked.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_none_or(|(kept, _)| *kept != page) {
            let mut bytes = match slot.take() {
                Some((_, bytes)) => bytes,
                None => Box::new([0; PAGE_SIZE as usize]),
            };
            unpack(&mut bytes)?;
            *slot = Some((page, bytes));
        }
        slot.as_ref().map(|(_, bytes)| read(bytes))
    }
}
