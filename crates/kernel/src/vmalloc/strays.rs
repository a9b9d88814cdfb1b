//! Pages that the kernel's page tables map as vmalloc does, and that no area accounts for.
//!
//! A list that is damaged loses areas, and a damaged description loses its pages. Nobody but the area knows such a
//! page, so it would look lost.
//!
//! **Invariant:** a page that is mapped there and has no other owner is a root, whatever the lists say.

use sysak_arch::x86_64::KERNEL_HALF;
use sysak_base::numbers::word;
use sysak_base::{PAGE_SIZE, Pfn, Va, VaRange};
use sysak_heap::Heap;

use super::{Area, AreaKind, area_at, each_range, find};
use crate::list::Stop;
use crate::page::{Census, Owner};
use crate::shape::VmallocShape;
use crate::tables::{Mapping, each_mapped};
use crate::{Book, Coverage, Kernel, Omitted, Reason};

/// Gives the pages that no area or chunk accounts for to [`Owner::Vmalloc`] and [`Owner::PerCpu`], and closes the
/// books of both. `unsure_pages` are pages of areas that do not have what their descriptions say.
pub fn claim_strays(
    kernel: &Kernel<'_>,
    heap: &Heap,
    areas: &[Area],
    unsure_pages: u64,
    census: &mut Census,
    coverage: &mut Coverage,
) {
    let lent = lent(kernel, heap);
    let mut strays = Vec::new();
    let is_whole = each_mapped(kernel, heap, |at, pfn| {
        if census.unclaimed.contains(pfn) && !is_lent(areas, at) {
            strays.push((at, pfn));
        }
    });
    let mut unsure = [0; 2];
    let mut counted = Counted::new(kernel, heap, areas, &strays);
    for (at, pfn) in strays {
        let area = area_at(areas, at);
        let is_percpu = area.is_some_and(|area| area.kind == AreaKind::PerCpu);
        let owner = if is_percpu { Owner::PerCpu } else { Owner::Vmalloc };
        census.claim(pfn, owner);
        let is_ram_of_others = area.is_none() && lent.iter().any(|range| range.contains(at));
        let counts = is_near(areas, at) && !is_ram_of_others && counted.is_one(at, pfn);
        unsure[usize::from(is_percpu)] += u64::from(counts);
    }
    let [stray, percpu] = unsure;
    if stray > 0 {
        coverage.skip(Omitted::StrayPages(stray), Reason::OnNoList);
    }
    let is_lost = |one: &crate::Omission| {
        let is_mended = matches!(one.why, Reason::Stopped(Stop::Mended(_)));
        one.what == Omitted::SomeVmallocAreas && !is_mended
    };
    coverage.books.vmalloc = Book {
        pages: census.pages(Owner::Vmalloc) + census.pages(Owner::Stack),
        unjudged_pages: stray + unsure_pages,
        is_missing: areas.is_empty() || !is_whole && coverage.skipped.iter().any(is_lost),
    };
    coverage.books.percpu.pages = census.pages(Owner::PerCpu);
    coverage.books.percpu.unjudged_pages += percpu;
}

/// Whether an address lies in the part of the address space that areas lie in. Elsewhere the kernel maps pages of its
/// own: small stacks to return to user space from, what the processor reads of each CPU.
fn is_near(areas: &[Area], at: Va) -> bool {
    let part = |at: Va| at.0 / PART_BYTES;
    let next = areas.partition_point(|area| area.address <= at);
    let near = areas[..next].last().into_iter().chain(areas.get(next));
    near.into_iter().any(|area| part(area.address) == part(at))
}

/// Parts of the address space that have a top-level page-table entry of their own.
const PART_BYTES: u64 = 512 << 30;

/// Whether an address lies in an area that maps a device, or pages that belong to another owner.
fn is_lent(areas: &[Area], at: Va) -> bool {
    area_at(areas, at).is_some_and(|area| match area.kind {
        AreaKind::Device => true,
        AreaKind::Borrowed => !area.by_address,
        _ => false,
    })
}

/// Ranges of the address space without a description: `vm_map_ram` maps pages of others there.
fn lent(kernel: &Kernel<'_>, heap: &Heap) -> Vec<VaRange> {
    let Some(shape) = &kernel.shape.vmalloc else { return Vec::new() };
    let mut ranges = Vec::new();
    each_range(kernel, shape, heap, |_, raw| {
        let (start, end) = (word(raw, shape.start), word(raw, shape.end));
        let sane = start >= KERNEL_HALF && start < end && (start | end).is_multiple_of(PAGE_SIZE);
        if sane && word(raw, shape.vm) == 0 {
            ranges.push(VaRange::new(Va(start), end - start));
        }
    });
    ranges
}

/// What is still a stray when a running kernel is asked again.
struct Counted<'a, 'k> {
    now: Option<(Vec<Area>, Option<Mapping<'a, 'k>>)>,
    /// Whether the kernel's lists are known, and not only what was allocated when the slabs were walked.
    has_lists: bool,
}

impl<'a, 'k> Counted<'a, 'k> {
    fn new(
        kernel: &'a Kernel<'k>,
        heap: &Heap,
        areas: &[Area],
        strays: &[(Va, Pfn)],
    ) -> Counted<'a, 'k> {
        let again = kernel.memory.is_live() && !strays.is_empty();
        let now = again.then(|| {
            let mut now = find(kernel, heap, &mut Coverage::default());
            now.retain(|area| {
                areas.binary_search_by_key(&area.address, |known| known.address).is_err()
            });
            (now, Mapping::new(kernel, heap))
        });
        let lists = |shape: &VmallocShape| shape.find_lists(kernel.memory, kernel.symbols);
        let has_lists = kernel.shape.vmalloc.as_ref().is_some_and(|shape| !lists(shape).is_empty());
        Counted { now, has_lists }
    }

    fn is_one(&mut self, at: Va, pfn: Pfn) -> bool {
        let Some((areas, mapping)) = &mut self.now else { return true };
        let is_mapped = mapping.as_mut().is_some_and(|mapping| mapping.page(at) == Some(pfn));
        self.has_lists && is_mapped && area_at(areas, at).is_none()
    }
}
