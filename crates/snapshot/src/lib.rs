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
use sysak_kernel::{Coverage, Kernel, KernelError, Omitted, Reason, own_buffers, percpu, vmalloc};

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
    /// Objects that are in use whatever leads to them, and whose words lead nowhere.
    pub unfollowed: Vec<Object>,
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
    let own = own_buffers::find(kernel, &heap);
    let unfollowed: Vec<Object> = notes.unfollowed.into_iter().chain(own).collect();
    unfollowed.iter().for_each(|object| heap.blacken(*object));

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
    for note in notes.areas.into_iter().filter(|_| interrupted.is_none()) {
        if heap.is_white(note) {
            heap.blacken(note);
        }
    }
    if !marked.interrupted && is_worth_it(kernel, &heap) {
        catch_up(kernel, &census, &mut heap, progress, cancel)?;
    }
    times.reach = start.elapsed();
    coverage.bytes_scanned = marked.bytes_scanned;
    if marked.unreadable > 0 {
        coverage.skip(Omitted::Memory(marked.unreadable), Reason::Unreadable);
    }
    let interrupted = interrupted.or(marked.interrupted.then_some(Stage::Reach));
    let slab_pages = slab_pages(&heap, &census);
    let found = Snapshot {
        census,
        heap,
        areas,
        percpu,
        unfollowed,
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

    /// Gives what marking works on: the heap, the objects that are not followed, and the roots.
    pub fn with_heap_and_roots<T>(
        &mut self,
        kernel: &Kernel<'_>,
        each: impl FnOnce(&mut Heap, &[Object], &mut WithRoots<'_>) -> T,
    ) -> T {
        let Snapshot { census, heap, stacks, unfollowed, .. } = self;
        let mut with = |each: &mut dyn FnMut(Roots<'_>)| with_roots(kernel, census, stacks, each);
        each(heap, unfollowed, &mut with)
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
    notes.unfollowed.into_iter().chain(notes.areas).for_each(|note| now.set_free(note));
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
