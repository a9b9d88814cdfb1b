//! What `sysak inspect dump` says.

use crate::lang::Lang;

messages! {
    dump_title(format, size) { "Crash dump: {format}, {size}", "崩溃转储：{format}，{size}" }
    format_elf() { "ELF", "ELF 格式" }
    format_kdump(version) { "makedumpfile's format, version {version}", "makedumpfile 格式，版本 {version}" }
    format_lime() { "LiME", "LiME 格式" }
    format_vmware() { "memory of a VMware machine", "VMware 虚拟机的内存" }
    format_xen() { "Xen (xl dump-core)", "Xen 格式（xl dump-core）" }
    format_raw() { "raw image of memory", "原始内存镜像" }
    dump_flattened(format) { "{format}, flattened", "{format}，扁平（flattened）" }
    dump_files(format, files) { "{format}, {files} files", "{format}，{files} 个文件" }
    dump_packed_with(format, with) { "{format}, packed with {with}", "{format}，用 {with} 压缩" }
    dump_pages(present, zero, excluded) {
        "Memory: {present} in the file, {zero} of zeros, {excluded} left out",
        "内存：文件中有 {present}，全零 {zero}，未写入 {excluded}"
    }
    dump_packed(ways) { "Pages in the file: {ways}", "文件中的页：{ways}" }
    packed_raw(pages) { "{pages} as they are", "{pages} 个未压缩" }
    packed_with(pages, codec) { "{pages} packed with {codec}", "{pages} 个用 {codec} 压缩" }
    packed_unknown(pages) { "{pages} damaged", "{pages} 个已损坏" }
    dump_filter(level, kinds) { "Filter (dump level {level}): without {kinds}", "过滤（dump level {level}）：不含{kinds}" }
    dump_no_filter() { "Filter: none (dump level 0)", "过滤：无（dump level 0）" }
    dump_filter_unseen() { "Filter: none that the file shows", "过滤：文件中看不出有过滤" }
    dump_filter_unknown() {
        "Filter: the file does not say which pages were left out", "过滤：文件没有说明哪些页未写入"
    }
    filter_zero() { "pages of zeros", "全零页" }
    filter_cache() { "page cache", "页缓存" }
    filter_private_cache() { "private page cache", "私有页缓存" }
    filter_user() { "memory of programs", "程序的内存" }
    filter_free() { "free pages", "空闲页" }
    dump_cpus(cpus) { "CPUs: {cpus}", "CPU 数：{cpus}" }
    dump_crashed(when) { "Crashed: {when}", "崩溃时间：{when}" }
    dump_written(when) { "Written: {when}", "写入时间：{when}" }
    dump_panic(message) { "Panic: {message}", "panic 信息：{message}" }
    dump_oops(message) { "Last error in the kernel's log: {message}", "内核日志中最近的错误：{message}" }
    dump_no_panic() { "No panic in the kernel's log", "内核日志中没有 panic" }
    dump_found(symbols, types) { "Found: {symbols} symbols, {types} types", "已找到：{symbols} 个符号，{types} 个类型" }
    dump_missing(parts) { "Missing: {parts}", "缺少：{parts}" }
    part_vmcoreinfo_note() {
        "the VMCOREINFO note (the kernel's copy in RAM serves)", "VMCOREINFO 注释（改用内存中的副本）"
    }
    part_registers() { "the CPUs' registers", "CPU 寄存器" }
    part_kernel() { "what tells where the kernel is (VMCOREINFO)", "指明内核位置的信息（VMCOREINFO）" }
    part_log() { "the kernel's log (before Linux 5.10, or not in the dump)", "内核日志（Linux 5.10 之前，或不在转储中）" }
    dump_log_title() { "Last lines of the kernel's log", "内核日志的最后几行" }
    dump_commands_title() { "What works on it", "可用的命令" }
    command_works(names) { "{names}: yes", "{names}：可用" }
    command_fails(names, reason) { "{names}: no: {reason}", "{names}：不可用：{reason}" }
}
