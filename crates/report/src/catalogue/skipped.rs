//! What was left out, and why.
//!
//! The English ones are what JSON has.

use crate::lang::Lang;

// What.
messages! {
    left_slabs(count) { "{count} slabs", "{count} 个 slab" }
    left_some_caches() { "some slab caches", "部分 slab 缓存" }
    left_cache(address) { "the slab cache at {address}", "地址 {address} 处的 slab 缓存" }
    left_per_cpu_free_objects() { "per-CPU free objects", "每 CPU 空闲对象" }
    left_per_cpu_free_pages() { "per-CPU free pages", "每 CPU 空闲页" }
    left_per_cpu_page_list() { "a per-CPU list of free pages", "一个每 CPU 空闲页链表" }
    left_unknown_slabs(count) { "{count} slabs of unknown caches", "{count} 个所属缓存未知的 slab" }
    left_unlisted_caches(count) { "{count} slab caches", "{count} 个 slab 缓存" }
    left_stray_pages(count) { "{count} pages of vmalloc areas", "{count} 个属于 vmalloc 区域的内存页" }
    left_pages(count) { "{count} pages of RAM", "{count} 个内存页" }
    left_vmalloc_areas() { "vmalloc areas", "vmalloc 区域" }
    left_some_vmalloc_areas() { "some vmalloc areas", "部分 vmalloc 区域" }
    left_per_cpu_memory() { "per-CPU memory", "每 CPU 内存" }
    left_boot_per_cpu_memory() { "per-CPU memory of boot time", "启动时分配的每 CPU 内存" }
    left_per_cpu_allocations(count) {
        "some allocations in {count} chunks of per-CPU memory", "{count} 块每 CPU 内存中的部分分配"
    }
    left_some_page_tables() { "some page tables", "部分页表" }
    left_open_files() { "open files of processes", "进程打开的文件" }
    left_open_files_of(count) { "open files of {count} processes", "{count} 个进程打开的文件" }
    left_some_cgroups() { "some memory cgroups", "部分内存 cgroup" }
    left_slab_objects() {
        "free slab objects (all count as in use)", "空闲的 slab 对象（全部视为在用）"
    }
    left_page_blocks() {
        "blocks of pages without an owner (all count as in use)", "没有归属的页块（全部视为在用）"
    }
    left_user_pages() {
        "pages of programs and files (they count as the kernel's)", "程序与文件的页（计入内核）"
    }
    left_idle_stacks() {
        "unused parts of stacks (they count as in use)", "栈中未使用的部分（视为在用）"
    }
    left_timers() { "some pending timers", "部分待触发的定时器" }
    left_file_names() { "names and places of files", "文件的名称与位置" }
    left_some_open_files() { "contents of pipes and sockets", "管道与套接字中的数据" }
    left_processes() { "the counters of processes", "进程的计数" }
    left_huge_pages() { "pools of huge pages", "大页池" }
    left_slab_details() {
        "other names, kinds or counters of slab caches", "slab 缓存的别名、类别或计数"
    }
    left_some_explanations() {
        "some explanations (what objects are, who allocates or holds them)", "部分说明（对象类型、分配者或持有者）"
    }
    left_memory(count) { "{count} pieces of memory", "{count} 块内存" }
}

// Why.
messages! {
    why_no_type_info() {
        "the kernel's type information does not say where they are", "内核的类型信息中没有其位置"
    }
    why_not_found() { "they were not found; they count as other pages", "未找到，计入其他页" }
    why_no_per_cpu_areas() { "the per-CPU areas were not found", "未找到每 CPU 区域" }
    why_no_nodes() { "the memory nodes were not found", "未找到内存节点" }
    why_no_first_chunk() {
        "the first chunk was not found; it counts as reserved pages", "未找到第一块，计入保留页"
    }
    why_no_kernel_tables() {
        "the kernel's own were not found; they count as other pages", "未找到内核自身的页表，计入其他页"
    }
    why_no_process_tables() {
        "those of processes were not found; they count as other pages", "未找到进程的页表，计入其他页"
    }
    why_changed() { "they changed while they were read", "读取时发生了变化" }
    why_changed_or_damaged() {
        "their maps changed while they were read, or are damaged",
        "位图在读取时发生了变化，或者已损坏"
    }
    why_damaged() { "they are damaged", "已损坏" }
    why_on_no_list() { "they are on no list of the kernel's", "不在内核的任何链表上" }
    why_given_back() { "they were freed meanwhile", "期间已被释放" }
    why_implausible() { "its contents are not plausible", "内容不合理" }
    why_foreign() {
        "not laid out as SLUB does (KFENCE); taken as roots", "不按 SLUB 方式划分（KFENCE），作为根处理"
    }
    why_unreadable() { "the reader could not read them", "无法读取" }
    why_no_struct_page() {
        "their struct page cannot be read", "对应的 struct page 无法读取"
    }
    why_tables_unreadable(count) {
        "{count} tables above others cannot be read", "其中 {count} 个上级页表无法读取"
    }
    why_too_many() { "there are too many of them", "数量过多" }
    why_interrupted() { "the user ended the search", "用户提前终止了查找" }
    why_more_than(limit) { "there are more than {limit}", "超过 {limit} 个" }
    why_out_of_time(seconds) {
        "explaining was ended after {seconds} s (--explain-limit)", "说明阶段已用满 {seconds} 秒（--explain-limit）"
    }
    why_list_unreadable(address) {
        "memory at {address} is not readable", "地址 {address} 处的内存无法读取"
    }
    why_list_circle(address) { "the list loops at {address}", "链表在 {address} 处成环" }
    why_list_broken(address) { "the list is broken at {address}", "链表在 {address} 处断开" }
    why_list_mended(address) {
        "the list is damaged at {address}; it was walked from both ends", "链表在 {address} 处损坏，已从两端遍历"
    }
    why_list_too_long(limit) {
        "the list is longer than {limit} elements", "链表超过 {limit} 个元素"
    }
}
