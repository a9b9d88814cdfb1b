//! References in another shape than a pointer.

use crate::lang::Lang;

messages! {
    as_physical_addresses() { "physical addresses", "物理地址" }
    as_pages() { "pages with offsets", "页加偏移" }
    as_unaligned() { "pointers off their alignment", "未对齐的指针" }
    as_encoded() { "encoded pointers", "编码过的指针" }
    as_distances() { "numbers of 32 bits", "32 位的数" }
    held_hidden(count, shape, holder) {
        "No pointer leads to {count} of its objects: they are held only as {shape}, in memory of {holder}.",
        "没有指针指向其中 {count} 个对象：它们仅以{shape}的形式被引用，位于 {holder} 的内存中。"
    }
    held_hidden_of(cache, count, shape, holder) {
        " No pointer leads to {count} objects of {cache}: they are held only as {shape}, in memory of {holder}.",
        "没有指针指向 {cache} 的 {count} 个对象：它们仅以{shape}的形式被引用，位于 {holder} 的内存中。"
    }
    moved(count) {
        "{count} objects that no pointer leads to were freed or written to between two snapshots, and their number did not grow: something uses them, although it is not known what.",
        "有 {count} 个没有指针指向的对象在两次快照之间被释放或改写，且总数没有增长：它们仍在使用中，只是不知道由谁使用。"
    }
    hidden_is_no_proof() {
        "If nothing uses that memory any more, an old log for instance, they are lost all the same.",
        "如果那块内存已无人使用（例如旧日志），这些对象仍然是泄漏。"
    }
    hidden_not_found() {
        "They were also looked for as physical addresses, as pages with offsets, and as pointers off their alignment or encoded in usual ways, and not found. Other encodings cannot be excluded.",
        "还查找了物理地址、页加偏移、未对齐的指针和常见编码的指针，均未找到；不能排除其他编码方式的引用。"
    }
    given_to_device(module, function, calls) {
        "Module {module} gives addresses of memory to a device ({function} calls {calls}). Tables in the device cannot be seen: before you act, ask who maintains {module} whether they hold such objects.",
        "模块 {module} 会把内存地址交给设备（{function} 调用 {calls}）。设备内部的表无法看到：采取措施之前，请向 {module} 的维护者确认这些对象是否由设备持有。"
    }
    given_to_hypervisor(module, function, calls) {
        "Module {module} gives addresses of memory to the hypervisor ({function} calls {calls}). Its tables cannot be seen: before you act, ask who maintains {module} whether they hold such objects.",
        "模块 {module} 会把内存地址交给虚拟机管理程序（{function} 调用 {calls}）。后者内部的表无法看到：采取措施之前，请向 {module} 的维护者确认这些对象是否由其持有。"
    }
    hidden_few_found() {
        "They were also looked for as physical addresses, as pages with offsets, and as pointers off their alignment or encoded in usual ways: only few of them were found. Other encodings cannot be excluded.",
        "还查找了物理地址、页加偏移、未对齐的指针和常见编码的指针，只找到其中少数对象的引用；不能排除其他编码方式的引用。"
    }
    hidden_too_few(count, shape, holder) {
        "{count} objects are also named by {shape} in memory of {holder}: too few to clear the others.",
        "{holder} 的内存中还以{shape}的形式提到其中 {count} 个对象：数量太少，不足以排除泄漏。"
    }
}
