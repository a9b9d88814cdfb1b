//! Why something could not be done, and what to do about it.
//!
//! The English ones are the words of the errors themselves: a test of the program holds the two together.

#![allow(missing_docs)] // Each is its own sentence.

use crate::lang::Lang;

// Why BPF programs could not be loaded, or watch nothing.
messages! {
    no_events() {
        "the kernel's BTF has no allocation events (is it built with CONFIG_TRACEPOINTS?)",
        "内核的 BTF 中没有内存分配事件（编译时是否启用了 CONFIG_TRACEPOINTS？）"
    }
    no_event(event) {
        "cannot watch the kernel's event {event} (is CONFIG_TRACEPOINTS set?)",
        "无法跟踪内核事件 {event}（是否启用了 CONFIG_TRACEPOINTS？）"
    }
    bpf_needs(capability) {
        "cannot load BPF programs: need {capability} (run as root)",
        "无法加载 BPF 程序：需要 {capability}（请以 root 运行）"
    }
    bpf_forbidden(why) {
        "cannot load BPF programs: {why}; a container, seccomp or security policy may forbid it (run on the host, outside of containers)",
        "无法加载 BPF 程序：{why}；可能是容器、seccomp 或安全策略禁止（请在宿主机上、容器之外运行）"
    }
    bpf_no_helper() {
        "the kernel does not let BPF programs read its memory: lockdown is in confidentiality mode (boot with lockdown=integrity, or diagnose a vmcore), or it is older than Linux 5.10",
        "内核不允许 BPF 程序读取其内存：lockdown 处于 confidentiality 模式（请以 lockdown=integrity 启动，或者诊断 vmcore），或内核早于 Linux 5.10"
    }
    bpf_unsupported(why) {
        "cannot load BPF programs: {why}; that takes Linux 5.10 or later with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS",
        "无法加载 BPF 程序：{why}；需要 Linux 5.10 或更新版本，并启用 CONFIG_BPF_SYSCALL 和 CONFIG_BPF_EVENTS"
    }
    bpf_setup(why) {
        "cannot set up the memory of BPF programs: {why}", "无法建立 BPF 程序所用的内存：{why}"
    }
    bpf_no_type(name) {
        "the kernel's BTF has no {name}: give the one that belongs to it with --btf FILE",
        "内核的 BTF 中没有 {name}：请用 --btf FILE 给出与该内核一致的 BTF"
    }
    bpf_not_found(what) {
        "cannot find {what} of this kernel through BPF; use --reader kcore or a vmcore",
        "无法通过 BPF 找到该内核的 {what}；请使用 --reader kcore，或者诊断 vmcore"
    }
    bpf_cancelled() {
        "stopped while looking for the kernel's address space", "在查找内核地址空间时被终止"
    }
}

// Why the running kernel cannot be read.
messages! {
    needs_privilege() {
        "cannot read this kernel's memory: need CAP_SYS_RAWIO or CAP_SYS_ADMIN (run as root)",
        "无法读取该内核的内存：需要 CAP_SYS_RAWIO 或 CAP_SYS_ADMIN（请以 root 运行）"
    }
    hidden_ram() {
        "/proc/iomem hides where RAM is: need CAP_SYS_ADMIN (run as root)",
        "/proc/iomem 隐藏了内存的位置：需要 CAP_SYS_ADMIN（请以 root 运行）"
    }
    lockdown() {
        "cannot read this kernel's memory: lockdown is in confidentiality mode; boot with lockdown=integrity, or diagnose a crash dump with --vmcore",
        "无法读取该内核的内存：lockdown 处于 confidentiality 模式；请以 lockdown=integrity 启动，或者用 --vmcore 诊断崩溃转储"
    }
    no_kcore() {
        "/proc/kcore is absent or hidden: use --reader bpf, or run outside of the container",
        "/proc/kcore 不存在或被隐藏：请使用 --reader bpf，或者在容器之外运行"
    }
    kcore_needs(capability) {
        "cannot read /proc/kcore: need {capability} (run as root, outside of containers)",
        "无法读取 /proc/kcore：需要 {capability}（请以 root 在容器之外运行）"
    }
    kcore_forbidden() {
        "cannot read /proc/kcore: the system forbids it although no capability is missing (lockdown, or a security policy); use --reader bpf",
        "无法读取 /proc/kcore：权能齐全，但系统禁止读取（lockdown 或安全策略）；请使用 --reader bpf"
    }
    no_reader(kcore, bpf) { "{kcore}; and {bpf}", "{kcore}；并且{bpf}" }
    kallsyms_hidden() {
        "/proc/kallsyms hides its addresses: set kernel.kptr_restrict to 1 or 0 and run with CAP_SYSLOG",
        "/proc/kallsyms 隐藏了地址：请将 kernel.kptr_restrict 设为 1 或 0，并以 CAP_SYSLOG 运行"
    }
    kallsyms_empty() {
        "there are no kernel symbols in this table", "该符号表中没有内核符号"
    }
    kallsyms_corrupt(what) {
        "the kernel's symbol table is damaged: {what}", "内核符号表已损坏：{what}"
    }
    unreadable(address, why) {
        "cannot read kernel memory at {address}: {why}", "无法读取地址 {address} 处的内核内存：{why}"
    }
    unmapped() { "not mapped", "未映射" }
    absent() { "not in the image", "转储中没有" }
    refused_by_system() { "refused by the system", "被系统拒绝" }
}

