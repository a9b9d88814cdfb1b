//! What a dump's file tells of itself, beside the memory that it holds.

/// What the file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its format.
    pub format: FileFormat,
    /// Its length.
    pub file_bytes: u64,
    /// How many pages it has, and how many not.
    pub pages: PageCounts,
    /// How its pages are packed, the most frequent way first.
    pub packed: Vec<(Packing, u64)>,
    /// makedumpfile's dump level: which pages were left out.
    pub filter_level: Option<u32>,
    /// When it was written, in seconds since 1970.
    pub written_s: Option<u64>,
    /// How many CPUs the machine has.
    pub cpus: Option<u32>,
    /// `uname` of the machine, in the file's header.
    pub uname: Uname,
}

/// Formats of dumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// ELF.
    Elf,
    /// makedumpfile's own.
    Kdump {
        /// Version of its header.
        version: u32,
        /// Whether it was written to a pipe.
        flattened: bool,
    },
}

/// Pages by what a file says of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts {
    /// Their contents are in the file.
    pub present: u64,
    /// They are nothing but zeros, and share one page of the file.
    pub zero: u64,
    /// They are RAM, and were left out.
    pub excluded: u64,
}

/// Ways to pack a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Several at once, or a damaged descriptor.
    Unknown,
}

/// A machine's names of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uname {
    /// `uname -r`
    pub release: Option<String>,
    /// `uname -n`
    pub hostname: Option<String>,
    /// `uname -m`
    pub machine: Option<String>,
}
