//! Kernel objects with a name that user space knows: mounted file systems, their mounts, pins in
//! bpffs, message queues, keyrings, and what an open file is.
//!
//! **Danger:** names come out of the kernel's memory and may hold anything; lists change while they are
//! read.

use std::collections::HashMap;

use sysak_base::Va;
use sysak_base::numbers::word;
use sysak_heap::Heap;

use super::FileNames;
use crate::Kernel;
use crate::list::walk_list;
use crate::read::{gather, read_string};
use crate::shape::{KEY_CACHE, OwnerShape, PINNING, find_keyring_type, find_systems};
use crate::slub::live_objects;

/// File systems that are looked at.
const MOST_SYSTEMS: usize = 1 << 14;
/// Files of one file system that may be pins.
const MOST_PINS: usize = 1 << 16;
/// The longest name of a keyring.
const LONGEST_NAME: usize = 128;

/// The file system whose files are name spaces.
const NAME_SPACES: &str = "nsfs";

/// What an object with a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedObject {
    /// A pin in bpffs, by its path.
    Pin(String),
    /// A POSIX message queue.
    Queue(String),
    /// A keyring.
    Keyring(String),
}

/// Objects with names.
#[derive(Clone, Debug, Default)]
pub struct NamedObjects {
    /// By the address of a `struct super_block`: where the file system is mounted.
    pub systems: HashMap<Va, String>,
    /// By the address of a `struct mount`: where it is mounted. The kernel's own are not among them.
    pub mounts: HashMap<Va, String>,
    /// By the address of an object: what it is.
    pub objects: HashMap<Va, NamedObject>,
}

impl NamedObjects {
    /// Finds them; none where this kernel's types or symbols do not describe them.
    pub fn find(kernel: &Kernel<'_>, heap: &Heap) -> NamedObjects {
        let mut found = NamedObjects::default();
        let Some((shape, mut names)) =
            kernel.shape.user_memory.owner.as_ref().zip(FileNames::new(kernel))
        else {
            return found;
        };
        if let Some(head) = find_systems(kernel.symbols) {
            for link in walk_list(kernel.memory, head, MOST_SYSTEMS).seen {
                let system = Va(link.0.wrapping_sub(shape.system_link));
                found.add_system(kernel, shape, &mut names, system);
            }
        }
        found.add_keyrings(kernel, shape, heap);
        found
    }

    fn add_system(
        &mut self,
        kernel: &Kernel<'_>,
        shape: &OwnerShape,
        names: &mut FileNames<'_, '_>,
        system: Va,
    ) {
        let Some((kind, _)) = names.system(system) else { return };
        self.mounts.extend(names.mounts_with_paths(system));
        // The mounts of a name space are files, each by itself.
        if let Some(mount) = names.mount_point(system).filter(|_| kind != NAME_SPACES) {
            self.systems.insert(system, mount);
        }
        if !PINNING.contains(&&*kind) {
            return;
        }
        for link in walk_list(kernel.memory, system.at(shape.inodes), MOST_PINS).seen {
            let inode = Va(link.0.wrapping_sub(shape.inode_link));
            let Some(name) = names.of(inode).filter(|name| name.path != "/") else { continue };
            let object = match &*kind {
                "mqueue" => NamedObject::Queue(name.path),
                _ => NamedObject::Pin(name.path),
            };
            self.objects.insert(inode, object);
        }
    }

    fn add_keyrings(&mut self, kernel: &Kernel<'_>, shape: &OwnerShape, heap: &Heap) {
        let Some((shape, keyring)) = shape.key.as_ref().zip(find_keyring_type(kernel.symbols))
        else {
            return;
        };
        let at = live_objects(heap, KEY_CACHE);
        gather(kernel.memory, &at, shape.bytes, |index, raw| {
            if word(raw, shape.kind) == keyring.0 {
                let name = Va(word(raw, shape.name));
                let name = read_string(kernel.memory, name, LONGEST_NAME).unwrap_or_default();
                self.objects.insert(at[index], NamedObject::Keyring(name));
            }
        });
    }
}

/// What an open file is, for those who look for it in `/proc/PID/fd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenKind {
    /// One that is no file of a file system: `socket`, `pipe`, `eventpoll`, `io_uring`, `net`.
    Special(String),
    /// A file, by its path.
    Path(String),
}

/// What an open file is, by its `struct file`.
pub fn open_kind(kernel: &Kernel<'_>, names: &mut FileNames<'_, '_>, file: Va) -> Option<OpenKind> {
    let shape = kernel.shape.user_memory.open.as_ref()?;
    let read = |at: Va| kernel.memory.read_u64(at).ok().map(Va);
    let inode = read(file.at(shape.inode))?;
    let (system, _) = names.system(names.system_of(inode)?)?;
    Some(match &*system {
        "sockfs" => OpenKind::Special("socket".to_owned()),
        "pipefs" => OpenKind::Special("pipe".to_owned()),
        // All of them share one inode: the entry has the name.
        "anon_inodefs" => {
            let name = names.entry_name(read(file.at(shape.entry))?);
            let name = name.unwrap_or(system);
            OpenKind::Special(name.trim_matches(['[', ']']).to_owned())
        }
        NAME_SPACES => OpenKind::Special("name space".to_owned()),
        "pidfs" => OpenKind::Special("pidfd".to_owned()),
        _ => OpenKind::Path(names.of(inode)?.path),
    })
}
