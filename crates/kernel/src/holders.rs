//! Who holds user memory: processes, files, file systems in memory, memory cgroups, pools of
//! huge pages, and what waits unread in pipes and sockets.
//!
//! All of it is read out of the kernel's own structures, so that a crash dump tells it as a
//! live machine does. There, all of it changes while it is read: who vanishes is skipped.
//!
//! **Invariant:** each list is the biggest first, and complete up to a stated limit.

mod cgroups;
mod files;
mod gather;
mod groups;
mod names;
mod open;
mod own;
mod pools;
mod processes;

use std::collections::{HashMap, HashSet};

use sysak_base::{Cancel, PAGE_SIZE, Va};
use sysak_heap::{Heap, Object};

use crate::page::{Census, Charged};
use crate::{Coverage, Kernel};

pub use cgroups::{Cgroup, Cgroups};
pub use gather::gather;
pub use names::{FileKind, FileName};
pub use open::{Opener, Unread};
pub use own::own_buffers;
pub use pools::Pool;
pub use processes::{Process, Space};

use files::CachedFile;
use groups::Group;
use names::Names;
use open::Opened;

/// Names of file systems whose files lie in memory.
const IN_MEMORY: [&str; 3] = ["tmpfs", "hugetlbfs", "ramfs"];

/// Who holds user memory.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    /// Every process, by its number.
    pub processes: Vec<Holder>,
    /// Files in the page cache of a disk.
    pub cached: Vec<File>,
    /// Files in memory that no file system shows: shared memory, memfd.
    pub shared: Vec<File>,
    /// File systems in memory.
    pub systems: Vec<MemorySystem>,
    /// Deleted files that are open still, those in memory first.
    pub deleted: Vec<File>,
    /// Memory cgroups.
    pub groups: Vec<MemoryGroup>,
    /// Those of them that were removed; `None` where the groups cannot be told.
    pub dying: Option<Dying>,
    /// Pools of huge pages; `None` where the kernel's symbols do not tell.
    pub pools: Option<Vec<Pool>>,
}

/// One process.
#[derive(Clone, Debug, Default)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// What its address space counts.
    pub space: Space,
    /// What waits in its pipes and sockets.
    pub unread: Unread,
}

/// One file.
#[derive(Clone, Debug)]
pub struct File {
    /// What it is called.
    pub name: FileName,
    /// Its bytes in memory; of a deleted file, where it lies.
    pub bytes: u64,
    /// Who has it open, or mapped where nobody has: an index into the processes.
    pub opener: Option<Opener>,
}

/// A file system in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemorySystem {
    /// Where it is mounted.
    pub mount: String,
    /// Bytes of its files in RAM.
    pub bytes: u64,
    /// How big it may get; `None` where it has no limit.
    pub limit_bytes: Option<u64>,
    /// Who has the most of these bytes open or mapped, an index into the processes, and how many.
    pub user: Option<(usize, u64)>,
}

/// A memory cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryGroup {
    /// Its path below the root of the hierarchy.
    pub path: String,
    /// What is charged to it and to no group below it.
    pub bytes: u64,
    /// Of this, user memory.
    pub user: Charged,
}

/// Memory cgroups that were removed.
#[derive(Clone, Debug, Default)]
pub struct Dying {
    /// How many.
    pub count: u64,
    /// User memory that is charged to them; each page keeps its group.
    pub user: Charged,
    /// The files that hold most of them.
    pub files: Vec<File>,
}

