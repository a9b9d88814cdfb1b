//! The verdict in one sentence.

use crate::lang::Lang;

messages! {
    this_machine() { "This machine", "本机" }
    dumped_machine() { "The machine in this dump", "该转储中的机器" }
    leak(machine, what, size) {
        "{machine} leaks kernel memory: {what} ({size}) are allocated but unreachable: nothing in the kernel leads to them any more.",
        "{machine}存在内核内存泄漏：{what}（共 {size}）已分配但不可达，内核中已没有任何指针能到达它们。"
    }
    leak_by(machine, function, things, lost, size) {
        "{machine} leaks kernel memory: {function} leaks {things}; {lost} are unreachable ({size})",
        "{machine}存在内核内存泄漏：{function} 分配的 {things}不断泄漏，已有 {lost} 个不可达（{size}）"
    }
    n_objects_of(count, cache) {
        "{count} objects of slab cache {cache}", "slab 缓存 {cache} 中有 {count} 个对象"
    }
    n_blocks(count) { "{count} blocks of pages", "有 {count} 个页块" }
    n_areas(count) { "{count} vmalloc areas", "有 {count} 个 vmalloc 区域" }
    n_percpu(count) { "{count} per-CPU allocations", "有 {count} 个每 CPU 分配" }
    objects_of_cache(cache) { "objects of slab cache {cache}", "slab 缓存 {cache} 对象" }
    objects_of(caches) { "objects of {caches}", "{caches}" }
    blocks() { "blocks of pages", "页块" }
    areas() { "vmalloc areas", "vmalloc 区域" }
    percpu() { "per-CPU allocations", "每 CPU 分配" }
    leak_goes_on(rate) { ", {rate}", "，{rate}" }
    leak_too(things) { " The machine also leaks {things}.", "同样在泄漏的还有：{things}。" }
    suspected(machine, what, size) {
        "{machine} probably leaks kernel memory: {what} ({size}) keeps growing and never shrinks, although something in the kernel still leads to all of it.",
        "{machine}疑似存在内核内存泄漏：{what}（{size}）只增不减，尽管它们全部仍然可达。"
    }
    suspected_grew(machine, what, size, rate, span) {
        "{machine} probably leaks kernel memory: {what} ({size}) grew by {rate} and never shrank in the {span} of watching, although something in the kernel still leads to all of it.",
        "{machine}疑似存在内核内存泄漏：{what}（{size}）在观察的 {span}内只增不减，{rate}，尽管它们全部仍然可达。"
    }
    suspected_by(function) {
        " {function} allocates the largest part of the growth.", "新增的内存中，由 {function} 分配的最多。"
    }
    grew_explained(what, counted) {
        " While the machine was watched, {what} grew, and the number of {counted} explains it.",
        "观察期间有所增长的是{what}，原因是{counted}增多。"
    }
    no_leak(lost, objects) {
        "No kernel memory leak found: all but {lost} of the kernel's {objects} objects can still be reached",
        "未发现内核内存泄漏：内核的 {objects} 个对象中，除 {lost} 个以外全部可达"
    }
    no_leak_at_all(objects) {
        "No kernel memory leak found: all of the kernel's {objects} objects can still be reached",
        "未发现内核内存泄漏：内核的 {objects} 个对象全部可达"
    }
    no_leak_walked(objects) {
        "No kernel memory leak found: {objects} kernel objects were checked",
        "未发现内核内存泄漏：共检查了 {objects} 个内核对象"
    }
    no_leak_in(cache, lost, objects) {
        "Slab cache {cache} does not leak: all but {lost} of its {objects} objects can still be reached.",
        "slab 缓存 {cache} 没有泄漏：它的 {objects} 个对象中，除 {lost} 个以外全部可达。"
    }
    no_leak_in_at_all(cache, objects) {
        "Slab cache {cache} does not leak: all of its {objects} objects can still be reached.",
        "slab 缓存 {cache} 没有泄漏：它的 {objects} 个对象全部可达。"
    }
    no_leak_of(things, lost, objects) {
        "No leak of {things} found, and nothing else was judged: all but {lost} of {objects} can still be reached.",
        "未发现{things}泄漏（其余内存未作判断）：共 {objects} 个，除 {lost} 个以外全部可达。"
    }
    no_leak_of_at_all(things, objects) {
        "No leak of {things} found, and nothing else was judged: all of the {objects} can still be reached.",
        "未发现{things}泄漏（其余内存未作判断）：共 {objects} 个，全部可达。"
    }
    no_leak_of_empty(things) {
        "No leak of {things} found, and nothing else was judged: there are none.",
        "未发现{things}泄漏（其余内存未作判断）：没有这类内存。"
    }
    slab_objects() { "slab objects", " slab 对象" }
    elsewhere(list, option) {
        " Outside of what was asked for there are signs of a leak: {list} unreachable. Run without {option} to have that judged.",
        "在所要求的范围之外还有泄漏的迹象，不可达的有：{list}。去掉 {option} 再次运行即可判断。"
    }
    with_size(what, size) { "{what} ({size})", "{what}（{size}）" }
    no_leak_in_empty(cache) {
        "Slab cache {cache} does not leak: it is empty.", "slab 缓存 {cache} 没有泄漏：其中没有对象。"
    }
    biggest(what, size) {
        "; apart from the kernel's own code and data, the largest use of kernel memory is {what} ({size}).",
        "；除内核自身的代码和数据外，占用内核内存最多的是{what}（{size}）。"
    }
    full_stop() { ".", "。" }
    and() { " and ", " 和 " }
    comma() { ", ", "、" }
    the_cache(cache) { "slab cache {cache}", " slab 缓存 {cache}" }
    the_page_tables() { "the page tables", "页表" }
    the_vmalloc_areas() { "vmalloc areas", " vmalloc 区域" }
    the_percpu_memory() { "per-CPU memory", "每 CPU 内存" }
    the_pages() { "pages allocated directly", "直接分配的页" }
    the_kernel_stacks() { "kernel stacks", "内核栈" }
    the_vmemmap() { "the page structures (vmemmap)", "页描述结构（vmemmap）" }
    the_balloon() {
        "memory given to the hypervisor (balloon) or offline",
        "已交还虚拟机监控器（balloon）或下线的内存"
    }
    the_other_pages() {
        "pages allocated directly, by drivers and the like", "（驱动等）直接分配的页"
    }
    the_slab_memory() { "slab memory", "slab 内存" }
    class_not_found(what) { "{what} was not found", "未找到{what}" }
    class_changed(share, what, size) {
        "{share} of {what} ({size}) could not be judged, because it changed while it was read, again and again",
        "{what}的 {share}（{size}）在读取时反复变化，无法判断"
    }
    class_damaged(share, what, size) {
        "{share} of {what} ({size}) could not be judged, because what describes it is damaged",
        "{what}的 {share}（{size}）因其描述信息损坏而无法判断"
    }
    class_not_in_dump(share, what, size) {
        "{share} of {what} ({size}) could not be judged, because parts of it or of what describes it are not in the dump",
        "{what}的 {share}（{size}）因其自身或其描述信息有一部分不在转储中而无法判断"
    }
    class_not_found_in_dump(what) {
        "{what} was not found, because what describes it is not in the dump",
        "未找到{what}，因为其描述信息不在转储中"
    }
    holes_in_dump(size, parts) {
        "{size} of the kernel's own memory are not in the dump ({parts}), and what looks lost may be held there; whoever wrote it, makedumpfile most likely, took them for something else: dump again with a makedumpfile that is as new as the kernel, or with its option -d 1",
        "转储中缺少内核自身的内存 {size}（{parts}），看似丢失的对象可能被其中的指针引用；写入转储的程序（多半是 makedumpfile）误认了这些页：请使用与内核同样新的 makedumpfile 重新转储，或使用其选项 -d 1"
    }
    holes_in_elf(size, parts) {
        "{size} of the kernel's own memory are not in the dump ({parts}), and what looks lost may be held there; an ELF file does not say which missing pages were only zeroes: dump again without makedumpfile's option -E, and with a makedumpfile that is as new as the kernel",
        "转储中缺少内核自身的内存 {size}（{parts}），看似丢失的对象可能被其中的指针引用；ELF 文件无法说明缺少的页中哪些只是零页：请去掉 makedumpfile 的选项 -E，并使用与内核同样新的 makedumpfile 重新转储"
    }
    holes_in_image(size, parts) {
        "{size} of the kernel's own memory are not in the image ({parts}), and what looks lost may be held there; write it again, with a program that leaves out nothing",
        "内存镜像中缺少内核自身的内存 {size}（{parts}），看似丢失的对象可能被其中的指针引用；请使用不省略任何内存的程序重新写出镜像"
    }
    holes_lost(size, parts) {
        "{size} of the kernel's own memory are not in the dump ({parts}), because the file is cut off or damaged, and what looks lost may be held there; copy it again, or dump again",
        "转储文件不完整或已损坏，缺少内核自身的内存 {size}（{parts}），看似丢失的对象可能被其中的指针引用；请重新复制该文件，或重新转储"
    }
    memory_not_in_dump(pieces) {
        "{pieces} pieces of the kernel's memory are not in the dump, and what looks lost may be held there; dump again with a makedumpfile that is as new as the kernel, or with its option -d 1",
        "转储中缺少内核内存的 {pieces} 块，看似丢失的对象可能被其中的指针引用；请使用与内核同样新的 makedumpfile 重新转储，或使用其选项 -d 1"
    }
    memory_unread(pieces) {
        "{pieces} pieces of the kernel's memory could not be read, and what looks lost may be held there",
        "内核内存的 {pieces} 块无法读取，看似丢失的对象可能被其中的指针引用"
    }
    objects_stood_still(count, name) {
        "{count} objects of {name} that no pointer leads to stood still while others of it came and went, so they may be lost or wait for their turn; run it again in an hour: what is in use will have moved",
        "{name} 中有 {count} 个没有指针指向的对象保持不变，而同一缓存的其他对象不断更替：它们可能已丢失，也可能只是尚未轮到；请一小时后再运行一次，届时仍在使用的对象会发生变化"
    }
    the_vmalloc_memory() { "vmalloc memory", " vmalloc 内存" }
    the_direct_pages() { "memory allocated as pages", "按页分配的内存" }
    undetermined(reason) {
        "Could not determine whether kernel memory leaks: {reason}.", "无法判断内核内存是否泄漏：{reason}。"
    }
    memory_torn() {
        "something looks lost, but it may have moved while the image was written: dump the machine while it stands still",
        "有内容看似丢失，但也可能是在写镜像时移动了：请在机器静止时转储"
    }
    sized_objects_of(count, name, size) {
        "{count} objects of {name} ({size})",
        "{name} 的 {count} 个对象（{size}）"
    }
    caches_torn(caches) {
        "{caches} look lost, but may have moved while the image was written: dump the machine while it stands still",
        "{caches}看似丢失，但也可能是在写镜像时移动了：请在机器静止时转储"
    }
    reason_unknown() { "too little of the memory could be read", "能读取的内存太少" }
    stopped_undetermined(stage) {
        "Stopped before the end, while {stage}: it is not known whether kernel memory leaks; the results so far follow.",
        "提前终止（当时正在{stage}）：尚不能判断内核内存是否泄漏，以下是目前已知的情况。"
    }
    stopped_known(stage) {
        "Stopped before the end, while {stage}. Known so far: ",
        "提前终止（当时正在{stage}）。目前已知："
    }
    stage_unpack() { "unpacking the dump", "解压转储" }
    stage_open() { "opening the target", "打开目标" }
    stage_census() { "finding the owner of every page", "统计每个页面的归属" }
    stage_walk() { "finding the objects of every slab", "遍历每个 slab 的对象" }
    stage_reach() { "following pointers", "沿指针查找对象" }
    stage_alike() { "comparing contents", "比较对象内容" }
    stage_settle() { "waiting to confirm suspects", "等待复查可疑对象" }
    stage_collect() { "watching allocations", "跟踪内存分配" }
    stage_drain() { "waiting for short-lived objects to be freed", "等待短期对象释放" }
    stage_second_look() { "taking the second snapshot", "获取第二次快照" }
}
