//! Functions that take a reference to a counted object, or are handed one, by what they count.
//!
//! Such an object is allocated once, for everybody, and goes when the last reference is given back.
//! Only functions that are called count: what the compiler puts into its caller (`get_cred`,
//! `skb_get`, `dget`) leaves no call behind. Some kernels have it as a function, so it is listed.
//!
//! Names are those of 5.10 to 6.18, without suffixes.

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CountedKind {
    /// Credentials of processes.
    Cred,
    /// Open files.
    File,
    /// Packets.
    SkBuff,
    /// Address spaces of processes.
    Mm,
    /// Inodes.
    Inode,
    /// Directory entries.
    Dentry,
    /// Sockets.
    Sock,
    /// Network namespaces.
    Net,
    /// Threads.
    Task,
    /// Pages.
    Page,
}

impl CountedKind {
    /// Functions after which the caller has a reference.
    pub fn takers(self) -> &'static [&'static str] {
        match self {
            CountedKind::Cred => CRED,
            CountedKind::File => FILE,
            CountedKind::SkBuff => SK_BUFF,
            CountedKind::Mm => MM,
            CountedKind::Inode => INODE,
            CountedKind::Dentry => DENTRY,
            CountedKind::Sock => SOCK,
            CountedKind::Net => NET,
            CountedKind::Task => TASK,
            CountedKind::Page => PAGE,
        }
    }
}

const CRED: &[&str] = &[
    "get_cred",
    "get_cred_rcu",
    "get_task_cred",
    "override_creds",
    "prepare_creds",
    "prepare_kernel_cred",
];

const FILE: &[&str] = &[
    "__fdget",
    "alloc_file_pseudo",
    "anon_inode_getfile",
    "dentry_open",
    "fget",
    "fget_raw",
    "fget_task",
    "file_open_name",
    "filp_open",
    "get_file",
    "get_file_rcu",
    "shmem_file_setup",
    "shmem_kernel_file_setup",
    "sock_alloc_file",
    "sockfd_lookup",
];

/// Who registers a handler is handed packets, and has to free them.
const SK_BUFF: &[&str] = &[
    "__alloc_skb",
    "__napi_alloc_skb",
    "__netdev_alloc_skb",
    "__pskb_copy_fclone",
    "__skb_recv_datagram",
    "alloc_skb_with_frags",
    "build_skb",
    "dev_add_pack",
    "napi_alloc_skb",
    "napi_build_skb",
    "netdev_rx_handler_register",
    "nf_register_net_hook",
    "nf_register_net_hooks",
    "skb_clone",
    "skb_copy",
    "skb_copy_expand",
    "skb_dequeue",
    "skb_dequeue_tail",
    "skb_get",
    "skb_realloc_headroom",
    "skb_recv_datagram",
    "sock_alloc_send_pskb",
];

const MM: &[&str] =
    &["get_task_mm", "mm_access", "mmget", "mmget_not_zero", "mmgrab", "mmgrab_lazy_tlb"];

const INODE: &[&str] = &[
    "alloc_anon_inode",
    "iget5_locked",
    "iget_locked",
    "igrab",
    "ihold",
    "ilookup",
    "ilookup5",
    "ilookup5_nowait",
    "new_inode",
    "new_inode_pseudo",
];

const DENTRY: &[&str] = &[
    "d_alloc_name",
    "d_find_alias",
    "d_find_any_alias",
    "d_hash_and_lookup",
    "d_lookup",
    "d_make_root",
    "d_obtain_alias",
    "dget",
    "dget_parent",
    "kern_path",
    "kern_path_create",
    "kern_path_locked",
    "lockref_get",
    "lockref_get_not_dead",
    "lockref_get_not_zero",
    "lookup_one",
    "lookup_one_len",
    "lookup_one_len_unlocked",
    "path_get",
    "user_path_at",
    "vfs_path_lookup",
];

const SOCK: &[&str] = &[
    "__inet_lookup_established",
    "__inet_lookup_listener",
    "__sock_create",
    "__udp4_lib_lookup",
    "__udp6_lib_lookup",
    "inet_csk_accept",
    "kernel_accept",
    "sk_alloc",
    "sk_clone_lock",
    "sock_create",
    "sock_create_kern",
    "sock_create_lite",
    "sock_hold",
    "sockfd_lookup",
    "udp4_lib_lookup",
    "udp6_lib_lookup",
];

const NET: &[&str] = &[
    "get_net",
    "get_net_ns",
    "get_net_ns_by_fd",
    "get_net_ns_by_id",
    "get_net_ns_by_pid",
    "maybe_get_net",
];

const TASK: &[&str] = &[
    "find_get_task_by_vpid",
    "get_pid_task",
    "get_task_struct",
    "kthread_create_on_cpu",
    "kthread_create_on_node",
];

const PAGE: &[&str] = &[
    "__get_free_pages",
    "__page_frag_alloc_align",
    "alloc_pages",
    "find_get_page",
    "get_page",
    "get_user_pages",
    "get_user_pages_fast",
    "get_user_pages_remote",
    "get_user_pages_unlocked",
    "get_zeroed_page",
    "page_frag_alloc",
    "page_frag_alloc_align",
    "page_pool_alloc_frag",
    "page_pool_alloc_pages",
    "pagecache_get_page",
    "pin_user_pages",
    "pin_user_pages_fast",
    "pin_user_pages_remote",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::plain;

    #[test]
    fn names_are_sorted_plain_and_listed_once() {
        use CountedKind::*;
        for kind in [Cred, File, SkBuff, Mm, Inode, Dentry, Sock, Net, Task, Page] {
            let names = kind.takers();
            assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{kind:?}");
            assert!(names.iter().all(|name| plain(name) == *name), "{kind:?}");
        }
    }
}
