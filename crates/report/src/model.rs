//! The report as data: what `--format json` prints and the text is made of.
//!
//! Names, units and meanings are those of the report contract: a unit is in the
//! name, addresses are `0x…` strings, and what is unknown is `null`, never 0.
//!
//! **Invariant:** a field that is named here keeps its name, unit and meaning.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lang::Lang;

mod census;
mod counted;
mod crash_dump;
mod dump_pages;
mod finding;
mod function;
mod holders;
mod inspect;
mod memgraph;
mod name;
mod place;
mod scalar;
mod skipped;
mod trace;

pub use census::{
    Census, Counter, CounterName, KernelMemory, Ownerless, PageAllocOwner, PageOwner, UserMemory,
};
pub use counted::{Counted, CountedKind, ReferenceTaker};
pub use crash_dump::{
    CrashDump, DumpCommand, DumpFile, DumpFormat, DumpPart, LogLine, PackedPages, Packing,
};
pub use dump_pages::{DumpPages, Hole, HoleOwner};
pub use finding::{
    Class, ContentSymbol, Evidence, EvidenceKind, Finding, FindingVerdict, GivenAway, Group,
    HiddenReference, HiddenShape, Holder, HolderKind, ObjectType, Outside, TypeReason,
    TypeReasonKind,
};
pub(crate) use function::function_name;
pub use function::{Function, FunctionSource, Process, Stack, UNKNOWN_FUNCTION};
pub use holders::{
    CachedFile, CgroupMemory, DeletedFile, DyingCgroups, HugePool, LockedMemory, ProcessHolders,
    ProcessMemory, SharedKind, SharedMemory, TmpfsMount, UnreadData, UserHolders,
};
pub use inspect::{
    Dump, InspectedCache, Inspection, ObjectState, PageUse, RefPlace, Refs, Spot, SpotKind, Step,
    Subject, Word, WordKind,
};
pub use memgraph::{AreaCaller, MemGraph, PercpuUse};
pub(crate) use name::{PLAIN, SYMBOLIC};
pub use name::{Plain, Symbolic};
pub use place::Place;
pub(crate) use scalar::{ADDRESS, CONTENTS, HEX, PAGE_NUMBER};
pub use scalar::{Address, Contents, Hex, PageNumber};
pub use skipped::{Omitted, Reason, Skipped};
pub use trace::{CountKind, Explanation, Refusal, RefusalKind, Trace, TraceEnd, Trend};

/// Version of the JSON's shape.
pub const SCHEMA_VERSION: u32 = 1;

/// One diagnosis of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of the shape.
    pub schema_version: u32,
    /// Who made it.
    pub tool: Tool,
    /// What was looked at.
    pub target: Target,
    /// Whether it leaks.
    pub verdict: Verdict,
    /// The verdict in one sentence.
    pub summary: String,
    /// What the report shows that not everybody should see.
    pub notice: String,
    /// Why the verdict is `undetermined`, where no interruption is the reason.
    pub reason: Option<String>,
    /// The step in which it was ended early.
    pub interrupted: Option<Stage>,
    /// Whether addresses, memory contents and people's names were replaced by hashes.
    pub redacted: bool,
    /// How it was looked at.
    pub method: Method,
    /// What the verdict is about; `None` is all of the kernel's memory.
    pub scope: Option<Scope>,
    /// Whose the machine's RAM is.
    pub census: Census,
    /// The kernel's counters that differ from the memory that was found.
    #[serde(default)]
    pub counters: Vec<Counter>,
    /// Anonymous memory that no process has; `None` where it is little, or cannot be told.
    #[serde(default)]
    pub ownerless: Option<Ownerless>,
    /// Worst first.
    pub findings: Vec<Finding>,
    /// How allocations were watched, where that was wanted.
    pub trace: Option<Trace>,
    /// How memory grew meanwhile.
    pub trend: Option<Trend>,
    /// What was looked at and what was not.
    pub coverage: Coverage,
    /// How long the steps took.
    pub timings: Timings,
    /// Totals of every slab cache, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<CacheTotals>,
    /// Language of the sentences, once they were rendered.
    pub lang: Option<Lang>,
}

impl Default for Report {
    fn default() -> Report {
        Report {
            schema_version: SCHEMA_VERSION,
            tool: Tool::default(),
            target: Target::default(),
            verdict: Verdict::default(),
            summary: String::new(),
            notice: String::new(),
            reason: None,
            interrupted: None,
            redacted: false,
            method: Method::default(),
            scope: None,
            census: Census::default(),
            counters: Vec::new(),
            ownerless: None,
            findings: Vec::new(),
            trace: None,
            trend: None,
            coverage: Coverage::default(),
            timings: Timings::default(),
            caches: Vec::new(),
            lang: None,
        }
    }
}

/// The program that made the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// `sysak`.
    pub name: Plain,
    /// Its version.
    pub version: Plain,
}

/// The kernel that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Running or dumped.
    pub kind: TargetKind,
    /// How its memory was read.
    pub reader: Reader,
    /// `uname -r` of it.
    pub kernel_release: Plain,
    /// `uname -m` of it.
    pub arch: Plain,
    /// Bytes in a page.
    pub page_size: u64,
    /// Its name, where known.
    pub hostname: Option<String>,
    /// Seconds since its boot, where known.
    pub uptime_s: Option<u64>,
    /// Whether its memory was copied while it ran, once: what moved meanwhile may look lost.
    #[serde(default)]
    pub torn: bool,
}

