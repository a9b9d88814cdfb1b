//! `xl dump-core`: an ELF file in which sections say where each page belongs.
//!
//! `.xen_pages` has the pages one behind the other, `.xen_pfn` the number of each. Guests that know that they run on Xen
//! (PV) have `.xen_p2m` instead, and page tables with the host's numbers.
//!
//! Source: `docs/misc/dump-core-format.txt` of Xen. It was never tried on a file of Xen's.

use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader};
use sysak_base::PAGE_SIZE;
use sysak_base::numbers::words;

use super::pieces::Span;
use crate::elf::ElfError;

/// The number of a page that the guest does not have.
const NONE: u64 = u64::MAX;

/// Where the pages lie; nothing where the file has no such sections.
pub(super) fn spans(file: &[u8]) -> Result<Option<Vec<Span>>, ElfError> {
    let damaged = |why: object::read::Error| ElfError::Damaged(why.to_string());
    let header = FileHeader64::<Endianness>::parse(file).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let sections = header.sections(endian, file).map_err(damaged)?;
    let named = |name: &[u8]| sections.section_by_name(endian, name).map(|(_, section)| section);
    let Some(pages) = named(b".xen_pages") else { return Ok(None) };
    let Some(numbers) = named(b".xen_pfn") else {
        return Err(ElfError::Foreign(
            "a dump of a Xen guest of the kind PV, whose page tables are the host's",
        ));
    };
    let numbers = numbers.data(endian, file).map_err(damaged)?;
    Ok(Some(runs(numbers, pages.sh_offset(endian))))
}

/// The runs of pages that follow each other in the file and in memory.
fn runs(numbers: &[u8], pages_at: u64) -> Vec<Span> {
    let mut runs: Vec<Span> = Vec::new();
    for (place, number) in (0..).zip(words(numbers)) {
        let Some(start) = number.checked_mul(PAGE_SIZE).filter(|_| number != NONE) else {
            continue;
        };
        let offset = pages_at.saturating_add(place * PAGE_SIZE);
        let goes_on = |last: &&mut Span| {
            last.start.checked_add(last.bytes) == Some(start)
                && last.offset.checked_add(last.bytes) == Some(offset)
        };
        match runs.last_mut().filter(goes_on) {
            Some(last) => last.bytes += PAGE_SIZE,
            None => runs.push(Span { start, bytes: PAGE_SIZE, offset }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_lie_in_the_order_of_their_numbers() {
        let numbers = [1, 2, NONE, 3, 0x100, 0x101, NONE, 1 << 60].map(u64::to_le_bytes).concat();
        let span = |start: u64, pages: u64, offset: u64| Span {
            start: start * PAGE_SIZE,
            bytes: pages * PAGE_SIZE,
            offset: 0x2000 + offset * PAGE_SIZE,
        };
        let expected = [span(1, 2, 0), span(3, 1, 3), span(0x100, 2, 4)];
        assert_eq!(runs(&numbers, 0x2000), expected);
    }
}
