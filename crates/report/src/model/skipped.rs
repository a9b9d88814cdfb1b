//! What was left out, and why: values, from which each language makes its words.
//!
//! JSON has the English words (`what`, `why`) and, beside them, the values (`kind`, `reason`).

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::{Address, Symbolic};
use crate::catalogue as say;
use crate::lang::Lang;

/// Something that was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub struct Skipped {
    /// What.
    pub what: Omitted,
    /// And why.
    pub why: Reason,
}

/// Something that was left out: in English, and as values. The words are made from the values: only
/// these are read back.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Skipped")]
struct Written {
    /// What.
    #[serde(rename = "what")]
    _what: Symbolic,
    /// And why.
    #[serde(rename = "why")]
    _why: Symbolic,
    #[serde(flatten)]
    omitted: Omitted,
    #[serde(flatten)]
    reason: Reason,
}

impl From<Written> for Skipped {
    fn from(written: Written) -> Skipped {
        Skipped { what: written.omitted, why: written.reason }
    }
}

/// As it is written.
impl JsonSchema for Skipped {
    fn schema_name() -> Cow<'static, str> {
        Written::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

/// Not derived: a derived tag is a string like any other, and `redact` would hash it.
impl Serialize for Skipped {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let (kind, count, address) = self.what.parts();
        let (reason, number, at) = self.why.parts();
        let mut fields = out.serialize_struct("Skipped", 4)?;
        fields.serialize_field("what", &Symbolic::from(self.what.name(Lang::En)))?;
        fields.serialize_field("why", &Symbolic::from(self.why.name(Lang::En)))?;
        fields.serialize_field("kind", &Tag(kind))?;
        if let Some(count) = count {
            fields.serialize_field("count", &count)?;
        }
        if let Some(address) = address {
            fields.serialize_field("address", &address)?;
        }
        fields.serialize_field("reason", &Tag(reason))?;
        if let Some((name, number)) = number {
            fields.serialize_field(name, &number)?;
        }
        if let Some(at) = at {
            fields.serialize_field("at", &at)?;
        }
        fields.end()
    }
}

/// The name of a variant.
struct Tag(&'static str);

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_unit_variant("Tag", 0, self.0)
    }
}

/// What was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Omitted {
    /// Slabs.
    Slabs {
        /// How many.
        count: u64,
    },
    /// Some of the slab caches.
    SomeCaches,
    /// A slab cache.
    Cache {
        /// Where it is.
        address: Address,
    },
    /// Objects that the CPUs keep for their next allocations.
    PerCpuFreeObjects,
    /// Pages that the CPUs keep for their next allocations.
    PerCpuFreePages,
    /// One of the lists of these.
    PerCpuPageList,
    /// Slabs whose cache is not known.
    UnknownSlabs {
        /// How many.
        count: u64,
    },
    /// Slab caches that only their slabs lead to.
    UnlistedCaches {
        /// How many.
        count: u64,
    },
    /// Pages that the page tables map where vmalloc areas lie.
    StrayPages {
        /// How many.
        count: u64,
    },
    /// Pages of RAM.
    Pages {
        /// How many.
        count: u64,
    },
    /// All vmalloc areas.
    VmallocAreas,
    /// Some of them.
    SomeVmallocAreas,
    /// Per-CPU memory.
    PerCpuMemory,
    /// Per-CPU memory that was set aside at boot.
    BootPerCpuMemory,
    /// Some of the allocations in chunks of per-CPU memory.
    PerCpuAllocations {
        /// How many chunks.
        count: u64,
    },
    /// Some of the page tables.
    SomePageTables,
    /// Open files of all processes.
    OpenFiles,
    /// Open files of processes.
    OpenFilesOf {
        /// How many processes.
        count: u64,
    },
    /// Some of the memory cgroups.
    SomeCgroups,
    /// Which slab objects are free: all of them count as in use.
    SlabObjects,
    /// Blocks of pages that nobody claims: all of them count as in use.
    PageBlocks,
    /// User memory, or some of it: it counts as the kernel's.
    UserPages,
    /// Dead parts of stacks: they count as live.
    IdleStacks,
    /// Timers, or some of them.
    Timers,
    /// Names of files, or where they are mounted or mapped.
    FileNames,
    /// What is in pipes or sockets.
    SomeOpenFiles,
    /// Processes.
    Processes,
    /// Pools of huge pages.
    HugePages,
    /// Names, kinds or counters of slab caches.
    SlabDetails,
    /// Some of what was to be explained: types, code that allocates, holders.
    SomeExplanations,
    /// Pieces of memory that were to be searched for pointers.
    Memory {
        /// How many.
        count: u64,
    },
}

