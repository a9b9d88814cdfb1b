//! What watching a live machine told: how it was watched, how it grew, what explains it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Plain, Symbolic};

/// How allocations and frees were watched.
///
/// A record that was lost or thinned out makes the lists of functions shorter; it
/// never accuses anybody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trace {
    /// Seconds in which allocations and frees were watched.
    pub collect_s: f64,
    /// Seconds after those in which frees alone were watched, so that what is
    /// short-lived drains away.
    pub drain_s: f64,
    /// Allocations and frees that were seen.
    pub events: u64,
    /// Allocations that were written down.
    pub recorded: u64,
    /// Of these, not freed again.
    pub outstanding: u64,
    /// Allocations for which there was no room.
    pub lost_records: u64,
    /// Caches that were followed; empty for all of them.
    pub caches: Vec<Plain>,
    /// One of so many allocations was written down: 1 for all.
    pub one_in: u32,
    /// Whether stacks were taken of a part of the written-down allocations only.
    pub stacks_thinned: bool,
    /// What watching cost, in percent of one CPU, as estimated.
    pub overhead_percent: Option<f64>,
    /// Why it ended.
    pub ended: TraceEnd,
    /// Seconds of further watching that a proof would need, at the rate that was seen.
    pub wait_more_s: Option<f64>,
    /// Why nothing could be watched although it was wanted, in words.
    pub refused: Option<Symbolic>,
    /// The same as a value.
    pub refusal: Option<Refusal>,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace {
            collect_s: 0.0,
            drain_s: 0.0,
            events: 0,
            recorded: 0,
            outstanding: 0,
            lost_records: 0,
            caches: Vec::new(),
            one_in: 1,
            stacks_thinned: false,
            overhead_percent: None,
            ended: TraceEnd::default(),
            wait_more_s: None,
            refused: None,
            refusal: None,
        }
    }
}

/// Why nothing could be watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// What stood in the way.
    pub kind: RefusalKind,
    /// The capability that is missing, the event, or what the system said.
    pub detail: Option<Symbolic>,
}

/// What stood in the way of watching allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The type information has no events of allocations.
    NoEvents,
    /// A capability is missing.
    NeedsPrivilege,
    /// Refused although no capability is missing.
    Forbidden,
    /// BPF programs may not read kernel memory.
    NoHelper,
    /// The kernel lacks something that the programs need.
    Unsupported,
    /// Descriptors or mappings could not be made.
    Setup,
    /// An event does not exist, or refuses the program.
    NoEvent,
}

/// Why watching ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceEnd {
    /// More waiting would not change the answer.
    Conclusive,
    /// Nothing is suspect and nothing grows.
    Quiet,
    /// The time was over.
    #[default]
    TimeLimit,
    /// Somebody ended it.
    Interrupted,
}

/// How memory grew while it was watched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trend {
    /// Seconds between the first sample and the last.
    pub watched_s: f64,
    /// Growth of all memory that the kernel cannot take back.
    pub unreclaimable_bytes_per_s: Option<f64>,
    /// Of this, what is proved to be lost.
    pub leak_bytes_per_s: Option<f64>,
    /// Memory that could still be had at the end.
    pub available_bytes: Option<u64>,
    /// Seconds until none is left, at this rate.
    pub full_in_s: Option<f64>,
}

/// A count that user space sees and that grew as a cache did: its objects have owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// What is counted.
    pub count: CountKind,
    /// By how many it grew while the machine was watched.
    pub grew_by: u64,
}

/// What user space can count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CountKind {
    /// Open files, whatever is behind them.
    #[default]
    Files,
    /// Inodes in memory.
    Inodes,
    /// Directory entries in memory.
    Dentries,
    /// Sockets.
    Sockets,
    /// Threads.
    Threads,
    /// Mounts.
    Mounts,
    /// Keys of the kernel's keyrings.
    Keys,
    /// Control groups.
    Cgroups,
    /// Connections that the firewall tracks.
    Connections,
    /// Loaded modules.
    Modules,
    /// Pages that the hypervisor took back.
    BalloonPages,
    /// Bytes of data that waits in pipes and sockets.
    UnreadBytes,
}
