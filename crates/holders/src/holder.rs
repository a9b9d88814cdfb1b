//! Who holds objects: what a search for holders answers.

use sysak_heap::references::Reference;

use crate::Step;

/// What a holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HolderKind {
    /// A process.
    Process,
    /// A module.
    Module,
    /// A control group.
    Cgroup,
    /// A variable of the kernel.
    Symbol,
    /// What user space knows by a name: a file system, a mount, a pin, a message queue, a keyring.
    File,
    /// A pending timer.
    Timer,
    /// The kernel, an unknown part of it.
    Kernel,
}

/// Who holds some of the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The retention path, from the holder to the objects.
    pub path: Vec<Step>,
    /// What it is.
    pub kind: HolderKind,
    /// How many of the objects; where only some of these were looked at, their share of all.
    pub objects: u64,
    /// The reference that one of its paths begins with; `None` where many holders are counted
    /// together.
    pub anchor: Option<Reference>,
    /// Bytes of all memory that would be unreachable without it; known of the largest holders.
    pub retained_bytes: Option<u64>,
}

/// Who holds the objects of one cache.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    /// Those of most objects first.
    pub held_by: Vec<Holder>,
    /// Objects that were looked at: all reachable ones, or a sample of these.
    pub sampled: u64,
}
