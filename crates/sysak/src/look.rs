//! One look at a kernel's memory: census, slab walk, reachability.

use std::time::{Duration, Instant};

use sysak_analysis::climb::WithRoots;
use sysak_analysis::reach::{self, Reach, Roots};
use sysak_analysis::{lost, newborn};
use sysak_base::heap::{Class, Heap, Object, Others, PageSet, PerCpuObject};
use sysak_base::{Cancel, PAGE_SHIFT, Pfn, Progress, Stage};
use sysak_kernel::page::{Census, Owner};
use sysak_kernel::tasks::Stacks;
use sysak_kernel::vmalloc::Area;
use sysak_kernel::{
    Coverage, FreePages, Kernel, KernelError, Omitted, Reason, holders, percpu, slub, tables,
    tasks, vmalloc,
};

/// What one look saw.
pub struct Look {
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
    pub reach: Reach,
    /// What was left out.
    pub coverage: Coverage,
    /// How long it took.
    pub times: Times,
    /// The step in which it was ended early.
    pub interrupted: Option<Stage>,
    /// Pages of slabs, by whether reclaim can shrink them.
    pub slab_pages: SlabPages,
}

/// How long the steps took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Finding the owner of every page.
    pub census: Duration,
    /// Finding the live objects of every slab.
    pub walk: Duration,
    /// Marking.
    pub reach: Duration,
    /// Grouping.
    pub alike: Duration,
    /// Types, code that allocates, holders.
    pub explain: Duration,
}

impl Times {
    /// Counts an earlier look's times in.
    pub fn add(&mut self, earlier: Times) {
        self.census += earlier.census;
        self.walk += earlier.walk;
        self.reach += earlier.reach;
        self.alike += earlier.alike;
        self.explain += earlier.explain;
    }
}

/// Pages of slabs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlabPages {
    /// Of caches that reclaim can shrink.
    pub reclaimable: u64,
    /// Of all others.
    pub unreclaimable: u64,
}

/// What is known before any pointer is followed.
pub struct Survey {
    /// Every page's owner.
    pub census: Census,
    /// Every slab, and which of its objects are allocated.
    pub heap: Heap,
    /// What is no slab and somebody allocated all the same.
    pub others: Others,
    /// Areas of the vmalloc address space, by address.
    pub areas: Vec<Area>,
    /// Per-CPU memory.
    pub percpu: percpu::Allocations,
    /// What of the stacks holds references.
    pub stacks: Stacks,
    /// What was left out.
    pub coverage: Coverage,
    /// How long it took.
    pub times: Times,
    /// The step in which it was ended early.
    pub interrupted: Option<Stage>,
}

impl Survey {
    /// Pages of slabs, by whether reclaim can shrink them.
    pub fn slab_pages(&self) -> SlabPages {
        slab_pages(&self.heap, &self.census)
    }
}

