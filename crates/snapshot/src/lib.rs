//! A snapshot of a kernel's memory: its inventory, and the object graph marked from the roots.
//!
//! [`Inventory`] gives every page one owner and finds every allocated object; [`Snapshot`] also knows which of them are reachable. Live
//! machine and crash dump are looked at in the same way.

use std::time::Instant;

use sysak_base::{Cancel, Progress, Stage};
use sysak_heap::marking::{self, Marked, Roots};
use sysak_heap::reverse::WithRoots;
use sysak_heap::{Heap, Object, allocated_since, tally};
use sysak_kernel::page::Census;
use sysak_kernel::tasks::Stacks;
use sysak_kernel::vmalloc::Area;
use sysak_kernel::{Coverage, Kernel, KernelError, holders, percpu, vmalloc};

mod inventory;
mod times;
pub mod to_report;

pub use inventory::{Inventory, SlabPages, take_inventory};
pub use times::Times;

use inventory::slab_pages;

/// A kernel's memory at one time: who owns each page, which objects are allocated, and what leads to them.
pub struct Snapshot {
    /// Every page's owner.
    pub census: Census,
    /// Everything that was allocated, and the state of each object.
    pub heap: Heap,
    /// Areas of the vmalloc address space, by address.
    pub areas: Vec<Area>,
    /// Per-CPU memory.
    pub percpu: percpu::Allocations,
    /// What of the stacks holds references.
    pub stacks: Stacks,
    /// What marking did.
    pub marked: Marked,
    /// What was left out.
    pub coverage: Coverage,
    /// How long it took.
    pub times: Times,
    /// The step in which it was ended early.
    pub interrupted: Option<Stage>,
    /// Pages of slabs, by whether reclaim can shrink them.
    pub slab_pages: SlabPages,
}

/// Takes a snapshot.
fn take(
    kernel: &Kernel<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Snapshot, KernelError> {
    let inventory = take_inventory(kernel, progress, cancel)?;
    let Inventory { census, mut heap, non_slab, areas, percpu, stacks, .. } = inventory;
    let (mut coverage, mut times, interrupted) =
        (inventory.coverage, inventory.times, inventory.interrupted);
    heap.adopt(non_slab);
    let notes = vmalloc::notes(kernel, &heap, &areas);
    let own = holders::own_buffers(kernel, &heap);
    heap.never_follow(notes.unfollowed.into_iter().chain(own));

    let start = Instant::now();
    let marked = if interrupted.is_some() {
        Marked { interrupted: true, ..Marked::default() }
    } else {
        let mut marked = Marked::default();
        with_roots(kernel, &census, &stacks, &mut |roots| {
            marked = marking::mark(&mut heap, kernel.memory, roots, progress, cancel);
        });
        marked
    };
    if interrupted.is_none() {
        let unreached: Vec<Object> =
            notes.areas.into_iter().filter(|note| heap.is_white(*note)).collect();
        heap.never_follow(unreached);
    }
    if !marked.interrupted && is_worth_it(kernel, &heap) {
        catch_up(kernel, &census, &mut heap, progress, cancel)?;
    }
    times.reach = start.elapsed();
    coverage.bytes_scanned = marked.bytes_scanned;
    if marked.unreadable > 0 {
        let what = format!("{} pieces of memory", marked.unreadable);
        coverage.skip(what, "the reader could not read them");
    }
    let interrupted = interrupted.or(marked.interrupted.then_some(Stage::Reach));
    let slab_pages = slab_pages(&heap, &census);
    let found = Snapshot {
        census,
        heap,
        areas,
        percpu,
        stacks,
        marked,
        coverage,
        times,
        interrupted,
        slab_pages,
    };
    Ok(found)
}

impl Snapshot {
    /// Takes one.
    pub fn take(
        kernel: &Kernel<'_>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Snapshot, KernelError> {
        take(kernel, progress, cancel)
    }

    /// Gives what marking started from.
    pub fn with_roots(&self, kernel: &Kernel<'_>, each: &mut dyn FnMut(Roots<'_>)) {
        with_roots(kernel, &self.census, &self.stacks, each);
    }

    /// Gives what marking works on: the object graph and the roots.
    pub fn with_heap_and_roots<T>(
        &mut self,
        kernel: &Kernel<'_>,
        each: impl FnOnce(&mut Heap, &mut WithRoots<'_>) -> T,
    ) -> T {
        let Snapshot { census, heap, stacks, .. } = self;
        let mut with = |each: &mut dyn FnMut(Roots<'_>)| with_roots(kernel, census, stacks, each);
        each(heap, &mut with)
    }
}

/// All that is in use whatever leads to it.
fn with_roots(
    kernel: &Kernel<'_>,
    census: &Census,
    stacks: &Stacks,
    each: &mut dyn FnMut(Roots<'_>),
) {
    let size = kernel.shape.page.size;
    let memmap = census.in_use.runs().map(|(pfn, pages)| (kernel.struct_page(pfn), pages * size));
    let mut ranges = memmap.chain(stacks.tops.iter().copied());
    let mut left_out = [&kernel.dangling[..], &stacks.stale].concat();
    left_out.sort_unstable();
    each(Roots {
        pages: &census.roots,
        ranges: &mut ranges,
        words: &kernel.registers,
        left_out: &left_out,
    });
}

/// Fewer unreached objects of a cache than this accuse nobody, watched or not.
const WORTH_OBJECTS: u64 = 20;
/// A heap that is larger leaves no room for a second one beside it.
const ROOM_BYTES: u64 = 160 << 20;

fn is_worth_it(kernel: &Kernel<'_>, heap: &Heap) -> bool {
    kernel.memory.is_live()
        && heap.footprint_bytes() <= ROOM_BYTES
        && tally(heap).iter().any(|tally| tally.unreachable >= WORTH_OBJECTS)
}

/// Goes on marking from what a live kernel has allocated since the walk.
fn catch_up(
    kernel: &Kernel<'_>,
    before: &Census,
    heap: &mut Heap,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), KernelError> {
    let again = take_inventory(kernel, progress, cancel)?;
    if again.interrupted.is_some() {
        return Ok(());
    }
    let Inventory { census: after, heap: mut now, non_slab, areas, stacks, .. } = again;
    now.adopt(non_slab);
    let notes = vmalloc::notes(kernel, &now, &areas);
    let own = holders::own_buffers(kernel, &now);
    now.never_follow(notes.unfollowed.into_iter().chain(notes.areas).chain(own));
    let objects = allocated_since::ranges(heap, &now);
    drop(now);
    let pages = after.roots.without(&before.roots);
    let in_use = after.in_use.without(&before.in_use);
    let size = kernel.shape.page.size;
    let memmap = in_use.runs().map(|(pfn, pages)| (kernel.struct_page(pfn), pages * size));
    let mut ranges = memmap.chain(stacks.tops).chain(objects);
    let roots = Roots { pages: &pages, ranges: &mut ranges, words: &[], left_out: &stacks.stale };
    marking::mark(heap, kernel.memory, roots, progress, cancel);
    Ok(())
}
