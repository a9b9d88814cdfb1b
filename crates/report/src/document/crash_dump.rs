//! What `sysak inspect dump` shows, on one screen.

use jiff::Timestamp;

use super::{Document, Lead, Level, Paint};
use crate::catalogue as say;
use crate::figures::{bytes, count};
use crate::{CrashDump, DumpFile, DumpFormat, DumpPart, Lang, LogLine, PackedPages, Packing};

/// What a kind of pages is called.
type Name = fn(Lang) -> String;

/// makedumpfile's dump level is a sum of these.
const FILTERS: [(u32, Name); 5] = [
    (1, say::filter_zero),
    (2, say::filter_cache),
    (4, say::filter_private_cache),
    (8, say::filter_user),
    (16, say::filter_free),
];

/// The file, the kernel's last words, and what can be done with it.
pub(super) fn crash_dump(doc: &mut Document, dump: &CrashDump, lang: Lang) {
    file(doc, &dump.file, lang);
    kernel(doc, dump, lang);
    if !dump.log.is_empty() {
        doc.gap();
        doc.title(Level::Section, say::dump_log_title(lang));
        dump.log.iter().for_each(|line| doc.line(Paint::Plain, 1, log_line(line)));
    }
    commands(doc, dump, lang);
}

fn item(doc: &mut Document, text: String) {
    doc.sentence(Paint::Plain, Lead::Bullet, text);
}

fn file(doc: &mut Document, file: &DumpFile, lang: Lang) {
    let size = bytes(file.bytes);
    doc.title(Level::Section, say::dump_title(lang, &format(file, lang), &size));
    let pages = &file.pages;
    let [present, zero, excluded] =
        [pages.present_bytes, pages.zero_bytes, pages.excluded_bytes].map(bytes);
    item(doc, say::dump_pages(lang, &present, &zero, &excluded));
    if pages.lost_bytes > 0 {
        let lost = say::dump_incomplete(lang, &bytes(pages.lost_bytes));
        doc.sentence(Paint::Doubt, Lead::Bullet, lost);
    }
    if !file.packed.is_empty() {
        let ways: Vec<_> = file.packed.iter().map(|one| packed(one, lang)).collect();
        item(doc, say::dump_packed(lang, &ways.join(&say::comma(lang))));
    }
    item(doc, filter(file, lang));
    if let Some(when) = file.written_s {
        item(doc, say::dump_written(lang, &time(when)));
    }
}

fn format(file: &DumpFile, lang: Lang) -> String {
    let mut format = match file.format {
        DumpFormat::Elf => say::format_elf(lang),
        DumpFormat::Kdump => {
            let version = file.version.map_or("?".to_owned(), |version| version.to_string());
            say::format_kdump(lang, &version)
        }
        DumpFormat::Lime => say::format_lime(lang),
        DumpFormat::Vmware => say::format_vmware(lang),
        DumpFormat::Xen => say::format_xen(lang),
        DumpFormat::Raw => say::format_raw(lang),
    };
    if file.flattened {
        format = say::dump_flattened(lang, &format);
    }
    if file.files > 1 {
        format = say::dump_files(lang, &format, &count(file.files));
    }
    match &file.packed_with {
        Some(with) => say::dump_packed_with(lang, &format, with),
        None => format,
    }
}

fn packed(one: &PackedPages, lang: Lang) -> String {
    let pages = count(one.pages);
    let with = |codec| say::packed_with(lang, &pages, codec);
    match one.packing {
        Packing::Raw => say::packed_raw(lang, &pages),
        Packing::Zlib => with("zlib"),
        Packing::Lzo => with("LZO"),
        Packing::Snappy => with("Snappy"),
        Packing::Zstd => with("Zstandard"),
        Packing::Unknown => say::packed_unknown(lang, &pages),
    }
}

fn filter(file: &DumpFile, lang: Lang) -> String {
    match file.filter_level {
        Some(0) => say::dump_no_filter(lang),
        Some(level) => {
            let left_out = FILTERS.iter().filter(|(bit, _)| level & bit != 0);
            let kinds: Vec<_> = left_out.map(|(_, say)| say(lang)).collect();
            say::dump_filter(lang, &level.to_string(), &kinds.join(&say::comma(lang)))
        }
        None if file.pages.excluded_bytes == 0 => say::dump_filter_unseen(lang),
        None => say::dump_filter_unknown(lang),
    }
}

fn kernel(doc: &mut Document, dump: &CrashDump, lang: Lang) {
    if let Some(when) = dump.crashed_s {
        item(doc, say::dump_crashed(lang, &time(when)));
    }
    if let Some(cpus) = dump.cpus {
        item(doc, say::dump_cpus(lang, &cpus.to_string()));
    }
    match (&dump.panic, &dump.oops) {
        (Some(message), _) => item(doc, say::dump_panic(lang, message)),
        (None, Some(message)) => item(doc, say::dump_oops(lang, message)),
        (None, None) if !dump.log.is_empty() => item(doc, say::dump_no_panic(lang)),
        (None, None) => {}
    }
    if let (Some(symbols), Some(types)) = (dump.symbols, dump.types) {
        item(doc, say::dump_found(lang, &count(symbols), &count(types)));
    }
    if !dump.missing.is_empty() {
        let parts: Vec<_> = dump.missing.iter().map(|part| self::part(*part, lang)).collect();
        item(doc, say::dump_missing(lang, &parts.join(&say::semicolon(lang))));
    }
}

fn part(part: DumpPart, lang: Lang) -> String {
    match part {
        DumpPart::VmcoreinfoNote => say::part_vmcoreinfo_note(lang),
        DumpPart::Registers => say::part_registers(lang),
        DumpPart::Kernel => say::part_kernel(lang),
        DumpPart::Log => say::part_log(lang),
    }
}

/// As `dmesg` shows it. A tab is no more than room here.
fn log_line(line: &LogLine) -> String {
    let (seconds, micros) = (line.time_ns / 1_000_000_000, line.time_ns / 1000 % 1_000_000);
    format!("[{seconds:5}.{micros:06}] {}", line.text.replace('\t', " "))
}

fn commands(doc: &mut Document, dump: &CrashDump, lang: Lang) {
    if dump.commands.is_empty() {
        return;
    }
    doc.gap();
    doc.title(Level::Section, say::dump_commands_title(lang));
    for same in dump.commands.chunk_by(|a, b| (a.works, &a.reason) == (b.works, &b.reason)) {
        let names: Vec<_> = same.iter().map(|command| command.name.to_string()).collect();
        let names = names.join(&say::comma(lang));
        match &same[0].reason {
            Some(reason) if !same[0].works => {
                let said = say::command_fails(lang, &names, reason);
                doc.sentence(Paint::Doubt, Lead::Bullet, said);
            }
            _ => doc.sentence(Paint::Good, Lead::Bullet, say::command_works(lang, &names)),
        }
    }
}

/// A time of the day of the machine's clock, in UTC.
fn time(seconds: u64) -> String {
    let known = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
    known.map_or_else(|| format!("{seconds} s"), |time| time.to_string())
}