/// Why something was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The type information does not tell where it is.
    NoTypeInfo,
    /// It was not found; its pages are among those of no other owner.
    NotFound,
    /// The per-CPU areas were not found.
    NoPerCpuAreas,
    /// The memory nodes were not found.
    NoNodes,
    /// The first chunk of per-CPU memory was not found.
    NoFirstChunk,
    /// The kernel's own page tables were not found.
    NoKernelTables,
    /// No process's page tables were found.
    NoProcessTables,
    /// It changed while it was read.
    Changed,
    /// It changed while it was read, or is damaged.
    ChangedOrDamaged,
    /// It is damaged.
    Damaged,
    /// It is on no list of the kernel's.
    OnNoList,
    /// It was given back meanwhile.
    GivenBack,
    /// Its contents contradict each other.
    Implausible,
    /// They are KFENCE's.
    Foreign,
    /// It cannot be read.
    Unreadable,
    /// Its `struct page` cannot be read.
    NoStructPage,
    /// Page tables that lead to others cannot be read.
    TablesUnreadable {
        /// How many.
        unreadable: u64,
    },
    /// There are too many.
    TooMany,
    /// Somebody ended the search.
    Interrupted,
    /// There are more than the limit.
    MoreThan {
        /// The limit.
        limit: u64,
    },
    /// It would have taken longer than it may.
    OutOfTime {
        /// How long it may take.
        seconds: u64,
    },
    /// A list leads to memory that cannot be read.
    ListUnreadable {
        /// Where.
        at: Address,
    },
    /// A list comes back to where it had been.
    ListCircle {
        /// Where.
        at: Address,
    },
    /// A link of a list leads to something that does not lead back.
    ListBroken {
        /// Where.
        at: Address,
    },
    /// A link of a list is damaged, and the walks from both of its ends meet.
    ListMended {
        /// Where.
        at: Address,
    },
    /// A list is longer than any healthy one.
    ListTooLong {
        /// The limit.
        limit: u64,
    },
}

