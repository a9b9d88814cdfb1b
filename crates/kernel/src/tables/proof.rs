//! The proof that a table is a top-level page table of this kernel.
//!
//! **Invariant:** an entry leads to a table only if it is present, maps no large page, and has an
//! address of RAM; above RAM it may have no bit but the one that marks encrypted memory.

use sysak_arch::x86_64::{Entry, Paging, index, levels_of};
use sysak_base::{Pa, Pfn, Va};

use crate::Kernel;

/// How tables are read on this machine, if those below the top-level one at `top` map RAM where
/// the direct map is.
pub(super) fn prove(kernel: &Kernel<'_>, top: Va) -> Option<Paging> {
    let levels = levels_of(kernel.page_offset());
    let probe = kernel.page_va(kernel.ram.first()?.start);
    let entry = kernel.memory.read_u64(top.at(index(probe, levels) * 8)).ok()?;
    let paging = Paging::of_ram(levels, kernel.end_pfn().pa(), entry)?;
    let read = |table: Va, offset| kernel.memory.read_u64(table.at(offset)).ok();
    let mapped = translate(kernel, paging, top, probe, read)?;
    (probe.checked_sub(kernel.page_offset()) == Some(mapped.0)).then_some(paging)
}

/// The physical address that an address is mapped to; `read` reads the word at an offset in a
/// table.
pub(super) fn translate(
    kernel: &Kernel<'_>,
    paging: Paging,
    top: Va,
    at: Va,
    read: impl FnMut(Va, u64) -> Option<u64>,
) -> Option<Pa> {
    let find = |table| Some(kernel.page_va(ram_page(kernel, table)?));
    let page = paging.walk(top, at, find, read).mapping()?;
    page.locate(at).map(|(pa, _)| pa)
}

/// The table that an entry of a table of some level leads to.
pub(super) fn next_table(
    kernel: &Kernel<'_>,
    paging: Paging,
    entry: u64,
    level: u32,
) -> Option<Pfn> {
    match paging.decode(entry, level) {
        Entry::Table(table) => ram_page(kernel, table),
        Entry::Page(_) | Entry::Absent => None,
    }
}

fn ram_page(kernel: &Kernel<'_>, at: Pa) -> Option<Pfn> {
    Some(at.pfn()).filter(|pfn| kernel.is_ram(*pfn))
}
