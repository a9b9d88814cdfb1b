//! What the objects of well-known slab caches are.
//!
//! Only names that say the same on every kernel: `kmalloc-64` holds anything, and has no entry.

use crate::lang::Lang;

/// A slab cache, and what its objects are.
struct Known {
    /// The cache's name; one that ends in `*` stands for all that begin so.
    name: &'static str,
    en: &'static str,
    zh: &'static str,
}

/// What the objects of a cache are; `None` where its name tells nothing for sure.
pub(crate) fn cache_contents(lang: Lang, cache: &str) -> Option<&'static str> {
    // A name of its own says more than a family's.
    let known = KNOWN
        .iter()
        .find(|known| known.name == cache)
        .or_else(|| KNOWN.iter().find(|known| known.is_family_of(cache)))?;
    Some(match lang {
        Lang::En => known.en,
        Lang::Zh => known.zh,
    })
}

impl Known {
    fn is_family_of(&self, cache: &str) -> bool {
        self.name.strip_suffix('*').is_some_and(|begin| cache.starts_with(begin))
    }
}

const fn of(name: &'static str, en: &'static str, zh: &'static str) -> Known {
    Known { name, en, zh }
}

#[rustfmt::skip]
const KNOWN: &[Known] = &[
    // Files, directories and file systems.
    of("dentry", "directory entries (file names)", "目录项（文件名缓存）"),
    of("inode_cache", "inodes of file systems without a cache of their own", "inode（无专用缓存的文件系统）"),
    of("ext4_inode_cache", "inodes of ext4 files", "ext4 文件的 inode"),
    of("xfs_inode", "inodes of XFS files", "XFS 文件的 inode"),
    of("btrfs_inode", "inodes of Btrfs files", "Btrfs 文件的 inode"),
    of("f2fs_inode_cache", "inodes of F2FS files", "F2FS 文件的 inode"),
    of("nfs_inode_cache", "inodes of NFS files", "NFS 文件的 inode"),
    of("fuse_inode", "inodes of FUSE files", "FUSE 文件的 inode"),
    of("ovl_inode", "inodes of overlayfs files (containers)", "overlayfs 文件的 inode（容器）"),
    of("shmem_inode_cache", "inodes of tmpfs and shared memory", "tmpfs 和共享内存的 inode"),
    of("proc_inode_cache", "inodes of /proc", "/proc 的 inode"),
    of("hugetlbfs_inode_cache", "inodes of hugetlbfs files", "hugetlbfs 文件的 inode"),
    of("mqueue_inode_cache", "inodes of POSIX message queues", "POSIX 消息队列的 inode"),
    of("sock_inode_cache", "sockets (their inodes)", "套接字（及其 inode）"),
    of("bdev_cache", "inodes of block devices", "块设备的 inode"),
    of("buffer_head", "buffer heads (disk blocks of cached pages)", "buffer_head（页缓存对应的磁盘块）"),
    of("radix_tree_node", "nodes of radix trees (such as the page cache's index)", "基数树节点（如页缓存索引）"),
    of("filp", "open files", "打开的文件"),
    of("names_cache", "path names during system calls", "系统调用中的路径名"),
    of("kernfs_node_cache", "entries of sysfs and cgroup file systems", "sysfs 和 cgroup 文件系统的条目"),
    of("proc_dir_entry", "entries of /proc", "/proc 的条目"),
    of("mnt_cache", "mounts", "挂载点"),
    of("file_lock_cache", "file locks", "文件锁"),
    of("eventpoll_epi", "files watched by epoll", "epoll 监视的文件"),
    of("eventpoll_pwq", "epoll's entries in wait queues", "epoll 的等待队列项"),
    of("inotify_inode_mark", "inotify watches", "inotify 监视项"),
    of(
        "fsnotify_mark_connector",
        "links from files to their inotify or fanotify watches",
        "文件与 inotify/fanotify 监视项的关联",
    ),
    of("fanotify_mark", "fanotify watches", "fanotify 监视项"),
    of("dquot", "disk quotas", "磁盘配额"),
    of("jbd2_journal_head", "disk blocks in the ext4 journal (jbd2)", "ext4 日志（jbd2）中的磁盘块"),
    of("jbd2_journal_handle", "running operations of the ext4 journal (jbd2)", "进行中的 ext4 日志（jbd2）操作"),
    of("jbd2_inode", "inodes that the ext4 journal (jbd2) tracks", "ext4 日志（jbd2）跟踪的 inode"),
    of("jbd2_transaction_s", "transactions of the ext4 journal (jbd2)", "ext4 日志（jbd2）事务"),
    of("ext4_extent_status", "cached extents of ext4 files", "ext4 文件的 extent 状态缓存"),
    of("ext4_io_end", "ext4 writes in progress", "ext4 进行中的写操作"),
    of("ext4_allocation_context", "ext4 block allocations in progress", "ext4 进行中的块分配"),
    of("ext4_prealloc_space", "blocks that ext4 preallocated", "ext4 预分配的块"),
    of("ext4_groupinfo_*", "ext4 block groups", "ext4 块组信息"),
    of("xfs_buf", "buffers of XFS metadata", "XFS 元数据缓冲区"),
    of("xfs_ili", "log items of XFS inodes", "XFS inode 的日志项"),
    of("xfs_buf_item", "log items of XFS buffers", "XFS 缓冲区的日志项"),
    of("xfs_log_ticket", "XFS log reservations", "XFS 日志空间预留"),
    of("xfs_trans", "XFS transactions", "XFS 事务"),
    of("btrfs_extent_map", "cached extents of Btrfs files", "Btrfs 文件的 extent 映射缓存"),
    of("btrfs_delayed_node", "delayed inode updates of Btrfs", "Btrfs 延迟的 inode 更新"),
    // Processes and their memory.
    of("task_struct", "threads", "线程"),
    of("signal_cache", "signal state of processes", "进程的信号状态"),
    of("sighand_cache", "signal handlers of processes", "进程的信号处理函数表"),
    of("files_cache", "tables of open files", "打开文件表"),
    of("fs_cache", "root and working directories of processes", "进程的根目录和工作目录"),
    of("mm_struct", "address spaces of processes", "进程的地址空间"),
    of("pid", "process numbers", "进程号"),
    of("cred", "credentials (user IDs, capabilities)", "凭证（用户 ID、权能）"),
    of("cred_jar", "credentials (user IDs, capabilities)", "凭证（用户 ID、权能）"),
    of("uid_cache", "per-user counters", "各用户的资源计数"),
    of("nsproxy", "sets of namespaces", "命名空间集合"),
    of("key_jar", "keys and keyrings", "密钥和密钥环"),
    of("task_delay_info", "delay accounting of threads", "线程的延迟统计"),
    of("taskstats", "accounting of processes", "进程统计信息"),
    of("task_group", "groups of the CPU scheduler (CPU cgroups)", "CPU 调度组（CPU cgroup）"),
    of("vm_area_struct", "memory mappings of processes", "进程的内存映射区"),
    of("vma_lock", "locks of memory mappings", "内存映射区的锁"),
    of("anon_vma", "reverse mapping of private memory", "匿名内存的反向映射"),
    of("anon_vma_chain", "reverse mapping of private memory (links)", "匿名内存反向映射的链接"),
    of("maple_node", "nodes of maple trees (such as lists of mappings)", "maple 树节点（如进程的映射区索引）"),
    of("numa_policy", "NUMA memory policies", "NUMA 内存策略"),
    of("khugepaged_mm_slot", "processes that khugepaged scans", "khugepaged 扫描的进程"),
    of("ksm_rmap_item", "pages that KSM scans", "KSM 扫描的页"),
    of("ksm_stable_node", "pages that KSM shares", "KSM 合并的共享页"),
    of("ksm_mm_slot", "processes that KSM scans", "KSM 扫描的进程"),
    of("pgd_cache", "top-level page tables", "顶级页表"),
    of("page->ptl", "locks of page tables", "页表锁"),
    // Memory management itself.
    of("vmap_area", "vmalloc areas (their descriptions)", "vmalloc 区域描述"),
    of("kmem_cache", "descriptions of slab caches", "slab 缓存描述"),
    of("kmem_cache_node", "slab caches' lists for each memory node", "slab 缓存的每节点链表"),
    of("zswap_entry", "pages compressed by zswap", "zswap 压缩的页"),
    of("zspage*", "groups of compressed pages (zsmalloc)", "压缩页组（zsmalloc）"),
    of("zs_handle*", "handles of compressed data (zsmalloc)", "压缩数据句柄（zsmalloc）"),
    // Network.
    of("TCP", "TCP sockets (IPv4)", "TCP 套接字（IPv4）"),
    of("TCPv6", "TCP sockets (IPv6)", "TCP 套接字（IPv6）"),
    of("UDP", "UDP sockets (IPv4)", "UDP 套接字（IPv4）"),
    of("UDPv6", "UDP sockets (IPv6)", "UDP 套接字（IPv6）"),
    of("UDP-Lite", "UDP-Lite sockets (IPv4)", "UDP-Lite 套接字（IPv4）"),
    of("UDPLITEv6", "UDP-Lite sockets (IPv6)", "UDP-Lite 套接字（IPv6）"),
    of("RAW", "raw sockets (IPv4)", "原始套接字（IPv4）"),
    of("RAWv6", "raw sockets (IPv6)", "原始套接字（IPv6）"),
    of("PING", "ping sockets (IPv4)", "ping 套接字（IPv4）"),
    of("PINGv6", "ping sockets (IPv6)", "ping 套接字（IPv6）"),
    of("MPTCP", "MPTCP sockets (IPv4)", "MPTCP 套接字（IPv4）"),
    of("UNIX", "Unix sockets", "Unix 域套接字"),
    of("UNIX-STREAM", "Unix stream sockets", "Unix 域流套接字"),
    of("request_sock_TCP*", "TCP connections being opened", "正在建立的 TCP 连接"),
    of("tw_sock_TCP*", "closed TCP connections (TIME-WAIT)", "TIME-WAIT 状态的 TCP 连接"),
    of("tcp_bind_bucket", "bound TCP ports", "已绑定的 TCP 端口"),
    of("skbuff_head_cache", "network packets (headers)", "网络报文（sk_buff）"),
    of("skbuff_fclone_cache", "network packets (headers, mostly of TCP)", "网络报文（sk_buff，多为 TCP）"),
    of("skbuff_small_head", "small buffers for network packets", "网络报文的小数据缓冲区"),
    of("skbuff_ext_cache", "extra data of network packets", "网络报文的扩展数据"),
    of("nf_conntrack", "tracked connections (conntrack)", "被跟踪的连接（conntrack）"),
    of("nf_conntrack_expect", "connections that conntrack expects", "conntrack 预期的连接"),
    of("ip_dst_cache", "cached IPv4 routes", "IPv4 路由缓存项"),
    of("ip6_dst_cache", "cached IPv6 routes", "IPv6 路由缓存项"),
    of("ip_fib_alias", "IPv4 routes", "IPv4 路由"),
    of("ip_fib_trie", "IPv4 routing table", "IPv4 路由表"),
    of("fib6_node*", "IPv6 routing table", "IPv6 路由表"),
    of("inet_peer_cache", "data kept about IP peers", "IP 对端信息"),
    of("net_namespace", "network namespaces", "网络命名空间"),
    // Block devices.
    of("bio-*", "block I/O requests (bio)", "块 I/O 请求（bio）"),
    of("biovec-*", "page lists of block I/O requests", "块 I/O 请求的页列表"),
    of("blkdev_ioc", "I/O contexts of processes", "进程的 I/O 上下文"),
    of("scsi_sense_cache", "buffers for SCSI errors", "SCSI 错误信息缓冲区"),
    of("iommu_iova", "address ranges for devices (IOMMU)", "设备地址区间（IOMMU）"),
    of("io_kiocb", "io_uring requests", "io_uring 请求"),
    of("aio_kiocb", "asynchronous I/O requests (AIO)", "异步 I/O 请求（AIO）"),
    // Tracing, security and the rest.
    of("perf_event", "performance events (perf)", "性能事件（perf）"),
    of("ftrace_event_field", "fields of trace events", "跟踪事件的字段"),
    of("trace_event_file", "trace events in tracefs", "tracefs 中的跟踪事件"),
    of("lsm_inode_cache", "security data of inodes (LSM)", "inode 的安全数据（LSM）"),
    of("lsm_file_cache", "security data of open files (LSM)", "打开文件的安全数据（LSM）"),
    of("pool_workqueue", "links from work queues to worker pools", "工作队列与工作线程池的关联"),
    of("posix_timers_cache", "POSIX timers", "POSIX 定时器"),
    of("shared_policy_node", "NUMA policies of shared memory", "共享内存的 NUMA 策略"),
    of("Acpi-*", "ACPI objects (firmware)", "ACPI 对象（固件）"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_cache_is_described_twice() {
        let mut names = HashSet::new();
        for known in KNOWN {
            assert!(names.insert(known.name), "{}", known.name);
        }
    }

    #[test]
    fn every_cache_is_described_in_both_languages() {
        let is_chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        for known in KNOWN {
            assert!(!known.en.is_empty() && !is_chinese(known.en), "{}", known.name);
            assert!(is_chinese(known.zh), "{}", known.name);
        }
    }

    #[test]
    fn a_well_known_cache_or_one_of_a_known_family_is_described() {
        assert_eq!(cache_contents(Lang::En, "filp"), Some("open files"));
        assert_eq!(cache_contents(Lang::Zh, "biovec-max"), Some("块 I/O 请求的页列表"));
        let closed = Some("closed TCP connections (TIME-WAIT)");
        assert_eq!(cache_contents(Lang::En, "tw_sock_TCPv6"), closed);
    }

    #[test]
    fn a_cache_that_holds_anything_or_begins_like_a_known_one_is_not_described() {
        for name in ["kmalloc-64", "kmalloc-cg-2k", "dentry2", "TCPv7", "bio", ""] {
            assert_eq!(cache_contents(Lang::En, name), None, "{name}");
        }
    }
}
