//! What uses user memory: processes, files, file systems in memory, memory cgroups, pools of huge
//! pages, and unread data in pipes and sockets.
//!
//! All of it comes from the kernel's own structures, so a crash dump gives the same answer as a
//! live machine. A live kernel changes them while they are read: what vanishes is skipped.
//!
//! **Invariant:** each list has the biggest first, and is complete up to a stated limit.

mod cgroups;
mod file_names;
mod files;
mod memory_cgroups;
mod named_objects;
mod open;
mod pools;
mod processes;

use std::collections::{HashMap, HashSet};

use sysak_base::{Cancel, PAGE_SIZE, Va};
use sysak_heap::Heap;

use crate::page::{Census, Charged};
use crate::{Coverage, Kernel};

pub use cgroups::{Cgroup, Cgroups};
pub use file_names::{FileKind, FileName, FileNames};
pub use named_objects::{NamedObject, NamedObjects, OpenKind, open_kind};
pub use open::{Opener, Unread};
pub use pools::Pool;
pub use processes::{AddressSpace, Process};

use files::CachedFile;
use memory_cgroups::MemoryCgroup;
use open::Opened;

/// Names of file systems whose files lie in memory.
const IN_MEMORY: [&str; 3] = ["tmpfs", "hugetlbfs", "ramfs"];

/// Everything that uses user memory.
#[derive(Clone, Debug, Default)]
pub struct UserMemory {
    /// Every process, by its number.
    pub processes: Vec<ProcessUse>,
    /// Files in the page cache of a disk.
    pub cached: Vec<File>,
    /// Files in memory that no file system shows: shared memory, memfd.
    pub shared: Vec<File>,
    /// File systems in memory that are mounted.
    pub systems: Vec<MemoryFileSystem>,
    /// Deleted files that are still open, those in memory first.
    pub deleted: Vec<File>,
    /// Memory cgroups.
    pub cgroups: Vec<CgroupUse>,
    /// Memory cgroups that were removed; `None` where no cgroup was found.
    pub dying: Option<DyingCgroups>,
    /// Pools of huge pages; `None` where the symbols of the kernel do not list them.
    pub pools: Option<Vec<Pool>>,
}

/// The memory that one process uses.
#[derive(Clone, Debug, Default)]
pub struct ProcessUse {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The counters of its address space.
    pub address_space: AddressSpace,
    /// Unread data in its pipes and sockets.
    pub unread: Unread,
}

/// One file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its name.
    pub name: FileName,
    /// Bytes in memory; for a deleted file, bytes on the device or in memory.
    pub bytes: u64,
    /// Who has it open, or else who has it mapped: an index into the processes.
    pub opener: Option<Opener>,
}

/// A file system in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFileSystem {
    /// Where it is mounted.
    pub mount: String,
    /// Bytes of its files in RAM.
    pub bytes: u64,
    /// The most that it may use; `None` where it has no limit.
    pub limit_bytes: Option<u64>,
    /// The process that has the most of these bytes open or mapped.
    pub biggest_user: Option<FileSystemUser>,
}

/// A process that uses a file system in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystemUser {
    /// An index into the processes.
    pub process: usize,
    /// Bytes of the files that it has open or mapped.
    pub bytes: u64,
}

/// The memory that one memory cgroup uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupUse {
    /// Its path below the root of the hierarchy.
    pub path: String,
    /// Bytes that are charged to it, without the cgroups below it.
    pub bytes: u64,
    /// Of this, user memory.
    pub user: Charged,
}

/// Memory cgroups that were removed.
#[derive(Clone, Debug, Default)]
pub struct DyingCgroups {
    /// How many.
    pub count: u64,
    /// User memory that is charged to them.
    pub user: Charged,
    /// The files with the most pages charged to them.
    pub files: Vec<File>,
}

/// What [`find`] looks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// How many of each kind, the biggest first.
    pub top: usize,
    /// Our own process, which is not reported; 0 for none.
    pub own_pid: u32,
}

