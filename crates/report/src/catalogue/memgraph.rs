//! What `sysak memgraph` says.

use crate::lang::Lang;

messages! {
    graph_summary(total, programs, files, kernel, free) {
        "Of {total} of memory, programs use {programs}, the file cache {files} (freed when programs need it) and the kernel {kernel}; {free} is free.",
        "内存共 {total}：程序占用 {programs}，文件缓存 {files}（程序需要内存时会自动回收），内核占用 {kernel}，空闲 {free}。"
    }
    graph_stopped(stage) {
        "Stopped before the end, while {stage}; the results so far follow.",
        "提前终止（当时正在{stage}），以下是目前已知的情况。"
    }
    graph_unknown() { "Could not determine who uses the memory.", "无法统计内存的归属。" }
    counter_too_high(name, says, found, gap) {
        "The kernel's counter {name} in /proc/meminfo says {says}, but only {found} are in use: it is wrong by {gap}. A wrong counter takes no memory, and is no reason to reboot.",
        "/proc/meminfo 中的内核计数器 {name} 显示 {says}，但实际只使用了 {found}：计数器多计了 {gap}。计数器不准并不占用内存，不必为此重启。"
    }
    counter_too_low(name, says, found, gap) {
        "The kernel's counter {name} in /proc/meminfo says {says}, but {found} are in use: it is too low by {gap}. Tools that read it show less than there is.",
        "/proc/meminfo 中的内核计数器 {name} 显示 {says}，但实际使用了 {found}：计数器少计了 {gap}。读取它的工具显示的数值偏小。"
    }
    ownerless(memory) {
        "{memory} of programs' memory (anonymous pages) belongs to no process any more: none has it mapped, and it does not wait to be swapped out. Something in the kernel still refers to it: a driver, a pipe, an io_uring ring, or a reference that was lost.",
        "有 {memory} 程序内存（匿名页）已不属于任何进程：没有进程映射它，也不在交换缓存中。内核中仍有对它的引用：来自驱动、管道、io_uring，或是一个已丢失的引用。"
    }
    ownerless_pinned(memory, pinned) {
        "{memory} of programs' memory (anonymous pages) belongs to no process any more: none has it mapped, and it does not wait to be swapped out. {pinned} of it is pinned, as for a device: a driver or an io_uring ring still holds it, or a reference was lost.",
        "有 {memory} 程序内存（匿名页）已不属于任何进程：没有进程映射它，也不在交换缓存中。其中 {pinned} 被固定（pin），如供设备使用：仍被驱动或 io_uring 持有，或引用已丢失。"
    }
    leaf_anon() { "private data (anonymous)", "私有数据（匿名页）" }
    leaf_shmem() { "shared memory and tmpfs", "共享内存和 tmpfs" }
    leaf_hugetlb() { "huge pages (hugetlb)", "大页（hugetlb）" }
    leaf_unevictable() {
        "other memory that cannot be evicted (unevictable)", "其他不可回收内存（unevictable）"
    }
    leaf_whole_kernel() { "kernel", "内核" }
    leaf_slab_reclaimable() { "slab, freed if needed (reclaimable)", "slab（可回收）" }
    leaf_slab_unreclaimable() { "slab, stays (unreclaimable)", "slab（不可回收）" }
    leaf_vmalloc() { "vmalloc areas", "vmalloc 区域" }
    leaf_percpu() { "per-CPU memory", "每 CPU 内存" }
    leaf_page_table() { "page tables", "页表" }
    leaf_kernel_stack() { "kernel stacks", "内核栈" }
    leaf_image() { "kernel image (code and data)", "内核映像（代码和数据）" }
    leaf_vmemmap() { "page structures (vmemmap)", "页描述结构（vmemmap）" }
    leaf_page_alloc() { "pages allocated directly", "直接分配的页" }
    part_balloon() { "given to the hypervisor (balloon) or offline", "已交还虚拟机监控器（balloon）或下线" }
    part_poisoned() { "faulty memory (hwpoison)", "损坏的内存（hwpoison）" }
    part_compressed() { "compressed memory (zram, zswap)", "压缩内存（zram、zswap）" }
    part_page_pool() { "network receive buffers (page_pool)", "网络接收缓冲（page_pool）" }
    part_secondary_tables() { "page tables of virtual machines and IOMMUs", "虚拟机和 IOMMU 的页表" }
    part_sysak() { "sysak itself, while it runs", "sysak 自身（运行期间）" }
    areas_title() { "Functions that requested most of the vmalloc areas", "vmalloc 区域的主要申请者" }
    head_areas() { "areas", "区域数" }
    percpu_use(used, split, empty) {
        "Per-CPU memory: {used} in use, {split} unused but in pages that are partly in use (fragmentation, not a leak), {empty} kept for the next requests.",
        "每 CPU 内存：已用 {used}；{split} 未使用，但所在的页仍有数据，无法归还（碎片，不是泄漏）；{empty} 留作备用。"
    }
    not_told_apart(list, leaf) {
        "Not counted separately yet: {list}; this memory is included in \"{leaf}\".",
        "尚未单独统计：{list}，其占用的内存计入“{leaf}”。"
    }
    processes_title(count) {
        "Processes by private memory, of {count} (pages shared since a fork count for each process)",
        "进程私有内存排名（共 {count} 个进程；fork 后共享的页在各进程中重复计入）"
    }
    head_swapped() { "swapped out", "已换出" }
    head_in_huge() { "in huge pages", "大页" }
    head_process_name() { "process", "进程" }
    tmpfs_title() {
        "File systems in memory (tmpfs): their files use memory until they are deleted",
        "内存文件系统（tmpfs）：其中的文件在删除之前一直占用内存"
    }
    head_limit() { "limit", "上限" }
    no_limit() { "none", "无" }
    head_mount() { "mounted at", "挂载点" }
    huge_title() {
        "Pools of huge pages: set aside, whether programs use them or not", "大页池：无论是否使用，都已从普通内存中划出"
    }
    head_unused() { "unused", "未使用" }
    head_promised() { "of which reserved", "其中已预留" }
    head_page_size() { "page size", "页大小" }
    deleted_title() {
        "Deleted files that are still open: their space is freed when they are closed",
        "已删除但仍被打开的文件：关闭之后才会释放"
    }
    head_memory_or_disk() { "size", "大小" }
    head_lies() { "stored on", "位于" }
    lies_in_memory() { "memory", "内存" }
    lies_on_disk() { "disk", "磁盘" }
    head_opened_by() { "opened by", "打开者" }
    head_file() { "file", "文件" }
    cgroups_title() {
        "Memory cgroups by the memory charged to them (without child cgroups)",
        "内存 cgroup 排名（不含下级 cgroup）"
    }
    head_of_it_files() { "of which file cache", "其中文件缓存" }
    head_cgroup() { "cgroup", "cgroup" }
    dying_cgroups(count) {
        "{count} memory cgroups were removed but still hold memory (\"dying\"): they disappear only when the memory charged to them is freed.",
        "有 {count} 个内存 cgroup 已被删除但仍占用内存（dying）：要等记在其名下的内存回收后才会消失。"
    }
    dying_hold(all, file, anon, shmem) {
        "Charged to them: {all}, of which {file} file cache, {anon} private data, {shmem} shared memory and tmpfs.",
        "记在其名下的内存共 {all}，其中文件缓存 {file}，私有数据 {anon}，共享内存和 tmpfs {shmem}。"
    }
    dying_files() { "Files with most of their pages:", "其中占用最多的文件：" }
    locked_title() {
        "Processes with memory locked in RAM (mlock, RDMA, io_uring): it cannot be swapped out",
        "锁定在内存中的进程内存（mlock、RDMA、io_uring）：无法换出"
    }
    unread_title() {
        "Unread data in pipes and sockets: it uses kernel memory until it is read",
        "管道和套接字中的待读数据：被读走之前一直占用内核内存"
    }
    in_so_many(size, count) { "{size} in {count}", "{count} 个 {size}" }
    head_pipes() { "pipes", "管道" }
    head_sockets() { "sockets", "套接字" }
    shared_title() {
        "Shared memory outside any mounted file system: freed when the last process closes it (System V: when it is removed, see ipcs)",
        "不属于任何已挂载文件系统的共享内存：最后一个进程关闭后才会释放（System V 共享内存需要删除，见 ipcs）"
    }
    shared_unheld_title() {
        "Shared memory that no process has open or mapped: something in the kernel holds it (a driver, io_uring, a file sent over a socket that nobody has received)",
        "没有任何进程打开或映射的共享内存：由内核中的某处持有（驱动、io_uring，或已通过套接字发送但尚未被接收的文件）"
    }
    head_kind() { "kind", "类型" }
    head_name() { "name", "名称" }
    other_kind() { "other", "其他" }
    cached_title() {
        "Files by their share of the file cache: freed when programs need memory",
        "文件缓存占用排名：程序需要内存时会自动回收"
    }
    user_title(size) {
        "User memory: {size} (not a kernel leak); largest holders", "用户内存：{size}（不是内核泄漏），主要持有者"
    }
    user_title_unread(size) {
        "User memory, with unread data in pipes and sockets: {size} (not a kernel leak); largest holders",
        "用户内存及管道和套接字中的待读数据：{size}（不是内核泄漏），主要持有者"
    }
    user_shared() {
        "Pages that several of them share count for each of them.", "多个持有者共享的页在各自名下重复计入。"
    }
    head_holder() { "holder", "持有者" }
}
