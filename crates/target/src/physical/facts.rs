//! What a dump's file tells of itself, beside the memory that it holds.

use crate::Reader;

/// What the file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its format.
    pub format: FileFormat,
    /// Whether it was written to a pipe.
    pub flattened: bool,
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
    },
    /// LiME, and AVML.
    Lime,
    /// The memory of a virtual machine of VMware's.
    Vmware,
    /// A guest of Xen's, in sections of an ELF file.
    Xen,
    /// Memory and nothing else.
    Raw,
}

impl FileFormat {
    /// What reads such files.
    pub(crate) fn reader(self) -> Reader {
        match self {
            FileFormat::Elf | FileFormat::Xen => Reader::Elf,
            FileFormat::Kdump { .. } => Reader::Kdump,
            FileFormat::Lime | FileFormat::Raw => Reader::Raw,
            FileFormat::Vmware => Reader::Vmware,
        }
    }
}

impl FileFacts {
    /// The facts of a file that tells of nothing but memory.
    pub(crate) fn of(format: FileFormat, flattened: bool) -> FileFacts {
        FileFacts {
            format,
            flattened,
            packed: Vec::new(),
            filter_level: None,
            written_s: None,
            cpus: None,
            uname: Uname::default(),
        }
    }
}

/// The files of a dump, as they are on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFiles {
    /// How many.
    pub files: usize,
    /// Their length.
    pub bytes: u64,
    /// How they are packed as a whole, if they are: gzip, xz, …
    pub packed: Option<&'static str>,
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
