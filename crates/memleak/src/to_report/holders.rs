//! Who holds the objects, in the report's terms.
//!
//! **Invariant:** every word of a retention path that is not a name of the kernel's or its users'
//! own is written here.

use std::cmp::Reverse;

use sysak_heap::Heap;
use sysak_holders::{Holder, HolderKind, Holders, Step, SymbolName};
use sysak_report as report;

/// Holders of a cache that are reported.
const MOST_HOLDERS: usize = 50;

/// Who holds the objects of a cache.
pub fn holders(heap: &Heap, cache: u16, held: &Holders) -> Vec<report::Holder> {
    let size = u64::from(heap.caches[usize::from(cache)].object_size);
    let holder = |one: &Holder| report::Holder {
        path: one.path.iter().map(step_text).collect(),
        objects: one.objects,
        bytes: one.objects * size,
        retained_bytes: one.retained_bytes,
        kind: holder_kind(one),
    };
    let mut holders: Vec<report::Holder> = held.held_by.iter().map(holder).collect();
    // Holders of as many objects in the order of their names.
    holders.sort_by(|a, b| (Reverse(a.objects), &a.path).cmp(&(Reverse(b.objects), &b.path)));
    holders.truncate(MOST_HOLDERS);
    holders
}

fn holder_kind(holder: &Holder) -> report::HolderKind {
    match holder.kind {
        HolderKind::Process => report::HolderKind::Process,
        HolderKind::Module => report::HolderKind::Module,
        HolderKind::Cgroup => report::HolderKind::Cgroup,
        HolderKind::Symbol | HolderKind::Kernel => report::HolderKind::Symbol,
        // The report has no kind for timers: the owner of the function counts.
        HolderKind::Timer => match holder.path.first() {
            Some(Step::Timer { function: Some(SymbolName { module: Some(_), .. }), .. }) => {
                report::HolderKind::Module
            }
            _ => report::HolderKind::Symbol,
        },
    }
}

/// A step of a retention path in English.
pub fn step_text(step: &Step) -> String {
    match step {
        Step::Symbol(symbol) => symbol_text(symbol),
        Step::Module(name) => format!("[{name}]"),
        Step::Process { name, pid } => format!("{name} ({pid})"),
        Step::Stack { name, pid } => format!("stack of {name} ({pid})"),
        Step::Cgroup { path, removed } => {
            let removed = if *removed { " (removed)" } else { "" };
            format!("{}{removed}", path.as_deref().unwrap_or("?"))
        }
        Step::Cgroups { count, removed: false } => format!("{count} cgroups"),
        Step::Cgroups { count, removed: true } => format!("{count} removed cgroups"),
        Step::Timer { function, delayed } => {
            let kind = if *delayed { "delayed work" } else { "timer" };
            format!("{kind} {}", function.as_ref().map_or("?".to_owned(), symbol_text))
        }
        Step::Member(name) => name.clone(),
        Step::Object { cache, offset: Some(offset) } => format!("{cache}+{offset:#x}"),
        Step::Object { cache, offset: None } => cache.clone(),
        Step::Register => "a register".to_owned(),
        Step::KernelData => "data of the kernel".to_owned(),
        Step::ModuleData => "data of a module".to_owned(),
        Step::PerCpuData => "per-CPU memory".to_owned(),
        Step::UnknownStack => "a stack".to_owned(),
        Step::BootTable => "a table".to_owned(),
        Step::VmallocArea => "a vmalloc area".to_owned(),
        Step::SlabStructPage => "struct page of slabs".to_owned(),
        Step::StructPage => "struct page".to_owned(),
        Step::KernelPage => "a page of the kernel".to_owned(),
        Step::UnknownMemory => "unknown memory".to_owned(),
        Step::PageBlock => "page".to_owned(),
        Step::VmallocObject => "vmalloc".to_owned(),
        Step::PerCpuObject => "percpu".to_owned(),
    }
}

fn symbol_text(symbol: &SymbolName) -> String {
    match &symbol.module {
        Some(module) => format!("{} [{module}]", symbol.name),
        None => symbol.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_reported_as_its_functions_owner() {
        let timer = |module: Option<&str>| Step::Timer {
            function: Some(SymbolName {
                name: "flow_timeout".to_owned(),
                module: module.map(str::to_owned),
            }),
            delayed: true,
        };
        let holder = |step: Step| Holder {
            path: vec![step],
            kind: HolderKind::Timer,
            objects: 1,
            anchor: None,
            retained_bytes: None,
        };
        let in_module = holder(timer(Some("flows")));
        assert_eq!(holder_kind(&in_module), report::HolderKind::Module);
        assert_eq!(step_text(&in_module.path[0]), "delayed work flow_timeout [flows]");
        let unknown = holder(Step::Timer { function: None, delayed: false });
        assert_eq!(holder_kind(&unknown), report::HolderKind::Symbol);
        assert_eq!(step_text(&unknown.path[0]), "timer ?");
        assert_eq!(holder_kind(&holder(timer(None))), report::HolderKind::Symbol);
    }
}
