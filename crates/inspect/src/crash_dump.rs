//! What a crash dump is, what its kernel said last, and what can be done with it.
//!
//! **Invariant:** what the file and its kernel do not tell stays unknown.

use sysak_base::PAGE_SIZE;
use sysak_kernel::log::{Log, read_log};
use sysak_report as report;
use sysak_report::{CrashDump, DumpCommand, DumpPages, DumpPart, LogLine, PackedPages, Subject};
use sysak_snapshot::to_report::tool;
use sysak_target::{DumpFile, FileFacts, FileFormat, Packing, Reader};

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
pub fn crash_dump(file: &DumpFile, opened: Opened, most_lines: usize) -> report::Inspection {
    let log = file.memory.as_deref().zip(file.info.as_ref());
    let log = log.and_then(|(memory, info)| read_log(memory, info, most_lines));
    let missing = missing(file, log.as_ref());
    let Log { lines, panic, oops } = log.unwrap_or_default();
    let line = |line: sysak_kernel::log::Line| LogLine { time_ns: line.time_ns, text: line.text };
    let with_registers = Some(file.cpus_with_registers).filter(|cpus| *cpus > 0);
    let dump = CrashDump {
        file: facts(&file.facts),
        crashed_s: file.info.as_ref().and_then(|info| info.crash_time_s()),
        cpus: file.facts.cpus.or(with_registers),
        panic,
        oops,
        log: lines.into_iter().map(line).collect(),
        missing,
        symbols: opened.symbols,
        types: opened.types,
        commands: COMMANDS.map(|name| command(name, opened.refused.as_ref())).into(),
    };
    report::Inspection {
        tool: tool(),
        target: opened.target.unwrap_or_else(|| target(file)),
        subject: Subject::Dump(Box::new(dump)),
        ..report::Inspection::default()
    }
}

/// The kernel, as far as the file tells.
fn target(file: &DumpFile) -> report::Target {
    let uname = &file.facts.uname;
    let release = file.info.as_ref().and_then(|info| info.release());
    report::Target {
        kind: report::TargetKind::Vmcore,
        reader: match file.reader {
            Reader::Kdump => report::Reader::Kdump,
            _ => report::Reader::Elf,
        },
        kernel_release: release.or(uname.release.as_deref()).unwrap_or_default().into(),
        // Dumps of other machines are not opened.
        arch: sysak_target::ARCH.into(),
        page_size: PAGE_SIZE,
        hostname: uname.hostname.clone(),
        uptime_s: None,
    }
}

fn facts(facts: &FileFacts) -> report::DumpFile {
    let (version, flattened) = match facts.format {
        FileFormat::Elf => (None, false),
        FileFormat::Kdump { version, flattened } => (Some(version), flattened),
    };
    report::DumpFile {
        version,
        flattened,
        bytes: facts.file_bytes,
        written_s: facts.written_s,
        filter_level: facts.filter_level,
        pages: DumpPages {
            present_bytes: facts.pages.present * PAGE_SIZE,
            zero_bytes: facts.pages.zero * PAGE_SIZE,
            excluded_bytes: facts.pages.excluded * PAGE_SIZE,
        },
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
