//! What user space does to a guest: memory that somebody holds, in the kinds that are easily taken for a
//! leak. Each adds to the earlier ones, so that one guest has them all in the end.

/// Guest memory that the sizes below are made for; a guest of another size gets more or less.
const MEMORY_MIB: u64 = 2048;
/// Files that a process watches.
const WATCHES: u64 = 60_000;
const TMPFS_MIB: u64 = 400;
const HUGE_PAGES: u64 = 64;
const CACHE_MIB: u64 = 200;
const PIPE_PROCESSES: u64 = 4;
const PIPES_EACH: u64 = 32;
const SOCKETS: u64 = 2000;
const LOCKED_MIB: u64 = 128;
const DELETED_MIB: u64 = 48;
const ZRAM_MIB: u64 = 48;
const NEGATIVE_DENTRIES: u64 = 300_000;
const GROUPS: u64 = 800;
/// `struct dentry` has had this size, or about, for ten years.
const DENTRY_BYTES: u64 = 192;

/// What user space does to the guest.
pub struct Load {
    pub name: &'static str,
    /// Ends with a line of two words: who holds it, and how many bytes.
    pub command: String,
    /// The leaf of the census that must grow by that much.
    pub leaf: &'static str,
    pub holders: Vec<Holder>,
}

/// Who must be named.
pub enum Holder {
    /// An entry of this name in whatever list, and its share of the bytes.
    Entry(&'static str, u64),
    /// The pool of huge pages: pages, and those of them that are free.
    Pool(u64, u64),
    /// A slab cache, with at least these bytes.
    Cache(&'static str, u64),
    /// A part of the pages that were taken directly.
    Part(&'static str),
    /// The cgroups that were removed and hold memory, as many as the kernel says.
    DyingGroups,
}

/// All loads, tmpfs first, in sizes that fit into the guest.
pub fn all(memory_mib: u64) -> Vec<Load> {
    let part = |count: u64| (count * memory_mib / MEMORY_MIB).max(1);
    let load = |name, command, leaf, holders| Load { name, command, leaf, holders };
    let pages = part(HUGE_PAGES);
    let deleted = part(DELETED_MIB);
    vec![
        load(
            "tmpfs",
            file_on_tmpfs(part(TMPFS_MIB)),
            "/user/shmem_bytes",
            vec![Holder::Entry("/load/tmpfs", 1), Holder::Entry("load-opened", 1)],
        ),
        load("hugetlb", huge(pages), "/user/hugetlb_bytes", vec![Holder::Pool(pages, pages / 2)]),
        load(
            "cache",
            file_on_disk(part(CACHE_MIB)),
            "/user/file_bytes",
            vec![Holder::Entry("/load-cache", 1), Holder::Entry("/disk/big", 1)],
        ),
        load(
            "pipes",
            format!("load pipes {PIPE_PROCESSES} {}", part(PIPES_EACH)),
            "/kernel/page_alloc_bytes",
            vec![Holder::Entry("load-pipes", PIPE_PROCESSES)],
        ),
        // How much of it is slab objects differs by the kind of socket.
        load(
            "sockets",
            format!("load sockets 1 {}", part(SOCKETS)),
            "/kernel",
            vec![Holder::Entry("load-sockets", 1)],
        ),
        load(
            "mlock",
            format!("load locked 1 {}", part(LOCKED_MIB)),
            "/user/anon_bytes",
            vec![Holder::Entry("load-locked", 1)],
        ),
        load(
            "deleted",
            format!("load deleted 1 /load/tmpfs/gone {deleted}"),
            "/user/shmem_bytes",
            vec![Holder::Entry("/load/tmpfs/gone", 1)],
        ),
        load(
            "deleted, disk",
            format!("load deleted 1 /disk/gone {deleted}"),
            "/user/file_bytes",
            vec![Holder::Entry("/disk/gone", 1)],
        ),
        load(
            "zram",
            zram(part(ZRAM_MIB)),
            "/kernel/page_alloc_bytes",
            vec![Holder::Part("compressed")],
        ),
        load(
            "dentries",
            negative(part(NEGATIVE_DENTRIES)),
            "/kernel/slab_reclaimable_bytes",
            vec![Holder::Cache("dentry", part(NEGATIVE_DENTRIES) * DENTRY_BYTES)],
        ),
        load("cgroups", groups(part(GROUPS)), "/user/file_bytes", vec![Holder::DyingGroups]),
    ]
}

fn file_on_tmpfs(mib: u64) -> String {
    format!(
        "mkdir -p /load/tmpfs && mount -t tmpfs -o size=90% load /load/tmpfs && \
         load opened 1 /load/tmpfs/file {mib}"
    )
}

/// Files that a process watches; each is an object of `inotify_inode_mark`.
pub fn watches(memory_mib: u64) -> (u64, String) {
    let count = (WATCHES * memory_mib / MEMORY_MIB).max(1);
    let command = format!(
        "mkdir -p /load/watched && mount -t tmpfs -o nr_inodes=0 load /load/watched && \
         echo 1000000 >/proc/sys/fs/inotify/max_user_watches && load watches 1 /load/watched {count}"
    );
    (count, command)
}

/// In a memory cgroup, so that the group holds it, too.
fn file_on_disk(mib: u64) -> String {
    let bytes = mib << 20;
    format!(
        "mkdir /sys/fs/cgroup/load-cache && echo $$ >/sys/fs/cgroup/load-cache/cgroup.procs && \
         dd if=/dev/zero of=/disk/big bs=1M count={mib} 2>/dev/null && sync && echo - {bytes}"
    )
}

/// Half of the pool is used; the bytes are those of the pool.
fn huge(pages: u64) -> String {
    let bytes = pages << 21;
    format!(
        "echo {pages} >/proc/sys/vm/nr_hugepages && load huge 1 {} >/dev/null && echo - {bytes}",
        pages - pages / 2
    )
}

/// Filled with what cannot be compressed, so that its size is known.
fn zram(mib: u64) -> String {
    let bytes = mib << 20;
    format!(
        "for driver in $(cat /modules/zram); do insmod /modules/$driver || exit; done; \
         echo {bytes} >/sys/block/zram0/disksize && \
         dd if=/dev/urandom of=/dev/zram0 bs=1M count={mib} conv=fsync 2>/dev/null && \
         blockdev --flushbufs /dev/zram0 && echo - {bytes}"
    )
}

fn negative(count: u64) -> String {
    let bytes = count * DENTRY_BYTES;
    format!("mkdir /disk/empty && load negative /disk/empty {count} >/dev/null && echo - {bytes}")
}

fn groups(count: u64) -> String {
    format!(
        "mkdir /sys/fs/cgroup/load /disk/charged && echo +memory >/sys/fs/cgroup/load/cgroup.subtree_control && \
         load groups /sys/fs/cgroup/load {count} /disk/charged && sync"
    )
}
