//! Areas of the vmalloc address space: where they are listed, and what each says of itself.

use sysak_base::{Memory, Va};
use sysak_symbols::Kallsyms;

use super::Names;

/// The cache whose objects the areas are.
pub const AREA_CACHE: &str = "vmap_area";

/// Flags of an area: macros, so not in the type information (include/linux/vmalloc.h).
pub const IOREMAP: u64 = 1;
/// An area that `vmalloc` and its variants gave out, by its address.
pub const ALLOC: u64 = 2;
/// An area without a guard page behind it.
pub const NO_GUARD: u64 = 0x40;

/// No machine has more: the kernel makes one node a CPU, at most 128.
const MOST_NODES: u64 = 1024;

/// Who asks for thread stacks; which of them is the caller depends on what the compiler inlined.
const FORKS: [&str; 8] = [
    "kernel_clone",
    "_do_fork",
    "copy_process",
    "dup_task_struct",
    "alloc_thread_stack_node",
    "fork_idle",
    "create_io_thread",
    "vhost_task_create",
];
const PER_CPU: [&str; 2] = ["pcpu_get_vm_areas", "pcpu_create_chunk"];
const MODULES: [&str; 5] =
    ["load_module", "layout_and_allocate", "move_module", "module_alloc", "execmem_alloc"];

/// Offsets inside `struct vmap_area` and the `struct vm_struct` that it leads to.
#[derive(Clone, Debug)]
pub struct VmallocShape {
    /// Bytes of a `struct vmap_area`.
    pub range_bytes: u64,
    /// `va_start`
    pub start: u64,
    /// `va_end`
    pub end: u64,
    /// `list`
    pub list: u64,
    /// `vm`, null for what `vm_map_ram` mapped.
    pub vm: u64,
    /// Bytes of a `struct vm_struct`.
    pub area_bytes: u64,
    /// `addr`
    pub address: u64,
    /// `size`, the guard page included.
    pub size: u64,
    /// `flags`
    pub flags: u64,
    /// `pages`, the array of what the area itself holds.
    pub pages: u64,
    /// `nr_pages`, 32 bits wide.
    pub page_count: u64,
    /// `caller`
    pub caller: u64,
    /// The nodes that areas in use are spread over, since Linux commit d093602919ad
    /// ("mm: vmalloc: remove global vmap_area_root rb-tree") (v6.9).
    pub node: Option<VmapNode>,
}

/// `struct vmap_node`.
#[derive(Clone, Copy, Debug)]
pub struct VmapNode {
    /// Bytes of it.
    pub bytes: u64,
    /// `busy.head`
    pub head: u64,
}

impl VmallocShape {
    pub(super) fn find(names: Names<'_>) -> Option<VmallocShape> {
        let range = |path| names.find("vmap_area", path);
        let area = |path| names.find("vm_struct", path);
        let node = || {
            let head = names.find("vmap_node", "busy.head")?;
            Some(VmapNode { bytes: names.find_size("vmap_node")?, head })
        };
        Some(VmallocShape {
            range_bytes: names.find_size("vmap_area")?,
            start: range("va_start")?,
            end: range("va_end")?,
            list: range("list")?,
            vm: range("vm")?,
            area_bytes: names.find_size("vm_struct")?,
            address: area("addr")?,
            size: area("size")?,
            flags: area("flags")?,
            pages: area("pages")?,
            page_count: area("nr_pages")?,
            caller: area("caller")?,
            node: node(),
        })
    }

    /// The heads of the lists that all areas in use are on; listed where KALLSYMS_ALL is set.
    pub fn find_lists(&self, memory: &dyn Memory, symbols: &Kallsyms) -> Vec<Va> {
        if let Some(head) = symbols.find("vmap_area_list") {
            return vec![head];
        }
        let nodes = || {
            let VmapNode { bytes, head } = self.node?;
            let first = Va(memory.read_u64(symbols.find("vmap_nodes")?).ok()?);
            let count = u64::from(memory.read_u32(symbols.find("nr_vmap_nodes")?).ok()?);
            let nodes = (1..=MOST_NODES).contains(&count).then_some(0..count)?;
            Some(nodes.map(|node| first.at(node * bytes + head)).collect())
        };
        nodes().unwrap_or_default()
    }
}

/// The part of the kernel that allocated an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Making a thread.
    Fork,
    /// The per-CPU allocator.
    PerCpu,
    /// Loading a module.
    Module,
    /// BPF.
    Bpf,
    /// Any other.
    Other,
}

impl Asker {
    /// By the name of the function that allocated the area.
    pub fn of(function: &str) -> Asker {
        // Parts that the compiler split off have a suffix after a dot.
        let function = function.split('.').next().unwrap_or_default();
        match function {
            name if FORKS.contains(&name) => Asker::Fork,
            name if PER_CPU.contains(&name) => Asker::PerCpu,
            name if MODULES.contains(&name) => Asker::Module,
            name if name.starts_with("bpf_") => Asker::Bpf,
            _ => Asker::Other,
        }
    }
}
