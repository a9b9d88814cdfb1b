//! What `sysak inspect dump` shows: a crash dump's file, its kernel's last words, and what can be done with it.
//!
//! **Invariant:** what the file and its kernel do not tell is `null`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DumpPages, Plain};

/// A crash dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CrashDump {
    /// How the file is made.
    pub file: DumpFile,
    /// When the kernel crashed, in seconds since 1970.
    pub crashed_s: Option<u64>,
    /// CPUs of the machine.
    pub cpus: Option<u32>,
    /// The message of the panic.
    pub panic: Option<String>,
    /// The newest message about an error in the kernel, panics left aside.
    pub oops: Option<String>,
    /// The last lines of the kernel's log, the oldest first.
    pub log: Vec<LogLine>,
    /// What the dump has not.
    pub missing: Vec<DumpPart>,
    /// How many symbols were found.
    pub symbols: Option<u64>,
    /// How many types were found.
    pub types: Option<u64>,
    /// Which commands work on it.
    pub commands: Vec<DumpCommand>,
}

/// The file of a dump, or its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DumpFile {
    /// Its format.
    pub format: DumpFormat,
    /// Version of makedumpfile's header.
    pub version: Option<u32>,
    /// Whether it was written to a pipe.
    pub flattened: bool,
    /// How many files: the parts of a split dump, or memory beside its state.
    pub files: u64,
    /// How they are packed as a whole: gzip, xz, …
    pub packed_with: Option<Plain>,
    /// Their length, as they are.
    pub bytes: u64,
    /// When it was written, in seconds since 1970.
    pub written_s: Option<u64>,
    /// makedumpfile's dump level: which pages were left out on purpose.
    pub filter_level: Option<u32>,
    /// Memory up to its end by what the file has of it. Gaps between RAM are absent, too; whose it is, is not asked,
    /// so there are no holes.
    pub pages: DumpPages,
    /// How pages are packed, the most frequent way first.
    pub packed: Vec<PackedPages>,
}

/// Formats of dumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DumpFormat {
    /// ELF.
    #[default]
    Elf,
    /// makedumpfile's own.
    Kdump,
    /// LiME, and AVML.
    Lime,
    /// The memory of a virtual machine of VMware's.
    Vmware,
    /// A guest of Xen's, in sections of an ELF file.
    Xen,
    /// Memory and nothing else.
    Raw,
}

/// Pages that are packed in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackedPages {
    /// The way.
    pub packing: Packing,
    /// How many.
    pub pages: u64,
}

/// Ways to pack a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// As it is.
    Raw,
    /// zlib.
    Zlib,
    /// LZO.
    Lzo,
    /// Snappy.
    Snappy,
    /// Zstandard.
    Zstd,
    /// None of these.
    Unknown,
}

/// A line of the kernel's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Nanoseconds from the boot to when it was written.
    pub time_ns: u64,
    /// What it says.
    pub text: String,
}

/// A part that a dump may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DumpPart {
    /// The note that tells where the kernel is; a copy of it was found in RAM.
    VmcoreinfoNote,
    /// The CPUs' registers.
    Registers,
    /// Where the kernel is.
    Kernel,
    /// The kernel's log.
    Log,
}

/// A command of sysak, on this dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DumpCommand {
    /// Its name.
    pub name: Plain,
    /// Whether it works.
    pub works: bool,
    /// Why not.
    pub reason: Option<String>,
}
