//! A page table that remembers the page that it was asked for last.
//!
//! **Invariant:** any number of threads may ask at once, and none waits for another.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use sysak_arch::x86_64::{Mapping, Paging};
use sysak_base::{Pa, Va};

/// A page table by the physical address of its top level.
#[derive(Debug)]
pub(crate) struct PageTable {
    top: Pa,
    paging: Paging,
    last: Last,
}

impl PageTable {
    pub(crate) fn new(top: Pa, paging: Paging) -> PageTable {
        PageTable { top, paging, last: Last::default() }
    }

    /// The physical address of `va` and how many bytes from it on are mapped alike; `read` reads
    /// the word at a physical address.
    pub(crate) fn translate(&self, va: Va, read: impl Fn(Pa) -> Option<u64>) -> Option<(Pa, u64)> {
        if let Some(found) = self.last.get().and_then(|mapping| mapping.locate(va)) {
            return Some(found);
        }
        let entry = |table: Pa, offset| read(Pa(table.0 + offset));
        let mapping = self.paging.walk(self.top, va, Some, entry).mapping()?;
        self.last.set(mapping);
        mapping.locate(va)
    }

    /// Where the direct map starts, by a physical address of RAM.
    pub(crate) fn find_direct_map(
        &self,
        probe: Pa,
        read: impl Fn(Pa) -> Option<u64>,
    ) -> Option<Va> {
        self.paging.find_direct_map(self.top, probe, read)
    }
}

/// The mapping that was found last; one of no bytes holds nothing.
///
/// The version is odd while one thread writes. Whoever finds it odd or changed leaves it: the
/// tables have the answer as well.
#[derive(Debug, Default)]
struct Last {
    version: AtomicU64,
    va: AtomicU64,
    pa: AtomicU64,
    bytes: AtomicU64,
}

impl Last {
    fn get(&self) -> Option<Mapping> {
        let version = self.version.load(Acquire);
        let (va, pa) = (Va(self.va.load(Relaxed)), Pa(self.pa.load(Relaxed)));
        let mapping = Mapping { va, pa, bytes: self.bytes.load(Relaxed) };
        // No load above may be done after the one below.
        fence(Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Relaxed) == version;
        is_whole.then_some(mapping)
    }

    fn set(&self, mapping: Mapping) {
        let version = self.version.load(Relaxed);
        let is_ours = version.is_multiple_of(2)
            && self.version.compare_exchange(version, version + 1, Acquire, Relaxed).is_ok();
        if !is_ours {
            return;
        }
        // No store below may be seen before the odd version.
        fence(Release);
        self.va.store(mapping.va.0, Relaxed);
        self.pa.store(mapping.pa.0, Relaxed);
        self.bytes.store(mapping.bytes, Relaxed);
        self.version.store(version + 2, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    const START: u64 = 0xffff_8000_0000_0000;

    /// The tables of three levels lead to the next one, whatever the address; page n of the
    /// lowest is mapped to frame 0x100 + n.
    fn entry(at: Pa) -> Option<u64> {
        let present = 1;
        Some(match at.0 & !0xfff {
            table @ 0x1000..0x4000 => (table + 0x1000) | present,
            _ => (0x100 + (at.0 & 0xfff) / 8) << 12 | present,
        })
    }

    fn table() -> PageTable {
        PageTable::new(Pa(0x1000), Paging::new(4))
    }

    #[test]
    fn neighbours_in_a_page_are_found_without_reading_tables() {
        let reads = AtomicUsize::new(0);
        let read = |at| {
            reads.fetch_add(1, Relaxed);
            entry(at)
        };
        let table = table();
        assert_eq!(table.translate(Va(START + 0x5010), read), Some((Pa(0x10_5010), 0xff0)));
        assert_eq!(table.translate(Va(START + 0x5ff8), read), Some((Pa(0x10_5ff8), 8)));
        assert_eq!(reads.load(Relaxed), 4);
        assert_eq!(table.translate(Va(START + 0x6000), read), Some((Pa(0x10_6000), 0x1000)));
        assert_eq!(reads.load(Relaxed), 8);
    }

    #[test]
    fn threads_that_ask_at_once_never_get_each_others_answers() {
        let table = &table();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for n in 0..20_000 {
                        let page = (n * (thread + 1) % 512) << 12;
                        let found = table.translate(Va(START + page), entry);
                        assert_eq!(found, Some((Pa(0x10_0000 + page), 0x1000)));
                    }
                });
            }
        });
    }
}
