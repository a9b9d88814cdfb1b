//! How the machine was watched, how fast it grew, and the units of both.

use crate::lang::Lang;

// What was watched, and what that is worth.
messages! {
    watched(caches, collect, drain) {
        "Watched allocations and frees of {caches} for {collect}, then only frees for {drain}, so that short-lived objects could be freed.",
        "跟踪{caches}的分配和释放 {collect}，随后只跟踪释放 {drain}，等短期对象释放完。"
    }
    watched_collect(caches, collect) {
        "Watched allocations and frees of {caches} for {collect}.",
        "跟踪{caches}的分配和释放 {collect}。"
    }
    watching(events, outstanding) {
        "{events} events, {outstanding} not freed yet", "{events} 次事件，{outstanding} 个未释放"
    }
    only_ascii(encoding) {
        "this terminal's encoding is {encoding}, not UTF-8: the report is in English; for Chinese use a UTF-8 terminal, or --lang zh and a UTF-8 reader",
        "该终端的编码是 {encoding}，不是 UTF-8：报告改用英文；需要中文时请使用 UTF-8 终端，或者加 --lang zh 并以 UTF-8 方式查看"
    }
    watching_most(function) { ", most by {function}", "，最多：{function}" }
    followed_caches(list) { "{list}", " {list} " }
    all_slab_caches() { "all slab caches", "所有 slab 缓存" }
    seen(events, recorded, outstanding) {
        " Saw {events} events and recorded {recorded} allocations; {outstanding} of them were not freed.",
        "共看到 {events} 次事件，记录 {recorded} 次分配，其中 {outstanding} 次未释放。"
    }
    ended_conclusive() {
        " Ended early: watching longer would not change the result.", "提前结束：继续等待不会改变结论。"
    }
    ended_quiet() {
        " Ended early: nothing is suspicious and nothing grows.", "提前结束：没有可疑之处，内存也没有增长。"
    }
    ended_time_limit() { " Ended at the time limit.", "到达时限后结束。" }
    ended_interrupted() { " Ended by the user.", "由用户手动终止。" }
    overhead(percent) {
        " This used an estimated {percent} % of one CPU.", "估计占用单个 CPU 的 {percent}%。"
    }
    lost_records(records) {
        "{records} records were dropped for lack of space: the lists may be incomplete, but no function is accused wrongly.",
        "有 {records} 条记录因空间不足而丢弃：列表可能不完整，但不会误报任何函数。"
    }
    one_in(number) {
        "To keep the cost low, only one in {number} allocations was recorded: the counts cover only those, the real ones are higher.",
        "为控制开销，每 {number} 次分配只记录 1 次：表中的次数只是被记录的部分，实际次数更多。"
    }
    stacks_thinned() {
        "To keep the cost low, call stacks were recorded for only some of the allocations.",
        "为控制开销，只对一部分分配采集了调用栈。"
    }
    wait_more(span, seconds) {
        "At the rate seen so far, a proof needs {span} more of watching: run again with -i {seconds}.",
        "按目前看到的速度，还需再观察约 {span}才能证明：请用 -i {seconds} 再次运行。"
    }
    refused(reason) {
        "Allocations could not be watched, so the allocating functions are not known: {reason}.",
        "无法跟踪内存分配，因此不知道是哪个函数分配的：{reason}。"
    }
    dump_has_no_future() {
        "Allocations in a crash dump cannot be watched: this report relies on the memory contents alone.",
        "崩溃转储中无法跟踪新的分配：本报告只依据转储中的内存内容。"
    }
}

// How fast it grew.
messages! {
    trend_grew(rate, span) {
        "Unreclaimable kernel memory (what the kernel cannot take back when programs need it) grew by {rate}, measured over {span}",
        "不可回收的内核内存（程序需要内存时内核无法收回的部分）{rate}（观察 {span}）"
    }
    trend_full(span) {
        "; at this rate the machine runs out of memory in {span}.", "；按此速度，内存将在 {span}后耗尽。"
    }
    trend_lost(rate) { " Unreachable memory grew by {rate}", "不可达的内存{rate}" }
    trend_short() {
        " Measured over so short a time, this is only a rough figure.", "观察时间很短，数字仅供参考。"
    }
    a_second(size) { "{size} a second", "每秒增长 {size}" }
    a_minute(size) { "{size} a minute", "每分钟增长 {size}" }
    an_hour(size) { "{size} an hour", "每小时增长 {size}" }
    a_day(size) { "{size} a day", "每天增长 {size}" }
    every_second(size) { "{size} more every second", "每秒再增加 {size}" }
    every_minute(size) { "{size} more every minute", "每分钟再增加 {size}" }
    every_hour(size) { "{size} more every hour", "每小时再增加 {size}" }
    every_day(size) { "{size} more every day", "每天再增加 {size}" }
    plain_bytes(number) { "{number} bytes", "{number} 字节" }
    in_seconds(number) { "{number} s", "{number} 秒" }
    in_minutes(number) { "{number} minutes", "{number} 分钟" }
    in_hours(number) { "{number} hours", "{number} 小时" }
    in_days(number) { "{number} days", "{number} 天" }
    in_years(number) { "{number} years", "{number} 年" }
}

// What user space can count.
messages! {
    open_files() { "open files", "打开的文件" }
    inodes() { "inodes in memory", "内存中的 inode" }
    dentries() { "directory entries in memory", "内存中的目录项" }
    sockets() { "sockets", "套接字" }
    threads() { "threads", "线程" }
    mounts() { "mounts", "挂载点" }
    keys() { "keys", "密钥" }
    cgroups() { "control groups", "控制组（cgroup）" }
    connections() { "tracked connections", "被跟踪的连接（conntrack）" }
    modules() { "loaded modules", "已加载的模块" }
    balloon_pages() { "pages in the hypervisor's balloon", "虚拟机气球（balloon）中的页" }
    unread_bytes() { "unread bytes in pipes and sockets", "管道和套接字中待读数据的字节数" }
}
