//! The RAM of a dump's machine.
//!
//! **Invariant:** there is never more RAM than a file of this size can be the dump of.

use sysak_arch::x86_64::frames::{Tables, join};
use sysak_base::{Memory, PAGE_SIZE, PageState, PageStates, Pfn, PfnRange, Va};
use sysak_symbols::{Kallsyms, TypeInfo};

use super::{Vmcore, read_text};
use crate::live::Resources;
use crate::physical::PhysicalPages;

/// Entries of the resource tree; a large server has some thousands.
const MOST_RESOURCES: usize = 1 << 16;

/// The crash kernel's memory, and its memory below 4 GiB where the first lies above (`crashkernel=…,high`). Variables
/// of the kernel, so that they are found without the tree, too.
const CRASH_KERNEL: [&str; 2] = ["crashk_res", "crashk_low_res"];

/// The end of the memory that real-mode code can reach.
const FIRST_MIB_END: Pfn = Pfn((1 << 20) / PAGE_SIZE);

/// RAM and image from the kernel's resource tree. Where a part of that is missing, those parts of the dump's memory are
/// RAM, too, that the direct map maps: firmware is in the file as well. RAM that is overlooked would hide references.
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
        found.ram.extend(mapped_runs(vmcore, top));
        // Damaged page tables lead anywhere.
        cut(&mut found.ram, end);
    }
    let crash_kernel = crash_kernel(&found, pages);
    take_out(&mut found.ram, &crash_kernel);
    // Overlapping runs would count a page twice.
    join(&mut found.ram);
    limit(&mut found.ram, pages.most_ram_bytes());
    found
}

/// The memory in which the crash kernel ran that wrote the dump, which has none of it; nothing where another one wrote
/// it, QEMU for example. The kernel that crashed had nothing there.
///
/// The first MiB belongs to it: Linux sets that aside with `crashkernel=` (Linux commit 6f599d84231f ("x86/kdump:
/// Always reserve the low 1M when the crashkernel option is specified") (v5.5)), and leaves it out of the dump
/// (7c321eb2b843 ("x86/kdump: Remove the backup region handling") (v5.5)). Older kernels have a copy of it there.
fn crash_kernel(found: &Resources, states: &dyn PageStates) -> Vec<PfnRange> {
    let is_absent = |run: &PfnRange| {
        run.pages() > 0 && states.runs(*run).all(|(state, _)| state == PageState::Absent)
    };
    let mut crash_kernel = found.crash_kernel.clone();
    crash_kernel.retain(is_absent);
    if !crash_kernel.is_empty() {
        let low = |run: &PfnRange| PfnRange { start: run.start, end: run.end.min(FIRST_MIB_END) };
        crash_kernel.extend(found.ram.iter().map(low).filter(is_absent));
    }
    crash_kernel
}

/// Takes some runs out of the RAM.
fn take_out(ram: &mut Vec<PfnRange>, crash_kernel: &[PfnRange]) {
    for out in crash_kernel {
        let parts = |run: &PfnRange| {
            let before = PfnRange { start: run.start, end: run.end.min(out.start) };
            let behind = PfnRange { start: run.start.max(out.end), end: run.end };
            [before, behind]
        };
        *ram = ram.iter().flat_map(parts).filter(|run| run.start < run.end).collect();
    }
}

/// Cuts off what lies behind the end of physical memory.
fn cut(ram: &mut Vec<PfnRange>, end: Pfn) {
    for run in ram.iter_mut() {
        run.end = run.end.min(end);
    }
    ram.retain(|run| run.start < run.end);
}

/// The memory that the dump is of, whether it has its contents or not.
fn memory_runs(pages: &dyn PhysicalPages) -> Vec<PfnRange> {
    let (mut runs, mut at, end) = (Vec::new(), Pfn(0), pages.end().pfn());
    while at < end {
        let (state, next) = pages.state(at, end);
        if state != PageState::Absent {
            runs.push(PfnRange { start: at, end: next });
        }
        at = next;
    }
    join(&mut runs);
    runs
}

