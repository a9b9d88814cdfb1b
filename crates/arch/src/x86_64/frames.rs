//! The page frames behind a range of kernel addresses.

use sysak_base::{Memory, PAGE_SIZE, Pa, PfnRange, Va};

use super::levels_of;
use super::paging::{MOST_STEPS, Paging, Step};

/// Where a kernel's page tables can be read.
pub struct Tables<'a> {
    /// The memory of the kernel that they belong to.
    pub memory: &'a dyn Memory,
    /// The virtual address of the top-level table.
    pub top: Va,
    /// The start of the direct map, through which all other tables are read.
    pub page_offset: Va,
    /// The bit that marks encrypted memory (`sme_me_mask`), or 0.
    pub encryption: u64,
}

impl Tables<'_> {
    /// The page frames that the addresses `start` to `end`, exclusive, are mapped to: ascending
    /// and joined.
    pub fn frames(&self, start: Va, end: Va) -> Vec<PfnRange> {
        let paging = Paging::new(levels_of(self.page_offset)).encrypted_with(self.encryption);
        let find = |table: Pa| Some(self.page_offset.at(table.0));
        let read = |table: Va, offset| self.memory.read_u64(table.at(offset)).ok();
        let mut frames: Vec<PfnRange> = Vec::new();
        let mut va = Va(start.0 & !(PAGE_SIZE - 1));
        for _ in 0..MOST_STEPS {
            let Some(rest) = end.checked_sub(va).filter(|rest| *rest > 0) else { break };
            let gap = match paging.walk(self.top, va, find, read) {
                Step::Hole(bytes) => bytes,
                Step::Mapped(page) => {
                    let Some((pa, bytes)) = page.locate(va) else { break };
                    let bytes = bytes.min(rest);
                    let past = Pa(pa.0 + bytes + PAGE_SIZE - 1).pfn();
                    let run = PfnRange { start: pa.pfn(), end: past };
                    match frames.last_mut().filter(|last| last.end == run.start) {
                        Some(last) => last.end = run.end,
                        None => frames.push(run),
                    }
                    bytes
                }
            };
            let Some(next) = va.checked_add(gap.max(1)) else { break };
            va = next;
        }
        join(&mut frames);
        frames
    }
}

/// Sorts runs, and makes one of those that touch or overlap.
pub fn join(runs: &mut Vec<PfnRange>) {
    runs.sort_by_key(|run| run.start);
    runs.dedup_by(|next, run| {
        let joined = next.start <= run.end;
        if joined {
            run.end = run.end.max(next.end);
        }
        joined
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x86_64::{LARGE, LOWEST_DIRECT_MAPS};
    use sysak_base::{Fault, Pfn};

    /// A page table whose entries all point back to it, so that the kernel's whole half seems to be mapped.
    struct Mirror;

    impl Memory for Mirror {
        fn read(&self, _: Va, buf: &mut [u8]) -> Result<(), Fault> {
            buf.fill(0);
            buf[..8].copy_from_slice(&(0x1001 | LARGE).to_le_bytes());
            Ok(())
        }
    }

    #[test]
    fn a_range_of_forged_length_ends() {
        let page_offset = Va(LOWEST_DIRECT_MAPS[0]);
        let tables = Tables { memory: &Mirror, top: Va(0), page_offset, encryption: 0 };
        let found = tables.frames(Va(0xffff_8000_0000_0000), Va(u64::MAX));
        assert_eq!(found, [PfnRange { start: Pfn(0), end: Pfn(1 << 18) }]);
    }
}
