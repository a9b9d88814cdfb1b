//! A snapshot of a kernel's memory: its inventory, and the object graph marked from the roots.
//!
//! [`Inventory`] gives every page one owner and finds every allocated object; [`Snapshot`] also knows which of them are
//! reachable. Live machine and crash dump are read in the same way.

use std::time::Instant;

use sysak_base::{Cancel, PAGE_SIZE, Pfn, Quiet, Ranges, Va, VaRange};
use sysak_heap::hidden;
use sysak_heap::marking::{Context, Excused, Marked, Marking, Roots, go_on};
use sysak_heap::reverse::WithRoots;
use sysak_heap::{Heap, Object, PageSet, allocated_since, tally};
use sysak_kernel::page::Census;
use sysak_kernel::tasks::Stacks;
use sysak_kernel::vmalloc::Area;
use sysak_kernel::{Coverage, Kernel, KernelError, Omitted, Reason, own_buffers, percpu, vmalloc};
use sysak_report::Stage;

mod inventory;
mod stages;
mod times;
pub mod to_report;

pub use inventory::{Inventory, SlabPages, take_inventory};
pub use stages::{InStage, Stages, Watching};
pub use times::Times;

use inventory::slab_pages;

/// A kernel's memory at one time: who owns each page, which objects are allocated, and what leads to them.
pub struct Snapshot {
    /// Every page's owner.
    pub census: Census,
    /// The object graph: everything that was allocated, and what of it is reachable.
    pub heap: Heap,
    /// Areas of the vmalloc address space, by address.
    pub areas: Vec<Area>,
    /// Per-CPU memory.
    pub percpu: percpu::Allocations,
    /// Live parts of kernel stacks.
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

impl Snapshot {
    /// Takes an inventory and marks what is reachable.
    pub fn take(
        kernel: &Kernel<'_>,
        stages: &dyn Stages,
        cancel: &Cancel,
    ) -> Result<Snapshot, KernelError> {
        let inventory = take_inventory(kernel, stages, cancel)?;
        let Inventory { census, heap, torn, non_slab, areas, sheaves, percpu, stacks, .. } =
            inventory;
        let (mut coverage, mut times) = (inventory.coverage, inventory.times);
        let heap = heap.adopt(non_slab);
        let bookkeeping = Bookkeeping::find(kernel, &heap, &areas, &sheaves);
        let start = Instant::now();
        let progress = InStage(stages, Stage::Reach);
        let context = Context { readers: kernel.readers, progress: &progress, cancel };
        let marking = Marking::start(heap, bookkeeping.never_followed, context);
        let (heap, marked) = if inventory.interrupted.is_some() {
            marking.skip()
        } else {
            let left_out = left_out(kernel, &stacks);
            let slab_objects = !inventory.tells_free_objects;
            let words = in_doubt(kernel, marking.heap(), &torn);
            let roots = roots(kernel, &census, &stacks, &left_out);
            let marking = marking.from_roots(Roots { slab_objects, words: &words, ..roots });
            let marking = marking.excuse(bookkeeping.excused);
            catch_up(kernel, &census, marking, stages, cancel)?.finish()
        };
        times.reach = start.elapsed();
        coverage.bytes_scanned = marked.bytes_scanned;
        // What a dump has not is told by the owners of its holes.
        if marked.unreadable > 0 && census.holes() == 0 {
            coverage.skip(Omitted::Memory(marked.unreadable), Reason::Unreadable);
        }
        let interrupted = inventory.interrupted.or(marked.interrupted.then_some(Stage::Reach));
        let slab_pages = slab_pages(&heap, &census);
        Ok(Snapshot {
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
        })
    }

    /// Gives what marking started from.
    pub fn with_roots(&self, kernel: &Kernel<'_>, each: &mut dyn FnMut(Roots<'_>)) {
        let left_out = left_out(kernel, &self.stacks);
        each(roots(kernel, &self.census, &self.stacks, &left_out));
    }

    /// Looks for hidden references to the unreached objects of some caches, where references may be that are in use:
    /// not in `struct page`s, page tables, and what nobody writes to.
    pub fn search_hidden(
        &self,
        kernel: &Kernel<'_>,
        caches: &[u16],
        cancel: &Cancel,
    ) -> hidden::Search {
        let question = self.hidden_question(kernel, caches, cancel);
        let search = hidden::Search::new(&question);
        // Its tables are full of addresses of suspects: only now do we ask which pages are ours.
        let left_out = left_out(kernel, &self.stacks).union(&kernel.constant);
        let pages = self.census.roots.without(&self.census.tables);
        let ranges = Box::new(self.stacks.live.iter());
        let roots = Roots { ranges, left_out: &left_out, ..Roots::of_pages(&pages) };
        search.scan(&question, roots)
    }

    /// Goes on with a search, once more objects count as reachable.
    pub fn go_on_searching(
        &self,
        kernel: &Kernel<'_>,
        search: &mut hidden::Search,
        cancel: &Cancel,
    ) {
        let left_out = left_out(kernel, &self.stacks).union(&kernel.constant);
        search.go_on(&self.hidden_question(kernel, &[], cancel), &left_out);
    }

