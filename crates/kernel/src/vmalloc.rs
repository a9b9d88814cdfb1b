//! The areas of the vmalloc address space: their callers, and their pages.
//!
//! On a live machine areas come and go: a list that does not come back to its head is walked again.
//! An area without an array of pages has none of its own: it maps a device, or pages that belong to
//! another owner.
//!
//! **Invariant:** an area gets only pages of [`Owner::Kernel`] or [`Owner::Reserved`]. A page that is
//! free, part of a slab or user memory stays so, even if an area names it.

mod strays;

use sysak_arch::x86_64::KERNEL_HALF;
use sysak_base::numbers::{half, word};
use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Va};
use sysak_heap::{AreaPages, Heap, Object};

use crate::list::{Walk, walk_list};
use crate::page::{Census, Owner};
use crate::shape::{ALLOC, AREA_CACHE, Asker, IOREMAP, NO_GUARD, VmallocShape};
use crate::{Coverage, Kernel, Omitted, Reason};

pub use strays::claim_strays;

/// `vm.max_map_count` and pid_max keep real machines far below.
const MOST_AREAS: usize = 4 << 20;
/// How often a list that changed under the walk is walked again.
const RETRIES: u32 = 4;
/// Pointers to pages that are read at once.
const PIECE_PAGES: u64 = 4096;

/// What an area is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AreaKind {
    /// A thread's stack.
    Stack,
    /// A chunk of the per-CPU allocator; its pages are in no array.
    PerCpu,
    /// A module's text or data.
    Module,
    /// A program or map of BPF.
    Bpf,
    /// Memory of a device: no RAM, and must not be read.
    Device,
    /// Pages that belong to another owner, mapped at another address.
    Borrowed,
    /// Any other.
    Plain,
}

/// One area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its first byte.
    pub address: Va,
    /// Its description, a `struct vm_struct`.
    pub note: Va,
    /// Its length, without the guard page.
    pub bytes: u64,
    /// Its own pages.
    pub pages: u64,
    /// The array of pointers to the `struct page`s of these.
    pub array: Va,
    /// The return address of the call that allocated it; 0 where no call stands before it any more.
    pub caller: Va,
    /// What it is for.
    pub kind: AreaKind,
    /// Whether the caller got its address, and not its description.
    pub by_address: bool,
}

/// Every area in use, by address: those on the kernel's lists. Where no symbol leads to the lists, and where one is
/// damaged, they are found as objects of the heap.
pub fn find(kernel: &Kernel<'_>, heap: &Heap, coverage: &mut Coverage) -> Vec<Area> {
    let Some(shape) = &kernel.shape.vmalloc else {
        coverage.skip(Omitted::VmallocAreas, Reason::NoTypeInfo);
        return Vec::new();
    };
    let lists = shape.find_lists(kernel.memory, kernel.symbols);
    let mut areas = Vec::new();
    let mut is_whole = !lists.is_empty();
    for head in &lists {
        let walk = patiently(kernel.memory.is_live(), || walk(kernel, shape, *head));
        if let Some(stop) = walk.stopped {
            coverage.skip(Omitted::SomeVmallocAreas, Reason::Stopped(stop));
            is_whole = false;
        }
        areas.extend(walk.seen);
    }
    if !is_whole {
        areas.extend(search(kernel, shape, heap));
    }
    areas.sort_unstable_by_key(|area| area.address);
    areas.dedup_by_key(|area| area.address);
    if areas.is_empty() {
        coverage.skip(Omitted::VmallocAreas, Reason::NotFound);
    }
    areas
}

