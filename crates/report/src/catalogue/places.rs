//! What places in memory are called, and who holds it.
//!
//! The English ones are what JSON has: the report contract's `path`.

use crate::lang::Lang;

messages! {
    place_process(comm, pid) { "{comm} ({pid})", "{comm} ({pid})" }
    place_module(name) { "[{name}]", "[{name}]" }
    place_free(name) { "{name} (free)", "{name}（空闲）" }
    place_timer(function) { "timer {function}", "定时器 {function}" }
    place_delayed_work(function) { "delayed work {function}", "延迟任务 {function}" }
    place_stack_of(process) { "stack of {process}", "{process} 的内核栈" }
    place_stack() { "a stack", "内核栈" }
    place_register() { "a register", "寄存器" }
    place_kernel_data() { "data of the kernel", "内核数据" }
    place_module_data() { "data of a module", "模块数据" }
    place_percpu() { "per-CPU memory", "每 CPU 内存" }
    place_table() { "a table", "启动时预留的表" }
    place_vmalloc_area() { "a vmalloc area", "vmalloc 区域" }
    place_slab_pages() { "struct page of slabs", "slab 页的 struct page" }
    place_struct_page() { "struct page", "struct page" }
    place_struct_page_of(number) { "struct page of page {number}", "页 {number} 的 struct page" }
    place_kernel_page() { "a page of the kernel", "内核页" }
    place_unknown() { "unknown memory", "未知内存" }
    place_cgroup(path) { "{path}", "{path}" }
    place_removed_cgroup(path) { "{path} (removed)", "{path}（已删除）" }
    place_cgroups(count) { "{count} cgroups", "{count} 个 cgroup" }
    place_removed_cgroups(count) { "{count} removed cgroups", "{count} 个已删除的 cgroup" }
    place_family(objects, cache) {
        "{objects} linked objects of {cache}", "{objects} 个相互关联的 {cache} 对象"
    }
    place_itself(offset) { "itself+{offset}", "自身+{offset}" }
    place_unread() { "pipes+sockets", "管道和套接字" }
    place_shared_memory() { "shared memory", "共享内存" }
    place_deleted_file(path) { "{path} (deleted)", "{path}（已删除）" }
    place_block_device(device) { "block device {device}", "块设备 {device}" }
    place_open_file(kind) { "fd {kind}", "文件描述符 {kind}" }
    place_file_system(path) { "file system {path}", "文件系统 {path}" }
    place_mount(path) { "mount {path}", "挂载 {path}" }
    place_pin(path) { "pin {path}", "固定于 {path}" }
    place_message_queue(name) { "message queue {name}", "消息队列 {name}" }
    place_keyring(name) { "keyring {name}", "密钥环 {name}" }
    place_in_flight() { "files in flight", "传递中的文件" }
    place_not_known() { "not known", "未知" }
    place_inode(number) { "inode {number}", "inode {number}" }
}