    /// What is asked about hidden references to the unreached objects of some caches.
    pub fn hidden_question<'a>(
        &'a self,
        kernel: &'a Kernel<'_>,
        caches: &'a [u16],
        cancel: &'a Cancel,
    ) -> hidden::Question<'a> {
        hidden::Question { heap: &self.heap, readers: kernel.readers, caches, cancel }
    }

    /// Marks objects that turned out to be in use, and all that they lead to.
    pub fn go_on(&mut self, kernel: &Kernel<'_>, from: &[Object], cancel: &Cancel) -> Marked {
        let left_out = left_out(kernel, &self.stacks);
        let context = Context { readers: kernel.readers, progress: &Quiet, cancel };
        go_on(&mut self.heap, from, &left_out, context)
    }

    /// Gives what marking works on: the object graph and the roots.
    pub fn with_heap_and_roots<T>(
        &mut self,
        kernel: &Kernel<'_>,
        each: impl FnOnce(&mut Heap, &mut WithRoots<'_>) -> T,
    ) -> T {
        let Snapshot { census, heap, stacks, .. } = self;
        let left_out = left_out(kernel, stacks);
        let mut with_roots = |each: &mut dyn FnMut(Roots<'_>)| {
            each(roots(kernel, census, stacks, &left_out));
        };
        each(heap, &mut with_roots)
    }
}

/// Objects that describe other memory, or hold a copy of it.
struct Bookkeeping {
    /// These are never followed.
    never_followed: Vec<Object>,
    /// These are in use even where nothing leads to them.
    excused: Vec<Object>,
}

impl Bookkeeping {
    fn find(kernel: &Kernel<'_>, heap: &Heap, areas: &[Area], sheaves: &[Va]) -> Bookkeeping {
        let notes = vmalloc::notes(kernel, heap, areas);
        let own = own_buffers::find(kernel, heap);
        let sheaves = sheaves.iter().filter_map(|at| heap.find_object(at.0));
        let never_followed = notes.unfollowed.into_iter().chain(own).chain(sheaves).collect();
        Bookkeeping { never_followed, excused: notes.areas }
    }
}

/// Words that are no references. Our own memory is full of addresses; pages that were the kernel's when the census
/// saw them may be ours by now.
fn left_out(kernel: &Kernel<'_>, stacks: &Stacks) -> Ranges {
    let page = |pfn: Pfn| VaRange::new(kernel.page_va(pfn), PAGE_SIZE);
    let own = kernel.own_frames().into_iter().map(page);
    kernel.dangling.iter().chain(stacks.stale.iter()).chain(own).collect()
}

/// The registers, and the addresses of all objects in slabs of which nobody can say which are in use.
fn in_doubt(kernel: &Kernel<'_>, heap: &Heap, torn: &[Pfn]) -> Vec<u64> {
    let mut words = kernel.registers.clone();
    for pfn in torn {
        let Some(first) = heap.find_object(kernel.page_va(*pfn).0) else { continue };
        let address = |index| heap.object_va(Object { slab: first.slab, index }).0;
        heap.for_each_live(first.slab, |index| words.push(address(index)));
    }
    words
}

/// All memory that is in use whatever leads to it.
fn roots<'a>(
    kernel: &'a Kernel<'_>,
    census: &'a Census,
    stacks: &'a Stacks,
    left_out: &'a Ranges,
) -> Roots<'a> {
    let ranges = struct_pages(kernel, &census.in_use).chain(stacks.live.iter());
    let ranges = Box::new(ranges);
    Roots { pages: &census.roots, ranges, words: &kernel.registers, left_out, ..Roots::none() }
}

fn struct_pages<'a>(
    kernel: &'a Kernel<'_>,
    pages: &'a PageSet,
) -> impl Iterator<Item = VaRange> + Send + 'a {
    let (first, size) = (kernel.struct_page(Pfn(0)), kernel.shape.page.size);
    pages
        .runs()
        .map(move |(pfn, pages)| VaRange::new(first.at(pfn.0.wrapping_mul(size)), pages * size))
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

/// Goes on marking from what a live kernel has allocated since the inventory was taken.
fn catch_up<'a>(
    kernel: &Kernel<'_>,
    before: &Census,
    marking: Excused<'a>,
    stages: &dyn Stages,
    cancel: &Cancel,
) -> Result<Excused<'a>, KernelError> {
    if marking.is_interrupted() || !is_worth_it(kernel, marking.heap()) {
        return Ok(marking);
    }
    let again = take_inventory(kernel, stages, cancel)?;
    if again.interrupted.is_some() {
        return Ok(marking);
    }
    let Inventory { census: after, heap, non_slab, areas, sheaves, stacks, .. } = again;
    let heap = heap.adopt(non_slab);
    let bookkeeping = Bookkeeping::find(kernel, &heap, &areas, &sheaves);
    let Bookkeeping { mut never_followed, excused } = bookkeeping;
    never_followed.extend(excused);
    let objects = allocated_since::ranges(marking.heap(), &heap, never_followed);
    drop(heap);
    let pages = after.roots.without(&before.roots);
    let in_use = after.in_use.without(&before.in_use);
    let ranges = struct_pages(kernel, &in_use).chain(stacks.live.iter()).chain(objects);
    let ranges = Box::new(ranges);
    let left_out = left_out(kernel, &stacks);
    let roots = Roots { pages: &pages, ranges, left_out: &left_out, ..Roots::none() };
    Ok(marking.from_later_allocations(roots))
}
