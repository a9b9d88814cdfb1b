//! Why a target cannot be opened, and what to do about it.

use std::path::PathBuf;

use sysak_symbols::{BtfError, KallsymsError};

use crate::bpf::BpfError;
use crate::elf::ElfError;

/// Why a target cannot be opened. One line each: the object and the cure.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not allowed to.
    #[error("cannot read this kernel's memory: need CAP_SYS_RAWIO or CAP_SYS_ADMIN (run as root)")]
    NeedsPrivilege,
    /// The resource tree shows zeros to whoever lacks the capability.
    #[error("/proc/iomem hides where RAM is: need CAP_SYS_ADMIN (run as root)")]
    HiddenRam,
    /// Forbidden for everybody.
    #[error(
        "cannot read this kernel's memory: lockdown is in confidentiality mode; \
         boot with lockdown=integrity, or diagnose a crash dump with --vmcore"
    )]
    Lockdown,
    /// A kernel built without it, or a container that hides it.
    #[error("/proc/kcore is absent or hidden: use --reader bpf, or run outside of the container")]
    NoKcore,
    /// Without a capability.
    #[error("cannot read /proc/kcore: need {0} (run as root, outside of containers)")]
    KcoreNeeds(&'static str),
    /// Refused although the capabilities are there.
    #[error(
        "cannot read /proc/kcore: the system forbids it although no capability is missing (lockdown, \
         or a security policy); use --reader bpf"
    )]
    KcoreForbidden,
    /// Both readers failed.
    #[error("{kcore}; and {bpf}")]
    NoReader {
        /// Why not through `/proc/kcore`.
        kcore: Box<OpenError>,
        /// Why not through BPF.
        bpf: BpfError,
    },
    /// BPF was asked for and failed.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// A file that cannot be opened or read.
    #[error("cannot read {}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// A pipe, a device or a directory, where only a regular file will do.
    #[error("cannot use {}: it is {what}, not a regular file", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// Not a dump of a format that is supported.
    #[error("{} {why}", path.display())]
    NotACore {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: ElfError,
    },
    /// Two files that do not belong together.
    #[error(
        "{} and {} are no parts of one dump: give one file, or every part of one split dump", other.display(), path.display()
    )]
    NotOneDump {
        /// Which file.
        path: PathBuf,
        /// The file before it.
        other: PathBuf,
    },
    /// A part of a split dump that was given twice.
    #[error("{} and {} are the same part of a split dump: give each part once", other.display(), path.display())]
    SamePart {
        /// Which file.
        path: PathBuf,
        /// The file that has the same pages.
        other: PathBuf,
    },
    /// A part of a split dump that was not given.
    #[error(
        "{} is one part of a split dump, and the part with pages {first:#x} to {last:#x} is missing: give every part \
         (--vmcore PART --vmcore PART …, or a quoted pattern)", path.display()
    )]
    MissingPart {
        /// A part that is there.
        path: PathBuf,
        /// The first page that no file has.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// A packed file that is larger than the free space once it is unpacked.
    #[error(
        "{} is packed, and unpacking it takes at least {needed} bytes in {}, where {free} are free: make room, or set \
         TMPDIR to a folder that has it", path.display(), folder.display()
    )]
    NoRoom {
        /// The packed file.
        path: PathBuf,
        /// Where it was to be unpacked.
        folder: PathBuf,
        /// What that takes, and what is left to others.
        needed: u64,
        /// What there is.
        free: u64,
    },
    /// A folder in which nothing can be unpacked.
    #[error("cannot unpack {} to {}: {why}; set TMPDIR to a folder that can be written", path.display(), folder.display())]
    NoScratch {
        /// The packed file.
        path: PathBuf,
        /// Where it was to be unpacked.
        folder: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
    /// A pattern that no file matches.
    #[error("no file matches {}", pattern.display())]
    NoMatch {
        /// The pattern.
        pattern: PathBuf,
    },
    /// Ended by the user.
    #[error("stopped before any memory was looked at: nothing is known yet")]
    Cancelled,
    /// Nothing in it.
    #[error("{} is empty: was the disk full when it was written?", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// Cut off, usually because the disk was full, so that the kernel is not to be found in it.
    #[error(
        "{} is cut off: {missing} bytes of its memory are missing, and without them nothing can be told; copy it again, \
         or dump again", path.display()
    )]
    Truncated {
        /// Which file.
        path: PathBuf,
        /// How much.
        missing: u64,
    },
    /// Cut off while it was read, or its disk failed: the text of a process that ends at once.
    #[error(
        "{} was cut off while it was read, or its disk failed: nothing is known; copy it again", path.display()
    )]
    CutWhileRead {
        /// Which file.
        path: PathBuf,
    },
    /// A dump in which no kernel was found.
    #[error(
        "{} has no {what}: is it a Linux kernel's dump? If a virtual machine's, add the vmcoreinfo \
         device (QEMU: -device vmcoreinfo) and dump again", path.display()
    )]
    MissingVmcoreinfo {
        /// Which file.
        path: PathBuf,
        /// What it lacks.
        what: &'static str,
    },
    /// A kernel built without BTF.
    #[error("{object} has no type information (CONFIG_DEBUG_INFO_BTF): give it with --btf FILE")]
    NoTypeInfo {
        /// Where it was looked for.
        object: String,
    },
    /// Type information that cannot be read.
    #[error("cannot use the type information in {}: {why}", path.display())]
    BadTypeInfo {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: BtfError,
    },
    /// No symbol table in the image.
    #[error("{} has no kernel symbols that can be read: give them with --kallsyms FILE", path.display())]
    NoSymbols {
        /// Which file.
        path: PathBuf,
    },
    /// The running kernel's symbols cannot be read.
    #[error(transparent)]
    Symbols(#[from] KallsymsError),
    /// A file of symbols that cannot be read.
    #[error("cannot use the symbols in {}: {why}", path.display())]
    BadSymbols {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: KallsymsError,
    },
    /// Types of another kernel.
    #[error("the type information in {} is another kernel's: give this kernel's own", path.display())]
    ForeignTypes {
        /// Which file.
        path: PathBuf,
    },
    /// Symbols of another boot or kernel.
    #[error(
        "the symbols in {} are not of this kernel: take /proc/kallsyms of the very boot that \
         crashed", path.display()
    )]
    ForeignSymbols {
        /// Which file.
        path: PathBuf,
    },
}
