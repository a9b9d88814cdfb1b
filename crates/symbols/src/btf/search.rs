//! Finds the kernel's BTF in its image where no symbol names it.

use super::{HEADER_BYTES, MAGIC};
use crate::le;
use sysak_base::{Memory, PAGE_SIZE, Va};

/// Larger than any kernel's image.
const MAX_IMAGE_BYTES: u64 = 512 << 20;
/// No kernel's own types are fewer bytes than this, none are more.
const PLAUSIBLE_BYTES: std::ops::Range<u64> = 256 << 10..64 << 20;

/// Where the BTF of a kernel whose image is `start..end` lies, and how many bytes it has.
pub(super) fn search(memory: &dyn Memory, start: Va, end: Va) -> Option<(Va, u64)> {
    let end = end.0.min(start.0.saturating_add(MAX_IMAGE_BYTES));
    let mut page = vec![0; PAGE_SIZE as usize + HEADER_BYTES];
    let first = start.0 & !(PAGE_SIZE - 1);
    for at in (first..end).step_by(PAGE_SIZE as usize).map(Va) {
        // A header may go on in the next page; nothing aligns the section.
        if memory.read(at, &mut page).is_err() {
            let here = &mut page[..PAGE_SIZE as usize];
            if memory.read(at, here).is_err() {
                continue;
            }
            page[PAGE_SIZE as usize..].fill(0);
        }
        for (offset, header) in page.windows(HEADER_BYTES).enumerate() {
            let Some(len) = len_of(header) else { continue };
            let found = at.at(offset as u64);
            if found.checked_add(len).is_some_and(|last| last.0 <= end) {
                return Some((found, len));
            }
        }
    }
    None
}

/// The bytes that a header says its BTF has, if it is one as the kernel's build makes it.
fn len_of(header: &[u8]) -> Option<u64> {
    if header[..2] != MAGIC.to_le_bytes() || header[2..4] != [1, 0] {
        return None;
    }
    let word = |at| le::u32(header, at).map(u64::from);
    let (types, strings) = (word(12)?, word(20)?);
    let joined = word(4)? == HEADER_BYTES as u64 && word(8)? == 0 && word(16)? == types;
    let len = HEADER_BYTES as u64 + types + strings;
    (joined && types > 0 && strings > 0 && PLAUSIBLE_BYTES.contains(&len)).then_some(len)
}
