//! Every sentence of the report, both languages side by side.
//!
//! **Invariant:** a message without its translation does not compile, and neither
//! does one that leaves a fact out in one of the two languages.

use crate::lang::Lang;

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident($($fact:ident),*) { $en:literal, $zh:literal })*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(lang: Lang $(, $fact: &str)*) -> String {
            // Named arguments: one that a language does not use is a compile error.
            match lang {
                Lang::En => format!($en $(, $fact = $fact)*),
                Lang::Zh => format!($zh $(, $fact = $fact)*),
            }
        }
    )*};
}

// The verdict in one sentence.
messages! {
    this_machine() { "This machine", "本机" }
    dumped_machine() { "The machine in this dump", "该转储中的机器" }
    leak(machine, objects, cache, size) {
        "{machine} leaks kernel memory: {objects} objects of slab cache {cache} ({size}) are allocated but nothing in the kernel leads to them any more.",
        "{machine}存在内核内存泄漏：slab 缓存 {cache} 中有 {objects} 个对象（共 {size}）已分配，但内核中已经没有任何指针能找到它们。"
    }
    leak_too(caches) { " It loses objects of {caches} too.", "同样在泄漏的还有：{caches}。" }
    leak_elsewhere(machine) {
        "{machine} leaks kernel memory that is no slab object.",
        "{machine}存在内核内存泄漏，泄漏的不是 slab 对象。"
    }
    suspected(machine, cache, size) {
        "{machine} probably leaks kernel memory: slab cache {cache} ({size}) only ever grows, although something in the kernel still leads to its objects.",
        "{machine}疑似存在内核内存泄漏：slab 缓存 {cache}（{size}）只增不减，尽管内核中仍有指针能找到它的对象。"
    }
    no_leak(lost, objects) {
        "No kernel memory leak found: something in the kernel still leads to all but {lost} of its {objects} objects",
        "未发现内核内存泄漏：内核的 {objects} 个对象中，除 {lost} 个以外都仍能被找到"
    }
    no_leak_at_all(objects) {
        "No kernel memory leak found: something in the kernel still leads to every one of its {objects} objects",
        "未发现内核内存泄漏：内核的 {objects} 个对象全部仍能被找到"
    }
    no_leak_walked(objects) {
        "No kernel memory leak found: {objects} kernel objects were checked",
        "未发现内核内存泄漏：共检查了 {objects} 个内核对象"
    }
    no_leak_in(cache, lost, objects) {
        "Slab cache {cache} does not leak: something in the kernel still leads to all but {lost} of its {objects} objects.",
        "slab 缓存 {cache} 没有泄漏：它的 {objects} 个对象中，除 {lost} 个以外都仍能被找到。"
    }
    no_leak_in_empty(cache) {
        "Slab cache {cache} does not leak: it holds nothing.",
        "slab 缓存 {cache} 没有泄漏：其中没有对象。"
    }
    biggest(what, size) {
        "; apart from the kernel's own code and data, the biggest known user of kernel memory is {what} ({size}).",
        "；除内核自身的代码和数据外，已知占用内核内存最多的是{what}（{size}）。"
    }
    full_stop() { ".", "。" }
    and() { " and ", " 和 " }
    comma() { ", ", "、" }
    the_cache(cache) { "slab cache {cache}", " slab 缓存 {cache}" }
    the_page_tables() { "the page tables", "页表" }
    the_vmalloc_areas() { "vmalloc areas", " vmalloc 区域" }
    the_percpu_memory() { "per-CPU memory", "每 CPU 内存" }
    the_kernel_stacks() { "the stacks of tasks", "任务的内核栈" }
    undetermined(reason) {
        "Could not find out whether kernel memory leaks: {reason}.",
        "无法判断内核内存是否泄漏：{reason}。"
    }
    reason_unknown() { "too little of the memory could be read", "能读取的内存太少" }
    stopped_undetermined(stage) {
        "Stopped before the end, while {stage}: whether kernel memory leaks is not known; what is known so far follows.",
        "提前终止（当时正在{stage}）：尚不能判断内核内存是否泄漏，以下是目前已知的情况。"
    }
    stopped_known(stage) {
        "Stopped before the end, while {stage}. Known so far: ",
        "提前终止（当时正在{stage}）。目前已知："
    }
    stage_open() { "opening the target", "打开目标" }
    stage_census() { "finding the owner of every page", "统计每个页面的归属" }
    stage_walk() { "finding the objects of every slab", "遍历每个 slab 的对象" }
    stage_reach() { "following pointers", "沿指针查找对象" }
    stage_alike() { "comparing contents", "比较对象内容" }
    stage_settle() { "waiting to confirm suspects", "等待复查可疑对象" }
    stage_second_look() { "looking a second time", "复查" }
}

