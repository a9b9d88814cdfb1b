//! Live parts of kernel stacks.
//!
//! Below the stack pointer of a sleeping task lie the addresses that its last system calls used.
//! They are no references, and would hide leaks. Our own stacks hold the addresses that we read,
//! and below them words of an earlier thread: none of these is a reference.
//!
//! The live part holds old addresses too: of a local variable of the thread that started this one,
//! for example. Stacks are vmalloc areas, and when that thread has ended, another area can lie at
//! the same place: the old word would hold an area that was lost. The owner of an area keeps the
//! address of its start. So a word on a stack that points behind the first page of an area is
//! stale.
//!
//! **Invariant:** a part of a stack is dead only if it lies below the stack pointer of a task that
//! does not run, if the task is our own, or if a CPU keeps the stack for a thread to come. The stack of any other task
//! that runs, and any other stack without a known task, is live as a whole, except for stale words. Our own tasks need
//! not run at this moment: the stack pointer of one that sleeps is out of date when its stack is searched.

use std::collections::{HashMap, HashSet};

use sysak_base::numbers::{half, word};
use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pfn, Ranges, Va, VaRange};
use sysak_heap::{Heap, Object};

use crate::Kernel;
use crate::page::Census;
use crate::read::text;
use crate::shape::{TASK_CACHE, find_cached_stacks};
use crate::vmalloc::{Area, AreaKind, area_at};

/// Far more than the stack of any kernel has (`THREAD_SIZE`): a larger area is no stack.
const MOST_PAGES: u64 = 256;

/// Live parts of kernel stacks, by addresses of the direct map.
#[derive(Debug, Default)]
pub struct Stacks {
    /// Used parts of pages that are no roots as a whole.
    pub live: Ranges,
    /// Words in used parts that are no references.
    pub stale: Ranges,
}

/// Finds the live parts of all stacks. Pages with a dead part are taken out of the roots; their live
/// part, if any, is returned.
pub fn stacks(kernel: &Kernel<'_>, heap: &Heap, areas: &[Area], census: &mut Census) -> Stacks {
    // A thread that takes one of them meanwhile is known when its task is found.
    let cached = cached(kernel);
    let used = used_parts(kernel, heap);
    let (mut live, mut stale) = (Vec::new(), Vec::new());
    let mut raw = Vec::new();
    let is_stack = |area: &&Area| area.kind == AreaKind::Stack && area.pages <= MOST_PAGES;
    for area in areas.iter().filter(is_stack) {
        let bytes = area.pages << PAGE_SHIFT;
        let dead = match used.get(&area.address) {
            // A pointer to elsewhere makes no sense.
            Some(Used::From(pointer)) => Some(pointer.0.wrapping_sub(area.address.0))
                .filter(|dead| *dead < bytes)
                .unwrap_or(0),
            Some(Used::Nothing) => bytes,
            Some(Used::All) => 0,
            None if cached.contains(&area.note) => bytes,
            None => 0,
        };
        let Some(frames) = frames(kernel, area) else { continue };
        for (frame, start) in frames.into_iter().zip((0..).step_by(PAGE_SIZE as usize)) {
            let inside = dead.saturating_sub(start).min(PAGE_SIZE);
            let part = VaRange::new(kernel.page_va(frame).at(inside), PAGE_SIZE - inside);
            if inside > 0 {
                census.exclude(frame);
            }
            if inside == PAGE_SIZE {
                continue;
            }
            if inside > 0 {
                live.push(part);
            }
            find_stale(kernel, areas, part, &mut raw, &mut stale);
        }
    }
    Stacks { live: live.into_iter().collect(), stale: stale.into_iter().collect() }
}

/// The pages of a stack.
fn frames(kernel: &Kernel<'_>, area: &Area) -> Option<Vec<Pfn>> {
    kernel.direct_pfn(area.array)?;
    let mut raw = vec![0; area.pages as usize * 8];
    kernel.memory.read(area.array, &mut raw).ok()?;
    raw.chunks_exact(8).map(|page| kernel.page_of(Va(word(page, 0)))).collect()
}

/// Words of a part of a stack that point into an area, but not to its first page.
fn find_stale(
    kernel: &Kernel<'_>,
    areas: &[Area],
    used: VaRange,
    raw: &mut Vec<u8>,
    stale: &mut Vec<VaRange>,
) {
    let at = used.start();
    let Ok(words) = kernel.memory.view(at, used.bytes() as usize, raw) else { return };
    for (offset, bytes) in (0..).step_by(8).zip(words.chunks_exact(8)) {
        let target = Va(word(bytes, 0));
        if area_at(areas, target).is_some_and(|area| target.0 - area.address.0 >= PAGE_SIZE) {
            stale.push(VaRange::new(at.at(offset), 8));
        }
    }
}

