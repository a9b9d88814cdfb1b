//! The name of a file, from its inode: path, file system, and what kind of memory it is.
//!
//! Names, directories and mounts change while they are read, and in a forged dump they run in
//! circles: every walk has a limit, and a path that cannot be read in full is cut.

use std::collections::HashMap;

use sysak_base::Va;
use sysak_base::numbers::{half, word};

use crate::Kernel;
use crate::list::walk_list;
use crate::read::read_string;
use crate::shape::{FileShape, MountChain, MountShape};

/// Directories and mounts between a file and the root; deeper paths are cut.
const MOST_STEPS: usize = 128;
/// Mounts of one file system that are looked at.
const MOST_MOUNTS: usize = 1024;
/// The longest name of a file.
const LONGEST_NAME: usize = 256;
/// Characters of a path; the front of longer ones is left out.
const LONGEST_PATH: usize = 4096;

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// One with a name in a file system.
    Named,
    /// `memfd_create`
    MemFd,
    /// A segment of System V shared memory; its number is the inode's.
    SystemV,
    /// Memory that processes share without a file.
    SharedAnon,
    /// A block device, with what a file system keeps through it.
    BlockDevice,
    /// A file of the kernel, without a name.
    Unnamed,
}

/// What a file is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    /// Its path from the root of the machine, or of its file system where no mount was found.
    pub path: String,
    /// What kind of file.
    pub kind: FileKind,
    /// `ext4`, `tmpfs`
    pub system: String,
    /// What the file system lies on: `sda1`.
    pub device: String,
    /// Number of its inode.
    pub number: u64,
    /// Its length.
    pub size_bytes: u64,
    /// Whether its last name was deleted.
    pub deleted: bool,
}

impl FileName {
    /// Whether the file lies in memory and on no disk.
    pub fn is_in_memory(&self) -> bool {
        super::IN_MEMORY.contains(&&*self.system)
    }
}

/// Looks names up; remembers the mounts of each file system.
pub struct FileNames<'a, 'k> {
    kernel: &'a Kernel<'k>,
    shape: &'a FileShape,
    mounts: HashMap<Va, Vec<Mount>>,
}

/// Where a file system is mounted.
#[derive(Clone, Copy, Debug)]
struct Mount {
    at: Va,
    id: u32,
    root: Va,
}

impl<'a, 'k> FileNames<'a, 'k> {
    /// `None` where this kernel's types do not describe files.
    pub fn new(kernel: &'a Kernel<'k>) -> Option<FileNames<'a, 'k>> {
        let shape = kernel.shape.user_memory.file.as_ref()?;
        Some(FileNames { kernel, shape, mounts: HashMap::new() })
    }

    /// The name of a file.
    pub fn of(&mut self, inode: Va) -> Option<FileName> {
        let shape = &self.shape.inode;
        let mut raw = vec![0; shape.read_bytes as usize];
        self.kernel.memory.read(inode, &mut raw).ok()?;
        let system = Va(word(&raw, shape.system));
        let (kind_name, device) = self.system(system)?;
        let entry = word(&raw, shape.entry);
        let path = match entry {
            0 => None,
            link => {
                let entry = Va(link.wrapping_sub(self.shape.entry.alias));
                Some(self.path(system, entry))
            }
        };
        let number = word(&raw, shape.number);
        let block = half(&raw, shape.device);
        let (kind, path) = match (&*kind_name, path) {
            ("bdev", _) => (FileKind::BlockDevice, device_name(block)),
            (_, None) => (FileKind::Unnamed, String::new()),
            ("tmpfs" | "hugetlbfs" | "ramfs", Some(path)) => memory_kind(path),
            (_, Some(path)) => (FileKind::Named, path),
        };
        Some(FileName {
            path,
            kind,
            system: kind_name,
            device,
            number,
            size_bytes: word(&raw, shape.size),
            deleted: half(&raw, shape.links) == 0,
        })
    }

    /// The file system of a file.
    pub fn system_of(&self, inode: Va) -> Option<Va> {
        self.kernel.memory.read_u64(inode.at(self.shape.inode.system)).ok().map(Va)
    }