/// Gives the pages of areas to [`Owner::Vmalloc`] and [`Owner::Stack`]. Returns the areas that are
/// objects, allocated by a caller and with pages of their own only, and how many pages those have that do not add up.
pub fn claim(kernel: &Kernel<'_>, areas: &[Area], census: &mut Census) -> (Vec<AreaPages>, u64) {
    let mut raw = Vec::new();
    let mut found = Vec::new();
    let mut unsure_pages = 0;
    for area in areas {
        let owner = if area.kind == AreaKind::Stack { Owner::Stack } else { Owner::Vmalloc };
        let mut own = AreaPages { address: area.address, pages: Vec::new() };
        let mut done = 0;
        while done < area.pages && is_ram(kernel, areas, area.array) {
            let many = (area.pages - done).min(PIECE_PAGES);
            raw.resize((many * 8) as usize, 0);
            if kernel.memory.read(area.array.at(done * 8), &mut raw).is_err() {
                break;
            }
            for page in raw.chunks_exact(8) {
                let pfn = kernel.page_of(Va(word(page, 0)));
                own.pages.extend(pfn.filter(|pfn| census.claim(*pfn, owner)));
            }
            done += many;
        }
        let is_asked_for = matches!(area.kind, AreaKind::Plain | AreaKind::Module | AreaKind::Bpf);
        if !is_asked_for || area.pages == 0 {
            continue;
        }
        if own.pages.len() as u64 == area.pages {
            own.pages.iter().for_each(|pfn| census.set_object(*pfn));
            found.push(own);
        } else if !kernel.memory.is_live() {
            unsure_pages += area.pages;
        }
    }
    (found, unsure_pages)
}

/// The kernel's own descriptions of areas. That they name an area does not mean that it is in use.
#[derive(Debug, Default)]
pub struct Notes {
    /// Objects that marking never follows: ranges of the address space (each names its area, a free
    /// one its neighbours), the arrays of pages of areas, and the descriptions of areas that were
    /// given out by their address.
    pub unfollowed: Vec<Object>,
    /// The descriptions of all other areas: a caller may keep the description instead of the address.
    pub areas: Vec<Object>,
}

/// Finds the notes among the objects of the heap.
pub fn notes(kernel: &Kernel<'_>, heap: &Heap, areas: &[Area]) -> Notes {
    let mut notes = Notes::default();
    let Some(shape) = &kernel.shape.vmalloc else { return notes };
    each_range(kernel, shape, heap, |object, raw| {
        let (start, end) = (word(raw, shape.start), word(raw, shape.end));
        if start >= KERNEL_HALF && start < end && (start | end).is_multiple_of(PAGE_SIZE) {
            notes.unfollowed.push(object);
        }
    });
    let object = |at: Va| heap.find_object(at.0);
    notes.unfollowed.extend(areas.iter().filter_map(|area| object(area.array)));
    for area in areas {
        let list = if area.by_address { &mut notes.unfollowed } else { &mut notes.areas };
        list.extend(object(area.note));
    }
    notes
}

/// The area that an address lies in; `areas` ascend.
pub fn area_at(areas: &[Area], at: Va) -> Option<&Area> {
    let index = areas.partition_point(|area| area.address <= at).checked_sub(1)?;
    areas.get(index).filter(|area| at.0 - area.address.0 < area.bytes)
}

/// Whether an address can be read without touching a device.
fn is_ram(kernel: &Kernel<'_>, areas: &[Area], at: Va) -> bool {
    kernel.direct_pfn(at).is_some() || area_at(areas, at).is_some_and(|area| area.pages > 0)
}

/// Walks until a walk comes to its end; keeps the one that saw most.
fn patiently(live: bool, mut walk: impl FnMut() -> Walk<Area>) -> Walk<Area> {
    let mut best = walk();
    for _ in 0..RETRIES {
        if best.stopped.is_none() || !live {
            break;
        }
        let again = walk();
        if again.stopped.is_none() || again.seen.len() > best.seen.len() {
            best = again;
        }
    }
    best
}

/// The areas on one list.
fn walk(kernel: &Kernel<'_>, shape: &VmallocShape, head: Va) -> Walk<Area> {
    let links = walk_list(kernel.memory, head, MOST_AREAS);
    let mut raw = vec![0; shape.range_bytes.min(PAGE_SIZE) as usize];
    let area = |link: Va| {
        kernel.memory.read(Va(link.0.wrapping_sub(shape.list)), &mut raw).ok()?;
        area(kernel, shape, &raw)
    };
    Walk { seen: links.seen.into_iter().filter_map(area).collect(), stopped: links.stopped }
}

/// The areas among the objects of their cache. Free ranges are objects of it too: those lead to no
/// live description with the same address.
fn search(kernel: &Kernel<'_>, shape: &VmallocShape, heap: &Heap) -> Vec<Area> {
    let mut found = Vec::new();
    let is_live = |vm| heap.find_object(vm).is_some_and(|object| heap.is_live(object));
    each_range(kernel, shape, heap, |_, raw| {
        if found.len() < MOST_AREAS && is_live(word(raw, shape.vm)) {
            found.extend(area(kernel, shape, raw));
        }
    });
    found
}

