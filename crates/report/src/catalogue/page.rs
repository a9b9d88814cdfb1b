//! Titles, heads of tables and the lines around them.

use crate::lang::Lang;

messages! {
    machine_line(host, release, arch) {
        "Machine: {host}, Linux {release}, {arch}", "机器：{host}，Linux {release}，{arch}"
    }
    nameless() { "unnamed", "未知主机名" }
    up(duration) { ", up {duration}", "，已运行 {duration}" }
    days_hours(days, hours) { "{days} days {hours} hours", "{days} 天 {hours} 小时" }
    hours_minutes(hours, minutes) { "{hours} hours {minutes} minutes", "{hours} 小时 {minutes} 分钟" }
    read_kcore() { "Read live through /proc/kcore", "读取方式：在线，/proc/kcore" }
    read_bpf() { "Read live through BPF", "读取方式：在线，BPF" }
    read_kdump() { "Read from a crash dump (kdump format)", "读取方式：崩溃转储（kdump 格式）" }
    read_elf() { "Read from a crash dump (ELF)", "读取方式：崩溃转储（ELF）" }
    read_raw() { "Read from an image of memory", "读取方式：内存镜像" }
    read_vmware() { "Read from a virtual machine's file (VMware)", "读取方式：虚拟机文件（VMware）" }
    dump_incomplete(lost) {
        "The dump is cut off or damaged: {lost} of memory that it should have are missing.",
        "转储不完整或已损坏：缺少本应包含的 {lost} 内存。"
    }
    dump_torn() {
        "The image was written while the machine ran: what moved meanwhile may look lost, so nothing is called a leak.",
        "该镜像是在机器运行时写出的：期间移动过的内容可能看似丢失，因此不下内存泄漏的结论。"
    }
    one_look() { ", one snapshot", "，一次快照" }
    two_looks(seconds) { ", two snapshots {seconds} s apart", "，间隔 {seconds} 秒的两次快照" }
    cache_title(cache, size) {
        "Slab cache {cache} (a pool of kernel objects of {size} bytes each)",
        "slab 缓存 {cache}（每个对象 {size} 字节的内核对象池）"
    }
    class_page() { "Whole pages", "整页内存" }
    class_vmalloc() { "vmalloc areas", "vmalloc 区域" }
    class_percpu() { "Per-CPU memory", "每 CPU 内存" }
    class_user() { "User memory", "用户内存" }
    merged(aliases) {
        "The kernel merged these caches into it: {aliases}", "内核已将以下缓存与它合并：{aliases}"
    }
    outstanding_title() { "Outstanding allocations", "未释放内存汇总" }
    head_count() { "count", "次数" }
    head_marked() { "marked", "标记次数" }
    head_unreachable() { "unreachable", "不可达" }
    head_function() { "function", "函数" }
    slab_line(cache, object, similar) {
        "slab: {cache}   object: {object}   similar objects: {similar}",
        "slab: {cache}   object: {object}   相似 object 数量: {similar}"
    }
    leaking_function(function) { "leaking function: {function}", "泄漏函数: {function}" }
    probable_function(function) {
        "probably leaking function: {function}", "疑似泄漏函数: {function}"
    }
    counted_function(function) {
        "allocated by: {function}, counted: whoever took the last reference lost it",
        "分配函数: {function}（引用计数对象，由最后取得引用者丢失）"
    }
    leaking_function_unseen() { "leaking function: not seen yet", "泄漏函数: 尚未观察到" }
    growing_function(function) { "growing function: {function}", "增长来源函数: {function}" }
    allocating_function(function) { "allocated by: {function}", "分配函数: {function}" }
    possible_title() {
        "Code that may have allocated these objects (found by searching the kernel's code, not seen running):",
        "可能分配了这些 object 的代码（由搜索内核代码得到，并未观察到实际分配）："
    }
    asks_for(size) { "requests {size} bytes", "申请 {size} 字节" }
    possible_others(count) { "{count} other call sites fit less closely", "另有 {count} 处调用点也可能，但线索更少" }
    possible_too_many(count) {
        "In the kernel's code {count} call sites allocate objects of this cache and size; nothing else tells which of them allocated these.",
        "内核代码中有 {count} 处调用点会分配该缓存、该大小的对象，除此之外没有线索说明这些对象由哪一处分配。"
    }
    ways_title() { "How they are allocated:", "分配路径：" }
    called_through(site) { "calls the allocator through {site}", "经由 {site} 调用分配器" }
    for_processes(list) { "by process: {list}", "按进程：{list}" }
    stack_line() { "call stack:", "调用栈：" }
    stack_line_of(count) { "call stack of {count}:", "调用栈（{count} 次）：" }
    stayed_title(span) {
        "Allocated in the {span} of watching and not freed, by function (not a leak)",
        "观察的 {span}内新分配且未释放的内存，按函数统计（不是泄漏）"
    }
    stayed_title_ever() {
        "Allocated and not freed, by function (not a leak)", "新分配且未释放的内存，按函数统计（不是泄漏）"
    }
    about(name, said) { "{name}: {said}", "{name}：{said}" }
    space() { " ", "" }
    unknown_function() { "unknown", "未知" }
    head_process() { "main process", "主要进程" }
    type_line(name, percent) {
        "These objects look like {name} (confidence {percent}), inferred from their contents:",
        "根据内容推断，这些 object 应为 {name}（置信度 {percent}）："
    }
    type_unsure() {
        "The struct of these objects is not certain; the closest matches:",
        "无法确定这些 object 的结构体类型，最接近的是："
    }
    type_linked(place) { "{place}: linked into a list", "{place}：在链表中" }
    type_unlinked(place) { "{place}: removed from a list", "{place}：已从链表移除" }
    type_page(place) { "{place} → a page", "{place} → 页" }
    content_title() {
        "What these objects point to (kernel symbols that hint at their owner):",
        "这些 object 指向的内核符号（可据此推断归属）："
    }
    content_line(way, objects) { "offset {way}, in {objects}", "偏移 {way}，涉及 {objects}" }
    n_objects(objects) { "{objects} objects", "{objects} 个 object" }
    of_n_objects(objects, sampled) {
        "{objects} of {sampled} objects", "{sampled} 个 object 中的 {objects} 个"
    }
    groups_title() { "Objects with similar content:", "内容相似的 object：" }
    group_line(objects, lost, sample) {
        "{objects} similar, {lost} of them unreachable, for example {sample}",
        "{objects} 个，其中 {lost} 个不可达，例如 {sample}"
    }
    holders_title() { "Who holds them:", "持有者：" }
    head_objects() { "objects", "对象数" }
    advice_title() { "What to do:", "建议：" }
    biggest_title() {
        "Biggest slab caches (the pools in which the kernel keeps its objects)",
        "最大的 slab 缓存（内核存放各类对象的内存池）"
    }
    all_caches_title() { "All slab caches", "全部 slab 缓存" }
    head_memory() { "memory", "内存" }
    head_frees() { "would free", "可释放" }
    frees_means() {
        "\"would free\": all memory that only this holder keeps in use; freed if it lets go.",
        "“可释放”：仅因该持有者而保留的全部内存，它释放引用后即可回收。"
    }
    head_grew() { "grew by", "增长" }
    head_used() { "objects in use", "在用对象" }
    head_room() { "capacity", "容量" }
    head_freeable() { "freed if needed", "可回收" }
    head_size() { "object bytes", "对象字节数" }
    head_cache() { "cache", "缓存" }
    head_points() { "contents or holder", "内容或持有者" }
    held_by(name) { "held by {name}", "由 {name} 持有" }
    share_held_by(share, name) { "{share} held by {name}", "{share} 由 {name} 持有" }
    merged_contents(contents) { "{contents} and others (merged)", "{contents}等（已合并）" }
    share_leads_to(share, symbol) { "{share} lead to {symbol}", "{share} 指向 {symbol}" }
    yes() { "yes", "是" }
    no() { "no", "否" }
    census_title(total) { "Where the memory is: {total} in all", "内存去向：共 {total}" }
    leaf_free() { "free", "空闲" }
    leaf_programs() { "programs", "程序" }
    leaf_files() { "file cache", "文件缓存" }
    leaf_slab() { "kernel objects (slab)", "内核对象（slab）" }
    leaf_kernel() { "rest of the kernel", "内核其他部分" }
    leaf_reserved() { "reserved at boot", "启动时保留" }
    leaf_unaccounted() { "unaccounted for", "去向不明" }
    looked_at(walked, total, objects, scanned) {
        "Checked {walked} of {total} slabs, with {objects} objects in use; searched {scanned} for pointers.",
        "共检查 {total} 个 slab 中的 {walked} 个，其中在用对象 {objects} 个；在 {scanned} 内存中查找了指针。"
    }
    unknown_number() { "an unknown number of", "未知数量" }
    filtered(size) {
        "Free pages and pages of programs and files ({size}) were left out when the dump was written; they do not matter here.",
        "写入转储时已略去空闲页以及程序与文件的页（{size}），对本报告没有影响。"
    }
    not_in_dump(size, parts) {
        "Missing: {size} of the kernel's own memory are not in the dump: {parts}.",
        "缺失：转储中缺少内核自身的内存 {size}：{parts}。"
    }
    size_of(size, what) { "{size} of {what}", "{what} {size}" }
    hole_slab() { "slabs", "slab" }
    hole_vmalloc() { "vmalloc areas", "vmalloc 区域" }
    hole_percpu() { "per-CPU memory", "每 CPU 内存" }
    hole_page_table() { "page tables", "页表" }
    hole_stack() { "stacks", "内核栈" }
    hole_image() { "the kernel's code and data", "内核代码与数据" }
    hole_vmemmap() { "page structures (vmemmap)", "页描述结构（vmemmap）" }
    hole_reserved() { "memory reserved at boot", "启动时保留的内存" }
    hole_page_alloc() { "other pages", "其他页" }
    left_out(list) { "Left out: {list}.", "未检查：{list}。" }
    left_out_item(what, why) { "{what} ({why})", "{what}（{why}）" }
    semicolon() { "; ", "；" }
    took(total, parts) { "Took {total} s ({parts}).", "用时 {total} 秒（{parts}）。" }
    took_only(total) { "Took {total} s.", "用时 {total} 秒。" }
    part_census(time) { "page owners {time} s", "页面归属 {time} 秒" }
    part_walk(time) { "slabs {time} s", "遍历 slab {time} 秒" }
    part_reach(time) { "pointers {time} s", "查找指针 {time} 秒" }
    part_hidden(time) { "hidden references {time} s", "查找隐藏引用 {time} 秒" }
    part_similarity(time) { "similarity {time} s", "比较内容 {time} 秒" }
    part_explain(time) { "attribution {time} s", "归因 {time} 秒" }
    part_trace(time) { "tracing {time} s", "跟踪 {time} 秒" }
    notice() {
        "This report shows kernel addresses and memory contents; use --redact to hash them before you share it.",
        "本报告包含内核地址和内存内容；对外提供之前，可用 --redact 将其替换为散列值。"
    }
    notice_redacted() {
        "Kernel addresses, memory contents and the names of processes, files and the like are replaced with hashes in this report.",
        "本报告中的内核地址、内存内容以及进程名、文件名等名称已替换为散列值。"
    }
}