/// Finds the biggest `top` of each kind; `own` is a process that is no holder.
pub fn find(
    kernel: &Kernel<'_>,
    heap: &Heap,
    census: &Census,
    limits: (usize, u32),
    coverage: &mut Coverage,
    cancel: &Cancel,
) -> Holders {
    let (top, own) = limits;
    let processes = processes::find(kernel, heap);
    let mut opened = open::find(kernel, &processes, coverage, cancel);
    let mut search = Search {
        names: Names::new(kernel),
        kernel,
        spaces: (0..)
            .zip(&processes)
            .filter_map(|(index, one)| Some((one.space?, index)))
            .collect(),
        opened: &opened,
        top,
    };
    let files = files::find(kernel, &census.user, None);
    let (systems, hidden) = search.systems(&files);
    let deleted = search.deleted(&hidden);
    let mut found = Holders {
        cached: search.files(files.iter().filter(|file| !file.in_memory)),
        shared: search.files(files.iter().filter(|file| hidden.contains(&file.system))),
        systems,
        deleted,
        pools: pools::find(kernel),
        ..Holders::default()
    };
    search.groups(census, &mut found, coverage);
    found.processes = processes
        .into_iter()
        .enumerate()
        .map(|(index, process)| Holder {
            pid: process.pid,
            space: process.space.and_then(|at| processes::space(kernel, at)).unwrap_or_default(),
            unread: opened.unread.remove(&index).filter(|_| process.pid != own).unwrap_or_default(),
            name: process.name,
        })
        .collect();
    found
}

/// Memory of all data that waits unread in pipes and sockets.
pub fn unread_bytes(kernel: &Kernel<'_>, heap: &Heap, cancel: &Cancel) -> u64 {
    let processes = processes::find(kernel, heap);
    let opened = open::find(kernel, &processes, &mut Coverage::default(), cancel);
    let bytes = |one: &Unread| one.pipe_bytes.saturating_add(one.socket_bytes);
    opened.unread.values().map(bytes).fold(0, u64::saturating_add)
}

/// Who owns open files and address spaces: processes, by the address of each.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// Every process, by its number.
    pub processes: Vec<Process>,
    /// Of each open file, an index into the processes.
    pub files: HashMap<Va, usize>,
    /// Of each address space, likewise.
    pub spaces: HashMap<Va, usize>,
}

/// Finds the owners of open files and address spaces.
pub fn owners(kernel: &Kernel<'_>, heap: &Heap) -> Owners {
    let processes = processes::find(kernel, heap);
    let files = open::files_of(kernel, &processes);
    let spaces = (0..).zip(&processes).filter_map(|(index, one)| Some((one.space?, index)));
    Owners { files, spaces: spaces.collect(), processes }
}

/// What all lists are made from.
struct Search<'s, 'k> {
    kernel: &'s Kernel<'k>,
    names: Option<Names<'s, 'k>>,
    /// The first process of each address space.
    spaces: HashMap<Va, usize>,
    opened: &'s Opened,
    top: usize,
}

