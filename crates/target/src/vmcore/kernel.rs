//! Where the kernel lies in the physical memory of a dump, by its VMCOREINFO.
//!
//! Danger: other boots and other programs leave the same text in RAM.
//!
//! **Invariant:** a text counts only if the page tables that it names map the kernel's text where
//! it says.

use std::path::Path;

use sysak_arch::x86_64::{IMAGE_MAP, IMAGE_MAP_END, Paging};
use sysak_base::{Pa, Va};
use sysak_symbols::Vmcoreinfo;

use super::memory::AddressSpace;
use crate::OpenError;
use crate::page_table::PageTable;
use crate::physical::{Dump, PhysicalPages};

/// VMCOREINFO is one page; two in some kernels to come.
const NOTE_BYTES: usize = 8192;
/// Copies of it in RAM to try.
const MOST_NOTES: usize = 4096;
/// The head of the ELF note in RAM: a name of 11 bytes, padded, then the text.
const NOTE_HEAD: &[u8] = b"VMCOREINFO\0\0OSRELEASE=";
/// Where in it the text starts.
const TEXT_AT: u64 = 12;
/// The image's mapping without KASLR; what lies above is found by the page tables then.
const USUAL_IMAGE_BYTES: i64 = 1 << 29;
/// The kernel is loaded at a multiple of this.
const IMAGE_ALIGNMENT: u64 = 2 << 20;

/// The kernel of a dump.
pub(super) struct Found {
    pub info: Vmcoreinfo,
    /// The top-level page table, as an address of the image.
    pub top: Va,
    /// The first address that the image can have.
    pub image_start: Va,
    pub space: AddressSpace,
}

/// Finds the kernel by the note, or where a hypervisor's dump has none, by the kernel's own copy
/// of it in RAM.
pub(super) fn find(dump: &Dump, path: &Path) -> Result<Found, OpenError> {
    let (pages, note) = (dump.pages.as_ref(), dump.vmcoreinfo.as_deref());
    let noted = note.and_then(|text| usable(pages, text));
    noted.or_else(|| search(pages)).ok_or_else(|| OpenError::MissingVmcoreinfo {
        path: path.to_owned(),
        what: if note.is_some() { "usable VMCOREINFO" } else { "VMCOREINFO" },
    })
}

/// By the kernel's own copy of the note in RAM. Programs that read dumps carry the same bytes,
/// and a boot before this one may have left its own.
fn search(pages: &dyn PhysicalPages) -> Option<Found> {
    let mut from = Pa(0);
    let mut text = vec![0; NOTE_BYTES];
    for _ in 0..MOST_NOTES {
        let at = pages.find(NOTE_HEAD, from)?;
        let len = pages.read(Pa(at.0 + TEXT_AT), &mut text);
        let found = usable(pages, &text[..len]);
        if found.is_some() {
            return found;
        }
        from = Pa(at.0 + 1);
    }
    None
}

/// The kernel by a text, if it has what is needed and the page tables agree.
fn usable(pages: &dyn PhysicalPages, text: &[u8]) -> Option<Found> {
    let info = Vmcoreinfo::parse(&text[..text.len().min(NOTE_BYTES)]).ok()?;
    let phys_base = info.find_number("phys_base")? as u64;
    let top = info.find_symbol("swapper_pg_dir").or_else(|| info.find_symbol("init_top_pgt"))?;
    let physical = |va: Va| Pa(va.0.wrapping_sub(IMAGE_MAP).wrapping_add(phys_base));
    let levels = if info.find_number("pgtable_l5_enabled").unwrap_or(0) != 0 { 5 } else { 4 };
    let encryption = info.find_number("sme_mask").unwrap_or(0) as u64;
    let paging = Paging::new(levels).encrypted_with(encryption);
    let page_table = PageTable::new(physical(top), paging);
    let text = info.find_symbol("_stext")?;
    let (pa, _) = page_table.translate(text, |at| pages.word(at))?;
    let image_bytes = info.find_number("KERNEL_IMAGE_SIZE").unwrap_or(USUAL_IMAGE_BYTES) as u64;
    let image_end = IMAGE_MAP + image_bytes.min(IMAGE_MAP_END - IMAGE_MAP);
    let space = AddressSpace { phys_base, image_end, page_table, page_offset: None };
    let image_start = Va(text.0 & !(IMAGE_ALIGNMENT - 1));
    (pa == physical(text)).then_some(Found { info, top, image_start, space })
}