/// The areas of stacks that belong to no thread, and hold what the last one left there.
fn cached(kernel: &Kernel<'_>) -> HashSet<Va> {
    let Some((pointer, many)) = find_cached_stacks(kernel.symbols) else { return HashSet::new() };
    let of_cpu = |start: Va| (0..many).map(move |index| start.at(8 * index));
    let places = kernel.per_cpu(pointer.0).flat_map(of_cpu);
    places.filter_map(|at| kernel.memory.read_u64(at).ok()).map(Va).collect()
}

/// What of a task's stack is in use.
enum Used {
    /// From the stack pointer on: the task does not run.
    From(Va),
    /// All of it: the task runs, and nobody knows its stack pointer.
    All,
    /// None of it: the task is one of our own.
    Nothing,
}

/// What of the stack of every task is in use, by the address of the stack.
fn used_parts(kernel: &Kernel<'_>, heap: &Heap) -> HashMap<Va, Used> {
    let Some(shape) = &kernel.shape.task else { return HashMap::new() };
    let mut found = HashMap::new();
    let mut own = Vec::new();
    let mut is_ours = false;
    let mut raw = Vec::new();
    for (index, slab) in heap.slabs_of(TASK_CACHE) {
        let start = heap.slab_va(slab);
        let Ok(bytes) = kernel.memory.view(start, slab.bytes() as usize, &mut raw) else {
            continue;
        };
        heap.for_each_live(index, |object| {
            let at = heap.object_va(Object { slab: index, index: object }).0 - start.0;
            let Some(task) = bytes.get(at as usize..) else { return };
            let (stack, pointer) = (word(task, shape.stack), word(task, shape.stack_pointer));
            if !stack.is_multiple_of(PAGE_SIZE) {
                return;
            }
            let sleeps = half(task, shape.on_cpu) == 0;
            found.insert(Va(stack), if sleeps { Used::From(Va(pointer)) } else { Used::All });
            if let Some(ours) = &kernel.own_process
                && half(task, shape.process) == ours.pid
            {
                own.push((Va(stack), Used::Nothing));
                is_ours |= text(task, shape.name.at, shape.name.bytes) == ours.name;
            }
        });
    }
    if is_ours {
        found.extend(own);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::{Anchors, Fault, Memory, OwnProcess, PfnRange, Why};
    use sysak_heap::{Cache, HeapBuilder};
    use sysak_symbols::{Kallsyms, TypeInfo};

    use crate::shape::{FieldPlace, TaskShape};

    const DIRECT: Va = Va(0xffff_8880_0000_0000);
    const MEMMAP: Va = Va(0xffff_ea00_0000_0000);
    const STACK: Va = Va(0xffff_c900_0000_4000);
    const NOTE: Va = Va(0xffff_8880_0000_5000);
    const OTHER: Va = Va(0xffff_c900_0001_0000);
    const TASK: TaskShape = TaskShape {
        stack: 8,
        stack_pointer: 16,
        on_cpu: 24,
        process: 28,
        name: FieldPlace { at: 32, bytes: 16 },
    };

    struct Ram(Vec<u8>);

    impl Memory for Ram {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            let fault = Fault { at, why: Why::Unmapped };
            let start = at.checked_sub(DIRECT).ok_or(fault)? as usize;
            buf.copy_from_slice(self.0.get(start..start + buf.len()).ok_or(fault)?);
            Ok(())
        }
    }

    /// One task with a stack of four pages, frames 8 to 11, on which the address of an area stands
    /// and two that lie deeper in it; which of these are roots afterwards, and what counts else.
    fn roots(pointer: u64, on_cpu: u32, ours: Option<OwnProcess>) -> (Vec<u64>, Stacks) {
        roots_with(STACK, pointer, on_cpu, ours, Va(0))
    }

    /// The same for a task with another stack, and where a CPU keeps a stack for a thread to come.
    fn roots_with(
        stack: Va,
        pointer: u64,
        on_cpu: u32,
        ours: Option<OwnProcess>,
        cached: Va,
    ) -> (Vec<u64>, Stacks) {
        let mut ram = Ram(vec![0; 16 << 12]);
        let mut put = |at: usize, word: u64| ram.0[at..at + 8].copy_from_slice(&word.to_le_bytes());
        put(0x3008, cached.0);
        put(0x1008, stack.0);
        put(0x1010, STACK.0.wrapping_add(pointer));
        put(0x1018, u64::from(on_cpu) | 700 << 32);
        put(0x1020, u64::from_le_bytes(*b"sysak\0\0\0"));
        (0..4).for_each(|page| put(0x2000 + page * 8, MEMMAP.0 + (8 + page as u64) * 64));
        put(0xa008, OTHER.0 + PAGE_SIZE);
        put(0xaff0, OTHER.0 + PAGE_SIZE - 1);
        put(0xaff8, OTHER.0 + PAGE_SIZE);
        put(0xbff8, OTHER.0 + 3 * PAGE_SIZE);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/btf-6.1");
        let types = TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap();
        let symbols = b"ffff888000003000 d cached_stacks\nffffffff81000000 T _stext\n";
        let symbols = Kallsyms::parse_proc(symbols).unwrap();
        let anchors = Anchors {
            page_offset: Some(DIRECT),
            vmemmap: Some(MEMMAP),
            per_cpu_offsets: vec![0],
            ram: vec![PfnRange { start: Pfn(0), end: Pfn(16) }],
            ..Anchors::default()
        };
        let mut kernel = Kernel::new(&ram, &anchors, &types, &symbols).unwrap();
        kernel.shape.task = Some(TASK);
        kernel.own_process = ours;
        let cache = Cache::new(Va(1), TASK_CACHE.into(), 4096, 4096).unwrap();
        let mut heap = HeapBuilder::new(DIRECT, 16, vec![cache]);
        heap.push(Pfn(1), 0, 0, 1).unwrap();
        let heap = heap.seal();
        let area = Area {
            address: STACK,
            note: NOTE,
            bytes: 4 * PAGE_SIZE,
            pages: 4,
            array: DIRECT.at(0x2000),
            caller: Va(0),
            kind: AreaKind::Stack,
            by_address: true,
        };
        let other =
            Area { address: OTHER, bytes: 3 * PAGE_SIZE, pages: 3, kind: AreaKind::Plain, ..area };
        let mut census = Census::of_kernel_pages((8..12).map(Pfn));
        let found = stacks(&kernel, &heap, &[area, other], &mut census);
        let left = (8..12).filter(|page| census.roots.contains(Pfn(*page))).collect();
        (left, found)
    }

    /// The words at some offsets into the direct map.
    fn words<const N: usize>(offsets: [u64; N]) -> Ranges {
        offsets.into_iter().map(|offset| VaRange::new(DIRECT.at(offset), 8)).collect()
    }

    const DEEP: [u64; 2] = [0xa008, 0xaff8];

    #[test]
    fn below_the_stack_pointer_of_a_sleeping_task_nothing_is_a_root() {
        let (left, found) = roots(0x2e18, 0, None);
        let live: Ranges = [VaRange::new(DIRECT.at(0xae18), 0x1e8)].into_iter().collect();
        assert_eq!((left, found.live), (vec![11], live));
        assert_eq!(found.stale, words([DEEP[1]]), "deep in an area, and in use");
    }

    #[test]
    fn the_stack_of_a_task_that_runs_counts_whole_and_so_does_one_that_makes_no_sense() {
        for (pointer, on_cpu) in [(0x2e18, 1), (0x4000, 0), (u64::MAX - 0x2000, 0)] {
            let (left, found) = roots(pointer, on_cpu, None);
            assert_eq!((left, found.live), (vec![8, 9, 10, 11], Ranges::new()), "{pointer:#x}");
            assert_eq!(found.stale, words(DEEP), "but for what leads deep into an area");
        }
    }

    #[test]
    fn a_stack_that_is_kept_for_a_thread_to_come_holds_nothing_until_one_has_it() {
        let whole = (vec![8, 9, 10, 11], Ranges::new());
        let kept = |stack, note, left: (Vec<u64>, Ranges)| {
            let (pages, found) = roots_with(stack, 0, 1, None, note);
            assert_eq!((pages, found.live), left, "{stack} {note}");
        };
        kept(OTHER, NOTE, (vec![], Ranges::new()));
        kept(OTHER, NOTE.at(64), whole.clone());
        kept(STACK, NOTE, whole);
    }

    #[test]
    fn nothing_on_our_own_stack_is_a_root_but_a_number_alone_does_not_make_it_ours() {
        let ours =
            |pid, name: &[u8]| Some(OwnProcess { pid, name: name.to_vec(), frames: Vec::new });
        for on_cpu in [0, 1] {
            let (left, found) = roots(0x2e18, on_cpu, ours(700, b"sysak"));
            assert_eq!((left, found.live, found.stale), (vec![], Ranges::new(), Ranges::new()));
        }
        for other in [ours(700, b"kthreadd"), ours(701, b"sysak")] {
            let (left, found) = roots(0x2e18, 1, other);
            assert_eq!((left, found.live), (vec![8, 9, 10, 11], Ranges::new()));
        }
    }
}
