//! Who allocates: functions, and the processes that had them do it.

use serde::Serialize;

/// A function that allocates the objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Function {
    /// The function to blame.
    pub name: String,
    /// Where in it.
    #[serde(serialize_with = "super::hex")]
    pub offset: Option<u64>,
    /// Its length.
    #[serde(serialize_with = "super::hex")]
    pub size: Option<u64>,
    /// Its module; `None` for the kernel itself.
    pub module: Option<String>,
    /// The frame that called the allocator, where it is another one.
    pub call_site: Option<String>,
    /// How it was found.
    pub source: FunctionSource,
    /// Allocations seen.
    pub allocated: Option<u64>,
    /// Allocations not freed again.
    pub outstanding: Option<u64>,
    /// Of these, alike to the suspect group.
    pub marked: Option<u64>,
    /// Of these, lost.
    pub unreachable: Option<u64>,
    /// Its callers.
    pub stack: Vec<String>,
    /// The processes that had it allocate most of what is outstanding, most first.
    pub processes: Vec<Process>,
}

/// A process that had a function allocate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name, as the kernel keeps it: at most 15 bytes.
    pub comm: String,
    /// Its allocations that were not freed again.
    pub outstanding: u64,
}

/// How a function was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionSource {
    /// Seen allocating.
    #[default]
    Traced,
    /// Found in the kernel's text.
    Static,
    /// Named by the objects' content.
    Content,
}
