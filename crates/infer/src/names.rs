//! What the names of slab caches tell: which struct their objects are.
//!
//! **Invariant:** a cache is taken for a struct's only where the sizes agree, too.

use sysak_symbols::TypeId;

use crate::Types;

/// Caches whose struct no rule derives from their name.
const CACHES: [(&str, &str); 62] = [
    ("Acpi-Namespace", "acpi_namespace_node"),
    ("Acpi-Operand", "acpi_operand_object"),
    ("Acpi-Parse", "acpi_parse_object_common"),
    ("Acpi-ParseExt", "acpi_parse_obj_named"),
    ("Acpi-State", "acpi_generic_state"),
    ("RAW", "raw_sock"),
    ("RAWv6", "raw6_sock"),
    ("TCP", "tcp_sock"),
    ("TCPv6", "tcp6_sock"),
    ("UDP", "udp_sock"),
    ("UDP-Lite", "udp_sock"),
    ("UDPLITEv6", "udp6_sock"),
    ("UDPv6", "udp6_sock"),
    ("UNIX", "unix_sock"),
    ("UNIX-STREAM", "unix_sock"),
    ("MPTCP", "mptcp_sock"),
    ("bdev_cache", "bdev_inode"),
    ("blkdev_ioc", "io_context"),
    ("cred_jar", "cred"),
    ("dax_cache", "dax_device"),
    ("debugfs_inode_cache", "debugfs_inode_info"),
    ("eventpoll_epi", "epitem"),
    ("eventpoll_pwq", "eppoll_entry"),
    ("ext4_inode_cache", "ext4_inode_info"),
    ("fat_inode_cache", "msdos_inode_info"),
    ("fuse_inode", "fuse_inode"),
    ("fuse_request", "fuse_req"),
    ("hugetlbfs_inode_cache", "hugetlbfs_inode_info"),
    ("inotify_inode_mark", "inotify_inode_mark"),
    ("ip_dst_cache", "rtable"),
    ("ip6_dst_cache", "rt6_info"),
    ("ip_fib_alias", "fib_alias"),
    ("ip_fib_trie", "key_vector"),
    ("jbd2_journal_handle", "jbd2_journal_handle"),
    ("jbd2_journal_head", "journal_head"),
    ("kernfs_iattrs_cache", "kernfs_iattrs"),
    ("key_jar", "key"),
    ("mb_cache_entry", "mb_cache_entry"),
    ("mm_struct", "mm_struct"),
    ("mnt_cache", "mount"),
    ("mqueue_inode_cache", "mqueue_inode_info"),
    ("net_namespace", "net"),
    ("nfs_inode_cache", "nfs_inode"),
    ("nsproxy", "nsproxy"),
    ("numa_policy", "mempolicy"),
    ("pde_opener", "pde_opener"),
    ("pid_namespace", "pid_namespace"),
    ("posix_timers_cache", "k_itimer"),
    ("proc_inode_cache", "proc_inode"),
    ("radix_tree_node", "xa_node"),
    ("scsi_sense_cache", ""),
    ("sgpool-128", ""),
    ("shared_policy_node", "sp_node"),
    ("shmem_inode_cache", "shmem_inode_info"),
    ("sigqueue", "sigqueue"),
    ("skbuff_fclone_cache", "sk_buff_fclones"),
    ("skbuff_head_cache", "sk_buff"),
    ("sock_inode_cache", "socket_alloc"),
    ("task_delay_info", "task_delay_info"),
    ("tracefs_inode_cache", "tracefs_inode"),
    ("xfs_inode", "xfs_inode"),
    ("user_namespace", "user_namespace"),
];

/// What a cache's name may have behind its struct's name, and the reverse.
const ENDINGS: [&str; 7] =
    ["_cache", "_cachep", "_slab", "_slab_cache", "_jar", "_head_cache", "s"];
const ADDED: [&str; 4] = ["", "_struct", "_info", "_node"];

/// The struct that the objects of a cache are, by the cache's name and their size.
pub fn of_cache(types: &Types, name: &str, object_size: u32) -> Option<TypeId> {
    if let Some((_, found)) = CACHES.iter().find(|(cache, _)| *cache == name) {
        return sized(types, found, object_size);
    }
    let stems = std::iter::once(name)
        .chain(ENDINGS.iter().filter_map(|ending| name.strip_suffix(ending)))
        .filter(|stem| !stem.is_empty());
    stems
        .flat_map(|stem| ADDED.iter().map(move |added| format!("{stem}{added}")))
        .find_map(|name| sized(types, &name, object_size))
}

/// The cache's size may be rounded up to a word.
fn sized(types: &Types, name: &str, object_size: u32) -> Option<TypeId> {
    types.named(name).find(|id| {
        let bytes = types.size(*id);
        bytes.is_some_and(|bytes| bytes.next_multiple_of(8) == object_size.next_multiple_of(8))
    })
}

/// Beginnings of names of structs that describe records in buffers and tables of the firmware:
/// they are pointed to, but seldom allocated each by itself.
const RECORDS: [&str; 8] = [
    "trace_event_raw_",
    "trace_event_data_offsets_",
    "acpi_table_",
    "acpi_hest_",
    "acpi_pcct_",
    "acpi_madt_",
    "bpf_iter__",
    "btrace_",
];

/// Whether a struct of this name is seldom an object of its own.
pub fn is_seldom_allocated(name: &str) -> bool {
    RECORDS.iter().any(|record| name.starts_with(record))
}

/// The sizes that kmalloc rounds up to.
const CLASSES: [u32; 14] = [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192, 16384];

/// Whether a cache of this name serves objects of any struct.
pub fn is_general(name: &str) -> bool {
    name.contains("kmalloc-")
}

/// The next smaller size that kmalloc has a cache for.
pub fn class_below(object_size: u32) -> u32 {
    CLASSES.iter().rev().find(|class| **class < object_size).copied().unwrap_or(0)
}