impl Search<'_, '_> {
    /// The biggest of some files, by their names.
    fn files<'f>(&mut self, files: impl Iterator<Item = &'f CachedFile>) -> Vec<File> {
        let mut found = Vec::new();
        for file in files {
            if found.len() >= self.top {
                break;
            }
            let Some(name) = self.names.as_mut().and_then(|names| names.of(file.inode)) else {
                continue;
            };
            let mapped = || Some(Opener { process: self.mapper(file.mapping)?, processes: 1 });
            let opener = self.opened.openers.get(&file.inode).copied().or_else(mapped);
            found.push(File { name, bytes: file.pages.saturating_mul(PAGE_SIZE), opener });
        }
        found
    }

    /// A process that has a file mapped.
    fn mapper(&self, mapping: Va) -> Option<usize> {
        let shape = self.kernel.shape.held.file.as_ref()?;
        let [node, space] = shape.mapping?;
        let read = |at: Va| self.kernel.memory.read_u64(at).ok().filter(|word| *word != 0).map(Va);
        let area = Va(read(mapping.at(shape.mappings))?.0.wrapping_sub(node));
        self.spaces.get(&read(area.at(space))?).copied()
    }

    /// The file systems in memory, and those of them that are mounted nowhere.
    fn systems(&mut self, files: &[CachedFile]) -> (Vec<MemorySystem>, HashSet<Va>) {
        let mut pages = HashMap::<Va, u64>::new();
        let mut users = HashMap::<Va, HashMap<usize, u64>>::new();
        for file in files.iter().filter(|file| file.in_memory) {
            *pages.entry(file.system).or_default() += file.pages;
            let opener = self.opened.openers.get(&file.inode).map(|opener| opener.process);
            if let Some(process) = opener.or_else(|| self.mapper(file.mapping)) {
                let of_process = users.entry(file.system).or_default().entry(process).or_default();
                *of_process += file.pages.saturating_mul(PAGE_SIZE);
            }
        }
        let most = |system: &Va| {
            let each = users.get(system)?.iter().map(|(process, bytes)| (*process, *bytes));
            each.max_by_key(|(process, bytes)| (*bytes, std::cmp::Reverse(*process)))
        };
        let Some(names) = &mut self.names else { return Default::default() };
        let (mut systems, mut hidden) = (Vec::new(), HashSet::new());
        for (system, pages) in pages {
            let is_in_memory =
                names.system(system).is_some_and(|(kind, _)| IN_MEMORY.contains(&&*kind));
            match names.mount_point(system) {
                Some(mount) if is_in_memory => systems.push(MemorySystem {
                    mount,
                    bytes: pages.saturating_mul(PAGE_SIZE),
                    limit_bytes: names
                        .most_pages(system)
                        .map(|pages| pages.saturating_mul(PAGE_SIZE)),
                    user: most(&system),
                }),
                Some(_) => {}
                None => {
                    hidden.insert(system);
                }
            }
        }
        systems.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.mount.cmp(&b.mount)));
        systems.truncate(self.top);
        (systems, hidden)
    }

    /// Deleted files, by their names; what was never in a directory is none.
    fn deleted(&mut self, hidden: &HashSet<Va>) -> Vec<File> {
        let Some(names) = &mut self.names else { return Vec::new() };
        let mut biggest = self.opened.deleted.clone();
        biggest.sort_by_key(|file| (std::cmp::Reverse(file.bytes), file.inode));
        let (mut memory, mut disk) = (Vec::new(), Vec::new());
        for file in biggest.into_iter().filter(|file| file.bytes > 0) {
            if memory.len().min(disk.len()) >= self.top || memory.len() + disk.len() > 64 * self.top
            {
                break;
            }
            if names.system_of(file.inode).is_none_or(|system| hidden.contains(&system)) {
                continue;
            }
            let Some(name) = names.of(file.inode) else { continue };
            let list = if name.is_in_memory() { &mut memory } else { &mut disk };
            let opener = self.opened.openers.get(&file.inode).copied();
            list.push(File { name, bytes: file.bytes, opener });
        }
        memory.append(&mut disk);
        memory.truncate(self.top);
        memory
    }

    /// Memory cgroups, and what holds those that were removed.
    fn groups(&mut self, census: &Census, found: &mut Holders, coverage: &mut Coverage) {
        let charged: HashMap<Va, Charged> = census.user.groups().collect();
        let mut groups = groups::find(self.kernel, &charged, coverage);
        if groups.is_empty() {
            return;
        }
        let user = |group: &Group| charged.get(&group.at).copied().unwrap_or_default();
        let mut dying = Dying::default();
        let gone: HashSet<Va> =
            groups.iter().filter(|group| group.dying).map(|group| group.at).collect();
        for group in groups.iter().filter(|group| group.dying) {
            dying.count += 1;
            let Charged { anon, file, shared } = user(group);
            dying.user.anon += anon;
            dying.user.file += file;
            dying.user.shared += shared;
        }
        if !gone.is_empty() {
            dying.files = self.files(files::find(self.kernel, &census.user, Some(&gone)).iter());
        }
        found.dying = Some(dying);
        // What is in no group has no limit and no owner here: the root is none.
        let mut groups: Vec<Group> = groups.drain(1..).filter(|group| !group.dying).collect();
        groups.sort_by_key(|group| (std::cmp::Reverse(group.pages), group.at));
        let told = groups.iter().take_while(|group| group.pages > 0).take(self.top);
        let told = told.map(|group| MemoryGroup {
            path: groups::path(self.kernel, group).unwrap_or_else(|| "?".to_owned()),
            bytes: group.pages.saturating_mul(PAGE_SIZE),
            user: user(group),
        });
        found.groups = told.collect();
    }
}

/// The live objects of a cache, ascending.
pub fn objects_of(heap: &Heap, cache: &str) -> Vec<Va> {
    let mut at = Vec::new();
    for (slab, _) in heap.slabs_of(cache) {
        heap.for_each_live(slab, |index| at.push(heap.object_va(Object { slab, index })));
    }
    at.sort_unstable();
    at
}
