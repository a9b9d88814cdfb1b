//! Objects that are counted: allocated once for everybody, and freed with the last reference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Plain, Symbolic};

/// Who allocated such objects is rarely who leaked them: a reference was lost by whoever took it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counted {
    /// What is counted.
    pub kind: CountedKind,
    /// Functions of modules that were not built with the kernel that call what gives a reference to such
    /// objects; `None` where such modules cannot be told from others.
    pub takers: Option<Vec<ReferenceTaker>>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CountedKind {
    /// Credentials of processes.
    #[default]
    Cred,
    /// Open files.
    File,
    /// Network packets.
    SkBuff,
    /// Address spaces of processes.
    Mm,
    /// Inodes.
    Inode,
    /// Directory entries.
    Dentry,
    /// Sockets.
    Sock,
    /// Network namespaces.
    Net,
    /// Threads.
    Task,
    /// Pages.
    Page,
}

/// A function that takes references.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReferenceTaker {
    /// Its module.
    pub module: Plain,
    /// The function.
    pub function: Symbolic,
    /// What it calls for that.
    pub calls: Symbolic,
}