impl Omitted {
    /// Its name, and what it counts or where it is.
    fn parts(self) -> (&'static str, Option<u64>, Option<Address>) {
        match self {
            Omitted::Slabs { count } => ("slabs", Some(count), None),
            Omitted::SomeCaches => ("some_caches", None, None),
            Omitted::Cache { address } => ("cache", None, Some(address)),
            Omitted::PerCpuFreeObjects => ("per_cpu_free_objects", None, None),
            Omitted::PerCpuFreePages => ("per_cpu_free_pages", None, None),
            Omitted::PerCpuPageList => ("per_cpu_page_list", None, None),
            Omitted::UnknownSlabs { count } => ("unknown_slabs", Some(count), None),
            Omitted::UnlistedCaches { count } => ("unlisted_caches", Some(count), None),
            Omitted::StrayPages { count } => ("stray_pages", Some(count), None),
            Omitted::Pages { count } => ("pages", Some(count), None),
            Omitted::VmallocAreas => ("vmalloc_areas", None, None),
            Omitted::SomeVmallocAreas => ("some_vmalloc_areas", None, None),
            Omitted::PerCpuMemory => ("per_cpu_memory", None, None),
            Omitted::BootPerCpuMemory => ("boot_per_cpu_memory", None, None),
            Omitted::PerCpuAllocations { count } => ("per_cpu_allocations", Some(count), None),
            Omitted::SomePageTables => ("some_page_tables", None, None),
            Omitted::OpenFiles => ("open_files", None, None),
            Omitted::OpenFilesOf { count } => ("open_files_of", Some(count), None),
            Omitted::SomeCgroups => ("some_cgroups", None, None),
            Omitted::SlabObjects => ("slab_objects", None, None),
            Omitted::PageBlocks => ("page_blocks", None, None),
            Omitted::UserPages => ("user_pages", None, None),
            Omitted::IdleStacks => ("idle_stacks", None, None),
            Omitted::Timers => ("timers", None, None),
            Omitted::FileNames => ("file_names", None, None),
            Omitted::SomeOpenFiles => ("some_open_files", None, None),
            Omitted::Processes => ("processes", None, None),
            Omitted::HugePages => ("huge_pages", None, None),
            Omitted::SlabDetails => ("slab_details", None, None),
            Omitted::SomeExplanations => ("some_explanations", None, None),
            Omitted::Memory { count } => ("memory", Some(count), None),
        }
    }

    /// What it is called.
    pub fn name(self, lang: Lang) -> String {
        match self {
            Omitted::Slabs { count } => say::left_slabs(lang, &count.to_string()),
            Omitted::SomeCaches => say::left_some_caches(lang),
            Omitted::Cache { address } => say::left_cache(lang, &address.to_string()),
            Omitted::PerCpuFreeObjects => say::left_per_cpu_free_objects(lang),
            Omitted::PerCpuFreePages => say::left_per_cpu_free_pages(lang),
            Omitted::PerCpuPageList => say::left_per_cpu_page_list(lang),
            Omitted::UnknownSlabs { count } => say::left_unknown_slabs(lang, &count.to_string()),
            Omitted::UnlistedCaches { count } => {
                say::left_unlisted_caches(lang, &count.to_string())
            }
            Omitted::StrayPages { count } => say::left_stray_pages(lang, &count.to_string()),
            Omitted::Pages { count } => say::left_pages(lang, &count.to_string()),
            Omitted::VmallocAreas => say::left_vmalloc_areas(lang),
            Omitted::SomeVmallocAreas => say::left_some_vmalloc_areas(lang),
            Omitted::PerCpuMemory => say::left_per_cpu_memory(lang),
            Omitted::BootPerCpuMemory => say::left_boot_per_cpu_memory(lang),
            Omitted::PerCpuAllocations { count } => {
                say::left_per_cpu_allocations(lang, &count.to_string())
            }
            Omitted::SomePageTables => say::left_some_page_tables(lang),
            Omitted::OpenFiles => say::left_open_files(lang),
            Omitted::OpenFilesOf { count } => say::left_open_files_of(lang, &count.to_string()),
            Omitted::SomeCgroups => say::left_some_cgroups(lang),
            Omitted::SlabObjects => say::left_slab_objects(lang),
            Omitted::PageBlocks => say::left_page_blocks(lang),
            Omitted::UserPages => say::left_user_pages(lang),
            Omitted::IdleStacks => say::left_idle_stacks(lang),
            Omitted::Timers => say::left_timers(lang),
            Omitted::FileNames => say::left_file_names(lang),
            Omitted::SomeOpenFiles => say::left_some_open_files(lang),
            Omitted::Processes => say::left_processes(lang),
            Omitted::HugePages => say::left_huge_pages(lang),
            Omitted::SlabDetails => say::left_slab_details(lang),
            Omitted::SomeExplanations => say::left_some_explanations(lang),
            Omitted::Memory { count } => say::left_memory(lang, &count.to_string()),
        }
    }
}

