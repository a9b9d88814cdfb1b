//! The pages behind addresses that no array of pages describes.

use sysak_arch::x86_64::Paging;
use sysak_base::numbers::word;
use sysak_base::{PAGE_SIZE, Pfn, Va};
use sysak_heap::Heap;

use super::proof::{prove, translate};
use super::spaces::{proved, spaces};
use crate::Kernel;

/// Finds pages by the kernel's page tables.
pub struct Mapping<'a, 'k> {
    kernel: &'a Kernel<'k>,
    top: Va,
    paging: Paging,
    /// The tables that were read last, by level from the top: neighbours share them.
    read: Vec<(Va, Vec<u8>)>,
}

impl<'a, 'k> Mapping<'a, 'k> {
    /// `None` where no page table of the kernel is known.
    pub fn new(kernel: &'a Kernel<'k>, heap: &Heap) -> Option<Mapping<'a, 'k>> {
        let (top, paging) = match kernel.page_table {
            Some(top) => Some((top, prove(kernel, top)?)),
            None => proved(kernel, &spaces(kernel, heap)),
        }?;
        Some(Mapping { kernel, top, paging, read: Vec::new() })
    }

    /// The page of RAM that an address is mapped to.
    pub fn page(&mut self, at: Va) -> Option<Pfn> {
        let (kernel, known) = (self.kernel, &mut self.read);
        let mut level = 0;
        let read = |table: Va, offset| {
            if known.get(level).is_none_or(|known| known.0 != table) {
                let mut raw = vec![0; PAGE_SIZE as usize];
                kernel.memory.read(table, &mut raw).ok()?;
                known.truncate(level);
                known.push((table, raw));
            }
            let (_, raw) = known.get(level)?;
            level += 1;
            Some(word(raw, offset))
        };
        let pfn = translate(kernel, self.paging, self.top, at, read)?.pfn();
        Some(pfn).filter(|pfn| kernel.is_ram(*pfn))
    }
}
