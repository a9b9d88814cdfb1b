//! Who holds the objects, in the report's terms.

use std::cmp::Reverse;

use sysak_heap::Heap;
use sysak_heap::hidden::Shape;
use sysak_holders::{Holder, HolderKind, Holders, Step, SymbolName};
use sysak_report as report;
use sysak_report::{Lang, Place, Symbolic};

use crate::explain::HeldBy;

/// Holders of a cache that are reported.
const MOST_HOLDERS: usize = 50;
/// So many of them are those of most objects; the others are first of all those that somebody can act
/// on, which the hundreds of variables of the kernel must not crowd out.
const BIGGEST: usize = 30;

/// Who holds the objects of a cache.
pub fn holders(heap: &Heap, cache: u16, held: &Holders) -> Vec<report::Holder> {
    let size = u64::from(heap.caches[usize::from(cache)].object_size);
    let holder = |one: &Holder| report::Holder {
        path: one.path.iter().map(place).collect(),
        objects: one.objects,
        bytes: one.objects * size,
        retained_bytes: one.retained_bytes,
        kind: kind(one.kind),
    };
    choose(held.held_by.iter().map(holder).collect())
}

/// The holders that are reported, those of most objects first.
fn choose(mut holders: Vec<report::Holder>) -> Vec<report::Holder> {
    // Holders of as many objects in the order of their names.
    let rank = |one: &report::Holder| {
        let names: Vec<String> = one.path.iter().map(|step| step.name(Lang::En)).collect();
        (Reverse(one.objects), names)
    };
    holders.sort_by_cached_key(rank);
    if holders.len() > MOST_HOLDERS {
        holders[BIGGEST..].sort_by_key(|one| !can_be_acted_on(one.kind));
        holders.truncate(MOST_HOLDERS);
        holders.sort_by_cached_key(rank);
    }
    holders
}

/// Whether it is somebody's who can end it, unlike the kernel's variables.
fn can_be_acted_on(kind: report::HolderKind) -> bool {
    use report::HolderKind::{Cgroup, File, Module, Process, Symbol, Timer, Unknown};
    match kind {
        Process | Cgroup | File | Module => true,
        Symbol | Timer | Unknown => false,
    }
}

/// Who holds objects in another shape than a pointer.
pub fn hidden(held: &HeldBy) -> report::HiddenReference {
    report::HiddenReference {
        shape: match held.shape {
            Shape::Unaligned => report::HiddenShape::Unaligned,
            Shape::Encoded => report::HiddenShape::Encoded,
            Shape::PageAndOffset => report::HiddenShape::PageAndOffset,
            Shape::PhysicalAddress => report::HiddenShape::PhysicalAddress,
            Shape::Offset32 => report::HiddenShape::Offset32,
        },
        objects: held.objects,
        by_chance: held.by_chance,
        holder: place(&held.holder),
    }
}

fn kind(kind: HolderKind) -> report::HolderKind {
    match kind {
        HolderKind::Process => report::HolderKind::Process,
        HolderKind::Module => report::HolderKind::Module,
        HolderKind::Cgroup => report::HolderKind::Cgroup,
        HolderKind::Symbol => report::HolderKind::Symbol,
        HolderKind::File => report::HolderKind::File,
        HolderKind::Timer => report::HolderKind::Timer,
        HolderKind::Kernel => report::HolderKind::Unknown,
    }
}

/// A step of a retention path.
pub fn place(step: &Step) -> Place {
    match step {
        Step::Symbol(symbol) => Place::Kernel(symbolic(symbol)),
        Step::Module(name) => Place::Module(name.as_str().into()),
        Step::Process { name, pid } => Place::Process { comm: name.clone(), pid: *pid },
        Step::Stack { name, pid } => Place::StackOf { comm: name.clone(), pid: *pid },
        Step::Cgroup { path, removed } => {
            let path = path.clone().unwrap_or_else(|| "?".to_owned());
            Place::Cgroup { path, removed: *removed }
        }
        Step::Cgroups { count, removed } => {
            Place::Cgroups { count: *count as u64, removed: *removed }
        }
        Step::Timer { function, delayed } => {
            let function = function.as_ref().map_or_else(|| "?".into(), symbolic);
            if *delayed { Place::DelayedWork(function) } else { Place::Timer(function) }
        }
        Step::OpenFile(kind) => Place::OpenFile(kind.as_str().into()),
        Step::InFlight => Place::InFlight,
        Step::FileSystem(path) => Place::FileSystem(path.clone()),
        Step::Mount(path) => Place::Mount(path.clone()),
        Step::Pin(path) => Place::Pin(path.clone()),
        Step::MessageQueue(name) => Place::MessageQueue(name.clone()),
        Step::Keyring(name) => Place::Keyring(name.clone()),
        Step::NotKnown => Place::NotKnown,
        Step::Member(name) => Place::Kernel(name.as_str().into()),
        Step::Object { cache, offset: Some(offset) } => {
            Place::Kernel(format!("{cache}+{offset:#x}").into())
        }
        Step::Object { cache, offset: None } => Place::Kernel(cache.as_str().into()),
        Step::Register => Place::Register,
        Step::KernelData => Place::KernelData,
        Step::ModuleData => Place::ModuleData,
        Step::PerCpuData => Place::Percpu,
        Step::UnknownStack => Place::Stack,
        Step::BootTable => Place::Table,
        Step::VmallocArea => Place::VmallocArea,
        Step::SlabStructPage => Place::SlabPages,
        Step::StructPage => Place::StructPage,
        Step::KernelPage => Place::KernelPage,
        Step::UnknownMemory => Place::Unknown,
        Step::PageBlock => Place::Kernel("page".into()),
        Step::VmallocObject => Place::Kernel("vmalloc".into()),
        Step::PerCpuObject => Place::Kernel("percpu".into()),
    }
}

/// `flow_table [mod]`
fn symbolic(symbol: &SymbolName) -> Symbolic {
    match &symbol.module {
        Some(module) => format!("{} [{module}]", symbol.name).into(),
        None => symbol.name.as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_holder_that_can_be_acted_on_is_not_crowded_out_by_variables() {
        let holder = |name: &str, objects, kind| report::Holder {
            path: vec![Place::Kernel(name.into())],
            objects,
            bytes: objects,
            retained_bytes: None,
            kind,
        };
        let mut all: Vec<_> = (0..99)
            .map(|n| holder(&format!("cache_{n}"), 200 - n, report::HolderKind::Symbol))
            .collect();
        all.push(holder("removed", 20, report::HolderKind::Cgroup));
        let chosen = choose(all);
        assert_eq!(chosen.len(), MOST_HOLDERS);
        assert_eq!(chosen.last().map(|one| one.objects), Some(20));
        assert_eq!(chosen[MOST_HOLDERS - 2].objects, 200 - 48, "the biggest of the others");
    }

    #[test]
    fn a_timer_is_named_by_the_function_that_it_calls() {
        let timer = |module: Option<&str>| Step::Timer {
            function: Some(SymbolName {
                name: "flow_timeout".to_owned(),
                module: module.map(str::to_owned),
            }),
            delayed: true,
        };
        let name = |step: &Step| place(step).name(Lang::En);
        assert_eq!(name(&timer(Some("flows"))), "delayed work flow_timeout [flows]");
        assert_eq!(name(&timer(None)), "delayed work flow_timeout");
        assert_eq!(name(&Step::Timer { function: None, delayed: false }), "timer ?");
    }
}
