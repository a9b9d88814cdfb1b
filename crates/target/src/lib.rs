//! Ways to read a kernel's memory: `/proc/kcore`, BPF, a crash dump.
//!
//! Opening a target also finds its types, its symbols and the fixed points of
//! its address space, so that everything after it is the same for all of them.
//!
//! **Invariant:** targets are only read. Nothing stays loaded or mapped when a
//! [`Target`] is dropped, or when the process ends in any other way.

#![allow(unsafe_code)] // Mapping files and BPF maps; each use says why it is sound.

pub mod arch;
pub mod bpf;
pub mod elf;
mod error;
mod files;
mod image;
mod kcore;
mod live;
mod pulse;
mod vmcore;
mod wipe;

use std::path::{Path, PathBuf};

use sysak_base::{Anchors, Cancel, Memory, PfnRange, Va};
use sysak_symbols::{Kallsyms, TypeInfo, Vmcoreinfo};

pub use error::OpenError;
pub use pulse::Pulse;
pub use wipe::Wiping;

use kcore::Kcore;

/// A kernel whose memory can be read.
pub struct Target {
    /// Its memory.
    pub memory: Box<dyn Memory>,
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
    /// Whether it runs on, so that a second look sees something else.
    pub live: bool,
    /// How it is read.
    pub reader: Reader,
    /// `uname -r`
    pub kernel_release: String,
    /// `uname -m`
    pub arch: String,
    /// `uname -n`
    pub hostname: Option<String>,
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
}

/// Which reader is wanted for a live kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// `/proc/kcore`, and BPF where that cannot be.
    Auto,
    /// `/proc/kcore` or nothing.
    Kcore,
    /// BPF or nothing.
    Bpf,
}

/// What to open.
#[derive(Clone, Debug)]
pub struct Options {
    /// How to read the running kernel.
    pub reader: Choice,
    /// A crash dump to read instead.
    pub vmcore: Option<PathBuf>,
    /// Types from a file.
    pub btf: Option<PathBuf>,
    /// Symbols from a file.
    pub kallsyms: Option<PathBuf>,
}

/// Opens a crash dump, or the running kernel.
pub fn open(options: &Options, cancel: &Cancel) -> Result<Target, OpenError> {
    let mut target = match &options.vmcore {
        Some(path) => image::open(path, options)?,
        None => open_live(options, cancel)?,
    };
    target.anchors.memmap = memmap(&target);
    target.anchors.own_process = target.identity.live.then(live::own_process);
    Ok(target)
}

/// The pages of the array of `struct page`, by the kernel's page tables; none where those
/// were not found.
fn memmap(target: &Target) -> Vec<PfnRange> {
    let Anchors { page_offset, vmemmap, page_table, ram, .. } = &target.anchors;
    let size = target.types.find_size("page");
    let (Some(offset), Some(vmemmap), Some(top), Some(size)) =
        (*page_offset, *vmemmap, *page_table, size)
    else {
        return Vec::new();
    };
    let memory = target.memory.as_ref();
    let encryption = target.symbols.find("sme_me_mask").and_then(|at| memory.read_u64(at).ok());
    let mut frames = Vec::new();
    for run in ram {
        let at = |pfn: sysak_base::Pfn| vmemmap.at(pfn.0.saturating_mul(size));
        let range = (at(run.start), at(run.end));
        let found = arch::x86_64::frames(memory, top, offset, encryption.unwrap_or(0), range);
        frames.extend(found);
    }
    arch::x86_64::join(&mut frames);
    frames
}

fn open_live(options: &Options, cancel: &Cancel) -> Result<Target, OpenError> {
    live::need_privilege()?;
    let types = live::types(options.btf.as_deref())?;
    let symbols = live::symbols(options.kallsyms.as_deref())?;
    let resources = live::resources()?;
    let by_bpf = || bpf::open(&resources.ram, &types, &symbols, cancel);
    let open_kcore = || open_kcore(&symbols, options.kallsyms.as_deref());
    let (reader, (memory, mut anchors)) = match options.reader {
        Choice::Kcore => (Reader::Kcore, open_kcore()?),
        Choice::Bpf => (Reader::Bpf, by_bpf()?),
        Choice::Auto => match open_kcore() {
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
    Ok(Target { memory, anchors, types, symbols, identity })
}

fn open_kcore(
    symbols: &Kallsyms,
    given: Option<&Path>,
) -> Result<(Box<dyn Memory>, Anchors), OpenError> {
    let (kcore, core) = Kcore::open()?;
    // Since Linux commit 23c85094fe18 ("proc/kcore: add vmcoreinfo note to /proc/kcore") (v4.19).
    let info = core.vmcoreinfo.and_then(|note| Vmcoreinfo::parse(&note).ok());
    if let (Some(info), Some(path)) = (&info, given)
        && !symbols.agrees_with(info)
    {
        return Err(OpenError::ForeignSymbols { path: path.to_owned() });
    }
    let word = |name: &str| kcore.read_u64(symbols.find(name)?).ok().map(Va);
    let by_sections = || image::vmemmap(&kcore, info.as_ref()?);
    let noted = || info.as_ref()?.find_symbol("swapper_pg_dir");
    let anchors = Anchors {
        page_offset: word("page_offset_base").or_else(|| kcore.find_page_offset()),
        vmemmap: word("vmemmap_base").or_else(by_sections).or_else(|| kcore.find_vmemmap()),
        per_cpu_offsets: image::per_cpu_offsets(&kcore, symbols, live::possible_cpus()),
        page_table: symbols.find("init_top_pgt").or_else(noted),
        ..Anchors::default()
    };
    Ok((Box::new(kcore), anchors))
}
