//! A crash dump as the memory of its kernel: physical pages, and the address space above them.
//!
//! Danger: the dump may be forged; page tables come out of it.
//!
//! **Invariant:** a read yields bytes of the file or an error, never zeroes for what is missing.

use sysak_arch::x86_64::IMAGE_MAP;
use sysak_base::{Fault, Memory, PAGE_SIZE, Pa, PageStates, Va, Why};

use crate::page_table::PageTable;
use crate::physical::PhysicalPages;

/// How the kernel of a dump maps memory.
pub(crate) struct AddressSpace {
    /// Where the image was loaded, less where it is linked.
    pub phys_base: u64,
    /// End of the mapping of the image: modules follow it, and they are not linear.
    pub image_end: u64,
    pub page_table: PageTable,
    /// Start of the direct map, once it is known.
    pub page_offset: Option<Va>,
}

/// The memory of a dump's kernel.
pub(crate) struct Vmcore {
    pages: Box<dyn PhysicalPages>,
    /// End of physical memory: with KASLR other mappings follow close behind the direct map.
    end: u64,
    space: AddressSpace,
}

impl Vmcore {
    pub(crate) fn new(pages: Box<dyn PhysicalPages>, space: AddressSpace) -> Vmcore {
        Vmcore { end: pages.end().0, pages, space }
    }

    /// The physical memory alone.
    pub(super) fn pages(&self) -> &dyn PhysicalPages {
        self.pages.as_ref()
    }

    /// Where the direct map starts.
    pub(super) fn page_offset(&self) -> Option<Va> {
        self.space.page_offset
    }

    /// From here on the direct map can be read without page tables.
    pub(super) fn set_page_offset(&mut self, page_offset: Option<Va>) {
        self.space.page_offset = page_offset;
    }

    /// End of the mapping of the image.
    pub(super) fn image_end(&self) -> u64 {
        self.space.image_end
    }

    /// Where the direct map starts by the page tables, which map `probe`, an address of RAM.
    pub(super) fn find_direct_map(&self, probe: Pa) -> Option<Va> {
        self.space.page_table.find_direct_map(probe, |at| self.pages.word(at))
    }

    /// The physical address of `va`, and for how many bytes that holds.
    fn translate(&self, va: Va) -> Option<(Pa, u64)> {
        if let Some(base) = self.space.page_offset
            && let Some(pa) = va.checked_sub(base)
            && pa < self.end
        {
            return Some((Pa(pa), self.end - pa));
        }
        if (IMAGE_MAP..self.space.image_end).contains(&va.0) {
            let pa = (va.0 - IMAGE_MAP).wrapping_add(self.space.phys_base);
            return Some((Pa(pa), self.space.image_end - va.0));
        }
        self.space.page_table.translate(va, |at| self.pages.word(at))
    }
}

impl Memory for Vmcore {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < buf.len() {
            let va = at.at(done as u64);
            let (pa, alike) = self.translate(va).ok_or(Fault { at, why: Why::Unmapped })?;
            let len = (buf.len() - done).min(usize::try_from(alike).unwrap_or(usize::MAX));
            if self.pages.read(pa, &mut buf[done..done + len]) < len {
                return Err(Fault { at, why: Why::Absent });
            }
            done += len;
        }
        Ok(())
    }

    fn view<'a>(&'a self, at: Va, len: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Fault> {
        if let Some((pa, alike)) = self.translate(at)
            && len as u64 <= alike
            && let Some(bytes) = self.pages.borrow(pa)
            && let Some(bytes) = bytes.get(..len)
        {
            return Ok(bytes);
        }
        if scratch.len() < len {
            scratch.resize(len, 0);
        }
        self.read(at, &mut scratch[..len])?;
        Ok(&scratch[..len])
    }

    fn best_read_bytes(&self) -> usize {
        (PAGE_SIZE as usize) << 10
    }

    fn page_states(&self) -> Option<&dyn PageStates> {
        Some(self.pages.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::physical::fake::{FakePages, tables};
    use sysak_arch::x86_64::{IMAGE_MAP_END, LOWEST_DIRECT_MAPS, Paging};

    const DIRECT: Va = Va(LOWEST_DIRECT_MAPS[0]);
    const AREA: Va = Va(0xffff_c900_0000_0000);

    /// Pages 1 to 3 are full of their number. The tables in pages 4 to 7 map `AREA` to pages 3,
    /// 1 and 2.
    fn vmcore(can_lend: bool) -> Vmcore {
        let filled = (1..=3).map(|page| vec![page; PAGE_SIZE as usize]);
        let pages = filled.chain(tables(4, AREA, &[3, 1, 2])).collect();
        let space = AddressSpace {
            phys_base: PAGE_SIZE,
            image_end: IMAGE_MAP_END,
            page_table: PageTable::new(Pa(4 * PAGE_SIZE), Paging::new(4)),
            page_offset: Some(DIRECT),
        };
        Vmcore::new(Box::new(FakePages { pages, can_lend }), space)
    }

    #[test]
    fn the_direct_map_the_image_and_the_page_tables_lead_to_pages() {
        let vmcore = vmcore(true);
        let byte = |at: Va| vmcore.read_u64(at).map(|word| word as u8);
        assert_eq!(byte(DIRECT.at(0x2ff8)), Ok(2));
        assert_eq!(byte(Va(IMAGE_MAP + 0x1000)), Ok(2));
        assert_eq!([0, 0x1000, 0x2000].map(|page| byte(AREA.at(page))), [Ok(3), Ok(1), Ok(2)]);
        let why = |at: Va| vmcore.read_u64(at).unwrap_err().why;
        assert_eq!(why(AREA.at(0x3000)), Why::Unmapped);
        assert_eq!(why(DIRECT), Why::Absent);
    }

    #[test]
    fn views_copy_only_what_the_file_does_not_hold_in_one_piece() {
        let mut scratch = Vec::new();
        assert_eq!(vmcore(true).view(DIRECT.at(0x1ffe), 2, &mut scratch), Ok(&[1, 1][..]));
        assert!(scratch.is_empty(), "one piece needs no copy");
        assert_eq!(vmcore(true).view(DIRECT.at(0x1fff), 2, &mut scratch), Ok(&[1, 2][..]));
        assert_eq!(vmcore(true).view(AREA.at(0xfff), 2, &mut scratch), Ok(&[3, 1][..]));
        let absent = Fault { at: DIRECT.at(0xfff), why: Why::Absent };
        assert_eq!(vmcore(true).view(DIRECT.at(0xfff), 2, &mut scratch), Err(absent));
    }

    #[test]
    fn a_file_that_lends_nothing_is_read_all_the_same() {
        let mut scratch = Vec::new();
        let found = vmcore(false).view(AREA.at(0xffe), 4, &mut scratch).map(<[u8]>::to_vec);
        assert_eq!(found, Ok(vec![3, 3, 1, 1]));
    }

    #[test]
    fn two_threads_read_one_dump() {
        let shared: crate::TargetMemory = Box::new(vmcore(true));
        let read = |at: Va, expected: u8| {
            for _ in 0..2_000 {
                let mut page = [0; PAGE_SIZE as usize];
                shared.read(at, &mut page).unwrap();
                assert_eq!(page, [expected; PAGE_SIZE as usize]);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| read(AREA, 3));
            scope.spawn(|| read(AREA.at(PAGE_SIZE), 1));
        });
    }
}
