//! Pages written by hand, and page tables in them.

use sysak_arch::x86_64::{LEAF, index};
use sysak_base::{PAGE_SIZE, Pa, PageState, PageStates, Pfn, Va};

use super::facts::{FileFacts, FileFormat};
use super::{PhysicalPages, Run};

/// RAM from page 1 on. Each page is a piece of its own; the file can lend them, or it must copy.
pub(crate) struct FakePages {
    pub pages: Vec<Vec<u8>>,
    pub can_lend: bool,
}

impl FakePages {
    fn page(&self, at: Pa) -> Option<&[u8]> {
        let page = self.pages.get(at.pfn().0.checked_sub(1)? as usize)?;
        page.get((at.0 % PAGE_SIZE) as usize..)
    }
}

impl PageStates for FakePages {
    fn state(&self, first: Pfn, end: Pfn) -> (PageState, Pfn) {
        let last = Pfn(1 + self.pages.len() as u64);
        match first {
            Pfn(0) => (PageState::Absent, Pfn(1).min(end)),
            first if first < last => (PageState::Present, last.min(end)),
            _ => (PageState::Absent, end),
        }
    }
}

impl PhysicalPages for FakePages {
    fn read_piece(&self, at: Pa, buf: &mut [u8]) -> usize {
        let bytes = self.page(at).unwrap_or_default();
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        len
    }

    fn borrow(&self, at: Pa) -> Option<&[u8]> {
        self.page(at).filter(|_| self.can_lend)
    }

    fn runs(&self) -> Vec<Run> {
        vec![Run { start: Pa(PAGE_SIZE), bytes: self.most_ram_bytes() }]
    }

    fn end(&self) -> Pa {
        Pa(PAGE_SIZE + self.most_ram_bytes())
    }

    fn most_ram_bytes(&self) -> u64 {
        self.pages.len() as u64 * PAGE_SIZE
    }

    fn facts(&self) -> FileFacts {
        FileFacts::of(FileFormat::Elf, false)
    }

    fn find(&self, needle: &[u8], from: Pa) -> Option<Pa> {
        let starts = (from.0.max(PAGE_SIZE)..self.end().0).map(Pa);
        starts.into_iter().find(|at| self.page(*at).is_some_and(|bytes| bytes.starts_with(needle)))
    }
}

/// The four tables in the pages from `first` on that map the pages from `va` on to `mapped`.
pub(crate) fn tables(first: u64, va: Va, mapped: &[u64]) -> Vec<Vec<u8>> {
    let table = |from: u64, leads_to: &[u64]| {
        let mut table = vec![0; PAGE_SIZE as usize];
        for (entry, page) in (from..).zip(leads_to) {
            let bytes = ((page * PAGE_SIZE) | 1).to_le_bytes();
            table[entry as usize * 8..][..8].copy_from_slice(&bytes);
        }
        table
    };
    let upper = (LEAF + 1..=4).rev().zip(first + 1..);
    let upper = upper.map(|(level, next)| table(index(va, level), &[next]));
    upper.chain([table(index(va, LEAF), mapped)]).collect()
}
