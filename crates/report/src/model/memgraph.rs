//! The report of `sysak memgraph`: whose the memory is, the kernel's and user space's.
//!
//! **Invariant:** user memory has holders here; it is never called a leak.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    CacheTotals, Census, Counter, Coverage, Ownerless, Plain, SCHEMA_VERSION, Stage, Symbolic,
    Target, Timings, Tool, UserHolders,
};
use crate::lang::Lang;

/// Where the memory of one machine is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemGraph {
    /// Version of the shape.
    pub schema_version: u32,
    /// Who made it.
    pub tool: Tool,
    /// What was looked at.
    pub target: Target,
    /// Where the memory is, in one sentence.
    pub summary: String,
    /// The step in which it was ended early.
    pub interrupted: Option<Stage>,
    /// Whether addresses, memory contents and people's names were replaced by hashes.
    #[serde(default)]
    pub redacted: bool,
    /// Whose the machine's RAM is.
    pub census: Census,
    /// The kernel's counters that differ from the memory that was found.
    #[serde(default)]
    pub counters: Vec<Counter>,
    /// Anonymous memory that no process has; `None` where it is little, or cannot be told.
    #[serde(default)]
    pub ownerless: Option<Ownerless>,
    /// The biggest slab caches, biggest first.
    pub caches: Vec<CacheTotals>,
    /// Who asked for most of the vmalloc areas, the most first.
    pub vmalloc_callers: Vec<AreaCaller>,
    /// How per-CPU memory is used; `None` where its chunks were not found.
    pub percpu_use: Option<PercpuUse>,
    /// Who holds user memory; `None` where that was not looked for.
    pub holders: Option<UserHolders>,
    /// What was looked at and what was not.
    pub coverage: Coverage,
    /// How long the steps took.
    pub timings: Timings,
    /// Language of the sentences, once they were rendered.
    pub lang: Option<Lang>,
}

impl Default for MemGraph {
    fn default() -> MemGraph {
        MemGraph {
            schema_version: SCHEMA_VERSION,
            tool: Tool::default(),
            target: Target::default(),
            summary: String::new(),
            interrupted: None,
            redacted: false,
            census: Census::default(),
            counters: Vec::new(),
            ownerless: None,
            caches: Vec::new(),
            vmalloc_callers: Vec::new(),
            percpu_use: None,
            holders: None,
            coverage: Coverage::default(),
            timings: Timings::default(),
            lang: None,
        }
    }
}

/// A function that asked for vmalloc areas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AreaCaller {
    /// Its name; `bpf_map_area_alloc` stands for BPF maps.
    pub function: Symbolic,
    /// Its module.
    pub module: Option<Plain>,
    /// How many areas.
    pub areas: u64,
    /// Bytes of their pages.
    pub bytes: u64,
}

/// How the pages of per-CPU memory are used; all CPUs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PercpuUse {
    /// In use.
    pub allocated_bytes: u64,
    /// In no use, in pages that hold something: fragmentation, no leak.
    pub fragmented_bytes: u64,
    /// In pages without anything, kept for the next allocation.
    pub empty_bytes: u64,
}
