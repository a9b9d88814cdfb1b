//! Tables that were set aside at boot, such as hash tables: reserved pages, to the start of which a
//! variable of the kernel points.
//!
//! **Danger:** the kernel does not say where such a table ends. It goes on to the next start that is
//! known, so memory without a pointer to it counts as part of the table before.
//!
//! **Invariant:** only reserved pages are part of a table.

use sysak_base::numbers::word;
use sysak_base::{Cancel, PAGE_SIZE, Pfn, Va};
use sysak_kernel::Kernel;

/// No table is larger.
const MOST_TABLE_BYTES: u64 = 1 << 30;
/// How much of the image is searched for pointers to tables, and how much of it at once.
const MOST_IMAGE_BYTES: u64 = 256 << 20;
const PIECE_BYTES: u64 = PAGE_SIZE;

/// Where a table begins, or something else that ends the table before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Start {
    at: Va,
    /// The variable that points to the table; `None` where no table begins.
    variable: Option<Va>,
}

/// The tables that were set aside at boot, by address.
pub(crate) struct BootTables(Vec<Start>);

impl BootTables {
    /// Searches the kernel's image for pointers to tables.
    pub(crate) fn find(kernel: &Kernel<'_>, cancel: &Cancel) -> BootTables {
        let mut starts = pointed_pages(kernel, cancel);
        // Per-CPU memory is no table: it has symbols of its own.
        let units = kernel.per_cpu_offsets().iter();
        starts.extend(units.map(|unit| Start { at: Va(*unit), variable: None }));
        starts.sort_unstable();
        starts.dedup_by_key(|start| start.at);
        starts.retain(|start| {
            kernel.direct_pfn(start.at).is_some_and(|pfn| is_reserved(kernel, pfn))
        });
        BootTables(starts)
    }

    /// The variable that points to the table in which an address of a page lies.
    pub(crate) fn variable(&self, kernel: &Kernel<'_>, pfn: Pfn, at: Va) -> Option<Va> {
        let index = self.0.partition_point(|start| start.at <= at).checked_sub(1)?;
        let start = self.0[index];
        let is_near = at.0 - start.at.0 < MOST_TABLE_BYTES;
        start.variable.filter(|_| is_near && is_reserved(kernel, pfn))
    }
}

/// The first bytes of pages that words of the kernel's image point to.
fn pointed_pages(kernel: &Kernel<'_>, cancel: &Cancel) -> Vec<Start> {
    let Some(((start, end), first)) = kernel.image_virtual.zip(kernel.image.first()) else {
        return Vec::new();
    };
    let base = kernel.page_va(first.start);
    let mut found = Vec::new();
    let mut raw = Vec::new();
    let bytes = (end.0 - start.0).min(MOST_IMAGE_BYTES);
    let pieces = (0..bytes).step_by(PIECE_BYTES as usize);
    for piece in pieces.take_while(|_| !cancel.is_set()) {
        let piece_bytes = PIECE_BYTES.min(bytes - piece);
        // Parts of the image are freed after boot and reused.
        let pfn = kernel.direct_pfn(base.at(piece));
        if pfn.is_none_or(|pfn| !is_reserved(kernel, pfn)) {
            continue;
        }
        let Ok(words) = kernel.memory.view(base.at(piece), piece_bytes as usize, &mut raw) else {
            continue;
        };
        for (offset, bytes) in (piece..).step_by(8).zip(words.chunks_exact(8)) {
            let target = Va(word(bytes, 0));
            if target.0.is_multiple_of(PAGE_SIZE)
                && kernel.direct_pfn(target).is_some_and(|pfn| kernel.is_ram(pfn))
            {
                found.push(Start { at: target, variable: Some(start.at(offset)) });
            }
        }
    }
    found
}

/// Whether a page was set aside at boot.
fn is_reserved(kernel: &Kernel<'_>, pfn: Pfn) -> bool {
    let shape = &kernel.shape.page;
    let flags = kernel.memory.read_u64(kernel.struct_page(pfn).at(shape.flags));
    let Some(bit) = shape.bits.reserved else { return false };
    flags.is_ok_and(|flags| flags >> bit & 1 != 0)
}