/// Finds the biggest users of memory of each kind.
pub fn find(
    kernel: &Kernel<'_>,
    heap: &Heap,
    census: &Census,
    wanted: Wanted,
    coverage: &mut Coverage,
    cancel: &Cancel,
) -> UserMemory {
    let processes = processes::find(kernel, heap);
    let mut opened = open::find(kernel, &processes, coverage, cancel);
    let mut search = Search {
        names: FileNames::new(kernel),
        kernel,
        address_spaces: by_address_space(&processes),
        opened: &opened,
        top: wanted.top,
    };
    let files = files::find(kernel, &census.user, None);
    let (systems, hidden) = search.systems(&files);
    let deleted = search.deleted(&hidden);
    let mut found = UserMemory {
        cached: search.files(files.iter().filter(|file| !file.in_memory)),
        shared: search.files(files.iter().filter(|file| hidden.contains(&file.system))),
        systems,
        deleted,
        pools: pools::find(kernel),
        ..UserMemory::default()
    };
    search.cgroups(census, &mut found, coverage);
    found.processes = processes
        .into_iter()
        .enumerate()
        .map(|(index, process)| {
            let space = process.address_space;
            let unread = opened.unread.remove(&index).filter(|_| process.pid != wanted.own_pid);
            ProcessUse {
                pid: process.pid,
                name: process.name,
                address_space: space
                    .and_then(|at| processes::address_space(kernel, at))
                    .unwrap_or_default(),
                unread: unread.unwrap_or_default(),
            }
        })
        .collect();
    found
}

/// Bytes of all unread data in pipes and sockets.
pub fn unread_bytes(kernel: &Kernel<'_>, heap: &Heap, cancel: &Cancel) -> u64 {
    let processes = processes::find(kernel, heap);
    let opened = open::find(kernel, &processes, &mut Coverage::default(), cancel);
    let bytes = |one: &Unread| one.pipe_bytes.saturating_add(one.socket_bytes);
    opened.unread.values().map(bytes).fold(0, u64::saturating_add)
}

/// The processes, and which of them has an open file or an address space.
#[derive(Clone, Debug, Default)]
pub struct ProcessIndex {
    /// Every process, by its number.
    pub processes: Vec<Process>,
    /// From the address of a `struct file` to an index into the processes.
    pub files: HashMap<Va, usize>,
    /// From the address of a `struct mm_struct` to an index into the processes.
    pub address_spaces: HashMap<Va, usize>,
    /// Files, tables of files and address spaces that nobody has but our own process, which is not
    /// among the processes.
    pub ours: HashSet<Va>,
}

impl ProcessIndex {
    /// Finds all processes, their open files and their address spaces.
    pub fn find(kernel: &Kernel<'_>, heap: &Heap) -> ProcessIndex {
        let is_ours = |one: &Process| {
            let ours = kernel.own_process.as_ref();
            ours.is_some_and(|ours| one.pid == ours.pid && one.name.as_bytes() == ours.name)
        };
        let (own, processes): (Vec<_>, Vec<_>) =
            processes::find(kernel, heap).into_iter().partition(is_ours);
        let files = open::files_of(kernel, &processes);
        let address_spaces = by_address_space(&processes);
        let parts = own.iter().flat_map(|one| one.tables.iter().chain(&one.address_space).copied());
        let parts = parts.chain(open::files_of(kernel, &own).into_keys());
        let parts = parts.chain(own.iter().flat_map(|one| open::arrays_of(kernel, one)));
        let ours = parts.filter(|at| !files.contains_key(at)).collect();
        ProcessIndex { processes, files, address_spaces, ours }
    }
}

/// The addresses of the `struct file`s that some processes have open, ascending.
pub fn open_files(
    kernel: &Kernel<'_>,
    heap: &Heap,
    is_wanted: impl FnMut(&Process) -> bool,
) -> Vec<Va> {
    let mut processes = processes::find(kernel, heap);
    processes.retain(is_wanted);
    let mut files: Vec<Va> = open::files_of(kernel, &processes).into_keys().collect();
    files.sort_unstable();
    files
}

