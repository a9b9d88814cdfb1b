//! Sources of a kernel's memory: `/proc/kcore`, a BPF program, a crash dump.
//!
//! Opening a target also finds its types, its symbols and the fixed points of
//! its address space, so that everything after it is the same for all of them.
//!
//! **Invariant:** targets are only read. Nothing stays loaded or mapped when a
//! [`Target`] is dropped, or when the process ends in any other way.

mod anchors;
pub mod bpf;
mod dump_file;
pub mod elf;
mod error;
mod files;
mod foreign;
mod in_turns;
mod kcore;
mod live;
mod memory;
mod page_table;
mod physical;
mod pulse;
mod threads;
mod unpack;
mod vmcore;
mod wipe;

use std::path::{Path, PathBuf};

use sysak_base::{Anchors, Cancel, Progress, Quiet};
use sysak_symbols::{Kallsyms, TypeInfo};

pub use sysak_arch::x86_64::NAME as ARCH;

pub use dump_file::{DiskFiles, DumpFile, FileFacts, FileFormat, Packing, Uname, open_dump_file};
pub use error::OpenError;
pub use memory::TargetMemory;
pub use physical::{Changes, RamMap, Replaced, count_pages};
pub use pulse::Pulse;
pub use threads::threads;
use unpack::Opening;
pub use unpack::count_unpacked;
pub use wipe::Wiping;

/// A kernel whose memory can be read.
pub struct Target {
    /// Its memory.
    pub memory: TargetMemory,
    /// How many threads are to read it.
    pub threads: usize,
    /// The fixed points of its address space.
    pub anchors: Anchors,
    /// Its types.
    pub types: TypeInfo,
    /// Its symbols.
    pub symbols: Kallsyms,
    /// Which kernel it is.
    pub identity: Identity,
}

/// Which kernel is read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whether it is running, so that a second look sees something else.
    pub live: bool,
    /// How it is read.
    pub reader: Reader,
    /// `uname -r`
    pub kernel_release: String,
    /// `uname -m`
    pub arch: String,
    /// `uname -n`
    pub hostname: Option<String>,
    /// Whether it was copied while its kernel ran: what moved meanwhile is torn.
    pub torn: bool,
    /// Seconds since it booted.
    pub uptime_s: Option<u64>,
}

/// The ways to read memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// `/proc/kcore`
    Kcore,
    /// A BPF program.
    Bpf,
    /// An ELF file.
    Elf,
    /// A file in makedumpfile's own format, flattened or not.
    Kdump,
    /// A raw image of memory: LiME, AVML, or one with a map.
    Raw,
    /// The memory of a virtual machine of VMware's.
    Vmware,
}

/// Which reader is wanted for a live kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// `/proc/kcore`, and BPF where that cannot be.
    #[default]
    Auto,
    /// `/proc/kcore` or nothing.
    Kcore,
    /// BPF or nothing.
    Bpf,
}

/// What to open.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How to read the running kernel.
    pub reader: Choice,
    /// A crash dump to read instead: one file, or the parts of one dump; names, or patterns.
    pub vmcore: Vec<PathBuf>,
    /// Where the bytes of a raw image belong.
    pub ram_map: Option<RamMap>,
    /// The folder where a packed dump is unpacked.
    pub scratch: Option<PathBuf>,
    /// How many threads are to read it; `None` chooses ([`threads`]).
    pub threads: Option<u16>,
    /// Types from a file.
    pub btf: Option<PathBuf>,
    /// Symbols from a file.
    pub kallsyms: Option<PathBuf>,
}

/// Opens a crash dump, or the running kernel.
///
/// Unpacking a packed one takes a while, and its progress is told.
pub fn open(
    options: &Options,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Target, OpenError> {
    let opening = Opening::new(options, cancel, progress);
    let target = match options.vmcore.is_empty() {
        true => open_live(options, cancel)?,
        false => vmcore::open(options, &opening, Changes::default())?,
    };
    Ok(complete(target))
}

/// Opens a crash dump as it would be with some changes; the file stays as it is.
pub fn open_changed(path: &Path, changes: Changes<'_>) -> Result<Target, OpenError> {
    let options = Options { vmcore: vec![path.to_owned()], ..Options::default() };
    let cancel = Cancel::default();
    let opening = Opening::new(&options, &cancel, &Quiet);
    Ok(complete(vmcore::open(&options, &opening, changes)?))
}

fn complete(mut target: Target) -> Target {
    target.anchors.memmap = anchors::memmap(&target);
    target.anchors.own_process = target.identity.live.then(live::own_process);
    target
}

fn open_live(options: &Options, cancel: &Cancel) -> Result<Target, OpenError> {
    live::need_privilege()?;
    let types = live::types(options.btf.as_deref())?;
    let symbols = live::symbols(options.kallsyms.as_deref())?;
    let resources = live::resources()?;
    let threads = threads(options.threads, true);
    let by_bpf = || bpf::open(&resources.ram, &types, &symbols, threads, cancel);
    let by_kcore = || kcore::open(&symbols, options.kallsyms.as_deref(), threads);
    let (reader, (memory, mut anchors)) = match options.reader {
        Choice::Kcore => (Reader::Kcore, by_kcore()?),
        Choice::Bpf => (Reader::Bpf, by_bpf()?),
        Choice::Auto => match by_kcore() {
            Ok(opened) => (Reader::Kcore, opened),
            // Other symbols mislead the other reader as well.
            Err(foreign @ OpenError::ForeignSymbols { .. }) => return Err(foreign),
            Err(kcore) => match by_bpf() {
                Ok(opened) => (Reader::Bpf, opened),
                Err(_) if cancel.is_set() => return Err(OpenError::Cancelled),
                Err(bpf) => return Err(OpenError::NoReader { kcore: Box::new(kcore), bpf }),
            },
        },
    };
    anchors.ram = resources.ram;
    anchors.image = resources.image;
    anchors.image_virtual = symbols.find("_text").zip(symbols.find("_end"));
    let identity = live::identity(reader);
    Ok(Target { memory, threads, anchors, types, symbols, identity })
}
