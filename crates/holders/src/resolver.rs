//! What references and the places that they stand in are called, and where a way may end.
//!
//! **Invariant:** what is worth naming and what is not is decided here alone, by rank.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::place::{Place, Places};
use sysak_base::Va;
use sysak_heap::references::{From, Reference, RootObjects, SearchSpace};
use sysak_heap::reverse::{Path, STEP};
use sysak_heap::{Class, Object};
use sysak_kernel::Kernel;
use sysak_kernel::timers::Timers;
use sysak_kernel::user_memory::{Cgroups, ProcessIndex};
use sysak_kernel::vmalloc::{Area, area_at};
use sysak_symbols::Symbol;

use crate::HolderKind;
use crate::owner::Owner;
use crate::retention_path::{RetentionPath, Step};
use sysak_snapshot::Snapshot;

/// Of ends that are as near, a module's variable is there for these objects; in a process's memory much
/// else stands.
const MODULE: u32 = 0;
const PROCESS: u32 = 1;
/// A control group was made by somebody, and much of what it leads to is everybody's: workqueues.
/// A variable that leads straight there is better than a group that is two steps away.
const CGROUP: u32 = STEP + STEP / 2;
/// A variable of the kernel is as good as an owner that is two steps farther.
const SYMBOL: u32 = 2 * STEP;
/// What merely stands on a stack may be anybody's.
const STACK: u32 = 4 * STEP;
/// A timer finds what somebody else may keep, but is all that keeps what nobody else does.
const TIMER: u32 = 5 * STEP;
/// A hash table finds what somebody else keeps; other memory says nothing of an owner.
const INDEX: u32 = 6 * STEP;

/// Names the ways that references go.
pub struct HolderResolver<'a, 'k> {
    pub(crate) kernel: &'a Kernel<'k>,
    pub(crate) look: &'a Snapshot,
    pub(crate) places: Places<'a, 'k>,
    pub(crate) processes: ProcessIndex,
    pub(crate) cgroups: Cgroups,
    /// Objects that are control groups, or states of these: an index into the groups.
    pub(crate) states: HashMap<Object, usize>,
    pub(crate) timers: Timers,
}

impl<'a, 'k> HolderResolver<'a, 'k> {
    /// Reads what is needed of tasks, files, areas, control groups and timers.
    pub fn new(kernel: &'a Kernel<'k>, look: &'a Snapshot) -> HolderResolver<'a, 'k> {
        let places = Places::new(kernel, &look.heap, &look.areas);
        let processes = ProcessIndex::find(kernel, &look.heap);
        let cgroups = Cgroups::find(kernel, &look.heap);
        let states = cgroups.states.iter();
        let object = |(at, index): (&Va, &usize)| Some((look.heap.find_object(at.0)?, *index));
        let states = states.filter_map(object).collect();
        let timers = Timers::find(kernel);
        HolderResolver { kernel, look, places, processes, cgroups, states, timers }
    }

    /// The kernel.
    pub fn kernel(&self) -> &'a Kernel<'k> {
        self.kernel
    }

