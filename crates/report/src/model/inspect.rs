//! What `sysak inspect` shows: an address, an object's words, what points at it, a slab cache.
//!
//! **Invariant:** addresses are `0x…` strings here too, and what is unknown is `null`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Address, Contents, CrashDump, Finding, Hex, ObjectType, PageNumber, Place, Plain,
    SCHEMA_VERSION, Stage, Target, Timings, Tool,
};

/// The document of `sysak inspect`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Inspection {
    /// Version of the shape.
    pub schema_version: u32,
    /// Who made it.
    pub tool: Tool,
    /// What was looked at.
    pub target: Target,
    /// The step in which it was ended early.
    pub interrupted: Option<Stage>,
    /// Whether addresses, memory contents and people's names were replaced by hashes.
    #[serde(default)]
    pub redacted: bool,
    /// What was asked for.
    #[serde(flatten)]
    pub subject: Subject,
    /// How long the steps took.
    pub timings: Timings,
}

impl Default for Inspection {
    fn default() -> Inspection {
        Inspection {
            schema_version: SCHEMA_VERSION,
            tool: Tool::default(),
            target: Target::default(),
            interrupted: None,
            redacted: false,
            subject: Subject::Addr(Spot::default()),
            timings: Timings::default(),
        }
    }
}

/// What was asked for; its name is the name of the JSON's field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// What an address is.
    Addr(Spot),
    /// The words of an object.
    Object(Dump),
    /// What points at an object.
    Refs(Refs),
    /// A slab cache.
    Cache(Box<InspectedCache>),
    /// The crash dump itself.
    Dump(Box<CrashDump>),
}

/// What an address is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spot {
    /// The address asked about.
    pub address: Option<Address>,
    /// What it lies in.
    pub kind: SpotKind,
    /// What that is called: a cache, a symbol, a thread, who asked for an area.
    pub name: Option<Place>,
    /// Module of the symbol.
    pub module: Option<Plain>,
    /// Number of the thread or process.
    pub pid: Option<u32>,
    /// First byte of what it lies in.
    pub start: Option<Address>,
    /// How far into that.
    pub offset: Option<Hex>,
    /// Length of that.
    pub size_bytes: Option<u64>,
    /// Whether that is allocated, and whether anything leads to it.
    pub state: Option<ObjectState>,
    /// The page frame, for an address in RAM.
    pub pfn: Option<PageNumber>,
    /// Whose that page is.
    pub page_owner: Option<PageUse>,
}

/// Kind of place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpotKind {
    /// An object of a slab cache.
    SlabObject,
    /// A block of pages, straight from the page allocator.
    PageBlock,
    /// An area of the vmalloc address space.
    VmallocArea,
    /// A table that was set aside at boot, by the variable that leads to it.
    BootTable,
    /// A per-CPU allocation.
    PercpuObject,
    /// The kernel's image.
    Image,
    /// A module.
    Module,
    /// A static per-CPU variable.
    PercpuVariable,
    /// A thread's stack.
    Stack,
    /// The `struct page` of a page.
    StructPage,
    /// A page of RAM.
    Page,
    /// None of these.
    #[default]
    Unknown,
}

/// State of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectState {
    /// Nobody's.
    Free,
    /// Allocated, and live memory leads to it.
    Reachable,
    /// Allocated, and no live memory leads to it.
    Unreachable,
    /// Allocated; marking did not end.
    Allocated,
}

/// Whose a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PageUse {
    /// Nobody's.
    Free,
    /// A slab.
    Slab,
    /// Private memory of a process.
    Anon,
    /// Page cache of a file.
    File,
    /// Shared memory or tmpfs.
    Shmem,
    /// A huge page.
    Hugetlb,
    /// A page table.
    PageTable,
    /// The kernel's image.
    Image,
    /// Set aside at boot.
    Reserved,
    /// The array of `struct page`.
    Vmemmap,
    /// The kernel's otherwise.
    Kernel,
    /// Offline, poisoned, or given to the hypervisor.
    Untouchable,
}

/// The words of an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dump {
    /// Which object.
    pub spot: Spot,
    /// Its type, as guessed.
    #[serde(rename = "type")]
    pub object_type: Option<ObjectType>,
    /// Its words; equal ones in a row are one entry.
    pub words: Vec<Word>,
    /// Whether more words follow.
    pub cut: bool,
    /// The objects that its words lead to, where they were asked for.
    pub leads_to: Vec<Dump>,
}

/// Words of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Word {
    /// Offset of the first one.
    pub offset: Hex,
    /// What is there.
    pub value: Contents,
    /// How many equal words follow each other.
    pub count: u64,
    /// What kind of word.
    pub kind: WordKind,
    /// What it leads to, or what it says.
    pub meaning: Option<Place>,
    /// The field of the object's type.
    pub field: Option<Plain>,
}

/// Kind of word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WordKind {
    /// 0.
    Zero,
    /// A number.
    #[default]
    Number,
    /// Letters.
    Text,
    /// The address of a symbol.
    Symbol,
    /// The address of an object.
    Object,
    /// Any other address of the kernel.
    Address,
    /// `LIST_POISON1`, `LIST_POISON2`: taken off a list.
    Poison,
    /// A negative error number.
    Error,
}

/// What points at an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refs {
    /// The object.
    pub spot: Spot,
    /// Words that lead to it; `None` where they were not looked for: it is a root, in use whatever
    /// points to it.
    pub references: Option<u64>,
    /// Those from the same kind of place together, the most first.
    pub places: Vec<RefPlace>,
    /// By which ways it is held, the best first.
    pub ways: Vec<Vec<Step>>,
}

/// A place that references lie in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefPlace {
    /// `kmalloc-64+0x10`, a symbol, a stack.
    pub name: Place,
    /// Words.
    pub references: u64,
    /// Where the first one stands.
    pub example: Option<Address>,
    /// Whether the place itself is held by nothing.
    pub unreachable: bool,
}

/// A step of a way, from the holder to the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// `kmalloc-64+0x10`, a symbol, a process.
    pub name: Place,
    /// Where the reference stands.
    pub address: Option<Address>,
}

/// A slab cache.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InspectedCache {
    /// How many slabs it has.
    pub slabs: u64,
    /// All about its objects, as in a report of `sysak memleak`.
    #[serde(flatten)]
    pub finding: Finding,
}
