//! What of the tasks' stacks is in use.
//!
//! A stack is deep once and shallow for hours: below the stack pointer of a task that sleeps
//! lie the addresses of whatever its last system calls worked with. They are no references, and
//! would hide leaks.
//!
//! **Invariant:** memory is left out only where a task that does not run says that its stack
//! ends above it. The stack of a task that runs, or that is not known, counts whole.

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
    for (stack, pointer) in sleeping(kernel, heap) {
        let found = areas.binary_search_by_key(&stack, |area| area.address);
        let Some(area) = found.ok().map(|index| &areas[index]) else { continue };
        let dead = pointer.0.wrapping_sub(stack.0);
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

/// Stack and stack pointer of every task that does not run.
fn sleeping(kernel: &Kernel<'_>, heap: &Heap) -> Vec<(Va, Va)> {
    let Some(shape) = &kernel.shape.task else { return Vec::new() };
    let is_it = |name: &String| name == TASK_CACHE;
    let caches: Vec<bool> =
        heap.caches.iter().map(|c| is_it(&c.name) || c.aliases.iter().any(is_it)).collect();
    let mut found = Vec::new();
    let mut raw = Vec::new();
    for (index, slab) in (0..).zip(&heap.slabs) {
        if !caches[usize::from(slab.cache)] {
            continue;
        }
        let start = heap.slab_va(slab);
        let Ok(bytes) = kernel.memory.view(start, slab.bytes() as usize, &mut raw) else {
            continue;
        };
        heap.for_each_live(index, |object| {
            let at = heap.object_va(Object { slab: index, index: object }).0 - start.0;
            let Some(task) = bytes.get(at as usize..) else { return };
            let (stack, pointer) = (word(task, shape.stack), word(task, shape.stack_pointer));
            if half(task, shape.on_cpu) == 0 && stack.is_multiple_of(PAGE_SIZE) {
                found.push((Va(stack), Va(pointer)));
            }
        });
    }
    found
}