/// Running or dumped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// The machine that the tool runs on.
    #[default]
    Live,
    /// A crash dump.
    Vmcore,
}

/// How the target's memory was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// `/proc/kcore`.
    #[default]
    Kcore,
    /// A BPF program.
    Bpf,
    /// An ELF vmcore.
    Elf,
    /// A vmcore in makedumpfile's own format.
    Kdump,
    /// A raw image of memory.
    Raw,
    /// The memory of a virtual machine of VMware's.
    Vmware,
}

/// The answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Memory is lost for good.
    Leak,
    /// Memory grows without bound, but something still leads to it.
    Suspected,
    /// Nothing is lost.
    NoLeak,
    /// Could not look.
    #[default]
    Undetermined,
}

impl Verdict {
    /// The exit status of `sysak memleak`.
    pub fn exit_status(self) -> u8 {
        match self {
            Verdict::NoLeak => 0,
            Verdict::Leak | Verdict::Suspected => 1,
            Verdict::Undetermined => 2,
        }
    }
}

/// How the target was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Method {
    /// How often memory was looked at: a second look confirms suspects of a live machine.
    pub looks: u32,
    /// Seconds between the looks, where there were two.
    pub settle_s: Option<u64>,
    /// From how many percent of equal bytes two objects counted as alike.
    pub similarity_percent: u32,
    /// The only cache that was judged, where one was asked for.
    pub only_cache: Option<Plain>,
}

/// The part of the kernel's memory that was to be judged. The verdict is about this part alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scope {
    /// The only class.
    pub class: Class,
    /// The only cache, where one was asked for.
    pub cache: Option<Plain>,
    /// Its allocated objects.
    pub objects: u64,
    /// Of these, objects that no live kernel memory leads to; `None` where marking did not end.
    pub objects_unreachable: Option<u64>,
    /// What else has so much unreachable memory that it looks like a leak, most bytes first: it was
    /// seen, but not judged.
    pub elsewhere: Vec<Elsewhere>,
}

/// A cache or a class that was not to be judged, and what is unreachable of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Elsewhere {
    /// Kind of memory.
    pub class: Class,
    /// The slab cache's name in `/proc/slabinfo`.
    pub cache: Option<Plain>,
    /// Objects that no live kernel memory leads to.
    pub unreachable_objects: u64,
    /// Their bytes.
    pub unreachable_bytes: u64,
}

/// What was looked at and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Slabs that the target has; `None` where the search for them did not end.
    pub slabs_total: Option<u64>,
    /// Slabs whose objects were told apart.
    pub slabs_walked: u64,
    /// Live objects found in them.
    pub objects_walked: u64,
    /// Of these, objects that no live kernel memory leads to; `None` where marking did not end.
    pub objects_unreachable: Option<u64>,
    /// Bytes searched for pointers.
    pub bytes_scanned: u64,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// What a crash dump has of RAM; `None` for a running machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<DumpPages>,
    /// How much of each kind of memory could be judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub books: Vec<Book>,
}

/// How much of one kind of memory could be judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Book {
    /// The kind.
    pub class: Class,
    /// Whether memory of this kind was found.
    pub found: bool,
    /// How much of it there is.
    pub total_bytes: u64,
    /// How much of it nobody can judge; all of that counts as in use.
    pub unjudged_bytes: u64,
    /// Whether so much could be judged that a leak cannot hide in the rest.
    pub closed: bool,
}

/// How long the steps took; `None` for a step that was not made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timings {
    /// All of it.
    pub total_s: Option<f64>,
    /// Finding the owner of every page.
    pub census_s: Option<f64>,
    /// Finding the live objects of every slab.
    pub walk_s: Option<f64>,
    /// Following pointers.
    pub reach_s: Option<f64>,
    /// Looking for references in another shape than a pointer.
    pub hidden_s: Option<f64>,
    /// Grouping what is alike.
    pub similarity_s: Option<f64>,
    /// Types, code that allocates, and who holds what is not lost.
    pub explain_s: Option<f64>,
    /// Watching allocations.
    pub trace_s: Option<f64>,
}

/// Totals of one slab cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheTotals {
    /// Its name in `/proc/slabinfo`.
    pub name: Plain,
    /// Caches that were merged into it.
    pub aliases: Vec<Plain>,
    /// Bytes that a user of an object may touch.
    pub object_size_bytes: u64,
    /// How many slabs it has.
    pub slabs: u64,
    /// Objects, free and live: slabinfo's `num_objs`.
    pub objects_total: u64,
    /// Live objects.
    pub objects_live: u64,
    /// Bytes of its slabs.
    pub bytes: u64,
    /// Whether the kernel gives its memory back when programs need it.
    pub reclaimable: bool,
}

/// The steps of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Unpacking a dump that is packed as a whole.
    Unpack,
    /// Opening the target, its types and its symbols.
    Open,
    /// Every page of RAM into one owner.
    Census,
    /// Every slab, which objects are live.
    Walk,
    /// Marking from the roots.
    Reach,
    /// Groups of similar content.
    Similarity,
    /// Watching allocations and frees.
    Collect,
    /// Watching frees only, so that what is in flight drains.
    Drain,
    /// Waiting for the second snapshot.
    Settle,
    /// The second snapshot.
    SecondLook,
}