// Why a file cannot be used.
messages! {
    file_unreadable(path, why) { "cannot read {path}: {why}", "无法读取 {path}：{why}" }
    file_unwritable(path, why) { "cannot write {path}: {why}", "无法写入 {path}：{why}" }
    not_a_file(path, what) {
        "cannot use {path}: it is {what}, not a regular file", "无法使用 {path}：它是{what}，不是普通文件"
    }
    a_directory() { "a directory", "目录" }
    a_pipe() { "a pipe", "管道" }
    a_socket() { "a socket", "套接字" }
    a_device() { "a device", "设备" }
    file_empty(path) {
        "{path} is empty: was the disk full when it was written?", "{path} 是空文件：写入时磁盘是否已满？"
    }
    file_truncated(path, missing) {
        "{path} is cut off: {missing} bytes of its memory are missing, and without them nothing can be told; copy it again, or dump again",
        "{path} 不完整：缺少 {missing} 字节内存，没有它们无法得出结论；请重新复制，或者重新转储"
    }
    not_one_dump(other, path) {
        "{other} and {path} are no parts of one dump: give one file, or every part of one split dump",
        "{other} 和 {path} 不属于同一个转储：请给出一个文件，或者同一个拆分转储的所有部分"
    }
    same_part(other, path) {
        "{other} and {path} are the same part of a split dump: give each part once",
        "{other} 和 {path} 是拆分转储的同一部分：每个部分请只给出一次"
    }
    missing_part(path, first, last) {
        "{path} is one part of a split dump, and the part with pages {first} to {last} is missing: give every part (--vmcore PART --vmcore PART …, or a quoted pattern)",
        "{path} 是拆分转储的一部分，而包含页 {first} 到 {last} 的部分缺失：请给出所有部分（--vmcore PART --vmcore PART …，或者加引号的通配符）"
    }
    no_room(path, folder, needed, free) {
        "{path} is packed, and unpacking it takes at least {needed} bytes in {folder}, where {free} are free: make room, or set TMPDIR to a folder that has it",
        "{path} 是压缩文件，解压至少需要 {folder} 中的 {needed} 字节，而那里只有 {free} 字节可用：请腾出空间，或者把 TMPDIR 设为有足够空间的目录"
    }
    no_scratch(path, folder, why) {
        "cannot unpack {path} to {folder}: {why}; set TMPDIR to a folder that can be written",
        "无法将 {path} 解压到 {folder}：{why}；请把 TMPDIR 设为可写的目录"
    }
    no_match(pattern) { "no file matches {pattern}", "没有与 {pattern} 匹配的文件" }
    cut_while_read(path) {
        "{path} was cut off while it was read, or its disk failed: nothing is known; copy it again",
        "{path} 在读取时被截断，或者磁盘出错：没有得到任何结论；请重新复制"
    }
    no_vmcoreinfo(path, what) {
        "{path} has no {what}: is it a Linux kernel's dump? If a virtual machine's, add the vmcoreinfo device (QEMU: -device vmcoreinfo) and dump again",
        "{path} 中没有 {what}：它是 Linux 内核的转储吗？如果是虚拟机的转储，请添加 vmcoreinfo 设备（QEMU：-device vmcoreinfo）后重新转储"
    }
    file_and_why(path, why) { "{path} {why}", "{path} {why}" }
    no_type_info(object) {
        "{object} has no type information (CONFIG_DEBUG_INFO_BTF): give it with --btf FILE",
        "{object} 没有类型信息（CONFIG_DEBUG_INFO_BTF）：请用 --btf FILE 给出"
    }
    bad_type_info(path, why) {
        "cannot use the type information in {path}: {why}", "无法使用 {path} 中的类型信息：{why}"
    }
    no_symbols(path) {
        "{path} has no kernel symbols that can be read: give them with --kallsyms FILE",
        "{path} 中没有可读的内核符号：请用 --kallsyms FILE 给出"
    }
    bad_symbols(path, why) {
        "cannot use the symbols in {path}: {why}", "无法使用 {path} 中的符号：{why}"
    }
    foreign_types(path) {
        "the type information in {path} is another kernel's: give this kernel's own",
        "{path} 中的类型信息属于另一个内核：请给出该内核自己的"
    }
    foreign_symbols(path) {
        "the symbols in {path} are not of this kernel: take /proc/kallsyms of the very boot that crashed",
        "{path} 中的符号不属于该内核：请取崩溃那次启动的 /proc/kallsyms"
    }
    not_elf() {
        "is no crash dump of a kind that is known: give a vmcore of kdump, virsh dump or QEMU; a raw image of memory needs --ram-map",
        "不是已知格式的崩溃转储：请给出 kdump、virsh dump 或 QEMU 生成的 vmcore；原始内存镜像还需要 --ram-map"
    }
    packed(with) {
        "is packed ({with}), and no crash dump is inside: give a packed vmcore, or unpack it and see what it is",
        "是压缩文件（{with}），但其中没有崩溃转储：请给出压缩的 vmcore，或者解压后查看内容"
    }
    foreign(what) {
        "is {what}: give a vmcore of kdump, virsh dump --memory-only or QEMU's dump-guest-memory",
        "是 {what}：请给出 kdump、virsh dump --memory-only 或 QEMU dump-guest-memory 生成的 vmcore"
    }
    no_core() {
        "is an ELF file, but no core dump (a vmlinux, or a program?): give the vmcore",
        "是 ELF 文件，但不是 core 转储（是 vmlinux 或程序吗？）：请给出 vmcore"
    }
    running_kernel() {
        "is the memory of the running kernel: leave --vmcore out to diagnose that",
        "是正在运行的内核的内存：去掉 --vmcore 即可诊断"
    }
    other_machine(machine) {
        "is of {machine}; only x86-64 is supported: diagnose it with `crash` or `drgn`",
        "属于 {machine}；目前只支持 x86-64：请用 `crash` 或 `drgn` 诊断"
    }
    damaged_core(what) {
        "is damaged or cut off: {what}; copy it again, or dump again",
        "已损坏或不完整：{what}；请重新复制，或者重新转储"
    }
    not_btf() { "these bytes are not little-endian BTF", "内容不是小端序的 BTF" }
    btf_version(version) {
        "BTF version {version} is unknown to this build", "本程序不认识 BTF 版本 {version}"
    }
    btf_corrupt(what, at) {
        "the BTF is damaged: {what} at byte {at}", "BTF 已损坏：{what}，位于第 {at} 字节"
    }
}

