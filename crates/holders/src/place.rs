//! What a place in the kernel's memory is: a variable, a module's data, a stack, per-CPU memory.
//!
//! Roots are read through the direct map, but symbols and areas are known by the address at which
//! the kernel itself uses them: places are translated first.
//!
//! **Invariant:** a place is named only by symbols and by the kernel's own structures.

use std::collections::HashMap;

use sysak_base::numbers::{half, word};
use sysak_base::{Cancel, PAGE_SHIFT, PAGE_SIZE, Pfn, Va};
use sysak_heap::Heap;
use sysak_kernel::Kernel;
use sysak_kernel::read::{gather, text};
use sysak_kernel::shape::TASK_CACHE;
use sysak_kernel::slub::live_objects;
use sysak_kernel::tables::Mapping;
use sysak_kernel::vmalloc::{Area, AreaKind, area_at};

use crate::boot_tables::BootTables;

/// Static per-CPU variables lie below this where per-CPU pointers count from 0.
const PER_CPU_BYTES: u64 = 1 << 20;
/// Pages of one area that are looked up: 4 GiB.
const MOST_PAGES: u64 = 1 << 20;

/// What a place is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the kernel's image or in a module, at this address.
    Image(Va),
    /// In a module's memory, at this address.
    Module(Va),
    /// A static per-CPU variable, by its pointer.
    PerCpu(Va),
    /// On the stack of a thread.
    Stack {
        /// The thread.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// In an area of the vmalloc address space, at this address.
    Area(Va),
    /// In memory set aside at boot, to which this variable of the kernel points: a hash table.
    Table(Va),
    /// In the `struct page` of a page.
    StructPage(Pfn),
    /// In a page of the kernel whose user is not known.
    Page(Pfn),
    /// Not in RAM.
    Unknown,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Whether it is one of our own process.
    pub ours: bool,
}

/// The places of a kernel's memory.
pub struct Places<'a, 'k> {
    kernel: &'a Kernel<'k>,
    /// Pages of areas, and the addresses at which they are used.
    pages: HashMap<Pfn, Va>,
    areas: &'a [Area],
    /// By the address of its stack.
    stacks: HashMap<Va, Thread>,
    /// By the address of its `task_struct`.
    tasks: HashMap<Va, Thread>,
    tables: BootTables,
}

impl<'a, 'k> Places<'a, 'k> {
    /// Reads tasks, areas and the image's pointers to tables.
    pub fn new(
        kernel: &'a Kernel<'k>,
        heap: &Heap,
        areas: &'a [Area],
        cancel: &Cancel,
    ) -> Places<'a, 'k> {
        let mut pages = HashMap::new();
        let mut raw = Vec::new();
        for area in areas.iter().filter(|area| kernel.direct_pfn(area.array).is_some()) {
            let count = area.pages.min(MOST_PAGES);
            let Ok(array) = kernel.memory.view(area.array, count as usize * 8, &mut raw) else {
                continue;
            };
            for (index, page) in (0..).zip(array.chunks_exact(8)) {
                if let Some(pfn) = kernel.page_of(Va(word(page, 0))) {
                    pages.insert(pfn, area.address.at(index << PAGE_SHIFT));
                }
            }
        }
        // Areas of per-CPU memory have no array of their pages: the page tables tell them.
        let mut mapping = Mapping::new(kernel, heap);
        for area in areas.iter().filter(|area| area.kind == AreaKind::PerCpu) {
            for index in 0..(area.bytes >> PAGE_SHIFT).min(MOST_PAGES) {
                let at = area.address.at(index << PAGE_SHIFT);
                if let Some(pfn) = mapping.as_mut().and_then(|mapping| mapping.page(at)) {
                    pages.insert(pfn, at);
                }
            }
        }
        let tables = BootTables::find(kernel, cancel);
        let mut places =
            Places { kernel, pages, areas, stacks: HashMap::new(), tasks: HashMap::new(), tables };
        places.read_threads(heap);
        places
    }

    /// The thread that a `task_struct` describes.
    pub fn thread(&self, task: Va) -> Option<&Thread> {
        self.tasks.get(&task)
    }

    /// The address at which the kernel itself uses what lies at an address of the direct map, where
    /// that is another one.
    pub fn used_at(&self, at: Va) -> Va {
        let page = self.kernel.direct_pfn(at).and_then(|pfn| self.pages.get(&pfn));
        page.map_or(at, |page| page.at(at.0 % PAGE_SIZE))
    }

    /// Where a range of the kernel's image, of a module or of a stack lies in the direct map, page by
    /// page. Pages that cannot be translated are left out.
    pub fn direct_map_pieces(&self, start: Va, bytes: u64) -> Vec<(Va, u64)> {
        let end = start.0.saturating_add(bytes.min(MOST_PAGES << PAGE_SHIFT));
        let mut pieces = Vec::new();
        let mut at = start.0;
        while at < end {
            let next = (at / PAGE_SIZE + 1).saturating_mul(PAGE_SIZE).min(end);
            if let Some(page) = self.direct(Va(at)) {
                pieces.push((page, next - at));
            }
            at = next;
        }
        pieces
    }

