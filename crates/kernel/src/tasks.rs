//! What of the tasks' stacks is in use.
//!
//! A stack is deep once and shallow for hours: below the stack pointer of a task that sleeps
//! lie the addresses of whatever its last system calls worked with. They are no references, and
//! would hide leaks.
//!
//! Our own stacks hold what we read the kernel's memory with, and below that whatever their last
//! owner left there: nothing on them is anybody's reference.
//!
//! **Invariant:** memory is left out only where a task that does not run says that its stack
//! ends above it, or where the task is our own. The stack of any other task that runs, or that is
//! not known, counts whole.

use sysak_base::heap::{Heap, Object};
use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pfn, Va};

use crate::Kernel;
use crate::list::{half, word};
use crate::page::Census;
use crate::shape::TASK_CACHE;
use crate::vmalloc::{Area, Kind};

/// Takes what nobody uses of the stacks out of the roots: whole pages, and those in which the
/// used part begins. Returns that part of each of these, as addresses of the direct map and bytes.
pub fn leave_out_dead_stacks(
    kernel: &Kernel<'_>,
    heap: &Heap,
    areas: &[Area],
    census: &mut Census,
) -> Vec<(Va, u64)> {
    let mut tops = Vec::new();
    for (stack, pointer) in tops_of(kernel, heap) {
        let found = areas.binary_search_by_key(&stack, |area| area.address);
        let Some(area) = found.ok().map(|index| &areas[index]) else { continue };
        let last_word = (area.pages << PAGE_SHIFT).saturating_sub(8);
        let dead = pointer.map_or(last_word, |pointer| pointer.0.wrapping_sub(stack.0));
        if area.kind != Kind::Stack || dead >= area.pages << PAGE_SHIFT {
            continue;
        }
        let (pages, inside) = (dead >> PAGE_SHIFT, dead % PAGE_SIZE);
        let mut raw = vec![0; (pages as usize + 1) * 8];
        if kernel.direct_pfn(area.array).is_none()
            || kernel.memory.read(area.array, &mut raw).is_err()
        {
            continue;
        }
        let frames: Option<Vec<Pfn>> =
            raw.chunks_exact(8).map(|page| kernel.page_of(Va(word(page, 0)))).collect();
        let Some(frames) = frames else { continue };
        frames.iter().for_each(|pfn| census.leave_out(*pfn));
        let last = frames.last().map(|pfn| kernel.page_va(*pfn).at(inside));
        tops.extend(last.map(|top| (top, PAGE_SIZE - inside)));
    }
    tops
}

/// Stack and stack pointer of every task that does not run; of our own, whose stacks hold nothing,
/// the stack alone.
fn tops_of(kernel: &Kernel<'_>, heap: &Heap) -> Vec<(Va, Option<Va>)> {
    let Some(shape) = &kernel.shape.task else { return Vec::new() };
    let mut found = Vec::new();
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
            if half(task, shape.on_cpu) == 0 {
                found.push((Va(stack), Some(Va(pointer))));
            } else if let Some(ours) = &kernel.own_process
                && half(task, shape.process) == ours.pid
            {
                own.push((Va(stack), None));
                is_ours |= name(task, shape.name) == ours.name;
            }
        });
    }
    if is_ours {
        found.extend(own);
    }
    found
}

