//! What `sysak inspect` says.

use crate::lang::Lang;

messages! {
    spot_slab_object(name, start, size) {
        "object of slab cache {name} at {start}, {size} bytes", "slab 缓存 {name} 的对象，起始 {start}，{size} 字节"
    }
    spot_page_block(start, size) {
        "block of pages at {start}, {size} bytes, directly from the page allocator",
        "直接分配的整页内存，起始 {start}，{size} 字节"
    }
    spot_vmalloc_area(start, size) {
        "vmalloc area at {start}, {size} bytes", "vmalloc 区域，起始 {start}，{size} 字节"
    }
    spot_asked_by(name) { "requested by {name}", "由 {name} 申请" }
    spot_percpu_object(start, size) {
        "per-CPU allocation {start}, {size} bytes on each CPU", "每 CPU 分配 {start}，每个 CPU {size} 字节"
    }
    spot_image(name) { "the kernel's {name}", "内核符号 {name}" }
    spot_image_nameless() { "the kernel's image", "内核映像" }
    spot_module(name) { "a module's {name}", "模块符号 {name}" }
    spot_module_nameless() { "memory of a module", "模块的内存" }
    spot_boot_table(name) { "reserved at boot; {name} points to it", "启动时预留的内存，由 {name} 指向" }
    spot_percpu_variable(name) { "per-CPU variable {name}", "每 CPU 变量 {name}" }
    spot_stack(name) { "stack of {name}", "{name} 的内核栈" }
    spot_struct_page(pfn) { "struct page of page {pfn}", "页 {pfn} 的 struct page" }
    spot_page(pfn) { "page {pfn}", "页 {pfn}" }
    spot_unknown() { "nothing that the kernel has a record of", "内核记录中没有与该地址对应的内容" }
    spot_offset(offset) { "at offset {offset}", "偏移 {offset}" }
    spot_in_page(pfn) { "in page {pfn}", "位于页 {pfn}" }
    state_free() { "free", "空闲" }
    state_reachable() { "in use: live memory leads to it", "使用中：可达" }
    state_unreachable() {
        "allocated but unreachable: no live memory leads to it", "已分配但不可达：在用内存中没有指针能到达它"
    }
    state_allocated() { "allocated", "已分配" }
    use_free() { "free", "空闲页" }
    use_slab() { "part of a slab", "slab 页" }
    use_anon() { "private memory of a program", "程序的私有内存" }
    use_file() { "page cache of a file", "文件的页缓存" }
    use_shmem() { "shared memory or tmpfs", "共享内存或 tmpfs" }
    use_hugetlb() { "a huge page", "大页" }
    use_page_table() { "a page table", "页表" }
    use_image() { "part of the kernel's image", "内核映像" }
    use_reserved() { "reserved at boot", "启动时保留" }
    use_vmemmap() { "the array of struct page", "页描述结构数组" }
    use_kernel() { "used by the kernel", "内核页" }
    use_untouchable() {
        "offline, faulty or given to the hypervisor: not read", "下线、损坏或已交还虚拟机监控器：不读取"
    }
    head_offset() { "offset", "偏移" }
    head_word() { "word", "内容" }
    head_field() { "field", "字段" }
    head_meaning() { "meaning", "含义" }
    word_times(count) { "{count} times", "重复 {count} 次" }
    word_off_list() { "removed from a list", "已从链表移除" }
    word_error(number) { "error {number}", "错误码 {number}" }
    word_address() { "a kernel address", "内核地址" }
    dump_cut() { "… more words follow", "…… 后续内容省略" }
    refs_none() { "Nothing in the kernel's memory points to it.", "内核内存中没有任何指针指向它。" }
    refs_of_root() {
        "This is a root: kernel memory that is in use whatever points to it, so what points to it was not looked for.",
        "这是根：无论是否有指针指向它，这块内核内存都在使用中，因此没有查找指向它的指针。"
    }
    refs_title(count) { "What points to it (pointers: {count})", "指向它的指针（{count} 个）" }
    head_pointers() { "pointers", "指针数" }
    head_place() { "in", "所在位置" }
    head_first_at() { "first one at", "第一个的地址" }
    ref_lost() { "itself unreachable", "其自身不可达" }
    ways_up_title() { "How it is held (retention paths)", "如何被持有（引用路径）" }
    no_way_up() {
        "No retention path was found from a variable, a process, a module, a control group or a timer to it.",
        "没有找到从变量、进程、模块、cgroup 或定时器到它的引用路径。"
    }
    cache_slabs(slabs, room, used) {
        "{used} of {room} objects in use, in {slabs} slabs", "共 {slabs} 个 slab，{room} 个对象中已用 {used} 个"
    }
    cache_bytes(size) { "{size} of memory", "占用内存 {size}" }
    cache_lost(objects, size) {
        "{objects} objects ({size}) are unreachable; on a live machine some may just be moving: `sysak memleak` confirms them with a second snapshot",
        "{objects} 个对象（{size}）不可达；在线系统上其中一部分可能只是正在移动，`sysak memleak` 会用第二次快照确认"
    }
    holders_sampled(sampled, all) {
        "Based on a sample of {sampled} of {all} objects.", "按 {all} 个对象中抽样的 {sampled} 个统计。"
    }
}
