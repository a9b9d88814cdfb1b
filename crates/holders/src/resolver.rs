//! The resolver of holders: what a reference lies in, and who holds what it leads to.
//!
//! **Danger:** names come out of the kernel's memory and may hold anything.
//!
//! **Invariant:** memory is named only by a symbol that it lies inside of, or by what the kernel's
//! own structures say of it; all else is unknown.

mod owner;

use std::collections::{BTreeMap, HashMap};

use sysak_base::{Cancel, Va};
use sysak_heap::references::{From, Reference, RootObjects, SearchSpace};
use sysak_heap::reverse::Path;
use sysak_heap::{Class, Object, PageTargets};
use sysak_kernel::Kernel;
use sysak_kernel::timers::Timers;
use sysak_kernel::user_memory::{Cgroups, ProcessIndex};
use sysak_kernel::vmalloc::{Area, area_at};
use sysak_snapshot::Snapshot;
use sysak_symbols::Symbol;

use crate::named::Named;
use crate::ownership_rules::OwnershipRules;
use crate::place::{Place, Places};
use crate::reference_kind::RootNames;
use crate::retention_path::{PathObject, RetentionPath};
use crate::{HolderKind, ReferenceKind, Step, SymbolName};

/// Of more memory in use it is not noted where its pages lead: that takes 16 bytes a page.
const MOST_NOTED_BYTES: u64 = 2 << 30;

pub(crate) use owner::Owner;

/// Resolves references to what they lie in, and to holders.
pub struct HolderResolver<'a, 'k> {
    pub(crate) kernel: &'a Kernel<'k>,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) places: Places<'a, 'k>,
    pub(crate) processes: ProcessIndex,
    pub(crate) cgroups: Cgroups,
    /// Objects that are control groups or controllers' states of them: an index into the groups.
    pub(crate) cgroup_states: HashMap<Object, usize>,
    pub(crate) timers: Timers,
    pub(crate) named: Named<'a, 'k>,
    pub(crate) rules: OwnershipRules,
    root_names: RootNames,
    targets: Option<PageTargets>,
}

impl<'a, 'k> HolderResolver<'a, 'k> {
    /// Reads what is needed of tasks, files, areas, control groups and timers. When `cancel` is set, tables of boot
    /// time are left out.
    pub fn new(
        kernel: &'a Kernel<'k>,
        snapshot: &'a Snapshot,
        cancel: &Cancel,
    ) -> HolderResolver<'a, 'k> {
        let places = Places::new(kernel, &snapshot.heap, &snapshot.areas, cancel);
        let processes = ProcessIndex::find(kernel, &snapshot.heap);
        let cgroups = Cgroups::find(kernel, &snapshot.heap);
        let object = |(at, index): (&Va, &usize)| Some((snapshot.heap.find_object(at.0)?, *index));
        let states = BTreeMap::from_iter(&cgroups.states);
        let cgroup_states = states.into_iter().filter_map(object).collect();
        let timers = Timers::find(kernel);
        let named = Named::find(kernel, &snapshot.heap);
        let rules = OwnershipRules::find(kernel, &snapshot.heap, &named.system_at, &processes.ours)
            .with_modules(kernel, &places);
        let root_names = RootNames::default();
        let is_noted =
            !kernel.memory.is_live() && snapshot.marked.bytes_scanned <= MOST_NOTED_BYTES;
        let targets = is_noted.then(PageTargets::default);
        HolderResolver {
            kernel,
            snapshot,
            places,
            processes,
            cgroups,
            cgroup_states,
            timers,
            named,
            rules,
            root_names,
            targets,
        }
    }

    /// The kernel.
    pub fn kernel(&self) -> &'a Kernel<'k> {
        self.kernel
    }

    /// The snapshot of its memory.
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// What the parts of its memory are.
    pub fn places(&self) -> &Places<'a, 'k> {
        &self.places
    }