// Why the verdict, and what to do.
messages! {
    lost_of(lost, live, size) {
        "Nothing leads to {lost} of its {live} allocated objects ({size}): no pointer to them is left anywhere, so nobody can ever free them.",
        "在它的 {live} 个已分配对象中，有 {lost} 个（{size}）不可达：任何地方都不再有指向它们的指针，因此再也不可能被释放。"
    }
    confirmed(seconds) {
        "A second look, {seconds} s after the first, found them still allocated and still lost.",
        "{seconds} 秒之后复查，它们仍未释放，也仍不可达。"
    }
    lost_by(cache) {
        "They are lost only because lost objects of {cache} lead here: the fault is there.",
        "它们之所以丢失，只是因为引用它们的 {cache} 对象丢失了：问题出在那里。"
    }
    few_lost(lost) {
        "Nothing leads to {lost} of its objects: too few, or too different from each other, to be a leak.",
        "其中 {lost} 个对象不可达：数量太少或内容差别太大，不构成泄漏。"
    }
    alike(objects, percent) {
        "{objects} objects are alike: at least {percent} % of their bytes are the same, as when one place in the code makes them all.",
        "{objects} 个 object 内容相似（至少 {percent}% 的字节相同），像是由同一处代码分配的。"
    }
    grows(rate) { "It grew by {rate} a second while it was watched.", "观察期间每秒增长 {rate}。" }
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
    see_function(function) {
        "Look at the function {function}: it allocates what is never freed.",
        "检查函数 {function}：它分配的内存没有释放。"
    }
    see_module(module, symbol) {
        "Suspect the module {module} first: the lost objects point to its {symbol}. Tell its maker, or unload or update it.",
        "首先怀疑模块 {module}：丢失的对象指向它的 {symbol}。请联系其开发者，或者卸载、升级该模块。"
    }
    see_symbol(symbol) {
        "The lost objects point to {symbol}: search the source of the kernel and of the loaded modules for code that allocates such objects and does not free them.",
        "丢失的对象指向 {symbol}：请在内核和已加载模块的源代码中查找分配这类对象而没有释放的代码。"
    }
    mend_first(cache) {
        "Mend the leak of {cache} first; this one goes with it.",
        "先解决 {cache} 的泄漏，这里的问题会随之消失。"
    }
    keep_report() {
        "Keep this report (and, with --format json, one for programs) for whoever maintains this kernel.",
        "请保存本报告（可用 --format json 另存一份），交给维护该内核的人。"
    }
    reboot() {
        "Memory lost like this comes back only with a reboot: watch how much is left, and plan one in time.",
        "这样丢失的内存只有重启才能恢复：请关注剩余内存，及时安排重启。"
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

// The rest of the text report.
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
    read_elf() { "Read from a crash dump (ELF)", "读取方式：崩溃转储（ELF）" }
    read_kdump() { "Read from a crash dump (kdump)", "读取方式：崩溃转储（kdump）" }
    one_look() { ", one look", "，检查一次" }
    two_looks(seconds) { ", two looks {seconds} s apart", "，间隔 {seconds} 秒检查两次" }
    cache_title(cache, size) {
        "Slab cache {cache} (a pool of kernel objects of {size} bytes each)",
        "slab 缓存 {cache}（每个对象 {size} 字节的内核对象池）"
    }
    class_page() { "Whole pages", "整页内存" }
    class_vmalloc() { "vmalloc areas", "vmalloc 区域" }
    class_percpu() { "Per-CPU memory", "每 CPU 内存" }
    class_user() { "User memory", "用户内存" }
    merged(aliases) {
        "The kernel keeps these in the same cache: {aliases}",
        "内核把以下缓存合并在一起：{aliases}"
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
    type_line(name, percent) {
        "probable type: {name} ({percent} sure)", "可能的类型：{name}（把握 {percent}）"
    }
    content_title() {
        "What these objects point to (names in the kernel that tell whose they are):",
        "这些 object 指向哪里（内核中的名字，可据此判断归属）："
    }
    content_line(way, objects) { "offset {way}, in {objects}", "偏移 {way}，涉及 {objects}" }
    n_objects(objects) { "{objects} objects", "{objects} 个 object" }
    of_n_objects(objects, sampled) {
        "{objects} of {sampled} objects", "{sampled} 个 object 中的 {objects} 个"
    }
    groups_title() { "Objects of like content:", "内容相似的 object：" }
    group_line(objects, lost, sample) {
        "{objects} objects, {lost} of them lost, for example {sample}",
        "{objects} 个，其中 {lost} 个不可达，例如 {sample}"
    }
    holders_title() { "Who holds them:", "由谁持有：" }
    holder_line(way, objects, size) {
        "{way}: {objects} objects, {size}", "{way}：{objects} 个对象，{size}"
    }
    advice_title() { "What to do:", "建议：" }
    biggest_title() {
        "Biggest slab caches (the pools in which the kernel keeps its objects)",
        "最大的 slab 缓存（内核存放各类对象的内存池）"
    }
    all_caches_title() { "All slab caches", "全部 slab 缓存" }
    head_memory() { "memory", "内存" }
    head_used() { "objects in use", "在用对象" }
    head_room() { "room for", "容量" }
    head_freeable() { "freed if needed", "可回收" }
    head_size() { "object bytes", "对象字节数" }
    head_cache() { "cache", "缓存" }
    head_points() { "its objects point to", "对象指向" }
    yes() { "yes", "是" }
    no() { "no", "否" }
    census_title(total) { "Where the memory is: {total} in all", "内存去向：共 {total}" }
    leaf_free() { "free", "空闲" }
    leaf_programs() { "programs", "程序" }
    leaf_files() { "file cache", "文件缓存" }
    leaf_slab() { "kernel objects (slab)", "内核对象（slab）" }
    leaf_kernel() { "rest of the kernel", "内核其他部分" }
    leaf_reserved() { "set aside at boot", "启动时保留" }
    leaf_unaccounted() { "unaccounted for", "去向不明" }
    looked_at(walked, total, objects, scanned) {
        "Looked at {walked} of {total} slabs with {objects} objects in use; searched {scanned} for pointers.",
        "共检查 {total} 个 slab 中的 {walked} 个，其中在用对象 {objects} 个；在 {scanned} 内存中查找了指针。"
    }
    unknown_number() { "an unknown number", "未知数量" }
    left_out(list) { "Left out: {list}.", "未检查：{list}。" }
    left_out_item(what, why) { "{what} ({why})", "{what}（{why}）" }
    semicolon() { "; ", "；" }
    took(total, parts) { "Took {total} s ({parts}).", "用时 {total} 秒（{parts}）。" }
    took_only(total) { "Took {total} s.", "用时 {total} 秒。" }
    part_census(time) { "page owners {time} s", "页面归属 {time} 秒" }
    part_walk(time) { "slabs {time} s", "遍历 slab {time} 秒" }
    part_reach(time) { "pointers {time} s", "查找指针 {time} 秒" }
    part_similarity(time) { "likeness {time} s", "比较内容 {time} 秒" }
    part_trace(time) { "tracing {time} s", "跟踪 {time} 秒" }
    notice() {
        "This report shows kernel addresses and memory contents; before giving it away, --redact hashes them.",
        "本报告包含内核地址和内存内容；对外提供之前，可用 --redact 将其替换为散列值。"
    }
    notice_redacted() {
        "Kernel addresses and memory contents are replaced by hashes in this report.",
        "本报告中的内核地址和内存内容已替换为散列值。"
    }
}
