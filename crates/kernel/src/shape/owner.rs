//! What keeps kernel objects for somebody to act on: mounts, keyrings, pins; and which references keep
//! nothing.

use sysak_base::Va;
use sysak_symbols::Kallsyms;

use super::{FieldPlace, Names};

/// The cache of keys.
pub const KEY_CACHE: &str = "key_jar";
/// The cache of open files.
pub const FILE_CACHE: &str = "filp";
/// The cache of packets.
pub const SOCKET_BUFFER_CACHE: &str = "skbuff_head_cache";
/// The cache of mounts.
pub const MOUNT_CACHE: &str = "mnt_cache";
/// The cache of directories' entries.
pub const ENTRY_CACHE: &str = "dentry";
/// File systems whose files are pins and queues: what a file of theirs leads to is kept by it.
pub const PINNING: [&str; 2] = ["bpf", "mqueue"];

/// Layouts that only the search for holders needs.
#[derive(Clone, Debug)]
pub struct OwnerShape {
    /// `super_block.s_list`
    pub system_link: u64,
    /// `super_block.s_inodes`
    pub inodes: u64,
    /// `inode.i_sb_list`
    pub inode_link: u64,
    /// `dentry.d_sb`
    pub entry_system: u64,
    /// Keys; `None` where this kernel's types do not describe them.
    pub key: Option<KeyShape>,
    /// What is known of the objects of some structs.
    pub objects: Vec<ObjectRules>,
    /// Links of inodes of any file system into tables that all share, as offsets from the word that leads to the
    /// file system: the inode is part of a bigger struct.
    pub inode_links: Vec<u64>,
}

/// `struct key`.
#[derive(Clone, Debug)]
pub struct KeyShape {
    /// Bytes of it, as far as these walks read it.
    pub bytes: u64,
    /// `type`
    pub kind: u64,
    /// `description`
    pub name: u64,
}

/// What is known of the objects of one struct: what keeps them, and where their own words lead.
#[derive(Clone, Debug)]
pub struct ObjectRules {
    /// Their cache.
    pub cache: &'static str,
    /// What tells them from the objects of another struct whose cache was merged with theirs.
    pub witness: Option<Witness>,
    /// Links into shared tables, LRUs and hash chains, by which they are found and not kept.
    pub index_links: Vec<FieldPlace>,
    /// Words that lead to what is above or beside them. They keep that, but nobody would look for the holder there.
    pub leading_away: Vec<FieldPlace>,
    /// The caches of what holds them, where almost everything inside them leads back to them.
    pub held_by: &'static [&'static str],
    /// The caches of the nodes of a table that finds them by number.
    pub found_by: &'static [&'static str],
}

/// A word of every object of a struct that leads to an object of another cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its offset.
    pub at: u64,
    /// Where it leads.
    pub cache: &'static str,
}

/// The same by names: members with their bytes.
struct Known {
    cache: &'static str,
    owner: &'static str,
    witness: Option<(&'static str, &'static str)>,
    index_links: &'static [(&'static str, u64)],
    leading_away: &'static [(&'static str, u64)],
    held_by: &'static [&'static str],
    found_by: &'static [&'static str],
}

const NOTHING: Known = Known {
    cache: "",
    owner: "",
    witness: None,
    index_links: &[],
    leading_away: &[],
    held_by: &[],
    found_by: &[],
};

