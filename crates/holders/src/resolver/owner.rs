//! Owners: what a retention path may end at, besides variables. These are processes, modules,
//! control groups, pending timers, and what user space knows by a name.
//!
//! **Invariant:** a process is named only by its own thread, open file or address space, and a
//! control group by its own states, directory and files. Our own process is no owner.

use sysak_base::Va;
use sysak_heap::references::{From, Reference};
use sysak_heap::{Class, Object};
use sysak_kernel::shape::{self, WHEELS};
use sysak_kernel::timers::Timer;
use sysak_kernel::user_memory::NamedObject;

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
    /// A mounted file system's inode or entry, by where the file system is mounted. A better owner
    /// may lie behind it.
    FileSystem(&'r str),
    /// A mount, by its path.
    Mount(&'r str),
    /// What user space knows by another name.
    Named(&'r NamedObject),
    /// A control group's state, directory or file: an index into the groups.
    Cgroup(usize),
}

impl HolderResolver<'_, '_> {
    /// Whether every path ends at an object: a thread, an open file, an address space, a module, a
    /// part of a control group, what has a name.
    pub fn has_owner(&self, object: Object) -> bool {
        !matches!(self.owner(object), None | Some(Owner::FileSystem(_)))
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
                let thread = self.places.thread(at).filter(|thread| !thread.ours)?;
                Some(Owner::Process { name: &thread.name, pid: thread.pid })
            }
            Class::Slab => {
                let owner = self
                    .processes
                    .files
                    .get(&at)
                    .or_else(|| self.processes.address_spaces.get(&at));
                owner
                    .map(process)
                    .or_else(|| self.named.object(object).map(Owner::Named))
                    .or_else(|| self.named.names.mounts.get(&at).map(|path| Owner::Mount(path)))
                    .or_else(|| self.cgroup(object).map(Owner::Cgroup))
                    .or_else(|| self.file_system(object).map(Owner::FileSystem))
            }
            Class::Page | Class::PerCpu => None,
        }
    }

    /// Where the file system is mounted that an inode or an entry is part of.
    fn file_system(&self, object: Object) -> Option<&str> {
        self.named.file_system(self.kernel, &self.snapshot.heap, object)
    }

    /// What kind of open file an object is; `None` for files of a file system.
    pub(crate) fn open_file(&self, object: Object) -> Option<Step> {
        let at = self.snapshot.heap.object_va(object);
        let is_open = self.processes.files.contains_key(&at);
        is_open.then(|| self.named.open_file(self.kernel, at)).flatten()
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
            Owner::FileSystem(path) => (HolderKind::File, Step::FileSystem(path.to_owned())),
            Owner::Mount(path) => (HolderKind::File, Step::Mount(path.to_owned())),
            Owner::Named(NamedObject::Pin(path)) => (HolderKind::File, Step::Pin(path.clone())),
            Owner::Named(NamedObject::Queue(name)) => {
                (HolderKind::File, Step::MessageQueue(name.clone()))
            }
            Owner::Named(NamedObject::Keyring(name)) => {
                (HolderKind::File, Step::Keyring(name.clone()))
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