    /// Where a file system is mounted.
    pub fn mount_point(&mut self, system: Va) -> Option<String> {
        let shape = self.shape.mount.clone()?;
        let mount = *self.mounts(system).iter().min_by_key(|mount| mount.id)?;
        Some(self.join(&shape, mount, Vec::new()))
    }

    /// The mounts of a file system that can be seen from somewhere, and where each is mounted.
    pub fn mounts_with_paths(&mut self, system: Va) -> Vec<(Va, String)> {
        let Some(shape) = self.shape.mount.clone() else { return Vec::new() };
        let mounts = self.mounts(system).to_vec();
        mounts.into_iter().map(|one| (one.at, self.join(&shape, one, Vec::new()))).collect()
    }

    /// The name of a directory's entry, without the path to it.
    pub fn entry_name(&self, entry: Va) -> Option<String> {
        let memory = self.kernel.memory;
        let name = memory.read_u64(entry.at(self.shape.entry.name)).ok()?;
        read_string(memory, Va(name), LONGEST_NAME)
    }

    /// How many pages the files of a tmpfs may have; `None` for no limit.
    pub fn most_pages(&self, system: Va) -> Option<u64> {
        let (memory, shape) = (self.kernel.memory, &self.shape.system);
        let info = memory.read_u64(system.at(shape.info)).ok()?;
        memory.read_u64(Va(info).at(shape.most_pages?)).ok().filter(|pages| *pages != 0)
    }

    /// What kind of file system it is, and on which device.
    pub fn system(&self, system: Va) -> Option<(String, String)> {
        let (memory, shape) = (self.kernel.memory, &self.shape.system);
        let kind = memory.read_u64(system.at(shape.kind)).ok()?;
        let name = memory.read_u64(Va(kind).at(shape.kind_name)).ok()?;
        let name = read_string(memory, Va(name), 64)?;
        let id = read_string(memory, system.at(shape.id.at), shape.id.bytes as usize);
        Some((name, id.unwrap_or_default()))
    }

    fn path(&mut self, system: Va, entry: Va) -> String {
        let (names, entries) = self.up(entry, Va(0));
        let mount_shape = self.shape.mount.clone();
        // The oldest mount, of those that the file can be seen through.
        let place = |mount: &Mount| entries.iter().position(|entry| *entry == mount.root);
        let seen = self.mounts(system).iter().filter_map(|mount| Some((*mount, place(mount)?)));
        let best = seen.min_by_key(|(mount, _)| mount.id);
        match (mount_shape, best) {
            (Some(shape), Some((mount, depth))) => {
                let below = names.into_iter().take(depth).collect();
                self.join(&shape, mount, below)
            }
            _ => joined(&names),
        }
    }

    /// A path through a mount and those that it is mounted in; `names` from the file upwards.
    fn join(&self, shape: &MountShape, mount: Mount, mut names: Vec<String>) -> String {
        let read = |at: u64| self.kernel.memory.read_u64(Va(at)).unwrap_or(0);
        let mut at = mount.at;
        for _ in 0..MOST_STEPS {
            let parent = Va(read(at.at(shape.parent).0));
            if parent == at || parent == Va(0) {
                break;
            }
            let root = Va(read(parent.at(shape.root).0));
            names.extend(self.up(Va(read(at.at(shape.point).0)), root).0);
            at = parent;
        }
        joined(&names)
    }

    /// The names from an entry up to the root or to `stop`, and the entries, with the last.
    fn up(&self, mut entry: Va, stop: Va) -> (Vec<String>, Vec<Va>) {
        let (memory, shape) = (self.kernel.memory, &self.shape.entry);
        let (mut names, mut entries) = (Vec::new(), vec![entry]);
        while names.len() < MOST_STEPS && entry != stop {
            let Ok(parent) = memory.read_u64(entry.at(shape.parent)) else { break };
            let name = memory.read_u64(entry.at(shape.name)).ok();
            let name = name.and_then(|name| read_string(memory, Va(name), LONGEST_NAME));
            if parent == entry.0 {
                // The root, or a file that never had a place in any directory.
                names.extend(name.filter(|name| name != "/"));
                break;
            }
            names.push(name.unwrap_or_else(|| "?".to_owned()));
            entry = Va(parent);
            entries.push(entry);
        }
        (names, entries)
    }