    /// Where references are searched.
    pub fn space(&self) -> SearchSpace<'_> {
        let (heap, readers) = (&self.snapshot.heap, self.kernel.readers);
        SearchSpace { heap, readers, root_objects: self, targets: self.targets.as_ref() }
    }

    /// What references of one kind have in common: the variable, or the cache and the offset of
    /// the pointer in its objects.
    pub fn kind(&self, reference: &Reference) -> ReferenceKind {
        if let Some(timer) = self.timer(reference) {
            return ReferenceKind::Timer(timer);
        }
        match reference.from {
            From::Register => ReferenceKind::Register,
            From::Root => {
                let (kind, name) = self.holder_of_root(reference.at);
                ReferenceKind::Root(self.root_names.number(kind, name))
            }
            From::Object(object) => match self.offset(object, reference.at) {
                Some(offset) => ReferenceKind::Field {
                    cache: self.snapshot.heap.slabs[object.slab as usize].cache,
                    in_cgroup: self.cgroup(object).is_some(),
                    offset,
                },
                None => ReferenceKind::NonSlab(object),
            },
        }
    }

    /// Who holds what a reference leads to, if a path may end there.
    pub fn holder(&self, reference: &Reference) -> Option<(HolderKind, Step)> {
        if let Some(timer) = self.timer(reference) {
            return Some(self.holder_of_timer(timer));
        }
        match reference.from {
            From::Object(object) => {
                let (kind, owner) = self.holder_of_owner(self.owner(object)?);
                match self.places.of(reference.at) {
                    Place::Module(at) => Some((kind, self.symbol(at).map_or(owner, Step::Symbol))),
                    _ => Some((kind, owner)),
                }
            }
            From::Register => Some((HolderKind::Kernel, Step::Register)),
            From::Root => Some(self.holder_of_root(reference.at)),
        }
    }

    /// A place among the roots as a holder.
    fn holder_of_root(&self, at: Va) -> (HolderKind, Step) {
        let named = |kind, name: Option<SymbolName>, unnamed| match name {
            Some(name) => (kind, Step::Symbol(name)),
            None => (HolderKind::Kernel, unnamed),
        };
        match self.places.of(at) {
            Place::Image(at) => named(HolderKind::Symbol, self.symbol(at), Step::KernelData),
            Place::Module(at) => named(HolderKind::Module, self.symbol(at), Step::ModuleData),
            Place::PerCpu(at) => {
                let symbol = self.kernel.symbols.symbolize_per_cpu(at);
                let in_module = symbol.is_some_and(|symbol| symbol.module.is_some());
                let kind = if in_module { HolderKind::Module } else { HolderKind::Symbol };
                named(kind, symbol.and_then(HolderResolver::name_inside), Step::PerCpuData)
            }
            Place::Stack { pid: 0, name } if name.is_empty() => {
                (HolderKind::Kernel, Step::UnknownStack)
            }
            Place::Stack { pid, name } => (HolderKind::Process, Step::Stack { name, pid }),
            Place::Table(variable) => {
                named(HolderKind::Symbol, self.symbol(variable), Step::BootTable)
            }
            Place::Area(_) => (HolderKind::Kernel, Step::VmallocArea),
            Place::StructPage(pfn) if self.snapshot.heap.is_slab_page(pfn) => {
                (HolderKind::Kernel, Step::SlabStructPage)
            }
            Place::StructPage(_) => (HolderKind::Kernel, Step::StructPage),
            Place::Page(_) => (HolderKind::Kernel, Step::KernelPage),
            Place::Unknown => (HolderKind::Kernel, Step::UnknownMemory),
        }
    }

    /// The area that an object is.
    pub fn area_of(&self, object: Object) -> Option<&'a Area> {
        let heap = &self.snapshot.heap;
        let (start, _) = heap.pieces(object.slab).next()?;
        if heap.cache_of(object).class != Class::Vmalloc {
            return None;
        }
        let at = match self.places.of(self.kernel.page_va(start)) {
            Place::Area(at) | Place::Module(at) => at,
            _ => return None,
        };
        area_at(&self.snapshot.areas, at)
    }

    /// An object, and where in it an address lies.
    pub fn object_step(&self, object: Object, at: Va) -> Step {
        Step::object(&self.snapshot.heap, object, self.offset(object, at))
    }

    /// Bytes from a slab object's start to an address.
    fn offset(&self, object: Object, at: Va) -> Option<u64> {
        let heap = &self.snapshot.heap;
        let is_slab = heap.cache_of(object).class == Class::Slab;
        is_slab.then(|| at.0.wrapping_sub(heap.object_va(object).0))
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

    /// What an address lies in that is part of no object.
    pub fn root_step(&self, at: Va) -> Step {
        self.holder_of_root(at).1
    }

    /// The symbol that an address lies in, without the offset: a table is one holder.
    fn symbol(&self, at: Va) -> Option<SymbolName> {
        HolderResolver::name_inside(self.kernel.symbols.symbolize(at)?)
    }

    /// The name of a symbol, unless the address lies behind its end.
    pub(crate) fn name_inside(symbol: Symbol<'_>) -> Option<SymbolName> {
        let is_inside = symbol.size.is_none_or(|size| symbol.offset < size);
        is_inside.then(|| symbol.into())
    }

    /// What a reference lies in.
    pub fn step(&self, reference: &Reference) -> Option<Step> {
        match reference.from {
            From::Object(object) => Some(self.object_step(object, reference.at)),
            From::Root | From::Register => self.holder(reference).map(|(_, step)| step),
        }
    }

    /// The retention path of one object along some references, the holder's last. So many
    /// `references` of the first one's kind lead to the object and to its component.
    pub(crate) fn retention_path(&self, path: &Path, references: u32) -> Option<RetentionPath> {
        let anchor = *path.last()?;
        let (kind, holder) = self.holder(&anchor)?;
        let path_object = |one: &Reference| match one.from {
            From::Object(object) => {
                Some(PathObject { object, offset: self.offset(object, one.at) })
            }
            From::Root | From::Register => None,
        };
        let removed_cgroup = match kind {
            HolderKind::Cgroup => self.removed_cgroup(&anchor),
            _ => None,
        };
        // The first step of a control group names the object of the group that leads on.
        let skipped = usize::from(removed_cgroup.is_none());
        let steps = path.iter().rev().skip(skipped).filter_map(path_object).collect();
        // A group has one state of each kind, so each reference is another group's. It has many
        // files.
        let is_state =
            matches!(anchor.from, From::Object(one) if self.cgroup_states.contains_key(&one));
        let holders = if is_state && path.len() == 1 { references as usize } else { 1 };
        let through = match anchor.from {
            From::Object(object) if kind == HolderKind::Process => self.open_file(object),
            _ => None,
        };
        let objects = 1;
        Some(RetentionPath {
            kind,
            holder,
            through,
            removed_cgroup,
            holders,
            steps,
            objects,
            anchor,
        })
    }

    /// Whether the control group that a reference lies in was removed; `None` for no group.
    fn removed_cgroup(&self, anchor: &Reference) -> Option<bool> {
        let From::Object(object) = anchor.from else { return None };
        self.cgroup(object).map(|index| self.cgroups.all[index].removed)
    }

    /// How far the owner is that an object is part of; a mount and a keyring are kept by others.
    pub(crate) fn own_distance(&self, object: Object) -> Option<u32> {
        if matches!(self.owner(object), Some(Owner::Mount(_) | Owner::Named(_))) {
            return None;
        }
        let at = self.snapshot.heap.object_va(object);
        self.owner_distance(&Reference { from: From::Object(object), at, word: at.0, to: object })
    }

    /// The retention path of an object that is part of its holder: of a control group, a process, a
    /// file system. With it how far that owner is, as for a path.
    pub(crate) fn path_in_owner(&self, object: Object) -> Option<(u32, RetentionPath)> {
        let distance = self.own_distance(object)?;
        let (kind, holder) = self.holder_of_owner(self.owner(object)?);
        let at = self.snapshot.heap.object_va(object);
        let anchor = Reference { from: From::Object(object), at, word: at.0, to: object };
        let removed_cgroup = self.removed_cgroup(&anchor);
        let through = self.open_file(object);
        let path = RetentionPath {
            kind,
            holder,
            through,
            removed_cgroup,
            holders: 1,
            steps: Vec::new(),
            objects: 1,
            anchor,
        };
        Some((distance, path))
    }
}

impl RootObjects for HolderResolver<'_, '_> {
    /// Allocations of per-CPU memory; a static variable has a name of its own.
    fn object_at(&self, at: Va) -> Option<Object> {
        let percpu = &self.snapshot.percpu;
        let found = &percpu.list[percpu.of_address(self.places.used_at(at))?];
        let is_static = matches!(self.places.of(at), Place::PerCpu(_));
        self.snapshot.heap.find_object(found.pointer).filter(|_| !is_static)
    }
}
