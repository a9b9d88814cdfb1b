//! What references and the places that they stand in are called, and where a way may end.
//!
//! **Invariant:** a process is named only by its own thread, open file or address space.

use std::hash::{DefaultHasher, Hash, Hasher};

use sysak_analysis::climb::Way;
use sysak_analysis::refs::{From, Reference, RootObjects, Space};
use sysak_base::Va;
use sysak_base::heap::{Class, Object};
use sysak_kernel::holders::{self, Owners};
use sysak_kernel::place::{Place, Places};
use sysak_kernel::vmalloc::Area;
use sysak_kernel::{Kernel, shape};
use sysak_symbols::Symbol;

use super::Kind;
use super::trail::{Step, Trail};
use crate::look::Look;

/// So much farther is memory that says nothing of an owner.
const INDEX: u32 = 6;

/// Names the ways that references go.
pub struct Guide<'a, 'k> {
    pub(super) kernel: &'a Kernel<'k>,
    pub(super) look: &'a Look,
    places: Places<'a, 'k>,
    owners: Owners,
}

impl<'a, 'k> Guide<'a, 'k> {
    /// Reads what is needed of tasks, files and areas.
    pub fn new(kernel: &'a Kernel<'k>, look: &'a Look) -> Guide<'a, 'k> {
        let places = Places::new(kernel, &look.heap, &look.areas);
        let owners = holders::owners(kernel, &look.heap);
        Guide { kernel, look, places, owners }
    }

    /// The kernel.
    pub fn kernel(&self) -> &'a Kernel<'k> {
        self.kernel
    }