/// A task's name, up to its first zero.
fn name(task: &[u8], (at, len): (u64, u64)) -> &[u8] {
    let name = task.get(at as usize..(at + len) as usize).unwrap_or_default();
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::heap::Cache;
    use sysak_base::{Anchors, Fault, Memory, OwnProcess, PfnRange, Why};
    use sysak_symbols::{Kallsyms, TypeInfo};

    use crate::shape::TaskShape;

    const DIRECT: Va = Va(0xffff_8880_0000_0000);
    const MEMMAP: Va = Va(0xffff_ea00_0000_0000);
    const STACK: Va = Va(0xffff_c900_0000_4000);
    const TASK: TaskShape =
        TaskShape { stack: 8, stack_pointer: 16, on_cpu: 24, process: 28, name: (32, 16) };

    struct Ram(Vec<u8>);

    impl Memory for Ram {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            let fault = Fault { at, why: Why::Unmapped };
            let start = at.checked_sub(DIRECT).ok_or(fault)? as usize;
            buf.copy_from_slice(self.0.get(start..start + buf.len()).ok_or(fault)?);
            Ok(())
        }
    }

    /// One task with a stack of four pages, frames 8 to 11; which of these are roots afterwards,
    /// and what else is.
    fn roots(pointer: u64, on_cpu: u32, ours: Option<OwnProcess>) -> (Vec<u64>, Vec<(Va, u64)>) {
        let mut ram = Ram(vec![0; 16 << 12]);
        let mut put = |at: usize, word: u64| ram.0[at..at + 8].copy_from_slice(&word.to_le_bytes());
        put(0x1008, STACK.0);
        put(0x1010, STACK.0.wrapping_add(pointer));
        put(0x1018, u64::from(on_cpu) | 700 << 32);
        put(0x1020, u64::from_le_bytes(*b"sysak\0\0\0"));
        (0..4).for_each(|page| put(0x2000 + page * 8, MEMMAP.0 + (8 + page as u64) * 64));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/btf-6.1");
        let types = TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap();
        let symbols = Kallsyms::parse_proc(b"ffffffff81000000 T _stext\n").unwrap();
        let anchors = Anchors {
            page_offset: Some(DIRECT),
            vmemmap: Some(MEMMAP),
            ram: vec![PfnRange { start: Pfn(0), end: Pfn(16) }],
            ..Anchors::default()
        };
        let mut kernel = Kernel::new(&ram, &anchors, &types, &symbols).unwrap();
        kernel.shape.task = Some(TASK);
        kernel.own_process = ours;
        let cache = Cache::new(Va(1), TASK_CACHE.into(), 4096, 4096).unwrap();
        let mut heap = Heap::new(DIRECT, 16, vec![cache]);
        heap.push(Pfn(1), 0, 0, 1).unwrap();
        heap.seal();
        let area = Area {
            address: STACK,
            note: Va(0),
            bytes: 4 * PAGE_SIZE,
            pages: 4,
            array: DIRECT.at(0x2000),
            caller: Va(0),
            kind: Kind::Stack,
            by_address: true,
        };
        let mut census = Census::of_kernel_pages((8..12).map(Pfn));
        let tops = leave_out_dead_stacks(&kernel, &heap, &[area], &mut census);
        let left = (8..12).filter(|page| census.roots.contains(Pfn(*page))).collect();
        (left, tops)
    }

    #[test]
    fn below_the_stack_pointer_of_a_sleeping_task_nothing_is_a_root() {
        let top = DIRECT.at((10 << 12) + 0xe18);
        assert_eq!(roots(0x2e18, 0, None), (vec![11], vec![(top, 0x1e8)]));
    }

    #[test]
    fn the_stack_of_a_task_that_runs_counts_whole_and_so_does_one_that_makes_no_sense() {
        for (pointer, on_cpu) in [(0x2e18, 1), (0x4000, 0), (u64::MAX - 0x2000, 0)] {
            assert_eq!(roots(pointer, on_cpu, None), (vec![8, 9, 10, 11], vec![]), "{pointer:#x}");
        }
    }

    #[test]
    fn nothing_on_our_own_stack_is_a_root_but_a_number_alone_does_not_make_it_ours() {
        let ours = |pid, name: &[u8]| Some(OwnProcess { pid, name: name.to_vec() });
        let last = (DIRECT.at((11 << 12) + 0xff8), 8);
        assert_eq!(roots(0x2e18, 1, ours(700, b"sysak")), (vec![], vec![last]));
        for other in [ours(700, b"kthreadd"), ours(701, b"sysak")] {
            assert_eq!(roots(0x2e18, 1, other), (vec![8, 9, 10, 11], vec![]));
        }
    }
}