/// Census and slab walk: cheap, where nothing needs to be judged.
pub fn survey(
    kernel: &Kernel<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Survey, KernelError> {
    let mut coverage = Coverage::default();
    let mut times = Times::default();

    let start = Instant::now();
    let free = FreePages::find(kernel, &mut coverage);
    let mut census = Census::take(kernel, &free, &mut coverage, progress, cancel);
    drop(free);
    times.census = start.elapsed();

    let start = Instant::now();
    let slabs = match census.interrupted {
        true => slub::Slabs::none(kernel),
        false => slub::walk(kernel, &census.slabs, &mut coverage, progress, cancel)?,
    };
    // What looks like a slab and is none holds references like any kernel page.
    for (first, pages) in &slabs.foreign {
        for page in first.0..first.0 + pages {
            census.roots.insert(Pfn(page));
        }
    }
    census.slabs = PageSet::new(0);
    times.walk = start.elapsed();

    let start = Instant::now();
    let mut areas = Vec::new();
    let mut stacks = Stacks::default();
    let mut percpu = percpu::Allocations::default();
    let mut others = Others {
        memmap: kernel.struct_page(Pfn(0)),
        struct_page_bytes: kernel.shape.page.size,
        cpus: kernel.cpus(),
        ..Others::default()
    };
    if !census.interrupted && !slabs.interrupted {
        areas = vmalloc::find(kernel, &slabs.heap, &mut coverage);
        others.areas = vmalloc::claim(kernel, &areas, &mut census);
        tables::claim(kernel, &slabs.heap, &mut census, &mut coverage);
        stacks = tasks::stacks(kernel, &slabs.heap, &areas, &mut census);
        let chunks = percpu::claim(kernel, &slabs.heap, &areas, &mut census, &mut coverage);
        percpu = percpu::allocations(kernel, &chunks, &mut coverage);
        let object = |found: &percpu::Allocation| PerCpuObject {
            pointer: found.pointer,
            bytes: found.bytes,
        };
        others.per_cpu = percpu.list.iter().map(object).collect();
        others.blocks = census.take_blocks();
    }
    times.census += start.elapsed();
    let interrupted = match () {
        () if census.interrupted => Some(Stage::Census),
        () if slabs.interrupted => Some(Stage::Walk),
        () => None,
    };
    let heap = slabs.heap;
    Ok(Survey { census, heap, others, areas, percpu, stacks, coverage, times, interrupted })
}

/// Looks once.
pub fn look(
    kernel: &Kernel<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Look, KernelError> {
    let surveyed = survey(kernel, progress, cancel)?;
    let Survey { census, mut heap, others, areas, percpu, stacks, .. } = surveyed;
    let (mut coverage, mut times, interrupted) =
        (surveyed.coverage, surveyed.times, surveyed.interrupted);
    heap.adopt(others);
    let notes = vmalloc::notes(kernel, &heap, &areas);
    let own = holders::own_buffers(kernel, &heap);
    let unfollowed: Vec<Object> = notes.unfollowed.into_iter().chain(own).collect();
    unfollowed.iter().for_each(|object| heap.blacken(*object));

    let start = Instant::now();
    let reach = if interrupted.is_some() {
        Reach { interrupted: true, ..Reach::default() }
    } else {
        let mut reach = Reach::default();
        with_roots(kernel, &census, &stacks, &mut |roots| {
            reach = reach::mark(&mut heap, kernel.memory, roots, progress, cancel);
        });
        reach
    };
    for note in notes.areas.into_iter().filter(|_| interrupted.is_none()) {
        if heap.is_white(note) {
            heap.blacken(note);
        }
    }
    if !reach.interrupted && is_worth_it(kernel, &heap) {
        catch_up(kernel, &census, &mut heap, progress, cancel)?;
    }
    times.reach = start.elapsed();
    coverage.bytes_scanned = reach.bytes_scanned;
    if reach.unreadable > 0 {
        coverage.skip(Omitted::Memory(reach.unreadable), Reason::Unreadable);
    }
    let interrupted = interrupted.or(reach.interrupted.then_some(Stage::Reach));
    let slab_pages = slab_pages(&heap, &census);
    let found = Look {
        census,
        heap,
        areas,
        percpu,
        unfollowed,
        stacks,
        reach,
        coverage,
        times,
        interrupted,
        slab_pages,
    };
    Ok(found)
}

impl Look {
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
        let Look { census, heap, stacks, unfollowed, .. } = self;
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
        && lost::tally(heap).iter().any(|tally| tally.white >= WORTH_OBJECTS)
}

/// Goes on marking from what a live kernel has allocated since the walk.
fn catch_up(
    kernel: &Kernel<'_>,
    before: &Census,
    heap: &mut Heap,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), KernelError> {
    let again = survey(kernel, progress, cancel)?;
    if again.interrupted.is_some() {
        return Ok(());
    }
    let Survey { census: after, heap: mut now, others, areas, stacks, .. } = again;
    now.adopt(others);
    let notes = vmalloc::notes(kernel, &now, &areas);
    notes.unfollowed.into_iter().chain(notes.areas).for_each(|note| now.set_free(note));
    let objects = newborn::ranges(heap, &now);
    drop(now);
    let pages = after.roots.without(&before.roots);
    let in_use = after.in_use.without(&before.in_use);
    let size = kernel.shape.page.size;
    let memmap = in_use.runs().map(|(pfn, pages)| (kernel.struct_page(pfn), pages * size));
    let mut ranges = memmap.chain(stacks.tops).chain(objects);
    let roots = Roots { pages: &pages, ranges: &mut ranges, words: &[], left_out: &stacks.stale };
    reach::mark(heap, kernel.memory, roots, progress, cancel);
    Ok(())
}

fn slab_pages(heap: &Heap, census: &Census) -> SlabPages {
    let mut pages = SlabPages::default();
    for slab in &heap.slabs {
        let cache = &heap.caches[usize::from(slab.cache)];
        if cache.class != Class::Slab {
            continue;
        }
        let count = slab.bytes() >> PAGE_SHIFT;
        match cache.reclaimable {
            true => pages.reclaimable += count,
            false => pages.unreclaimable += count,
        }
    }
    // Slabs that could not be walked are slabs all the same.
    let known = pages.reclaimable + pages.unreclaimable;
    pages.unreclaimable += census.pages(Owner::Slab).saturating_sub(known);
    pages
}