    /// Where what the kernel uses at an address lies in the direct map.
    fn direct(&self, at: Va) -> Option<Va> {
        let kernel = self.kernel;
        if kernel.direct_pfn(at).is_some() {
            return Some(at);
        }
        if kernel.is_image(at) {
            let ((start, _), first) = (kernel.image_virtual?, kernel.image.first()?.start);
            return Some(kernel.page_va(first).at(at.0 - start.0));
        }
        let area = area_at(self.areas, at)?;
        kernel.direct_pfn(area.array)?;
        let slot = area.array.at((at.0 - area.address.0) / PAGE_SIZE * 8);
        let pfn = kernel.page_of(Va(kernel.memory.read_u64(slot).ok()?))?;
        Some(kernel.page_va(pfn).at(at.0 % PAGE_SIZE))
    }

    /// The copies of a static per-CPU variable.
    pub fn copies(&self, pointer: Va) -> impl Iterator<Item = Va> + use<'_, 'a, 'k> {
        self.kernel.per_cpu(pointer.0)
    }

    /// The `task_struct`s of a thread.
    pub fn tasks_of(&self, pid: u32) -> impl Iterator<Item = Va> + use<'_, 'a, 'k> {
        self.tasks.iter().filter(move |(_, thread)| thread.pid == pid).map(|(at, _)| *at)
    }

    /// What lies at an address, of the direct map or any other.
    pub fn of(&self, at: Va) -> Place {
        let kernel = self.kernel;
        if kernel.is_image(at) {
            return Place::Image(at);
        }
        if let Some(pfn) = kernel.direct_pfn(at) {
            return self.of_page(pfn, at);
        }
        if let Some(offset) = at.checked_sub(kernel.memmap_range().0) {
            let pfn = Pfn(offset / kernel.shape.page.size.max(1));
            if kernel.is_ram(pfn) {
                return Place::StructPage(pfn);
            }
        }
        self.of_area(at).unwrap_or(Place::Unknown)
    }

    fn of_page(&self, pfn: Pfn, at: Va) -> Place {
        let kernel = self.kernel;
        // Parts of the image are freed after boot, and the pages may belong to an area since.
        if let Some(page) = self.pages.get(&pfn) {
            return self.of_area(page.at(at.0 % PAGE_SIZE)).unwrap_or(Place::Page(pfn));
        }
        // The image is mapped in one piece.
        if let (Some((start, _)), Some(first)) = (kernel.image_virtual, kernel.image.first())
            && kernel.image.iter().any(|run| run.contains(pfn))
        {
            let page = pfn.0 - first.start.0;
            return Place::Image(start.at((page << PAGE_SHIFT) + at.0 % PAGE_SIZE));
        }
        match self.static_per_cpu(at) {
            Some(pointer) => Place::PerCpu(pointer),
            None => self.tables.variable(kernel, pfn, at).map_or(Place::Page(pfn), Place::Table),
        }
    }

    /// The area in use that an address lies in.
    fn of_area(&self, at: Va) -> Option<Place> {
        let area = area_at(self.areas, at)?;
        Some(match area.kind {
            AreaKind::Module => Place::Module(at),
            AreaKind::Stack => match self.stacks.get(&area.address) {
                Some(Thread { pid, name, .. }) => Place::Stack { pid: *pid, name: name.clone() },
                None => Place::Stack { pid: 0, name: String::new() },
            },
            // The caller that allocated the area may be unknown; only a module's area has symbols.
            _ if self.module_of(area).is_some() => Place::Module(at),
            _ => Place::Area(at),
        })
    }

    /// The module whose memory an area is.
    pub fn module_of(&self, area: &Area) -> Option<&str> {
        self.kernel.symbols.module_within(area.address, area.address.at(area.bytes))
    }

    /// The pointer to a static per-CPU variable that an address is some CPU's copy of.
    fn static_per_cpu(&self, at: Va) -> Option<Va> {
        let kernel = self.kernel;
        let offsets = kernel.per_cpu_offsets().iter();
        let pointers = offsets.map(|offset| Va(at.0.wrapping_sub(*offset)));
        pointers.into_iter().find(|pointer| {
            let is_static = pointer.0 < PER_CPU_BYTES || kernel.is_image(*pointer);
            let symbol = is_static.then(|| kernel.symbols.symbolize_per_cpu(*pointer)).flatten();
            symbol.is_some_and(|symbol| symbol.size.is_some_and(|size| symbol.offset < size))
        })
    }

    /// Every thread that has a stack.
    fn read_threads(&mut self, heap: &Heap) {
        let kernel = self.kernel;
        let (Some(task), Some(process)) = (&kernel.shape.task, &kernel.shape.user_memory.process)
        else {
            return;
        };
        let at = live_objects(heap, TASK_CACHE);
        let part = process.read;
        let mut stacks = vec![Va(0); at.len()];
        gather(kernel.memory, &at, task.stack + 8, |index, raw| {
            stacks[index] = Va(word(raw, task.stack));
        });
        let parts: Vec<Va> = at.iter().map(|at| at.at(part.at)).collect();
        gather(kernel.memory, &parts, part.bytes, |index, raw| {
            let name = text(raw, process.name.at, process.name.bytes);
            let name = String::from_utf8_lossy(name).into_owned();
            let own = kernel.own_process.as_ref().map(|own| own.pid);
            let ours = own == Some(half(raw, process.process));
            let thread = Thread { pid: half(raw, process.thread), name, ours };
            self.stacks.insert(stacks[index], thread.clone());
            self.tasks.insert(at[index], thread);
        });
    }
}