// Why a kernel cannot be walked, or has not what was asked for.
messages! {
    no_anchor(what) {
        "cannot find {what} of this kernel: give its symbols with --kallsyms FILE",
        "找不到该内核的 {what}：请用 --kallsyms FILE 给出其符号"
    }
    no_slab() {
        "found no slab, but no Linux kernel runs without: its memory is damaged here, or the type information is another kernel's (give its own with --btf FILE)",
        "没有找到任何 slab，而 Linux 内核不可能没有 slab：要么这里的内存已损坏，要么类型信息属于另一个内核（请用 --btf FILE 给出该内核自己的）"
    }
    no_type(name) {
        "the kernel's type information has no {name}: is it this kernel's?",
        "内核类型信息中没有 {name}：它属于该内核吗？"
    }
    other_allocator(name) {
        "this kernel uses the allocator {name}; only SLUB is supported (CONFIG_SLUB)",
        "该内核使用分配器 {name}；目前只支持 SLUB（CONFIG_SLUB）"
    }
    no_such_cache(name) {
        "no slab cache is named {name}: see /proc/slabinfo or --all-caches for names",
        "没有名为 {name} 的 slab 缓存：名称可从 /proc/slabinfo 或 --all-caches 查得"
    }
    no_such_cache_but(name, near) {
        "no slab cache is named {name} (did you mean {near}?): see /proc/slabinfo or --all-caches for names",
        "没有名为 {name} 的 slab 缓存（是否指 {near}？）：名称可从 /proc/slabinfo 或 --all-caches 查得"
    }
    stopped_opening() {
        "stopped before any memory was looked at: nothing is known yet", "在读取任何内存之前被终止：尚无结论"
    }
    stopped_half_way() {
        "stopped before the end: nothing is known yet", "提前终止：尚无结论"
    }
    no_object(address) {
        "{address} lies in no slab object, block, area or per-CPU allocation: `sysak inspect addr` shows what it is",
        "{address} 不在任何 slab 对象、页块、vmalloc 区域或每 CPU 分配中：`sysak inspect addr` 可显示它是什么"
    }
    name_of_other_class(name) {
        "-n {name} names a slab cache: use it with -t slab or without -t",
        "-n {name} 指定的是 slab 缓存：请与 -t slab 一起使用，或去掉 -t"
    }
    no_dump() {
        "which crash dump? name its file: sysak inspect dump FILE", "要查看哪个崩溃转储？请给出文件：sysak inspect dump FILE"
    }
    no_signals(why) { "cannot watch for Ctrl-C: {why}", "无法捕获 Ctrl-C：{why}" }
}