/// Every live object of the cache of ranges.
fn each_range(
    kernel: &Kernel<'_>,
    shape: &VmallocShape,
    heap: &Heap,
    mut each: impl FnMut(Object, &[u8]),
) {
    let mut raw = vec![0; shape.range_bytes.min(PAGE_SIZE) as usize];
    for (slab, _) in heap.slabs_of(AREA_CACHE) {
        heap.for_each_live(slab, |index| {
            let object = Object { slab, index };
            if kernel.memory.read(heap.object_va(object), &mut raw).is_ok() {
                each(object, &raw);
            }
        });
    }
}

/// The area that a range of the address space belongs to; `None` for one without, and for
/// what is no range at all.
fn area(kernel: &Kernel<'_>, shape: &VmallocShape, range: &[u8]) -> Option<Area> {
    let (start, end) = (word(range, shape.start), word(range, shape.end));
    let vm = Va(word(range, shape.vm));
    let sane = start >= KERNEL_HALF && start < end && (start | end) % PAGE_SIZE == 0;
    if !sane || kernel.direct_pfn(vm).is_none() && !kernel.is_image(vm) {
        return None;
    }
    let mut raw = vec![0; shape.area_bytes.min(PAGE_SIZE) as usize];
    kernel.memory.read(vm, &mut raw).ok()?;
    let (address, size) = (word(&raw, shape.address), word(&raw, shape.size));
    if address != start || size > end - start || size % PAGE_SIZE != 0 {
        return None;
    }
    let flags = word(&raw, shape.flags);
    let guard = if flags & NO_GUARD == 0 { PAGE_SIZE } else { 0 };
    let bytes = size.checked_sub(guard)?;
    let pages = u64::from(half(&raw, shape.page_count)).min(bytes >> PAGE_SHIFT);
    let caller = Va(word(&raw, shape.caller));
    let caller = if follows_a_call(kernel, caller) { caller } else { Va(0) };
    let function = kernel.symbols.symbolize(caller);
    let asker = function.map_or(Asker::Other, |symbol| Asker::of(symbol.name));
    let kind = kind(asker, flags, start, bytes, pages);
    Some(Area {
        address: Va(start),
        note: vm,
        bytes,
        pages,
        array: Va(word(&raw, shape.pages)),
        caller,
        kind,
        by_address: flags & ALLOC != 0,
    })
}

/// Whether a return address still follows a call. Modules are unloaded, and others take their place;
/// the kernel's own text stays.
fn follows_a_call(kernel: &Kernel<'_>, address: Va) -> bool {
    let is_module = |symbol: sysak_symbols::Symbol<'_>| symbol.module.is_some();
    if !kernel.symbols.symbolize(address).is_some_and(is_module) {
        return true;
    }
    // x86: call with a distance, through a register, through memory.
    let mut code = [0; 7];
    let Some(start) = address.0.checked_sub(7) else { return false };
    if kernel.memory.read(Va(start), &mut code).is_err() {
        return true;
    }
    let through = |at: usize| code[at] == 0xff && code[at + 1] >> 3 & 7 == 2;
    code[2] == 0xe8 || [0, 1, 4, 5].into_iter().any(through)
}

fn kind(asker: Asker, flags: u64, start: u64, bytes: u64, pages: u64) -> AreaKind {
    // A fork allocates nothing else here, and a stack is aligned to its size.
    let like_a_stack = bytes.is_power_of_two() && start.is_multiple_of(bytes) && pages > 1;
    match asker {
        _ if flags & IOREMAP != 0 => AreaKind::Device,
        Asker::Fork if like_a_stack => AreaKind::Stack,
        Asker::PerCpu => AreaKind::PerCpu,
        _ if pages == 0 => AreaKind::Borrowed,
        Asker::Module => AreaKind::Module,
        Asker::Bpf => AreaKind::Bpf,
        Asker::Fork | Asker::Other => AreaKind::Plain,
    }
}

#[cfg(test)]
mod tests;
