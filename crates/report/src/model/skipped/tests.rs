use sysak_base::Va;

use super::*;

/// One of each; one that is missing does not compile.
fn all() -> (Vec<Omitted>, Vec<Reason>) {
    let at = Address(Va(0xffff_8880_0360_5e80));
    let omitted = |one| match one {
        Omitted::Slabs { .. } => Omitted::SomeCaches,
        Omitted::SomeCaches => Omitted::Cache { address: at },
        Omitted::Cache { .. } => Omitted::PerCpuFreeObjects,
        Omitted::PerCpuFreeObjects => Omitted::PerCpuFreePages,
        Omitted::PerCpuFreePages => Omitted::PerCpuPageList,
        Omitted::PerCpuPageList => Omitted::UnknownSlabs { count: 7 },
        Omitted::UnknownSlabs { .. } => Omitted::UnlistedCaches { count: 7 },
        Omitted::UnlistedCaches { .. } => Omitted::StrayPages { count: 7 },
        Omitted::StrayPages { .. } => Omitted::Pages { count: 7 },
        Omitted::Pages { .. } => Omitted::VmallocAreas,
        Omitted::VmallocAreas => Omitted::SomeVmallocAreas,
        Omitted::SomeVmallocAreas => Omitted::PerCpuMemory,
        Omitted::PerCpuMemory => Omitted::BootPerCpuMemory,
        Omitted::BootPerCpuMemory => Omitted::PerCpuAllocations { count: 7 },
        Omitted::PerCpuAllocations { .. } => Omitted::SomePageTables,
        Omitted::SomePageTables => Omitted::OpenFiles,
        Omitted::OpenFiles => Omitted::OpenFilesOf { count: 7 },
        Omitted::OpenFilesOf { .. } => Omitted::SomeCgroups,
        Omitted::SomeCgroups => Omitted::SlabObjects,
        Omitted::SlabObjects => Omitted::PageBlocks,
        Omitted::PageBlocks => Omitted::UserPages,
        Omitted::UserPages => Omitted::IdleStacks,
        Omitted::IdleStacks => Omitted::Timers,
        Omitted::Timers => Omitted::FileNames,
        Omitted::FileNames => Omitted::SomeOpenFiles,
        Omitted::SomeOpenFiles => Omitted::Processes,
        Omitted::Processes => Omitted::HugePages,
        Omitted::HugePages => Omitted::SlabDetails,
        Omitted::SlabDetails => Omitted::SomeExplanations,
        Omitted::SomeExplanations => Omitted::Memory { count: 7 },
        Omitted::Memory { .. } => Omitted::Slabs { count: 7 },
    };
    let reason = |one| match one {
        Reason::NoTypeInfo => Reason::NotFound,
        Reason::NotFound => Reason::NoPerCpuAreas,
        Reason::NoPerCpuAreas => Reason::NoNodes,
        Reason::NoNodes => Reason::NoFirstChunk,
        Reason::NoFirstChunk => Reason::NoKernelTables,
        Reason::NoKernelTables => Reason::NoProcessTables,
        Reason::NoProcessTables => Reason::Changed,
        Reason::Changed => Reason::ChangedOrDamaged,
        Reason::ChangedOrDamaged => Reason::Damaged,
        Reason::Damaged => Reason::OnNoList,
        Reason::OnNoList => Reason::GivenBack,
        Reason::GivenBack => Reason::Implausible,
        Reason::Implausible => Reason::Foreign,
        Reason::Foreign => Reason::Unreadable,
        Reason::Unreadable => Reason::NoStructPage,
        Reason::NoStructPage => Reason::TablesUnreadable { unreadable: 7 },
        Reason::TablesUnreadable { .. } => Reason::TooMany,
        Reason::TooMany => Reason::Interrupted,
        Reason::Interrupted => Reason::MoreThan { limit: 7 },
        Reason::MoreThan { .. } => Reason::OutOfTime { seconds: 7 },
        Reason::OutOfTime { .. } => Reason::ListUnreadable { at },
        Reason::ListUnreadable { .. } => Reason::ListCircle { at },
        Reason::ListCircle { .. } => Reason::ListBroken { at },
        Reason::ListBroken { .. } => Reason::ListMended { at },
        Reason::ListMended { .. } => Reason::ListTooLong { limit: 7 },
        Reason::ListTooLong { .. } => Reason::NoTypeInfo,
    };
    (ring(Omitted::SomeCaches, omitted), ring(Reason::Changed, reason))
}

/// From one value over the next to itself.
fn ring<T: Copy + PartialEq>(first: T, next: impl Fn(T) -> T) -> Vec<T> {
    let others = std::iter::successors(Some(next(first)), |one| Some(next(*one)));
    std::iter::once(first).chain(others.take_while(|one| *one != first)).collect()
}

#[test]
fn all_that_is_left_out_is_read_back_and_has_words_in_both_languages() {
    let (omitted, reasons) = all();
    let mut all: Vec<_> = omitted.iter().map(|what| (*what, Reason::Changed)).collect();
    all.extend(reasons.iter().map(|why| (Omitted::SomeCaches, *why)));
    assert!(all.len() > 30, "{}", all.len());
    for (what, why) in all {
        let skipped = Skipped { what, why };
        let written = serde_json::to_string(&skipped).unwrap();
        assert_eq!(serde_json::from_str::<Skipped>(&written).unwrap(), skipped, "{written}");
        assert_ne!(what.name(Lang::En), what.name(Lang::Zh));
        assert_ne!(why.name(Lang::En), why.name(Lang::Zh));
    }
}

#[test]
fn json_has_the_words_and_the_values() {
    let at = Address(Va(0xffff_8880_0360_5e80));
    let skipped = Skipped { what: Omitted::Slabs { count: 12 }, why: Reason::ListCircle { at } };
    let written = serde_json::to_value(skipped).unwrap();
    let expected = serde_json::json!({
        "what": "12 slabs",
        "why": "the list loops at 0xffff888003605e80",
        "kind": "slabs",
        "count": 12,
        "reason": "list_circle",
        "at": "0xffff888003605e80",
    });
    assert_eq!(written, expected);
    assert_eq!(serde_json::from_value::<Skipped>(written).unwrap(), skipped);
}
