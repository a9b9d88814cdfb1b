//! Owners: what a retention path may end at, besides variables. These are processes, modules,
//! control groups and pending timers.
//!
//! **Invariant:** a process is named only by its own thread, open file or address space, and a
//! control group by its own states, directory and files.

use sysak_base::Va;
use sysak_heap::references::{From, Reference};
use sysak_heap::{Class, Object};
use sysak_kernel::shape::{self, WHEELS};
use sysak_kernel::timers::Timer;

use crate::place::Place;
use crate::{HolderKind, HolderResolver, Step};

/// What an object that ends a path belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Owner<'r> {
    /// A module's memory, by its name.
    Module(&'r str),
    /// A process's thread, open file or address space.
    Process {
        /// The process's name.
        name: &'r str,
        /// Its number.
        pid: u32,
    },
    /// A control group's state, directory or file: an index into the groups.
    Cgroup(usize),
}

impl HolderResolver<'_, '_> {
    /// Whether a path may end at an object: a thread, an open file, an address space, a module, a
    /// part of a control group.
    pub fn has_owner(&self, object: Object) -> bool {
        self.owner(object).is_some()
    }

    /// The owner of an object that a path may end at.
    pub(crate) fn owner(&self, object: Object) -> Option<Owner<'_>> {
        let heap = &self.snapshot.heap;
        let cache = heap.cache_of(object);
        let at = heap.object_va(object);
        let process = |index: &usize| {
            let process = &self.processes.processes[*index];
            Owner::Process { name: &process.name, pid: process.pid }
        };
        match cache.class {
            Class::Vmalloc => self.places.module_of(self.area_of(object)?).map(Owner::Module),
            Class::Slab if cache.has_name(shape::TASK_CACHE) => {
                let thread = self.places.thread(at)?;
                Some(Owner::Process { name: &thread.name, pid: thread.pid })
            }
            Class::Slab => {
                let owner = self
                    .processes
                    .files
                    .get(&at)
                    .or_else(|| self.processes.address_spaces.get(&at));
                owner.map(process).or_else(|| self.cgroup(object).map(Owner::Cgroup))
            }
            Class::Page | Class::PerCpu => None,
        }
    }

    /// The control group that an object is part of.
    pub(crate) fn cgroup(&self, object: Object) -> Option<usize> {
        let node = || self.cgroups.nodes.get(&self.snapshot.heap.object_va(object));
        self.cgroup_states.get(&object).or_else(node).copied()
    }

    /// The objects that a control group consists of.
    pub(crate) fn objects_of_cgroup(&self, group: usize) -> impl Iterator<Item = Object> + '_ {
        let nodes = self.cgroups.nodes.iter().filter(move |(_, index)| **index == group);
        let nodes = nodes.filter_map(|(at, _)| self.snapshot.heap.find_object(at.0));
        let states = self.cgroup_states.iter().filter(move |(_, index)| **index == group);
        states.map(|(object, _)| *object).chain(nodes)
    }

    /// An owner as a holder.
    pub(crate) fn holder_of_owner(&self, owner: Owner<'_>) -> (HolderKind, Step) {
        match owner {
            Owner::Module(name) => (HolderKind::Module, Step::Module(name.to_owned())),
            Owner::Process { name, pid } => {
                (HolderKind::Process, Step::Process { name: name.to_owned(), pid })
            }
            Owner::Cgroup(index) => {
                let path = self.cgroups.path(self.kernel, index);
                let removed = self.cgroups.all[index].removed;
                (HolderKind::Cgroup, Step::Cgroup { path, removed })
            }
        }
    }

    /// The number of the process whose thread, open file or address space lies at an address.
    pub(crate) fn process_at(&self, at: Va) -> Option<u32> {
        if let Some(thread) = self.places.thread(at) {
            return Some(thread.pid);
        }
        let index =
            self.processes.files.get(&at).or_else(|| self.processes.address_spaces.get(&at))?;
        Some(self.processes.processes[*index].pid)
    }

    /// The thread, the open files and the address space of a process.
    pub(crate) fn objects_of_process(&self, pid: u32) -> impl Iterator<Item = Va> + '_ {
        let all = self.processes.files.iter().chain(&self.processes.address_spaces);
        let own = all.filter(move |(_, index)| self.processes.processes[**index].pid == pid);
        own.map(|(at, _)| *at).chain(self.places.tasks_of(pid))
    }

    /// The pending timer that a reference belongs to: the reference lies in the timer wheel, or
    /// in another timer that is linked into it.
    pub(crate) fn timer(&self, reference: &Reference) -> Option<Timer> {
        let timer = self.timers.behind(reference.word)?;
        let (at, in_wheel) = match self.places.of(reference.at) {
            Place::Image(at) | Place::Module(at) | Place::Area(at) => (at, false),
            Place::PerCpu(pointer) => {
                let symbol = self.kernel.symbols.symbolize_per_cpu(pointer);
                (reference.at, symbol.is_some_and(|symbol| WHEELS.contains(&symbol.name)))
            }
            _ => (reference.at, false),
        };
        (in_wheel || self.timers.is_link(at)).then_some(timer)
    }

    /// Whether a reference belongs to a pending timer.
    pub(crate) fn is_timer(&self, reference: &Reference) -> bool {
        self.timer(reference).is_some()
    }

    /// A link of the timer wheel as a reference from a root. The link may lie in an object, but
    /// that object does not hold its neighbour in the wheel.
    pub(crate) fn timer_link_as_root(&self, reference: Reference) -> Reference {
        match self.is_timer(&reference) {
            true => Reference { from: From::Root, ..reference },
            false => reference,
        }
    }

    /// A pending timer as a holder.
    pub(crate) fn holder_of_timer(&self, timer: Timer) -> (HolderKind, Step) {
        let function = self.kernel.symbols.symbolize(timer.function);
        let function = function.and_then(HolderResolver::name_inside);
        (HolderKind::Timer, Step::Timer { function, delayed: timer.delayed })
    }
}