    fn mounts(&mut self, system: Va) -> &[Mount] {
        let (kernel, shape) = (self.kernel, self.shape);
        self.mounts.entry(system).or_insert_with(|| mounts_of(kernel, shape, system))
    }
}

fn mounts_of(kernel: &Kernel<'_>, shape: &FileShape, system: Va) -> Vec<Mount> {
    let Some(mount) = &shape.mount else { return Vec::new() };
    let memory = kernel.memory;
    let head = system.at(shape.system.mounts);
    let at: Vec<Va> = match mount.chain {
        MountChain::Ring(link) => {
            let links = walk_list(memory, head, MOST_MOUNTS).seen;
            links.into_iter().map(|at| Va(at.0.wrapping_sub(link))).collect()
        }
        MountChain::Next(link) => {
            let next = |at: Va| memory.read_u64(at).ok().filter(|next| *next != 0).map(Va);
            std::iter::successors(next(head), |at| next(at.at(link))).take(MOST_MOUNTS).collect()
        }
    };
    let read = |at: Va| {
        let namespace = Va(memory.read_u64(at.at(mount.namespace)).ok()?);
        // The kernel's own mounts cannot be seen from anywhere: they have an error number there, and
        // one that was unmounted has nothing. The first name space lies in the image since v6.18.
        memory.read_u64(namespace).ok()?;
        let root = Va(memory.read_u64(at.at(mount.root)).ok()?);
        Some(Mount { at, id: memory.read_u32(at.at(mount.id)).ok()?, root })
    };
    at.into_iter().filter_map(read).collect()
}

/// `names` from the file upwards.
fn joined(names: &[String]) -> String {
    let mut path = String::new();
    for name in names.iter().rev() {
        path.push('/');
        path.push_str(name);
    }
    match path.char_indices().rev().nth(LONGEST_PATH) {
        Some((at, _)) => format!("...{}", &path[at..]),
        None if path.is_empty() => "/".to_owned(),
        None => path,
    }
}

/// What a file in memory is by its name; what has no directory has a name that the kernel gave.
fn memory_kind(path: String) -> (FileKind, String) {
    let name = &path[1..];
    if let Some(name) = name.strip_prefix("memfd:") {
        return (FileKind::MemFd, name.to_owned());
    }
    let is_key = |key: &str| key.len() == 8 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name {
        "dev/zero" | "anon_hugepage" => (FileKind::SharedAnon, String::new()),
        name if name.strip_prefix("SYSV").is_some_and(is_key) => {
            (FileKind::SystemV, name.to_owned())
        }
        _ => (FileKind::Named, path),
    }
}

/// `8:1`
fn device_name(number: u32) -> String {
    format!("{}:{}", number >> 20, number & 0xf_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_names_tell_what_shared_memory_is() {
        let kind = |path: &str| memory_kind(path.to_owned());
        assert_eq!(kind("/memfd:a ring"), (FileKind::MemFd, "a ring".into()));
        assert_eq!(kind("/SYSV000012af"), (FileKind::SystemV, "SYSV000012af".into()));
        assert_eq!(kind("/dev/zero"), (FileKind::SharedAnon, String::new()));
        assert_eq!(kind("/dev/shm/SYSV"), (FileKind::Named, "/dev/shm/SYSV".into()));
        assert_eq!(device_name(0x0080_0001), "8:1");
    }

    #[test]
    fn a_path_is_joined_from_its_end_and_has_a_limit() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(joined(&names(&["c", "b", "a"])), "/a/b/c");
        assert_eq!(joined(&[]), "/");
        let long = joined(&names(&["x".repeat(255).as_str(); 40]));
        assert!(long.starts_with("...x") && long.len() < LONGEST_PATH + 9, "{}", long.len());
    }
}