const KNOWN: [Known; 11] = [
    Known {
        cache: ENTRY_CACHE,
        owner: "dentry",
        index_links: &[("d_hash", 16), ("d_lru", 16), ("d_u.d_alias", 16)],
        ..NOTHING
    },
    Known { cache: KEY_CACHE, owner: "key", index_links: &[("serial_node", 24)], ..NOTHING },
    Known {
        cache: MOUNT_CACHE,
        owner: "mount",
        witness: Some(("mnt.mnt_root", ENTRY_CACHE)),
        index_links: &[
            ("mnt_hash", 16),
            ("mnt_instance", 16),
            ("mnt_share", 16),
            ("mnt_child", 16),
            ("mnt_mounts", 16),
            ("mnt_mp_list", 16),
            ("mnt_slave", 16),
            ("mnt_slave_list", 16),
            ("mnt_umounting", 16),
        ],
        leading_away: &[
            ("mnt_parent", 8),
            ("mnt_master", 8),
            ("mnt_ns", 8),
            ("overmount", 8),
            ("prev_ns", 8),
        ],
        found_by: &["radix_tree_node"],
        ..NOTHING
    },
    Known {
        cache: "file_lock_cache",
        owner: "file_lock",
        index_links: &[("c.flc_link", 16), ("fl_link", 16)],
        ..NOTHING
    },
    Known {
        cache: "posix_timers_cache",
        owner: "k_itimer",
        witness: Some(("it_signal", "signal_cache")),
        index_links: &[("t_hash", 16), ("ignored_list", 16)],
        ..NOTHING
    },
    Known {
        cache: "net_namespace",
        owner: "net",
        index_links: &[("list", 16), ("cleanup_list", 8), ("exit_list", 16)],
        held_by: &["nsproxy", "inode_cache"],
        ..NOTHING
    },
    Known {
        cache: "radix_tree_node",
        owner: "xa_node",
        index_links: &[("private_list", 16)],
        ..NOTHING
    },
    Known {
        cache: "kernfs_node_cache",
        owner: "kernfs_node",
        leading_away: &[("parent", 8), ("__parent", 8), ("dir.root", 8)],
        ..NOTHING
    },
    // What joins a watched file with its marks. Their groups keep it; in Linux 7.2 the file system lists it, too.
    Known {
        cache: "fsnotify_inode_mark_connector",
        owner: "fsnotify_inode_mark_connector",
        index_links: &[("conns_list", 16)],
        ..NOTHING
    },
    Known { cache: "uts_namespace", held_by: &["nsproxy", "inode_cache"], ..NOTHING },
    Known { cache: "mm_struct", held_by: &["task_struct"], ..NOTHING },
];

/// Members of every file system's inodes through which shared tables and lists find them.
const INODE_LINKS: [&str; 5] = ["i_hash", "i_lru", "i_sb_list", "i_io_list", "i_wb_list"];

/// Per-CPU variables that keep objects for reuse, and words of objects that are gone.
const PARKED: [&str; 5] = [
    "napi_alloc_cache",
    "netdev_alloc_cache",
    "cached_stacks",
    "system_page_pool",
    "irq_stack_backing_store",
];

impl OwnerShape {
    pub(super) fn find(names: Names<'_>) -> Option<OwnerShape> {
        Some(OwnerShape {
            system_link: names.find("super_block", "s_list")?,
            inodes: names.find("super_block", "s_inodes")?,
            inode_link: names.find("inode", "i_sb_list")?,
            entry_system: names.find("dentry", "d_sb")?,
            key: KeyShape::find(names),
            objects: KNOWN.iter().map(|known| ObjectRules::find(names, known)).collect(),
            inode_links: INODE_LINKS
                .iter()
                .filter_map(|member| names.find("inode", member))
                .map(|at| at.wrapping_sub(names.find("inode", "i_sb").unwrap_or(0)))
                .collect(),
        })
    }
}

impl KeyShape {
    fn find(names: Names<'_>) -> Option<KeyShape> {
        let key = |path| names.find("key", path);
        let (kind, name) = (key("type")?, key("description")?);
        Some(KeyShape { bytes: kind.max(name) + 8, kind, name })
    }
}

impl ObjectRules {
    fn find(names: Names<'_>, known: &Known) -> ObjectRules {
        let place = |(member, bytes): &(&str, u64)| {
            Some(FieldPlace { at: names.find(known.owner, member)?, bytes: *bytes })
        };
        let witness = known.witness.and_then(|(member, cache)| {
            Some(Witness { at: names.find(known.owner, member)?, cache })
        });
        ObjectRules {
            cache: known.cache,
            witness,
            index_links: known.index_links.iter().filter_map(place).collect(),
            leading_away: known.leading_away.iter().filter_map(place).collect(),
            held_by: known.held_by,
            found_by: known.found_by,
        }
    }
}

/// Whether a per-CPU variable keeps objects for reuse.
pub fn is_parked(variable: &str) -> bool {
    PARKED.contains(&variable)
}

/// Whether a cache's objects are inodes, of whatever file system.
pub fn is_inode_cache(name: &str) -> bool {
    name.contains("inode") && !name.contains("mark")
}

/// The list of all file systems; listed where KALLSYMS_ALL is set.
pub fn find_systems(symbols: &Kallsyms) -> Option<Va> {
    symbols.find("super_blocks")
}

/// The type of keyrings.
pub fn find_keyring_type(symbols: &Kallsyms) -> Option<Va> {
    symbols.find("key_type_keyring")
}
