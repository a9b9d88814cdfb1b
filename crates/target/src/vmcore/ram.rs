//! The RAM of a dump's machine.
//!
//! **Invariant:** there is never more RAM than a file of this size can be the dump of.

use sysak_arch::x86_64::frames::{Tables, join};
use sysak_base::{Memory, PAGE_SIZE, Pa, Pfn, PfnRange, Va};
use sysak_symbols::{Kallsyms, TypeInfo};

use super::{Vmcore, read_text};
use crate::live::Resources;

/// Entries of the resource tree; a large server has some thousands.
const MOST_RESOURCES: usize = 1 << 16;

/// RAM and image from the kernel's resource tree, else those parts of the file's runs that the
/// direct map maps: firmware is in the file too.
pub(super) fn resources(
    vmcore: &Vmcore,
    types: &TypeInfo,
    symbols: &Kallsyms,
    top: Va,
) -> Resources {
    let pages = vmcore.pages();
    let mut found = Resources::default();
    let walked = walk_resources(vmcore, types, symbols, &mut found);
    let end = pages.end().pfn();
    cut(&mut found.ram, end);
    if walked.is_none() || found.ram.is_empty() {
        found.ram = mapped_runs(vmcore, top);
        // Damaged page tables lead anywhere.
        cut(&mut found.ram, end);
    }
    // Overlapping runs would count a page twice.
    join(&mut found.ram);
    limit(&mut found.ram, pages.most_ram_bytes());
    found
}

/// Cuts off what lies behind the end of physical memory.
fn cut(ram: &mut Vec<PfnRange>, end: Pfn) {
    for run in ram.iter_mut() {
        run.end = run.end.min(end);
    }
    ram.retain(|run| run.start < run.end);
}

/// The pages of the file that the direct map maps; all of them where it is not known.
fn mapped_runs(vmcore: &Vmcore, top: Va) -> Vec<PfnRange> {
    let mapped = |run: PfnRange| match vmcore.page_offset() {
        Some(page_offset) => {
            let tables = Tables { memory: vmcore, top, page_offset, encryption: 0 };
            let at = |pfn: Pfn| page_offset.at(pfn.pa().0);
            tables.frames(at(run.start), at(run.end))
        }
        None => vec![run],
    };
    let runs = vmcore.pages().runs().into_iter();
    runs.map(|run| PfnRange::within_bytes(run.start, Pa(run.start.0 + run.bytes)))
        .flat_map(mapped)
        .filter(|run| run.pages() > 0)
        .collect()
}

/// Cuts off RAM that the file cannot be the dump of: a forged size must not cost more.
fn limit(ram: &mut Vec<PfnRange>, most_bytes: u64) {
    let mut left = most_bytes / PAGE_SIZE;
    for run in ram.iter_mut() {
        run.end = run.end.min(Pfn(run.start.0.saturating_add(left)));
        left -= run.pages();
    }
    ram.retain(|run| run.pages() > 0);
}

fn walk_resources(
    memory: &dyn Memory,
    types: &TypeInfo,
    symbols: &Kallsyms,
    found: &mut Resources,
) -> Option<()> {
    let field = |path| types.find_field("resource", path).map(|field| field.offset_bytes);
    let (start, end, name) = (field("start")?, field("end")?, field("name")?);
    let (sibling, child) = (field("sibling")?, field("child")?);
    let mut todo = vec![symbols.find("iomem_resource")?];
    for _ in 0..MOST_RESOURCES {
        let Some(at) = todo.pop() else { break };
        let word = |offset| memory.read_u64(at.at(offset)).unwrap_or(0);
        if let Some(text) = read_text(memory, Va(word(name)), 32) {
            found.add(&text, word(start), word(end));
        }
        let next = [word(sibling), word(child)];
        todo.extend(next.into_iter().filter(|at| *at != 0).map(Va));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_behind_the_end_of_physical_memory_is_cut_off() {
        let run = |start, end| PfnRange { start: Pfn(start), end: Pfn(end) };
        let mut ram = vec![run(1, 8), run(9, 1 << 50), run(1 << 40, 1 << 41)];
        cut(&mut ram, Pfn(16));
        assert_eq!(ram, [run(1, 8), run(9, 16)]);
    }

    #[test]
    fn ram_that_no_dump_of_that_size_holds_is_cut_off() {
        let run = |start, end| PfnRange { start: Pfn(start), end: Pfn(end) };
        let mut ram = vec![run(1, 1000), run(2000, 1 << 40), run(1 << 41, 1 << 42)];
        limit(&mut ram, PAGE_SIZE * 2048);
        assert_eq!(ram, [run(1, 1000), run(2000, 2000 + 2048 - 999)]);
    }
}
