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
    /// Links into tables that all share, by cache.
    pub index_links: Vec<LinkPlaces>,
    /// The same of inodes of any file system, as offsets from the word that leads to the file system:
    /// the inode is part of a bigger struct.
    pub inode_links: Vec<u64>,
    /// Words that lead to what is above or beside their object, by cache.
    pub leading_away: Vec<LinkPlaces>,
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

/// Where in a cache's objects some members stand: links into shared tables, LRUs and hash chains, by
/// which the object is found and not kept, or words that lead away from it.
#[derive(Clone, Debug)]
pub struct LinkPlaces {
    /// The cache.
    pub cache: &'static str,
    /// The links.
    pub places: Vec<FieldPlace>,
}

/// A cache, its struct, and some of its members with their bytes.
type Members = (&'static str, &'static str, &'static [(&'static str, u64)]);

/// By cache: its struct, and the members through which shared tables find it.
const INDEX_LINKS: [Members; 8] = [
    ("dentry", "dentry", &[("d_hash", 16), ("d_lru", 16), ("d_u.d_alias", 16)]),
    ("key_jar", "key", &[("serial_node", 24)]),
    ("mnt_cache", "mount", &[("mnt_hash", 16), ("mnt_instance", 16), ("mnt_share", 16)]),
    ("file_lock_cache", "file_lock", &[("c.flc_link", 16), ("fl_link", 16)]),
    (
        "mnt_cache",
        "mount",
        &[
            ("mnt_child", 16),
            ("mnt_mounts", 16),
            ("mnt_mp_list", 16),
            ("mnt_slave", 16),
            ("mnt_slave_list", 16),
            ("mnt_umounting", 16),
        ],
    ),
    ("posix_timers_cache", "k_itimer", &[("t_hash", 16), ("ignored_list", 16)]),
    ("net_namespace", "net", &[("list", 16), ("cleanup_list", 8), ("exit_list", 16)]),
    ("radix_tree_node", "xa_node", &[("private_list", 16)]),
];

/// By cache: its struct, and the members that lead to what is above it or beside it. They keep that,
/// but nobody would look for the holder there.
const LEADING_AWAY: [Members; 2] = [
    (
        "mnt_cache",
        "mount",
        &[("mnt_parent", 8), ("mnt_master", 8), ("mnt_ns", 8), ("overmount", 8), ("prev_ns", 8)],
    ),
    ("kernfs_node_cache", "kernfs_node", &[("parent", 8), ("__parent", 8), ("dir.root", 8)]),
];

/// Members of every file system's inodes through which shared tables and lists find them.
const INODE_LINKS: [&str; 5] = ["i_hash", "i_lru", "i_sb_list", "i_io_list", "i_wb_list"];

/// By cache of objects that almost everything inside them leads back to: the caches of what holds them.
const HELD_BY: [(&str, &[&str]); 3] = [
    ("net_namespace", &["nsproxy", "inode_cache"]),
    ("uts_namespace", &["nsproxy", "inode_cache"]),
    ("mm_struct", &["task_struct"]),
];

/// By cache of objects that a table of numbers finds: the cache of that table's nodes.
const FOUND_BY: [(&str, &str); 1] = [("mnt_cache", "radix_tree_node")];

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
            index_links: INDEX_LINKS.iter().map(|links| LinkPlaces::find(names, links)).collect(),
            inode_links: INODE_LINKS
                .iter()
                .filter_map(|member| names.find("inode", member))
                .map(|at| at.wrapping_sub(names.find("inode", "i_sb").unwrap_or(0)))
                .collect(),
            leading_away: LEADING_AWAY.iter().map(|one| LinkPlaces::find(names, one)).collect(),
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

impl LinkPlaces {
    fn find(names: Names<'_>, (cache, owner, members): &Members) -> LinkPlaces {
        let place = |(member, bytes): &(&str, u64)| {
            Some(FieldPlace { at: names.find(owner, member)?, bytes: *bytes })
        };
        LinkPlaces { cache, places: members.iter().filter_map(place).collect() }
    }
}

/// The caches whose objects hold objects of this cache, where only these do.
pub fn holding_caches(cache: &str) -> Option<&'static [&'static str]> {
    HELD_BY.iter().find(|(held, _)| *held == cache).map(|(_, by)| *by)
}

/// The cache whose objects find objects of this cache by number, and hold none of them.
pub fn finding_cache(cache: &str) -> Option<&'static str> {
    FOUND_BY.iter().find(|(found, _)| *found == cache).map(|(_, by)| *by)
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