/// The last process of each address space, by its index.
fn by_address_space(processes: &[Process]) -> HashMap<Va, usize> {
    (0..).zip(processes).filter_map(|(index, one)| Some((one.address_space?, index))).collect()
}

/// The tables that all lists are made from.
struct Search<'s, 'k> {
    kernel: &'s Kernel<'k>,
    names: Option<FileNames<'s, 'k>>,
    /// From an address space to the index of a process.
    address_spaces: HashMap<Va, usize>,
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
        let shape = self.kernel.shape.user_memory.file.as_ref()?;
        let [node, space] = shape.mapping?;
        let read = |at: Va| self.kernel.memory.read_u64(at).ok().filter(|word| *word != 0).map(Va);
        let area = Va(read(mapping.at(shape.mappings))?.0.wrapping_sub(node));
        self.address_spaces.get(&read(area.at(space))?).copied()
    }

    /// The file systems in memory, and those of them that are mounted nowhere.
    fn systems(&mut self, files: &[CachedFile]) -> (Vec<MemoryFileSystem>, HashSet<Va>) {
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
            let most = each.max_by_key(|(process, bytes)| (*bytes, std::cmp::Reverse(*process)));
            most.map(|(process, bytes)| FileSystemUser { process, bytes })
        };
        let Some(names) = &mut self.names else { return Default::default() };
        let (mut systems, mut hidden) = (Vec::new(), HashSet::new());
        for (system, pages) in pages {
            let is_in_memory =
                names.system(system).is_some_and(|(kind, _)| IN_MEMORY.contains(&&*kind));
            match names.mount_point(system) {
                Some(mount) if is_in_memory => {
                    let limit = names.most_pages(system);
                    let found = MemoryFileSystem {
                        mount,
                        bytes: pages.saturating_mul(PAGE_SIZE),
                        limit_bytes: limit.map(|pages| pages.saturating_mul(PAGE_SIZE)),
                        biggest_user: most(&system),
                    };
                    systems.push((system, found));
                }
                Some(_) => {}
                None => {
                    hidden.insert(system);
                }
            }
        }
        // Two name spaces may have file systems of one size at one path.
        systems.sort_by(|(a_at, a), (b_at, b)| {
            b.bytes.cmp(&a.bytes).then_with(|| (&a.mount, a_at).cmp(&(&b.mount, b_at)))
        });
        systems.truncate(self.top);
        (systems.into_iter().map(|(_, system)| system).collect(), hidden)
    }

    /// Deleted files, by their names. A file that was never in a directory is not among them.
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

    /// Memory cgroups, and the user memory that keeps those that were removed.
    fn cgroups(&mut self, census: &Census, found: &mut UserMemory, coverage: &mut Coverage) {
        let charged: HashMap<Va, Charged> = census.user.groups().collect();
        let mut groups = memory_cgroups::find(self.kernel, &charged, coverage);
        if groups.is_empty() {
            return;
        }
        let user = |group: &MemoryCgroup| charged.get(&group.at).copied().unwrap_or_default();
        let mut dying = DyingCgroups::default();
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
        // Pages of the root belong to no cgroup: the root has no limit and no owner.
        let mut groups: Vec<MemoryCgroup> =
            groups.drain(1..).filter(|group| !group.dying).collect();
        groups.sort_by_key(|group| (std::cmp::Reverse(group.pages), group.at));
        let biggest = groups.iter().take_while(|group| group.pages > 0).take(self.top);
        let biggest = biggest.map(|group| CgroupUse {
            path: memory_cgroups::path(self.kernel, group).unwrap_or_else(|| "?".to_owned()),
            bytes: group.pages.saturating_mul(PAGE_SIZE),
            user: user(group),
        });
        found.cgroups = biggest.collect();
    }
}
