//! Why the verdict, and what to do.

use crate::lang::Lang;

messages! {
    lost_of(lost, live, size) {
        "Nothing leads to {lost} of its {live} allocated objects ({size}): no pointer to them is left anywhere, so nobody can ever free them.",
        "在它的 {live} 个已分配对象中，有 {lost} 个（{size}）不可达：任何地方都不再有指向它们的指针，因此再也不可能被释放。"
    }
    lost_blocks(lost, live, size) {
        "Nothing leads to {lost} of the {live} blocks of pages that have no other owner ({size}): neither their addresses nor their page structs are kept anywhere, so nobody can ever free them.",
        "在 {live} 个没有其他归属的页块中，有 {lost} 个（{size}）不可达：任何地方都不再保存它们的地址或 struct page 指针，因此再也不可能被释放。"
    }
    lost_areas(lost, live, size) {
        "Nothing leads to {lost} of the {live} vmalloc areas ({size}): no pointer into them is left anywhere but in the kernel's own list of areas, so nobody can ever free them.",
        "在 {live} 个 vmalloc 区域中，有 {lost} 个（{size}）不可达：除内核自己的区域列表外，任何地方都不再有指向它们的指针，因此再也不可能被释放。"
    }
    lost_percpu(lost, live, size) {
        "Nothing leads to {lost} of the {live} per-CPU allocations ({size} on all CPUs together): no per-CPU pointer to them is left anywhere, so nobody can ever free them.",
        "在 {live} 个每 CPU 分配中，有 {lost} 个（所有 CPU 合计 {size}）不可达：任何地方都不再有指向它们的每 CPU 指针，因此再也不可能被释放。"
    }
    asked_for(function, lost, size) {
        "The kernel notes who asked for each area: {function} asked for {lost} of the lost ones ({size}).",
        "内核记录了每个区域的申请者：丢失的区域中有 {lost} 个（{size}）由 {function} 申请。"
    }
    confirmed(seconds) {
        "A second look, {seconds} s after the first, found them still allocated and still lost.",
        "{seconds} 秒之后复查，它们仍未释放，也仍不可达。"
    }
    lost_by(cache) {
        "They are lost only because lost {cache} lead here: the fault is there.",
        "它们之所以丢失，只是因为引用它们的 {cache}丢失了：问题出在那里。"
    }
    few_lost(lost) {
        "Nothing leads to {lost} of its objects: too few, or too different from each other, to be a leak.",
        "其中 {lost} 个对象不可达：数量太少或内容差别太大，不构成泄漏。"
    }
    alike(objects, percent) {
        "{objects} objects are alike: at least {percent} % of their bytes are the same, as when one place in the code makes them all.",
        "{objects} 个 object 内容相似（至少 {percent}% 的字节相同），像是由同一处代码分配的。"
    }
    grows(rate) { "It grew by {rate} while it was watched.", "观察期间它{rate}。" }
    grows_over(rate, span) {
        "It grew by {rate}, measured over {span}.", "观察期间（{span}）它{rate}。"
    }
    grows_explained(counted, grew_by) {
        "The number of {counted} grew by {grew_by} meanwhile, which explains it.",
        "同一时间{counted}增加了 {grew_by} 个，可以解释它的增长。"
    }
    grows_unexplained() {
        "It never shrank meanwhile, and nothing that programs are seen to hold (files, sockets, processes and the like) grew in step with it.",
        "期间它从未回落，而用户态可见的各种数量（文件、套接字、进程等）都没有随之增长。"
    }
    share(size, percent) {
        "What is lost is {size}, {percent} of this machine's memory.",
        "已丢失 {size}，占本机内存的 {percent}。"
    }
    takes(size, percent) {
        "It takes {size}, {percent} of this machine's memory.",
        "它占用 {size}，为本机内存的 {percent}。"
    }
    outstanding(count, function) {
        "{count} objects that {function} allocated were not freed again.",
        "{function} 分配的对象中有 {count} 个未释放。"
    }
    outstanding_after(count, function, span) {
        "{count} objects that {function} allocated in the {span} that were watched were not freed again.",
        "在观察的 {span}内，{function} 分配的对象中有 {count} 个未释放。"
    }
    outstanding_marked(count) {
        " {count} of them look like the objects that are in memory already.",
        "其中 {count} 个与内存中已有的 object 内容相似。"
    }
    outstanding_lost(count) {
        " Nothing leads to {count} of them, even after what is short-lived had time to drain away.",
        "等短期对象释放完之后再查，其中 {count} 个已不可达。"
    }
    none_lost_now(span) {
        "In the {span} that were watched no function was seen losing more of them.",
        "在观察的 {span}内，没有发现仍在造成丢失的函数。"
    }
    tell_module(module, function) {
        "Report this to whoever maintains the module {module} (its vendor, or the kernel's maintainers), with the lines from \"Outstanding allocations\" on: what {function} allocates there is never freed.",
        "请把“未释放内存汇总”及其后的内容反馈给模块 {module} 的维护者（厂商或内核维护者）：其中 {function} 分配的内存没有释放。"
    }
    tell_kernel(function) {
        "Report this to whoever maintains this kernel (as a rule your distribution), with the lines from \"Outstanding allocations\" on: what {function} allocates is never freed.",
        "请把“未释放内存汇总”及其后的内容反馈给该内核的维护者（通常是发行版厂商）：{function} 分配的内存没有释放。"
    }
    upgrade_module(module) {
        "Look for a newer version of {module} that mends it. Unloading the module ends the loss, but does not give back what is lost.",
        "请查找已修复该问题的 {module} 新版本。卸载该模块可以停止泄漏，但已丢失的内存不会归还。"
    }
    upgrade_kernel() {
        "Look for a newer kernel that mends it.", "请查找已修复该问题的内核版本。"
    }
    look_at(function) {
        "Look at the function {function} first: what it allocates is alike to what is lost.",
        "请先检查函数 {function}：它分配的对象与丢失的对象内容相似。"
    }
    growing(function) {
        "Look at the function {function}: of what is added it allocates the most, and something keeps it.",
        "请检查函数 {function}：新增的部分中它分配得最多，并且一直被保留。"
    }
    watch_longer() {
        "Run this again later and compare: a cache without bound goes on growing, one that fills up does not.",
        "请稍后再次运行并比较：没有上限的缓存会继续增长，而正常填充的缓存会停下来。"
    }
    see_holder(counted) {
        "It is not lost: it goes with the {counted}. If there are too many, look for the program that keeps them.",
        "这些内存没有丢失，它随{counted}增减。如果数量过多，请检查是哪个程序一直占用。"
    }
    see_holder_process(counted, process) {
        "It is not lost: it goes with the {counted}. If there are too many, look at {process} first: more was allocated for it than for any other.",
        "这些内存没有丢失，它随{counted}增减。如果数量过多，请先检查 {process}：为它分配的最多。"
    }
    see_module(module, symbol) {
        "Suspect the module {module} first: the lost objects point to its {symbol}. Tell its maker, or unload or update it.",
        "首先怀疑模块 {module}：丢失的对象指向它的 {symbol}。请联系其开发者，或者卸载、升级该模块。"
    }
    see_symbol(symbol) {
        "The lost objects point to {symbol}: search the source of the kernel and of the loaded modules for code that allocates such objects and does not free them.",
        "丢失的对象指向 {symbol}：请在内核和已加载模块的源代码中查找分配这类对象而没有释放的代码。"
    }
    mend_first() {
        "Mend that leak first; this one goes with it.",
        "先解决那里的泄漏，这里的问题会随之消失。"
    }
    keep_report() {
        "Keep this report (and, with --format json, one for programs) for whoever maintains this kernel.",
        "请保存本报告（可用 --format json 另存一份），交给维护该内核的人。"
    }
    reboot() {
        "Memory lost like this comes back only with a reboot: watch how much is left, and plan one in time.",
        "这样丢失的内存只有重启才能恢复：请关注剩余内存，及时安排重启。"
    }
    reboot_before(span) {
        "Memory lost like this comes back only with a reboot. At the rate that was measured the machine is full in {span}: plan one before that.",
        "这样丢失的内存只有重启才能恢复。按目前的速度，内存将在 {span}后耗尽：请在此之前安排重启。"
    }
    nothing_to_do() {
        "Nothing to do: this is a cache, and the kernel gives it back by itself when programs need memory.",
        "无需处理：这是缓存，程序需要内存时内核会自动释放。"
    }
    mostly_room() {
        "Most of it is free room in slabs that are still partly used, not objects: it is filled again before new memory is taken.",
        "其中大部分是仍在部分使用的 slab 里的空位，而不是对象：内核会先填满它们，再申请新内存。"
    }
    compare_later() {
        "It has an owner and is not lost. If it troubles you, run this again in some hours and compare.",
        "这些对象仍有主人，并未丢失。如有疑虑，可在几小时后再次运行并比较结果。"
    }
}