/// The pages of the dump's memory that the direct map maps; all of them where it is not known.
fn mapped_runs(vmcore: &Vmcore, top: Va) -> Vec<PfnRange> {
    let mapped = |run: PfnRange| match vmcore.page_offset() {
        Some(page_offset) => {
            let tables = Tables { memory: vmcore, top, page_offset, encryption: 0 };
            let at = |pfn: Pfn| page_offset.at(pfn.pa().0);
            tables.frames(at(run.start), at(run.end))
        }
        None => vec![run],
    };
    memory_runs(vmcore.pages()).into_iter().flat_map(mapped).filter(|run| run.pages() > 0).collect()
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

/// Adds what the resource tree names; `None` where a part of it cannot be read.
fn walk_resources(
    memory: &dyn Memory,
    types: &TypeInfo,
    symbols: &Kallsyms,
    found: &mut Resources,
) -> Option<()> {
    let field = |path| types.find_field("resource", path).map(|field| field.offset_bytes);
    let members =
        [field("name")?, field("start")?, field("end")?, field("sibling")?, field("child")?];
    walk_tree(memory, symbols, members, found)
}

/// The same; `members` are the places of a resource's name, start, end, sibling and child.
fn walk_tree(
    memory: &dyn Memory,
    symbols: &Kallsyms,
    members: [u64; 5],
    found: &mut Resources,
) -> Option<()> {
    // A whole tree adds them once more, which does not matter.
    for variable in CRASH_KERNEL.into_iter().filter_map(|name| symbols.find(name)) {
        add_resource(memory, variable, members, found);
    }
    let mut todo = vec![symbols.find("iomem_resource")?];
    let mut is_whole = true;
    for _ in 0..MOST_RESOURCES {
        let Some(at) = todo.pop() else { break };
        let (next, is_read) = add_resource(memory, at, members, found);
        is_whole &= is_read;
        todo.extend(next.into_iter().filter(|at| *at != 0).map(Va));
    }
    (is_whole && todo.is_empty()).then_some(())
}

/// Adds one resource; returns its sibling and its child, and whether all of it could be read.
fn add_resource(
    memory: &dyn Memory,
    at: Va,
    members: [u64; 5],
    found: &mut Resources,
) -> ([u64; 2], bool) {
    let (mut words, mut is_whole) = ([0; 5], true);
    for (word, member) in words.iter_mut().zip(members) {
        match memory.read_u64(at.at(member)) {
            Ok(read) => *word = read,
            Err(_) => is_whole = false,
        }
    }
    let [name, start, end, sibling, child] = words;
    match read_text(memory, Va(name), 32) {
        Some(text) => found.add(&text, start, end),
        None => is_whole &= name == 0,
    }
    ([sibling, child], is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use sysak_base::{Fault, Why};

    #[test]
    fn ram_behind_the_end_of_physical_memory_is_cut_off() {
        let run = |start, end| PfnRange { start: Pfn(start), end: Pfn(end) };
        let mut ram = vec![run(1, 8), run(9, 1 << 50), run(1 << 40, 1 << 41)];
        cut(&mut ram, Pfn(16));
        assert_eq!(ram, [run(1, 8), run(9, 16)]);
    }

    /// A tree of a root and two children. The second can be read or not; the crash kernel's memory is its child.
    fn tree(second_is_there: bool) -> (Option<()>, Resources) {
        struct Tree {
            words: BTreeMap<u64, u64>,
            missing: Option<u64>,
        }
        impl Memory for Tree {
            fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
                if self.missing.is_some_and(|page| page == at.0 >> 12) {
                    return Err(Fault { at, why: Why::Absent });
                }
                for (place, byte) in (at.0..).zip(buf) {
                    let word = self.words.get(&(place & !7)).copied().unwrap_or(0);
                    *byte = word.to_le_bytes()[(place % 8) as usize];
                }
                Ok(())
            }
        }
        const MEMBERS: [u64; 5] = [0, 8, 16, 24, 32];
        const SYMBOLS: &[u8] = b"9000 D iomem_resource\n9100 D crashk_res\n";
        let (root, crash_kernel) = (Va(0x9000), Va(0x9100));
        let (first, second, text) = (Va(0x1000), Va(0x2000), 0x3000);
        let mut words = BTreeMap::from([
            (root.at(32).0, first.0),
            (root.0, text + 32),
            (first.at(24).0, second.0),
            (text, u64::from_le_bytes(*b"System R")),
            (text + 8, u64::from_le_bytes(*b"AM\0\0\0\0\0\0")),
            (second.at(32).0, crash_kernel.0),
            (crash_kernel.0, text + 64),
            (crash_kernel.at(8).0, 0x10_4000),
            (crash_kernel.at(16).0, 0x10_7fff),
            (text + 64, u64::from_le_bytes(*b"Crash ke")),
            (text + 72, u64::from_le_bytes(*b"rnel\0\0\0\0")),
        ]);
        for (at, start) in [(first, 0x1000u64), (second, 0x10_0000)] {
            words.extend([(at.0, text), (at.at(8).0, start), (at.at(16).0, start + 0xffff)]);
        }
        let missing = (!second_is_there).then_some(second.0 >> 12);
        let mut found = Resources::default();
        let symbols = Kallsyms::parse_proc(SYMBOLS).unwrap();
        let walked = walk_tree(&Tree { words, missing }, &symbols, MEMBERS, &mut found);
        (walked, found)
    }

    #[test]
    fn a_resource_tree_that_cannot_be_read_to_its_end_is_not_the_whole_ram() {
        let run = |start, end| PfnRange { start: Pfn(start), end: Pfn(end) };
        let ram = |(walked, found): (Option<()>, Resources)| (walked, found.ram);
        assert_eq!(ram(tree(true)), (Some(()), vec![run(1, 17), run(0x100, 0x110)]));
        assert_eq!(ram(tree(false)), (None, vec![run(1, 17)]));
    }

    #[test]
    fn the_crash_kernel_is_found_where_its_place_in_the_resource_tree_is_not() {
        let run = PfnRange { start: Pfn(0x104), end: Pfn(0x108) };
        assert_eq!(tree(true).1.crash_kernel, [run, run]);
        assert_eq!(tree(false).1.crash_kernel, [run]);
    }

    /// What is left of RAM where the dump lacks some runs of pages; pages 0x200 to 0x2ff are the crash kernel's.
    fn ram_without(absent: &[[u64; 2]]) -> Vec<[u64; 2]> {
        struct Lacks<'a>(&'a [[u64; 2]]);
        impl PageStates for Lacks<'_> {
            fn state(&self, first: Pfn, _: Pfn) -> (PageState, Pfn) {
                let is_absent = self.0.iter().any(|[start, end]| (*start..*end).contains(&first.0));
                let state = if is_absent { PageState::Absent } else { PageState::Present };
                (state, Pfn(first.0 + 1))
            }
        }
        let run = |start, end| PfnRange { start: Pfn(start), end: Pfn(end) };
        let mut found = Resources {
            ram: vec![run(1, 0x9f), run(0x100, 0x800)],
            crash_kernel: vec![run(0x200, 0x300)],
            ..Resources::default()
        };
        let crash_kernel = crash_kernel(&found, &Lacks(absent));
        take_out(&mut found.ram, &crash_kernel);
        found.ram.iter().map(|run| [run.start.0, run.end.0]).collect()
    }

    #[test]
    fn what_the_crash_kernel_used_is_no_ram_where_it_wrote_the_dump() {
        let whole = [[1, 0x9f], [0x100, 0x800]];
        assert_eq!(ram_without(&[]), whole, "another one wrote it");
        assert_eq!(ram_without(&[[0, 0x100]]), whole, "the first MiB alone is missing: a hole");
        assert_eq!(ram_without(&[[0x200, 0x2ff]]), whole, "a part is missing: a hole");
        assert_eq!(
            ram_without(&[[0x200, 0x300]]),
            [[1, 0x9f], [0x100, 0x200], [0x300, 0x800]],
            "an older kernel has a copy of the first MiB"
        );
        assert_eq!(ram_without(&[[0, 0x100], [0x200, 0x300]]), [[0x100, 0x200], [0x300, 0x800]]);
        assert_eq!(
            ram_without(&[[0, 0x50], [0x200, 0x300], [0x600, 0x700]]),
            [[1, 0x9f], [0x100, 0x200], [0x300, 0x800]],
            "other missing memory is a hole"
        );
    }

    #[test]
    fn runs_are_taken_out_wherever_they_lie() {
        let run = |start, end| PfnRange { start: Pfn(start), end: Pfn(end) };
        let mut ram = vec![run(1, 8), run(16, 64), run(70, 80)];
        take_out(&mut ram, &[run(20, 30), run(60, 64), run(100, 110)]);
        assert_eq!(ram, [run(1, 8), run(16, 20), run(30, 60), run(70, 80)]);
    }

    #[test]
    fn ram_that_no_dump_of_that_size_holds_is_cut_off() {
        let run = |start, end| PfnRange { start: Pfn(start), end: Pfn(end) };
        let mut ram = vec![run(1, 1000), run(2000, 1 << 40), run(1 << 41, 1 << 42)];
        limit(&mut ram, PAGE_SIZE * 2048);
        assert_eq!(ram, [run(1, 1000), run(2000, 2000 + 2048 - 999)]);
    }
}
