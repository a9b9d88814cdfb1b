//! What a way may end at beside variables: processes, modules, control groups, pending timers.
//!
//! **Invariant:** a process is named only by its own thread, open file or address space, and a
//! control group by its own states, directory and files.

use crate::place::Place;
use sysak_base::Va;
use sysak_heap::references::{From, Reference};
use sysak_heap::{Class, Object};
use sysak_kernel::shape::{self, WHEELS};
use sysak_kernel::timers::Timer;

use crate::{HolderKind, HolderResolver};

/// What a way may end at.
#[derive(Clone, Copy)]
pub(crate) enum Owner<'g> {
    /// A module's memory, by its name.
    Module(&'g str),
    /// A process's thread, open file or address space, by its number and name.
    Process(u32, &'g str),
    /// A control group, its states, directory or files; an index.
    Cgroup(usize),
}

impl HolderResolver<'_, '_> {
    /// Whether a way may end at an object: a thread, an open file, an address space, a module, a
    /// control group.
    pub fn is_end(&self, object: Object) -> bool {
        self.end(object).is_some()
    }

    /// Who holds an object that a way may end at.
    pub(crate) fn end(&self, object: Object) -> Option<Owner<'_>> {
        let heap = &self.look.heap;
        let cache = heap.cache_of(object);
        let at = heap.object_va(object);
        let process = |index: &usize| {
            let process = &self.processes.processes[*index];
            Owner::Process(process.pid, &process.name)
        };
        match cache.class {
            Class::Vmalloc => self.places.module_of(self.area_of(object)?).map(Owner::Module),
            Class::Slab if cache.has_name(shape::TASK_CACHE) => {
                self.places.thread(at).map(|(pid, name)| Owner::Process(*pid, name))
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
        let node = || self.cgroups.nodes.get(&self.look.heap.object_va(object));
        self.states.get(&object).or_else(node).copied()
    }

    /// What a control group consists of.
    pub(crate) fn objects_of_cgroup(&self, group: usize) -> impl Iterator<Item = Object> + '_ {
        let is_own = move |(_, index): &(&Va, &usize)| **index == group;
        let nodes = self.cgroups.nodes.iter().filter(is_own);
        let nodes = nodes.filter_map(|(at, _)| self.look.heap.find_object(at.0));
        let states = self.states.iter().filter(move |(_, index)| **index == group);
        states.map(|(object, _)| *object).chain(nodes)
    }

    pub(crate) fn title_of(&self, end: Owner<'_>) -> (HolderKind, String) {
        match end {
            Owner::Module(name) => (HolderKind::Module, format!("[{name}]")),
            Owner::Process(pid, name) => (HolderKind::Process, format!("{name} ({pid})")),
            Owner::Cgroup(index) => {
                let path = self.cgroups.path(self.kernel, index).unwrap_or_else(|| "?".to_owned());
                let removed = if self.cgroups.all[index].removed { " (removed)" } else { "" };
                (HolderKind::Cgroup, format!("{path}{removed}"))
            }
        }
    }

    /// The number of the process whose thread, open file or address space lies at an address.
    pub(crate) fn process_at(&self, at: Va) -> Option<u32> {
        if let Some((pid, _)) = self.places.thread(at) {
            return Some(*pid);
        }
        let index =
            self.processes.files.get(&at).or_else(|| self.processes.address_spaces.get(&at))?;
        Some(self.processes.processes[*index].pid)
    }

    /// The thread, the open files and the address space of a process.
    pub(crate) fn objects_of(&self, pid: u32) -> impl Iterator<Item = Va> + '_ {
        let all = self.processes.files.iter().chain(&self.processes.address_spaces);
        let own = all.filter(move |(_, index)| self.processes.processes[**index].pid == pid);
        own.map(|(at, _)| *at).chain(self.places.tasks_of(pid))
    }

    /// The timer that an object waits with, where a reference is what finds it when it expires: it
    /// stands in the wheel, or in another timer that hangs there.
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

    /// Whether a reference is a timer's: what hangs in the wheel beside it is not the holder's.
    pub(crate) fn is_timer(&self, reference: &Reference) -> bool {
        self.timer(reference).is_some()
    }

    /// A reference by what it is part of: a link of the timer wheel is the wheel's, whatever object
    /// it stands in.
    pub(crate) fn whose(&self, reference: Reference) -> Reference {
        match self.is_timer(&reference) {
            true => Reference { from: From::Root, ..reference },
            false => reference,
        }
    }

    /// `timer flow_timeout [mod]`
    pub(crate) fn title_of_timer(&self, timer: Timer) -> (HolderKind, String) {
        let symbol = self.kernel.symbols.symbolize(timer.function);
        let of_module = symbol.is_some_and(|symbol| symbol.module.is_some());
        let kind = if of_module { HolderKind::Module } else { HolderKind::Symbol };
        let name = symbol.and_then(HolderResolver::title).unwrap_or_else(|| "?".to_owned());
        (kind, format!("{} {name}", if timer.delayed { "delayed work" } else { "timer" }))
    }
}
