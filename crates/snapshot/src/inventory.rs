//! The inventory of a kernel's memory: every page's owner, every allocated object.
//!
//! No pointer is followed yet: cheap, where nothing needs to be judged.

use std::time::Instant;

use sysak_base::{Cancel, PAGE_SHIFT, Pfn, Va};
use sysak_heap::{Class, Heap, NonSlab, PageSet, PerCpuObject, UnmarkedHeap};
use sysak_kernel::page::{Census, Owner};
use sysak_kernel::tasks::Stacks;
use sysak_kernel::vmalloc::Area;
use sysak_kernel::{
    Coverage, FreePages, Kernel, KernelError, percpu, slub, tables, tasks, vmalloc,
};
use sysak_report::Stage;

use crate::{InStage, Stages, Times};

/// What is known before any pointer is followed.
pub struct Inventory {
    /// Every page's owner.
    pub census: Census,
    /// Every slab, and which of its objects are allocated.
    pub heap: UnmarkedHeap,
    /// Slabs of which nobody can say which of their objects are in use.
    pub torn: Vec<Pfn>,
    /// Non-slab objects, which are not in the heap yet.
    pub non_slab: NonSlab,
    /// Areas of the vmalloc address space, by address.
    pub areas: Vec<Area>,
    /// Whether free slab objects can be told from allocated ones; otherwise none may be called lost.
    pub tells_free_objects: bool,
    /// Arrays of free objects, which are never followed.
    pub sheaves: Vec<Va>,
    /// Per-CPU memory.
    pub percpu: percpu::Allocations,
    /// Live parts of kernel stacks.
    pub stacks: Stacks,
    /// What was left out.
    pub coverage: Coverage,
    /// How long it took.
    pub times: Times,
    /// The step in which it was ended early.
    pub interrupted: Option<Stage>,
}

impl Inventory {
    /// Pages of slabs, by whether reclaim can shrink them.
    pub fn slab_pages(&self) -> SlabPages {
        slab_pages(&self.heap, &self.census)
    }
}

/// Gives every page an owner, and finds every allocated object.
pub fn take_inventory(
    kernel: &Kernel<'_>,
    stages: &dyn Stages,
    cancel: &Cancel,
) -> Result<Inventory, KernelError> {
    let mut coverage = Coverage::default();
    let mut times = Times::default();
    kernel.shape.note_losses(&mut coverage);

    let start = Instant::now();
    let free = FreePages::find(kernel, &mut coverage);
    let mut census =
        Census::take(kernel, &free, &mut coverage, &InStage(stages, Stage::Census), cancel);
    drop(free);
    times.census = start.elapsed();

    let start = Instant::now();
    let slabs = walk_slabs(kernel, &mut census, &mut coverage, stages, cancel)?;
    census.slabs = PageSet::new(0);
    census.counters.read_again(kernel);
    census.unmapped.look_again(kernel);
    times.walk = start.elapsed();

    let start = Instant::now();
    let mut areas = Vec::new();
    let mut stacks = Stacks::default();
    let mut percpu = percpu::Allocations::default();
    let mut non_slab = NonSlab {
        memmap: kernel.struct_page(Pfn(0)),
        struct_page_bytes: kernel.shape.page.size,
        cpus: kernel.cpus(),
        ..NonSlab::default()
    };
    if !census.interrupted && !slabs.interrupted {
        areas = vmalloc::find(kernel, &slabs.heap, &mut coverage);
        let (own, unsure_pages) = vmalloc::claim(kernel, &areas, &mut census);
        non_slab.areas = own;
        tables::claim(kernel, &slabs.heap, &mut census, &mut coverage);
        stacks = tasks::stacks(kernel, &slabs.heap, &areas, &mut census);
        let chunks = percpu::claim(kernel, &slabs.heap, &areas, &mut census, &mut coverage);
        percpu = percpu::allocations(kernel, &chunks, &mut coverage);
        let heap = &slabs.heap;
        vmalloc::claim_strays(kernel, heap, &areas, unsure_pages, &mut census, &mut coverage);
        let object = |found: &percpu::Allocation| PerCpuObject {
            pointer: found.pointer,
            bytes: found.bytes,
        };
        non_slab.per_cpu = percpu.judged(kernel).map(object).collect();
        census.give_back(kernel.own_frames());
        non_slab.blocks = census.take_blocks(kernel.shape.tells_blocks());
    }
    times.census += start.elapsed();
    let interrupted = match () {
        () if census.interrupted => Some(Stage::Census),
        () if slabs.interrupted => Some(Stage::Walk),
        () => None,
    };
    let tells_free_objects = slabs.tells_free_objects(kernel);
    let slub::Slabs { heap, sheaves, torn, .. } = slabs;
    Ok(Inventory {
        census,
        heap,
        torn,
        non_slab,
        areas,
        tells_free_objects,
        sheaves,
        percpu,
        stacks,
        coverage,
        times,
        interrupted,
    })
}

/// Walks the slabs. Those of which nobody knows what is in them hold references like any kernel page.
fn walk_slabs(
    kernel: &Kernel<'_>,
    census: &mut Census,
    coverage: &mut Coverage,
    stages: &dyn Stages,
    cancel: &Cancel,
) -> Result<slub::Slabs, KernelError> {
    if census.interrupted {
        return Ok(slub::Slabs::none(kernel));
    }
    let pages = census.pages(Owner::Slab);
    let progress = InStage(stages, Stage::Walk);
    let has_holes = census.holes() > 0;
    let slabs = slub::walk(kernel, &census.slabs, pages, has_holes, coverage, &progress, cancel)?;
    for (first, pages) in &slabs.roots {
        for page in first.0..first.0 + pages {
            census.roots.insert(Pfn(page));
        }
    }
    Ok(slabs)
}

/// Pages of slabs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlabPages {
    /// Of caches that reclaim can shrink.
    pub reclaimable: u64,
    /// Of all others.
    pub unreclaimable: u64,
}

pub(crate) fn slab_pages(heap: &Heap, census: &Census) -> SlabPages {
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
