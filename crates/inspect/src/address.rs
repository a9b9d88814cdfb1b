//! What an address is: an object, a variable, a stack, a page.
//!
//! **Invariant:** an address is any number; nothing is read at it before it is known to be in RAM.

use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pfn, Va};
use sysak_heap::{Class, Object};
use sysak_holders::HolderResolver;
use sysak_holders::place::Place;
use sysak_kernel::page::{self, Owner};
use sysak_report::{ObjectState, PageNumber, PageUse, Place as Name, Spot, SpotKind};
use sysak_symbols::Symbol;

/// What an address is.
pub fn spot(resolver: &HolderResolver<'_, '_>, at: Va) -> Spot {
    let mut spot = match resolver.snapshot().heap.find_object(at.0) {
        Some(object) => of_object(resolver, object, at),
        None => of_place(resolver, at),
    };
    spot.address = Some(at.into());
    let pfn = resolver.kernel().direct_pfn(at).map(|pfn| PageNumber(pfn.0));
    spot.pfn = spot.pfn.or(pfn);
    spot.page_owner = spot.pfn.and_then(|pfn| page_use(resolver, Pfn(pfn.0)));
    spot
}

/// The object that an address lies in.
pub(super) fn of_object(resolver: &HolderResolver<'_, '_>, object: Object, at: Va) -> Spot {
    let (kernel, heap) = (resolver.kernel(), &resolver.snapshot().heap);
    let cache = heap.cache_of(object);
    let start = heap.object_va(object);
    let area = resolver.area_of(object);
    let caller = area.and_then(|area| kernel.symbols.symbolize_return(area.caller));
    let start = area.map_or(start, |area| area.address);
    let state = match () {
        () if !heap.is_live(object) => ObjectState::Free,
        () if resolver.snapshot().interrupted.is_some() => ObjectState::Allocated,
        () if heap.is_white(object) => ObjectState::Unreachable,
        () => ObjectState::Reachable,
    };
    Spot {
        address: Some(at.into()),
        kind: match cache.class {
            Class::Slab => SpotKind::SlabObject,
            Class::Page => SpotKind::PageBlock,
            Class::Vmalloc => SpotKind::VmallocArea,
            Class::PerCpu => SpotKind::PercpuObject,
        },
        name: match cache.class {
            Class::Slab => Some(Name::Kernel(cache.name.as_str().into())),
            _ => caller.map(|symbol| Name::Kernel(symbol.name.into())),
        },
        module: caller.and_then(|symbol| symbol.module).map(Into::into),
        start: Some(start.into()),
        // An area is also found by its pages in the direct map; these addresses have no offset.
        offset: at
            .checked_sub(start)
            .filter(|offset| *offset < heap.object_bytes(object))
            .map(Into::into),
        size_bytes: Some(match cache.class {
            Class::Slab => cache.object_size.into(),
            Class::PerCpu => heap.object_bytes(object) / kernel.cpus().max(1),
            Class::Page | Class::Vmalloc => heap.object_bytes(object),
        }),
        state: Some(state),
        ..Spot::default()
    }
}

/// What an address outside of all objects lies in.
fn of_place(resolver: &HolderResolver<'_, '_>, at: Va) -> Spot {
    let symbols = resolver.kernel().symbols;
    let named = |kind, at: Va, symbol: Option<Symbol<'_>>| match symbol {
        Some(symbol) => Spot {
            kind,
            name: Some(Name::Kernel(symbol.name.into())),
            module: symbol.module.map(Into::into),
            start: Some(Va(at.0.wrapping_sub(symbol.offset)).into()),
            offset: Some(symbol.offset.into()),
            size_bytes: symbol.size,
            ..Spot::default()
        },
        None => Spot { kind, ..Spot::default() },
    };
    let symbol = |kind, at| named(kind, at, symbols.symbolize(at));
    match resolver.places().of(at) {
        Place::Image(at) => symbol(SpotKind::Image, at),
        Place::Module(at) => symbol(SpotKind::Module, at),
        Place::PerCpu(at) => named(SpotKind::PercpuVariable, at, symbols.symbolize_per_cpu(at)),
        Place::Stack { pid, name } => Spot {
            kind: SpotKind::Stack,
            name: (!name.is_empty()).then_some(Name::Named(name)),
            pid: (pid != 0).then_some(pid),
            ..Spot::default()
        },
        Place::Area(area) => {
            let found = resolver.snapshot().areas.iter().rev().find(|one| one.address <= area);
            Spot {
                kind: SpotKind::VmallocArea,
                start: found.map(|one| one.address.into()),
                offset: found.map(|one| (area.0 - one.address.0).into()),
                size_bytes: found.map(|one| one.bytes),
                ..Spot::default()
            }
        }
        Place::StructPage(pfn) => {
            Spot { kind: SpotKind::StructPage, pfn: Some(PageNumber(pfn.0)), ..Spot::default() }
        }
        Place::Table(variable) => Spot { offset: None, ..symbol(SpotKind::BootTable, variable) },
        Place::Page(pfn) => Spot {
            kind: SpotKind::Page,
            pfn: Some(PageNumber(pfn.0)),
            start: Some(resolver.kernel().page_va(pfn).into()),
            offset: Some((at.0 % PAGE_SIZE).into()),
            size_bytes: Some(1 << PAGE_SHIFT),
            ..Spot::default()
        },
        Place::Unknown => Spot::default(),
    }
}

fn page_use(resolver: &HolderResolver<'_, '_>, pfn: Pfn) -> Option<PageUse> {
    Some(match page::owner_of(resolver.kernel(), pfn)? {
        Owner::Free => PageUse::Free,
        Owner::Slab => PageUse::Slab,
        Owner::Anon => PageUse::Anon,
        Owner::File => PageUse::File,
        Owner::Shmem => PageUse::Shmem,
        Owner::Hugetlb => PageUse::Hugetlb,
        Owner::PageTable => PageUse::PageTable,
        Owner::Image => PageUse::Image,
        Owner::Reserved => PageUse::Reserved,
        Owner::Memmap => PageUse::Vmemmap,
        Owner::LargeKmalloc
        | Owner::Vmalloc
        | Owner::Stack
        | Owner::PerCpu
        | Owner::Kernel
        | Owner::Own => PageUse::Kernel,
        Owner::Untouchable => PageUse::Untouchable,
    })
}
