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
pub(crate) struct Found {
    pub info: Vmcoreinfo,
    /// The top-level page table, as an address of the image.
    pub top: Va,
    /// The first address that the image can have.
    pub image_start: Va,
    pub space: AddressSpace,
}

/// Finds the kernel by the note, or where a hypervisor's dump has none, by the kernel's own copy
/// of it in RAM.
pub(crate) fn find(dump: &Dump, path: &Path) -> Result<Found, OpenError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;
    use crate::physical::facts::DiskFiles;
    use crate::physical::fake::{FakePages, tables};
    use sysak_base::PAGE_SIZE;

    const TEXT: Va = Va(0xffff_ffff_8100_0000);

    /// A note that says that the image was loaded at `phys_base`, and its tables are in page 4.
    fn note(phys_base: u64) -> String {
        let top = IMAGE_MAP + 4 * PAGE_SIZE - phys_base;
        format!(
            "OSRELEASE=6.1\nNUMBER(phys_base)={phys_base}\nSYMBOL(swapper_pg_dir)={top:x}\n\
             SYMBOL(_stext)={:x}\n",
            TEXT.0
        )
    }

    /// Pages 1 to 3 hold notes of some other boot and of this one, the latter across two pages;
    /// the tables in pages 4 to 7 map the text to where it is linked.
    fn dump(vmcoreinfo: Option<String>) -> Dump {
        let ram = |phys_base| [&b"VMCOREINFO\0\0"[..], note(phys_base).as_bytes()].concat();
        let mut bytes = vec![0; 3 * PAGE_SIZE as usize];
        for (at, text) in [(16, ram(0x1000)), (0x2000 - 40, ram(0))] {
            bytes[at..at + text.len()].copy_from_slice(&text);
        }
        let notes = bytes.chunks(PAGE_SIZE as usize).map(<[u8]>::to_vec);
        let text_page = (TEXT.0 - IMAGE_MAP) / PAGE_SIZE;
        let pages = notes.chain(tables(4, TEXT, &[text_page])).collect();
        Dump {
            pages: Box::new(FakePages { pages, can_lend: false }),
            vmcoreinfo: vmcoreinfo.map(String::into_bytes),
            registers: Vec::new(),
            cpus: 0,
            disk: DiskFiles::default(),
            reader: Reader::Elf,
            lost_bytes: 0,
        }
    }

    fn phys_base(dump: &Dump) -> Result<u64, String> {
        let found = find(dump, Path::new("a.vmcore"));
        found.map(|found| found.space.phys_base).map_err(|error| error.to_string())
    }

    #[test]
    fn the_note_of_the_file_tells_where_the_kernel_is() {
        let found = find(&dump(Some(note(0))), Path::new("a.vmcore")).map_err(|e| e.to_string());
        let found = found.unwrap();
        assert_eq!((found.image_start, found.top), (TEXT, Va(IMAGE_MAP + 0x4000)));
        assert_eq!(found.space.image_end, IMAGE_MAP + (1 << 29));
    }

    #[test]
    fn without_a_note_the_copy_in_ram_counts_that_the_page_tables_agree_with() {
        assert_eq!(phys_base(&dump(None)), Ok(0));
        assert_eq!(phys_base(&dump(Some(note(0x1000)))), Ok(0), "a note that is not this kernel's");
    }

    #[test]
    fn a_dump_whose_page_tables_agree_with_no_note_has_no_kernel() {
        let mut dump = dump(None);
        let pages = vec![note(0).into_bytes(), b"VMCOREINFO\0\0OSRELEASE=6.1\n".to_vec()];
        dump.pages = Box::new(FakePages { pages, can_lend: true });
        assert!(phys_base(&dump).unwrap_err().contains("has no VMCOREINFO"));
        dump.vmcoreinfo = Some(note(0x1000).into_bytes());
        assert!(phys_base(&dump).unwrap_err().contains("has no usable VMCOREINFO"));
    }
}
