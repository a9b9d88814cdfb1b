//! For each page, the caches of the objects that its words point to.
//!
//! The first search for references notes this for every page that it reads. Later searches skip pages without a pointer
//! to the caches of the wanted objects. Used for crash dumps only: their memory does not change between two searches.
//!
//! **Invariant:** no page is passed over that leads to an object of the caches.

use std::cell::OnceCell;
use std::collections::HashMap;

use sysak_base::{PAGE_SHIFT, Va, VaRange};

/// Bytes of a record of page, offset and length.
const RECORD_BYTES: u64 = 16;

/// Some caches, a bit for each; several share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheBits(u64);

impl CacheBits {
    pub(crate) fn add(&mut self, cache: u16) {
        self.0 |= 1 << (cache % 64);
    }

    fn join(&mut self, more: CacheBits) {
        self.0 |= more.0;
    }
}

/// Of each page that leads to any object, to which caches.
#[derive(Debug, Default)]
pub struct PageTargets(OnceCell<Known>);

/// The same, once it is known of all pages.
#[derive(Debug, Default)]
pub(crate) struct Known(HashMap<u64, CacheBits>);

impl PageTargets {
    /// What is known; nothing before a first search.
    pub(crate) fn known(&self) -> Option<&Known> {
        self.0.get()
    }

    /// Takes what a search noted that came to its end.
    pub(crate) fn learn(&self, known: Known) {
        // Whoever came first noted the same.
        let _ = self.0.set(known);
    }
}

impl Known {
    pub(crate) fn add(&mut self, noted: Noted) {
        for (page, caches) in noted.0 {
            self.0.entry(page).or_default().join(caches);
        }
    }

    /// The parts of a range whose pages lead to any of the caches.
    pub(crate) fn leading_to(
        &self,
        range: VaRange,
        caches: CacheBits,
    ) -> impl Iterator<Item = VaRange> + '_ {
        let leads = move |page: &VaRange| {
            let known = self.0.get(&(page.start().0 >> PAGE_SHIFT));
            known.is_some_and(|known| known.0 & caches.0 != 0)
        };
        let mut pages = range.pages().filter(leads).peekable();
        std::iter::from_fn(move || {
            let mut part = pages.next()?;
            while let Some(page) = pages.next_if(|page| page.start() == part.end()) {
                part = VaRange::between(part.start(), page.end());
            }
            Some(part)
        })
    }
}

/// What was noted of some pages, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Noted(Vec<(u64, CacheBits)>);

impl Noted {
    /// A word at an address leads to an object of a cache, perhaps with the words behind it.
    pub(crate) fn note(&mut self, at: Va, cache: u16) {
        let [first, last] = [at, at.at(RECORD_BYTES - 1)].map(|at| at.0 >> PAGE_SHIFT);
        (first..=last).for_each(|page| self.note_page(page, cache));
    }

    fn note_page(&mut self, page: u64, cache: u16) {
        match self.0.last_mut() {
            Some((last, caches)) if *last == page => caches.add(cache),
            _ => {
                let mut caches = CacheBits::default();
                caches.add(cache);
                self.0.push((page, caches));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_pages_that_lead_there_are_one_part() {
        let (mut known, mut noted) = (Known::default(), Noted::default());
        for (page, cache) in [(3, 7), (4, 7 + 64), (5, 2), (3, 2), (9, 7)] {
            noted.note(Va((page << PAGE_SHIFT) + 24), cache);
        }
        known.add(noted);
        let parts = |cache| -> Vec<(u64, u64)> {
            let mut caches = CacheBits::default();
            caches.add(cache);
            let range = VaRange::between(Va(0x2800), Va(0x9010));
            let parts = known.leading_to(range, caches);
            parts.map(|part| (part.start().0, part.end().0)).collect()
        };
        assert_eq!(parts(7), [(0x3000, 0x5000), (0x9000, 0x9010)]);
        assert_eq!(parts(2), [(0x3000, 0x4000), (0x5000, 0x6000)]);
        assert_eq!(parts(1), []);
        let mut noted = Noted::default();
        noted.note(Va(0x6ff8), 1);
        known.add(noted);
        // Its offset and length stand on the next page.
        let mut caches = CacheBits::default();
        caches.add(1);
        let range = VaRange::between(Va(0x5000), Va(0x9000));
        let part = VaRange::between(Va(0x6000), Va(0x8000));
        assert_eq!(known.leading_to(range, caches).collect::<Vec<_>>(), [part]);
    }
}
