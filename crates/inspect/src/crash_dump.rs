//! What a crash dump is, what its kernel said last, and what can be done with it.
//!
//! **Invariant:** what the file and its kernel do not tell stays unknown.

use sysak_base::PAGE_SIZE;
use sysak_kernel::log::{Log, read_log};
use sysak_report as report;
use sysak_report::{CrashDump, DumpCommand, DumpFormat, DumpPart, LogLine, PackedPages, Subject};
use sysak_snapshot::to_report::{dump_states, tool};
use sysak_target::{DumpFile, FileFormat, Packing, Reader};

/// The commands that look at a kernel; all need the same of it.
const COMMANDS: [&str; 3] = ["memleak", "memgraph", "inspect"];

/// What became of the dump when it was opened for a diagnosis.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// The kernel, if it was found.
    pub target: Option<report::Target>,
    /// How many symbols it has.
    pub symbols: Option<u64>,
    /// How many types it has.
    pub types: Option<u64>,
    /// Why there can be no diagnosis, in the language of the report.
    pub refused: Option<String>,
}

/// The document, with so many lines of the kernel's log.
///
/// The file is closed before `open` tries to open it for a diagnosis: where it is packed as a whole, both would unpack
/// it, and there may be room for one only.
pub fn crash_dump(
    file: DumpFile,
    most_lines: usize,
    open: impl FnOnce() -> Opened,
) -> report::Inspection {
    let log = file.memory.as_deref().zip(file.info.as_ref());
    let log = log.and_then(|(memory, info)| read_log(memory, info, most_lines));
    let missing = missing(&file, log.as_ref());
    let Log { lines, panic, oops } = log.unwrap_or_default();
    let line = |line: sysak_kernel::log::Line| LogLine { time_ns: line.time_ns, text: line.text };
    let with_registers = Some(file.cpus_with_registers).filter(|cpus| *cpus > 0);
    let target = target(&file);
    let mut dump = CrashDump {
        file: facts(&file),
        crashed_s: file.info.as_ref().and_then(|info| info.crash_time_s()),
        cpus: file.facts.cpus.or(with_registers),
        panic,
        oops,
        log: lines.into_iter().map(line).collect(),
        missing,
        ..CrashDump::default()
    };
    drop(file);
    let opened = open();
    (dump.symbols, dump.types) = (opened.symbols, opened.types);
    dump.commands = COMMANDS.map(|name| command(name, opened.refused.as_ref())).into();
    report::Inspection {
        tool: tool(),
        target: opened.target.unwrap_or(target),
        subject: Subject::Dump(Box::new(dump)),
        ..report::Inspection::default()
    }
}

/// A way to read memory, in the report's terms.
pub fn reader(reader: Reader) -> report::Reader {
    match reader {
        Reader::Kcore => report::Reader::Kcore,
        Reader::Bpf => report::Reader::Bpf,
        Reader::Elf => report::Reader::Elf,
        Reader::Kdump => report::Reader::Kdump,
        Reader::Raw => report::Reader::Raw,
        Reader::Vmware => report::Reader::Vmware,
    }
}

/// The kernel, as far as the file tells.
fn target(file: &DumpFile) -> report::Target {
    let uname = &file.facts.uname;
    let release = file.info.as_ref().and_then(|info| info.release());
    report::Target {
        kind: report::TargetKind::Vmcore,
        reader: reader(file.reader),
        // Such an image is made while the kernel runs.
        torn: file.reader == Reader::Raw,
        kernel_release: release.or(uname.release.as_deref()).unwrap_or_default().into(),
        // Dumps of other machines are not opened.
        arch: sysak_target::ARCH.into(),
        page_size: PAGE_SIZE,
        hostname: uname.hostname.clone(),
        uptime_s: None,
    }
}

fn facts(file: &DumpFile) -> report::DumpFile {
    let DumpFile { disk, facts, pages, .. } = file;
    let (format, version) = match facts.format {
        FileFormat::Elf => (DumpFormat::Elf, None),
        FileFormat::Kdump { version } => (DumpFormat::Kdump, Some(version)),
        FileFormat::Lime => (DumpFormat::Lime, None),
        FileFormat::Vmware => (DumpFormat::Vmware, None),
        FileFormat::Xen => (DumpFormat::Xen, None),
        FileFormat::Raw => (DumpFormat::Raw, None),
    };
    report::DumpFile {
        format,
        version,
        flattened: facts.flattened,
        files: disk.files as u64,
        packed_with: disk.packed.map(Into::into),
        bytes: disk.bytes,
        written_s: facts.written_s,
        filter_level: facts.filter_level,
        pages: dump_states(pages),
        packed: facts
            .packed
            .iter()
            .map(|(way, pages)| PackedPages { packing: packing(*way), pages: *pages })
            .collect(),
    }
}

fn packing(way: Packing) -> report::Packing {
    match way {
        Packing::Raw => report::Packing::Raw,
        Packing::Zlib => report::Packing::Zlib,
        Packing::Lzo => report::Packing::Lzo,
        Packing::Snappy => report::Packing::Snappy,
        Packing::Zstd => report::Packing::Zstd,
        Packing::Unknown => report::Packing::Unknown,
    }
}

fn missing(file: &DumpFile, log: Option<&Log>) -> Vec<DumpPart> {
    let mut missing = Vec::new();
    match (file.memory.is_some(), file.has_note) {
        (false, _) => missing.push(DumpPart::Kernel),
        (true, false) => missing.push(DumpPart::VmcoreinfoNote),
        (true, true) => {}
    }
    if file.cpus_with_registers == 0 {
        missing.push(DumpPart::Registers);
    }
    if log.is_none() {
        missing.push(DumpPart::Log);
    }
    missing
}

fn command(name: &str, refused: Option<&String>) -> DumpCommand {
    DumpCommand { name: name.into(), works: refused.is_none(), reason: refused.cloned() }
}
