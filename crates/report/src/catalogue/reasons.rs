//! Why the verdict, and what to do.

use crate::lang::Lang;

messages! {
    lost_of(lost, live, size) {
        "{lost} of its {live} allocated objects ({size}) are unreachable: no pointer in live memory leads to them any more, so nothing can ever free them.",
        "在它的 {live} 个已分配对象中，有 {lost} 个（{size}）不可达：在用内存中已没有任何指针能到达它们，因此再也无法释放。"
    }
    lost_blocks(lost, live, size) {
        "{lost} of the {live} blocks of pages that have no other owner ({size}) are unreachable: neither their addresses nor pointers to their page structs are left in live memory, so nothing can ever free them.",
        "在 {live} 个没有其他归属的页块中，有 {lost} 个（{size}）不可达：在用内存中已没有它们的地址，也没有指向其 struct page 的指针，因此再也无法释放。"
    }
    lost_areas(lost, live, size) {
        "{lost} of the {live} vmalloc areas ({size}) are unreachable: no pointer into them is left in live memory except in the kernel's own list of areas, so nothing can ever free them.",
        "在 {live} 个 vmalloc 区域中，有 {lost} 个（{size}）不可达：除内核自己的区域列表外，在用内存中已没有指向它们的指针，因此再也无法释放。"
    }
    lost_percpu(lost, live, size) {
        "{lost} of the {live} per-CPU allocations ({size} on all CPUs together) are unreachable: no per-CPU pointer to them is left in live memory, so nothing can ever free them.",
        "在 {live} 个每 CPU 分配中，有 {lost} 个（所有 CPU 合计 {size}）不可达：在用内存中已没有指向它们的每 CPU 指针，因此再也无法释放。"
    }
    asked_for(function, lost, size) {
        "The kernel records who requested each area: {function} requested {lost} of the unreachable ones ({size}).",
        "内核记录了每个区域的申请者：不可达的区域中有 {lost} 个（{size}）由 {function} 申请。"
    }
    confirmed(seconds) {
        "A second snapshot, {seconds} s after the first, found them still allocated and still unreachable.",
        "{seconds} 秒之后的第二次快照显示，它们仍未释放，也仍不可达。"
    }
    lost_by(cache) {
        "Only unreachable {cache} still point to them: the fault is there.",
        "只有不可达的 {cache}还引用它们：问题出在那里。"
    }
    few_lost(lost) {
        "{lost} of its objects are unreachable: too few, or too different from each other, to be a leak.",
        "其中 {lost} 个对象不可达：数量太少或内容差别太大，不构成泄漏。"
    }
    alike(objects, percent) {
        "{objects} objects are similar: at least {percent} % of their bytes are the same, as if one place in the code allocated them all.",
        "{objects} 个 object 内容相似（至少 {percent}% 的字节相同），像是由同一处代码分配的。"
    }
    built_alike(objects) {
        "{objects} objects are built alike: zeros, numbers and pointers stand at the same places in them, \
         as if one place in the code allocated them all.",
        "{objects} 个 object 的构成相同（零、数值和指针位于相同的偏移处），像是由同一处代码分配的。"
    }
    cache_destroyed() {
        "The owner of this cache destroyed it while these objects were left, as a module does that is unloaded: no code can free them any more.",
        "该缓存已被其所有者销毁（例如模块卸载时），而这些对象仍留在其中，已没有代码能释放它们。"
    }
    grows(rate) { "It grew by {rate} while it was watched.", "观察期间它{rate}。" }
    grows_over(rate, span) {
        "It grew by {rate}, measured over {span}.", "观察期间（{span}）它{rate}。"
    }
    grows_explained(counted, grew_by) {
        "The number of {counted} grew by {grew_by} in the same time, which explains it.",
        "同一时间{counted}增加了 {grew_by} 个，可以解释这一增长。"
    }
    grows_unexplained() {
        "It never shrank in that time, and nothing that programs visibly hold (files, sockets, processes and the like) grew along with it.",
        "期间它从未回落，而用户态可见的各种数量（文件、套接字、进程等）都没有随之增长。"
    }
    share(size, percent) {
        "Unreachable memory here: {size}, {percent} of this machine's memory.",
        "不可达的内存共 {size}，占本机内存的 {percent}。"
    }
    takes(size, percent) {
        "It uses {size}, {percent} of this machine's memory.", "它占用 {size}，占本机内存的 {percent}。"
    }
    outstanding(count, function) {
        "{count} objects that {function} allocated were not freed.",
        "{function} 分配的对象中有 {count} 个未释放。"
    }
    outstanding_after(count, function, span) {
        "Of the objects that {function} allocated in the {span} of watching, {count} were not freed.",
        "在观察的 {span}内，{function} 分配的对象中有 {count} 个未释放。"
    }
    outstanding_marked(count) {
        " {count} of them are similar to the suspect objects already in memory.",
        "其中 {count} 个与内存中已有的可疑 object 内容相似。"
    }
    outstanding_lost(count) {
        " {count} of them are unreachable, even after short-lived objects had time to be freed.",
        "等短期对象释放完之后再查，其中 {count} 个已不可达。"
    }
    none_lost_now(span) {
        "In the {span} of watching no function was seen leaking more of them.",
        "在观察的 {span}内，没有发现仍在造成泄漏的函数。"
    }
    tell_module(module, function) {
        "Report this to whoever maintains the module {module} (its vendor, or the kernel's maintainers), with everything from \"Outstanding allocations\" on: what {function} allocates there is never freed.",
        "请把“未释放内存汇总”及其后的内容反馈给模块 {module} 的维护者（厂商或内核维护者）：其中 {function} 分配的内存没有释放。"
    }
    tell_kernel(function) {
        "Report this to whoever maintains this kernel (usually your distribution), with everything from \"Outstanding allocations\" on: what {function} allocates is never freed.",
        "请把“未释放内存汇总”及其后的内容反馈给该内核的维护者（通常是发行版厂商）：{function} 分配的内存没有释放。"
    }
    upgrade_module(module) {
        "Look for a newer version of {module} that fixes it. Unloading the module stops the leak, but does not bring back the memory already leaked.",
        "请查找已修复该问题的 {module} 新版本。卸载该模块可以停止泄漏，但已泄漏的内存不会归还。"
    }
    upgrade_kernel() { "Look for a newer kernel that fixes it.", "请查找已修复该问题的内核版本。" }
    counted_by(function) {
        "{function} allocates these objects for everybody, and they are counted: each is freed when its last reference is given back. Look for the code that took a reference and lost it, not for the code that allocates.",
        "这些对象由 {function} 统一分配，并使用引用计数：最后一个引用归还时才会释放。应查找取得引用而没有归还的代码，而不是分配它们的代码。"
    }
    counted_unseen() {
        "These objects are counted: each is freed when its last reference is given back. Look for the code that took a reference and lost it, not for the code that allocates.",
        "这些对象使用引用计数：最后一个引用归还时才会释放。应查找取得引用而没有归还的代码，而不是分配它们的代码。"
    }
    counted_takers(list) {
        "Modules that were not built with this kernel and take such references: {list}. Look at these first; taking references is no proof.",
        "以下不随该内核构建的模块会取得此类引用：{list}。请先检查它们，但这本身并不是证据。"
    }
    counted_taker(module, function, calls) {
        "{module} ({function} calls {calls})", "{module}（{function} 调用 {calls}）"
    }
    counted_no_takers() {
        "No module that was not built with this kernel calls a function that gives such a reference. One that the compiler takes in place leaves no call, so this excludes nobody.",
        "没有发现不随该内核构建的模块调用取得此类引用的函数。由编译器内联的引用操作不留下调用，因此不能据此排除任何模块。"
    }
    look_at(function) {
        "Look at the function {function} first: what it allocates is similar to the unreachable objects.",
        "请先检查函数 {function}：它分配的对象与不可达的对象内容相似。"
    }
    growing(function) {
        "Look at the function {function}: it allocates the largest part of the growth, and something keeps that memory in use.",
        "请检查函数 {function}：新增的内存中由它分配的最多，并且一直未被释放。"
    }
    watch_longer() {
        "Run this again later and compare: a cache without a limit keeps growing, one that is only filling up stops.",
        "请稍后再次运行并比较：没有上限的缓存会继续增长，而正常填充的缓存会停下来。"
    }
    see_holder(counted) {
        "It is not a leak: this memory is freed along with the {counted}. If there are too many, look for the program that keeps them.",
        "这不是泄漏：这些内存随{counted}增减。如果数量过多，请检查是哪个程序一直占用。"
    }
    see_holder_process(counted, process) {
        "It is not a leak: this memory is freed along with the {counted}. If there are too many, look at {process} first: more was allocated for it than for any other process.",
        "这不是泄漏：这些内存随{counted}增减。如果数量过多，请先检查 {process}：为它分配的最多。"
    }
    see_module(module, symbol) {
        "Suspect the module {module} first: the objects point to its {symbol}. Contact its maintainers, or update or unload it.",
        "首先怀疑模块 {module}：这些对象指向它的 {symbol}。请联系其维护者，或者升级、卸载该模块。"
    }
    see_symbol(symbol) {
        "The objects point to {symbol}: search the source of the kernel and of the loaded modules for code that allocates such objects and does not free them.",
        "这些对象指向 {symbol}：请在内核和已加载模块的源代码中查找分配这类对象而没有释放的代码。"
    }
    mend_first() { "Fix that leak first; this one goes away with it.", "请先修复那里的泄漏，这里的问题会随之消失。" }
    look_through(things, option) {
        "Look at the unreachable {things} next (sysak memleak {option}): once they are freed, these are freed too.",
        "请接着检查不可达的 {things}（sysak memleak {option}）：它们释放之后，这里的也会随之释放。"
    }
    keep_report() {
        "Keep this report (and one for programs, with --format json) for whoever maintains this kernel.",
        "请保存本报告（可用 --format json 另存一份），交给维护该内核的人。"
    }
    reboot() {
        "Only a reboot brings leaked memory back: watch how much memory is left, and plan a reboot in time.",
        "已泄漏的内存只有重启才能恢复：请关注剩余内存，及时安排重启。"
    }
    reboot_before(span) {
        "Only a reboot brings leaked memory back. At the measured rate the machine runs out of memory in {span}: plan a reboot before that.",
        "已泄漏的内存只有重启才能恢复。按测得的速度，内存将在 {span}后耗尽：请在此之前安排重启。"
    }
    nothing_to_do() {
        "Nothing to do: this is a cache, and the kernel frees it by itself when programs need memory.",
        "无需处理：这是缓存，程序需要内存时内核会自动释放。"
    }
    mostly_room() {
        "Most of it is free space in slabs that are still partly used, not objects: the kernel fills that space before it takes new memory.",
        "其中大部分是仍在部分使用的 slab 里的空闲空间，而不是对象：内核会先用完这些空间，再申请新内存。"
    }
    compare_later() {
        "It has an owner and is not a leak. If in doubt, run this again in a few hours and compare.",
        "这些内存仍有持有者，不是泄漏。如有疑虑，可在几小时后再次运行并比较结果。"
    }
}
