//! What was left out, in the report's terms.

use sysak_kernel as kernel;
use sysak_kernel::{Coverage, Stop};
use sysak_report::{Omitted, Reason, Skipped};

/// All that was left out.
pub fn skipped(coverage: &Coverage) -> Vec<Skipped> {
    coverage
        .skipped
        .iter()
        .map(|one| Skipped { what: omitted(one.what), why: reason(one.why) })
        .collect()
}

fn omitted(what: kernel::Omitted) -> Omitted {
    match what {
        kernel::Omitted::Slabs(count) => Omitted::Slabs { count },
        kernel::Omitted::SomeCaches => Omitted::SomeCaches,
        kernel::Omitted::Cache(at) => Omitted::Cache { address: at.into() },
        kernel::Omitted::PerCpuFreeObjects => Omitted::PerCpuFreeObjects,
        kernel::Omitted::PerCpuFreePages => Omitted::PerCpuFreePages,
        kernel::Omitted::PerCpuPageList => Omitted::PerCpuPageList,
        kernel::Omitted::UnknownSlabs(count) => Omitted::UnknownSlabs { count },
        kernel::Omitted::UnlistedCaches(count) => Omitted::UnlistedCaches { count },
        kernel::Omitted::StrayPages(count) => Omitted::StrayPages { count },
        kernel::Omitted::Pages(count) => Omitted::Pages { count },
        kernel::Omitted::VmallocAreas => Omitted::VmallocAreas,
        kernel::Omitted::SomeVmallocAreas => Omitted::SomeVmallocAreas,
        kernel::Omitted::PerCpuMemory => Omitted::PerCpuMemory,
        kernel::Omitted::BootPerCpuMemory => Omitted::BootPerCpuMemory,
        kernel::Omitted::PerCpuAllocations(count) => Omitted::PerCpuAllocations { count },
        kernel::Omitted::SomePageTables => Omitted::SomePageTables,
        kernel::Omitted::OpenFiles => Omitted::OpenFiles,
        kernel::Omitted::OpenFilesOf(count) => Omitted::OpenFilesOf { count },
        kernel::Omitted::SomeCgroups => Omitted::SomeCgroups,
        kernel::Omitted::SlabObjects => Omitted::SlabObjects,
        kernel::Omitted::PageBlocks => Omitted::PageBlocks,
        kernel::Omitted::UserPages => Omitted::UserPages,
        kernel::Omitted::IdleStacks => Omitted::IdleStacks,
        kernel::Omitted::Timers => Omitted::Timers,
        kernel::Omitted::FileNames => Omitted::FileNames,
        kernel::Omitted::SomeOpenFiles => Omitted::SomeOpenFiles,
        kernel::Omitted::Processes => Omitted::Processes,
        kernel::Omitted::HugePages => Omitted::HugePages,
        kernel::Omitted::SlabDetails => Omitted::SlabDetails,
        kernel::Omitted::Memory(count) => Omitted::Memory { count },
    }
}

fn reason(why: kernel::Reason) -> Reason {
    match why {
        kernel::Reason::NoTypeInfo => Reason::NoTypeInfo,
        kernel::Reason::NotFound => Reason::NotFound,
        kernel::Reason::NoPerCpuAreas => Reason::NoPerCpuAreas,
        kernel::Reason::NoNodes => Reason::NoNodes,
        kernel::Reason::NoFirstChunk => Reason::NoFirstChunk,
        kernel::Reason::NoKernelTables => Reason::NoKernelTables,
        kernel::Reason::NoProcessTables => Reason::NoProcessTables,
        kernel::Reason::Changed => Reason::Changed,
        kernel::Reason::ChangedOrDamaged => Reason::ChangedOrDamaged,
        kernel::Reason::Damaged => Reason::Damaged,
        kernel::Reason::OnNoList => Reason::OnNoList,
        kernel::Reason::GivenBack => Reason::GivenBack,
        kernel::Reason::Implausible => Reason::Implausible,
        kernel::Reason::Foreign => Reason::Foreign,
        kernel::Reason::Unreadable => Reason::Unreadable,
        kernel::Reason::NoStructPage => Reason::NoStructPage,
        kernel::Reason::TablesUnreadable(unreadable) => Reason::TablesUnreadable { unreadable },
        kernel::Reason::TooMany => Reason::TooMany,
        kernel::Reason::Interrupted => Reason::Interrupted,
        kernel::Reason::MoreThan(limit) => Reason::MoreThan { limit },
        kernel::Reason::Stopped(Stop::Unreadable(at)) => Reason::ListUnreadable { at: at.into() },
        kernel::Reason::Stopped(Stop::Cycle(at)) => Reason::ListCircle { at: at.into() },
        kernel::Reason::Stopped(Stop::Broken(at)) => Reason::ListBroken { at: at.into() },
        kernel::Reason::Stopped(Stop::Mended(at)) => Reason::ListMended { at: at.into() },
        kernel::Reason::Stopped(Stop::Limit(limit)) => Reason::ListTooLong { limit: limit as u64 },
    }
}