    /// What was seen of it.
    pub fn look(&self) -> &'a Snapshot {
        self.look
    }

    /// What places are called.
    pub fn places(&self) -> &Places<'a, 'k> {
        &self.places
    }

    /// Where references are looked for.
    pub fn space(&self) -> SearchSpace<'_> {
        let (heap, memory) = (&self.look.heap, self.kernel.memory);
        SearchSpace { heap, memory, root_objects: self }
    }

    /// How much further than this one an end of a way may lie to be worth as much, by [`STEP`];
    /// `None` where no way ends.
    pub fn rank(&self, reference: &Reference) -> Option<u32> {
        if self.is_timer(reference) {
            return Some(TIMER);
        }
        if let From::Object(object) = reference.from {
            return match self.end(object)? {
                Owner::Module(_) => Some(MODULE),
                Owner::Process(..) => Some(PROCESS),
                Owner::Cgroup(_) => {
                    (!self.cgroups.leads_away(self.kernel, reference.at)).then_some(CGROUP)
                }
            };
        }
        let (kind, _) = self.holder(reference)?;
        let place = || self.places.of(reference.at);
        Some(match kind {
            HolderKind::Module => MODULE,
            HolderKind::Process if matches!(place(), Place::Stack { .. }) => STACK,
            HolderKind::Process => PROCESS,
            HolderKind::Cgroup => CGROUP,
            HolderKind::Symbol if matches!(place(), Place::Table(_)) => INDEX,
            HolderKind::Symbol => SYMBOL,
            HolderKind::Kernel => INDEX,
        })
    }

    /// What references of one kind have in common: the variable, or the cache and the offset
    /// of the pointer in its objects.
    pub fn kind(&self, reference: &Reference) -> u64 {
        let mut hasher = DefaultHasher::new();
        if let Some(timer) = self.timer(reference) {
            timer.hash(&mut hasher);
            return hasher.finish();
        }
        match reference.from {
            From::Register => 0u8.hash(&mut hasher),
            From::Root => self.root(reference.at).hash(&mut hasher),
            From::Object(object) => {
                let heap = &self.look.heap;
                let slab = &heap.slabs[object.slab as usize];
                (slab.cache, self.cgroup(object).is_some()).hash(&mut hasher);
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
    pub fn holder(&self, reference: &Reference) -> Option<(HolderKind, String)> {
        if let Some(timer) = self.timer(reference) {
            return Some(self.title_of_timer(timer));
        }
        match reference.from {
            From::Object(object) => {
                let (kind, name) = self.title_of(self.end(object)?);
                match self.places.of(reference.at) {
                    Place::Module(at) => Some((kind, self.symbol(at).unwrap_or(name))),
                    _ => Some((kind, name)),
                }
            }
            From::Register => Some((HolderKind::Kernel, "a register".to_owned())),
            From::Root => Some(self.root(reference.at)),
        }
    }

    fn root(&self, at: Va) -> (HolderKind, String) {
        let known = |kind, name: Option<String>, or: &str| match name {
            Some(name) => (kind, name),
            None => (HolderKind::Kernel, or.to_owned()),
        };
        match self.places.of(at) {
            Place::Image(at) => known(HolderKind::Symbol, self.symbol(at), "data of the kernel"),
            Place::Module(at) => known(HolderKind::Module, self.symbol(at), "data of a module"),
            Place::PerCpu(at) => {
                let symbol = self.kernel.symbols.symbolize_per_cpu(at);
                let of_module = symbol.is_some_and(|symbol| symbol.module.is_some());
                let kind = if of_module { HolderKind::Module } else { HolderKind::Symbol };
                known(kind, symbol.and_then(HolderResolver::title), "per-CPU memory")
            }
            Place::Stack { pid: 0, name } if name.is_empty() => {
                (HolderKind::Kernel, "a stack".to_owned())
            }
            Place::Stack { pid, name } => (HolderKind::Process, format!("stack of {name} ({pid})")),
            Place::Table(variable) => known(HolderKind::Symbol, self.symbol(variable), "a table"),
            Place::Area(_) => (HolderKind::Kernel, "a vmalloc area".to_owned()),
            // Who is charged for the objects of a slab stands in a vector that only this leads to.
            Place::StructPage(pfn) if self.look.heap.is_slab_page(pfn) => {
                (HolderKind::Kernel, "struct page of slabs".to_owned())
            }
            Place::StructPage(_) => (HolderKind::Kernel, "struct page".to_owned()),
            Place::Page(_) => (HolderKind::Kernel, "a page of the kernel".to_owned()),
            Place::Unknown => (HolderKind::Kernel, "unknown memory".to_owned()),
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
        area_at(&self.look.areas, at)
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
        HolderResolver::title(self.kernel.symbols.symbolize(at)?)
    }

    pub(crate) fn title(symbol: Symbol<'_>) -> Option<String> {
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

    /// A way from the holder downwards, and the slab objects' words that it leads through; `many`
    /// references of its kind lead to the objects.
    pub(crate) fn path(&self, way: &Path, many: u32, objects: u64) -> Option<RetentionPath> {
        let anchor = *way.last()?;
        let (kind, holder) = self.holder(&anchor)?;
        let heap = &self.look.heap;
        let step = |one: &Reference| {
            let From::Object(object) = one.from else { return None };
            let is_slab = heap.cache_of(object).class == Class::Slab;
            let offset = is_slab.then(|| one.at.0.wrapping_sub(heap.object_va(object).0));
            Some(Step { object, offset })
        };
        let among = self.among(&anchor).filter(|_| kind == HolderKind::Cgroup);
        // Of a control group it is told what of it leads to the objects.
        let own = usize::from(among.is_none());
        let steps = way.iter().rev().skip(own).filter_map(step).collect();
        // A group has one state of each kind, but many files.
        let is_state = matches!(anchor.from, From::Object(one) if self.states.contains_key(&one));
        let many = if is_state && way.len() == 1 { many as usize } else { 1 };
        Some(RetentionPath { kind, holder, among, many, steps, objects, anchor })
    }

    /// What a holder is called together with others of its kind, where there may be very many.
    fn among(&self, anchor: &Reference) -> Option<&'static str> {
        let From::Object(object) = anchor.from else { return None };
        self.cgroup(object).map(|index| match self.cgroups.all[index].removed {
            true => "removed cgroups",
            false => "cgroups",
        })
    }

    /// An object that is part of a control group is held by that.
    pub(crate) fn own_path(&self, object: Object) -> Option<RetentionPath> {
        let (kind, holder) = self.title_of(Owner::Cgroup(self.cgroup(object)?));
        let at = self.look.heap.object_va(object);
        let anchor = Reference { from: From::Object(object), at, word: at.0, to: object };
        let among = self.among(&anchor);
        Some(RetentionPath { kind, holder, among, many: 1, steps: Vec::new(), objects: 1, anchor })
    }
}

impl RootObjects for HolderResolver<'_, '_> {
    /// Allocations of per-CPU memory; a static variable has a name of its own.
    fn object_at(&self, at: Va) -> Option<Object> {
        let percpu = &self.look.percpu;
        let found = &percpu.list[percpu.of_address(self.places.used_at(at))?];
        let is_static = matches!(self.places.of(at), Place::PerCpu(_));
        self.look.heap.find_object(found.pointer).filter(|_| !is_static)
    }
}
