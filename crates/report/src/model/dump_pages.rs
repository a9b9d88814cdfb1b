//! What a crash dump has of its machine's memory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// RAM by what the dump has of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DumpPages {
    /// Its contents.
    pub present_bytes: u64,
    /// The note that it is zero.
    pub zero_bytes: u64,
    /// Nothing: a filter left it out when the dump was written.
    pub excluded_bytes: u64,
    /// Nothing: it was no RAM to the program that wrote the dump.
    pub absent_bytes: u64,
    /// Nothing any more: the file is cut off or damaged.
    pub lost_bytes: u64,
    /// The kernel's own memory among what the dump has not: what only it leads to looks lost.
    pub holes_bytes: u64,
    /// The same by its owners, the largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
}

impl DumpPages {
    /// What is missing and is not the kernel's: nobody needs it here.
    pub fn filtered_bytes(&self) -> u64 {
        let missing = self.excluded_bytes + self.absent_bytes + self.lost_bytes;
        missing.saturating_sub(self.holes_bytes).min(self.excluded_bytes)
    }
}

/// Memory of one owner that the dump has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hole {
    /// Whose it is.
    pub owner: HoleOwner,
    /// How much.
    pub bytes: u64,
}

/// An owner of the kernel's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoleOwner {
    /// Slabs.
    Slab,
    /// vmalloc areas.
    Vmalloc,
    /// Per-CPU memory.
    Percpu,
    /// Page tables.
    PageTable,
    /// Stacks of tasks.
    KernelStack,
    /// Text, data and bss.
    Image,
    /// The array of `struct page`.
    Vmemmap,
    /// Set aside at boot.
    Reserved,
    /// Any other.
    PageAlloc,
}