    /// What was seen of it.
    pub fn look(&self) -> &'a Look {
        self.look
    }

    /// What places are called.
    pub fn places(&self) -> &Places<'a, 'k> {
        &self.places
    }

    /// Where references are looked for.
    pub fn space(&self) -> Space<'_> {
        let (heap, memory) = (&self.look.heap, self.kernel.memory);
        Space { heap, memory, root_objects: self }
    }

    /// Whether a way may end at an object: a thread, an open file, an address space, a module.
    pub fn is_end(&self, object: Object) -> bool {
        self.end(object).is_some()
    }

    /// Who holds an object that a way may end at.
    fn end(&self, object: Object) -> Option<(Kind, String)> {
        let heap = &self.look.heap;
        let cache = heap.cache_of(object);
        let at = heap.object_va(object);
        let named = |(pid, name): (u32, &str)| (Kind::Process, format!("{name} ({pid})"));
        let process = |index: &usize| {
            let process = &self.owners.processes[*index];
            named((process.pid, &process.name))
        };
        match cache.class {
            Class::Vmalloc => {
                let module = self.places.module_of(self.area_of(object)?)?;
                Some((Kind::Module, format!("[{module}]")))
            }
            Class::Slab if cache.has_name(shape::TASK_CACHE) => {
                let (pid, name) = self.places.thread(at)?;
                Some(named((*pid, name)))
            }
            Class::Slab => {
                self.owners.files.get(&at).or_else(|| self.owners.spaces.get(&at)).map(process)
            }
            Class::Page | Class::PerCpu => None,
        }
    }

    /// The number of the process whose thread, open file or address space lies at an address.
    pub(super) fn process_at(&self, at: Va) -> Option<u32> {
        if let Some((pid, _)) = self.places.thread(at) {
            return Some(*pid);
        }
        let index = self.owners.files.get(&at).or_else(|| self.owners.spaces.get(&at))?;
        Some(self.owners.processes[*index].pid)
    }

    /// The thread, the open files and the address space of a process.
    pub(super) fn objects_of(&self, pid: u32) -> impl Iterator<Item = Va> + '_ {
        let all = self.owners.files.iter().chain(&self.owners.spaces);
        let own = all.filter(move |(_, index)| self.owners.processes[**index].pid == pid);
        own.map(|(at, _)| *at).chain(self.places.tasks_of(pid))
    }

    /// How many steps further an end of a way may lie to be worth as much as this one; `None`
    /// where no way ends.
    pub fn rank(&self, reference: &Reference) -> Option<u32> {
        let (kind, _) = self.holder(reference)?;
        let is_stack = || matches!(self.places.of(reference.at), Place::Stack { .. });
        Some(match kind {
            Kind::Module => 0,
            // What merely stands on a stack may be anybody's.
            Kind::Process if reference.from == From::Root && is_stack() => 4,
            Kind::Process => 0,
            // A hash table finds what somebody else keeps.
            Kind::Symbol if matches!(self.places.of(reference.at), Place::Table(_)) => INDEX,
            Kind::Symbol => 2,
            Kind::Kernel => INDEX,
        })
    }

    /// What references of one kind have in common: the variable, or the cache and the offset
    /// of the pointer in its objects.
    pub fn kind(&self, reference: &Reference) -> u64 {
        let mut hasher = DefaultHasher::new();
        match reference.from {
            From::Register => 0u8.hash(&mut hasher),
            From::Root => self.root(reference.at).hash(&mut hasher),
            From::Object(object) => {
                let heap = &self.look.heap;
                let slab = &heap.slabs[object.slab as usize];
                slab.cache.hash(&mut hasher);
                match heap.cache_of(object).class {
                    Class::Slab => {
                        (reference.at.0.wrapping_sub(heap.object_va(object).0)).hash(&mut hasher)
                    }
                    _ => object.hash(&mut hasher),
                }
            }
        }
        hasher.finish()
    }

    /// Who holds what a reference leads to, if the way ends there.
    pub fn holder(&self, reference: &Reference) -> Option<(Kind, String)> {
        match reference.from {
            From::Object(object) => {
                let (kind, name) = self.end(object)?;
                match self.places.of(reference.at) {
                    Place::Module(at) => Some((kind, self.symbol(at).unwrap_or(name))),
                    _ => Some((kind, name)),
                }
            }
            From::Register => Some((Kind::Kernel, "a register".to_owned())),
            From::Root => Some(self.root(reference.at)),
        }
    }

    fn root(&self, at: Va) -> (Kind, String) {
        let known = |kind, name: Option<String>, or: &str| match name {
            Some(name) => (kind, name),
            None => (Kind::Kernel, or.to_owned()),
        };
        match self.places.of(at) {
            Place::Image(at) => known(Kind::Symbol, self.symbol(at), "data of the kernel"),
            Place::Module(at) => known(Kind::Module, self.symbol(at), "data of a module"),
            Place::PerCpu(at) => {
                let symbol = self.kernel.symbols.symbolize_per_cpu(at);
                let of_module = symbol.is_some_and(|symbol| symbol.module.is_some());
                let kind = if of_module { Kind::Module } else { Kind::Symbol };
                known(kind, symbol.and_then(Guide::title), "per-CPU memory")
            }
            Place::Stack { pid: 0, name } if name.is_empty() => {
                (Kind::Kernel, "a stack".to_owned())
            }
            Place::Stack { pid, name } => (Kind::Process, format!("stack of {name} ({pid})")),
            Place::Table(variable) => known(Kind::Symbol, self.symbol(variable), "a table"),
            Place::Area(_) => (Kind::Kernel, "a vmalloc area".to_owned()),
            // Who is charged for the objects of a slab stands in a vector that only this leads to.
            Place::StructPage(pfn) if self.look.heap.is_slab_page(pfn) => {
                (Kind::Kernel, "struct page of slabs".to_owned())
            }
            Place::StructPage(_) => (Kind::Kernel, "struct page".to_owned()),
            Place::Page(_) => (Kind::Kernel, "a page of the kernel".to_owned()),
            Place::Unknown => (Kind::Kernel, "unknown memory".to_owned()),
        }
    }

    /// The area that an object is.
    pub fn area_of(&self, object: Object) -> Option<&'a Area> {
        let heap = &self.look.heap;
        let (start, _) = heap.pieces(object.slab).next()?;
        if heap.cache_of(object).class != Class::Vmalloc {
            return None;
        }
        let at = match self.places.of(self.kernel.page_va(start)) {
            Place::Area(at) | Place::Module(at) => at,
            _ => return None,
        };
        let index = self.look.areas.partition_point(|area| area.address <= at);
        self.look.areas.get(index.checked_sub(1)?)
    }

    /// `kmalloc-64+0x10`; a free object is said to be one.
    pub fn object_label(&self, object: Object, at: Va) -> String {
        let heap = &self.look.heap;
        let cache = heap.cache_of(object);
        let free = if heap.is_live(object) { "" } else { " (free)" };
        match cache.class {
            Class::Slab => {
                let offset = at.0.wrapping_sub(heap.object_va(object).0);
                format!("{}+{offset:#x}{free}", cache.name)
            }
            _ => format!("{}{free}", cache.name),
        }
    }

    /// `flow_ops+0x8 [mod]`
    pub fn symbol_and_offset(&self, at: Va) -> Option<String> {
        let symbol = self.kernel.symbols.symbolize(at)?;
        let module = symbol.module.map_or(String::new(), |module| format!(" [{module}]"));
        Some(match symbol.offset {
            0 => format!("{}{module}", symbol.name),
            offset => format!("{}+{offset:#x}{module}", symbol.name),
        })
    }

    /// What an address is called that lies in no object.
    pub fn place_label(&self, at: Va) -> Option<String> {
        match self.places.of(at) {
            Place::Unknown => None,
            Place::StructPage(pfn) => Some(format!("struct page of page {}", pfn.0)),
            _ => Some(self.root(at).1),
        }
    }

    /// `flow_table [mod]`, without the offset: a table is one holder.
    fn symbol(&self, at: Va) -> Option<String> {
        Guide::title(self.kernel.symbols.symbolize(at)?)
    }

    fn title(symbol: Symbol<'_>) -> Option<String> {
        let is_inside = symbol.size.is_none_or(|size| symbol.offset < size);
        is_inside.then(|| match symbol.module {
            Some(module) => format!("{} [{module}]", symbol.name),
            None => symbol.name.to_owned(),
        })
    }

    /// What a reference stands in: `kmalloc-64+0x10`.
    pub fn step(&self, reference: &Reference) -> String {
        let From::Object(object) = reference.from else {
            return self.holder(reference).map_or(String::new(), |(_, name)| name);
        };
        self.object_label(object, reference.at)
    }

    /// A way from the holder downwards, and the slab objects' words that it leads through.
    pub(super) fn trail(&self, way: &Way, objects: u64) -> Option<Trail> {
        let anchor = *way.last()?;
        let (kind, holder) = self.holder(&anchor)?;
        let heap = &self.look.heap;
        let step = |one: &Reference| {
            let From::Object(object) = one.from else { return None };
            let is_slab = heap.cache_of(object).class == Class::Slab;
            let offset = is_slab.then(|| one.at.0.wrapping_sub(heap.object_va(object).0));
            Some(Step { object, offset })
        };
        let steps = way.iter().rev().skip(1).filter_map(step).collect();
        Some(Trail { kind, holder, among: None, steps, objects, anchor })
    }
}

impl RootObjects for Guide<'_, '_> {
    /// Allocations of per-CPU memory; a static variable has a name of its own.
    fn object_at(&self, at: Va) -> Option<Object> {
        let percpu = &self.look.percpu;
        let found = &percpu.list[percpu.of_address(self.places.used_at(at))?];
        let is_static = matches!(self.places.of(at), Place::PerCpu(_));
        self.look.heap.find_object(found.pointer).filter(|_| !is_static)
    }
}