impl Reason {
    /// Its name, and a number under its name or where it was met.
    fn parts(self) -> (&'static str, Option<(&'static str, u64)>, Option<Address>) {
        match self {
            Reason::NoTypeInfo => ("no_type_info", None, None),
            Reason::NotFound => ("not_found", None, None),
            Reason::NoPerCpuAreas => ("no_per_cpu_areas", None, None),
            Reason::NoNodes => ("no_nodes", None, None),
            Reason::NoFirstChunk => ("no_first_chunk", None, None),
            Reason::NoKernelTables => ("no_kernel_tables", None, None),
            Reason::NoProcessTables => ("no_process_tables", None, None),
            Reason::Changed => ("changed", None, None),
            Reason::ChangedOrDamaged => ("changed_or_damaged", None, None),
            Reason::Damaged => ("damaged", None, None),
            Reason::OnNoList => ("on_no_list", None, None),
            Reason::GivenBack => ("given_back", None, None),
            Reason::Implausible => ("implausible", None, None),
            Reason::Foreign => ("foreign", None, None),
            Reason::Unreadable => ("unreadable", None, None),
            Reason::NoStructPage => ("no_struct_page", None, None),
            Reason::TablesUnreadable { unreadable } => {
                ("tables_unreadable", Some(("unreadable", unreadable)), None)
            }
            Reason::TooMany => ("too_many", None, None),
            Reason::Interrupted => ("interrupted", None, None),
            Reason::MoreThan { limit } => ("more_than", Some(("limit", limit)), None),
            Reason::OutOfTime { seconds } => ("out_of_time", Some(("seconds", seconds)), None),
            Reason::ListUnreadable { at } => ("list_unreadable", None, Some(at)),
            Reason::ListCircle { at } => ("list_circle", None, Some(at)),
            Reason::ListBroken { at } => ("list_broken", None, Some(at)),
            Reason::ListMended { at } => ("list_mended", None, Some(at)),
            Reason::ListTooLong { limit } => ("list_too_long", Some(("limit", limit)), None),
        }
    }

    /// The reason in words.
    pub fn name(self, lang: Lang) -> String {
        match self {
            Reason::NoTypeInfo => say::why_no_type_info(lang),
            Reason::NotFound => say::why_not_found(lang),
            Reason::NoPerCpuAreas => say::why_no_per_cpu_areas(lang),
            Reason::NoNodes => say::why_no_nodes(lang),
            Reason::NoFirstChunk => say::why_no_first_chunk(lang),
            Reason::NoKernelTables => say::why_no_kernel_tables(lang),
            Reason::NoProcessTables => say::why_no_process_tables(lang),
            Reason::Changed => say::why_changed(lang),
            Reason::ChangedOrDamaged => say::why_changed_or_damaged(lang),
            Reason::Damaged => say::why_damaged(lang),
            Reason::OnNoList => say::why_on_no_list(lang),
            Reason::GivenBack => say::why_given_back(lang),
            Reason::Implausible => say::why_implausible(lang),
            Reason::Foreign => say::why_foreign(lang),
            Reason::Unreadable => say::why_unreadable(lang),
            Reason::NoStructPage => say::why_no_struct_page(lang),
            Reason::TablesUnreadable { unreadable } => {
                say::why_tables_unreadable(lang, &unreadable.to_string())
            }
            Reason::TooMany => say::why_too_many(lang),
            Reason::Interrupted => say::why_interrupted(lang),
            Reason::MoreThan { limit } => say::why_more_than(lang, &limit.to_string()),
            Reason::OutOfTime { seconds } => say::why_out_of_time(lang, &seconds.to_string()),
            Reason::ListUnreadable { at } => say::why_list_unreadable(lang, &at.to_string()),
            Reason::ListCircle { at } => say::why_list_circle(lang, &at.to_string()),
            Reason::ListBroken { at } => say::why_list_broken(lang, &at.to_string()),
            Reason::ListMended { at } => say::why_list_mended(lang, &at.to_string()),
            Reason::ListTooLong { limit } => say::why_list_too_long(lang, &limit.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
