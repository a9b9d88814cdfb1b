//! What went wrong, in the language of the report.
//!
//! Errors of the libraries carry their own English words, for whoever uses the libraries. People read the catalogue's.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use sysak_base::{Fault, Why};
use sysak_inspect::InspectError;
use sysak_kernel::KernelError;
use sysak_kernel::shape::Missing;
use sysak_memleak::diagnose::DiagnoseError;
use sysak_report::{Lang, problems as say};
use sysak_symbols::{BtfError, KallsymsError};
use sysak_target::OpenError;
use sysak_target::bpf::{BpfError, LoadError};
use sysak_target::elf::ElfError;

/// What the program itself refuses.
#[derive(Debug)]
pub enum Refused {
    /// A question about a dump, and no dump.
    NoDump,
    /// A cache's name beside a class that has no caches.
    NameOfOtherClass(String),
    /// A list that cannot be written.
    Unwritable(PathBuf, std::io::Error),
    /// Ctrl-C cannot be watched for.
    NoSignals(std::io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&refused(self, Lang::En))
    }
}

impl Error for Refused {}

/// An error in words.
pub fn told(error: &anyhow::Error, lang: Lang) -> String {
    if let Some(error) = error.downcast_ref() {
        open(error, lang)
    } else if let Some(error) = error.downcast_ref() {
        diagnose(error, lang)
    } else if let Some(error) = error.downcast_ref() {
        kernel(error, lang)
    } else if let Some(error) = error.downcast_ref() {
        inspect(error, lang)
    } else if let Some(error) = error.downcast_ref() {
        refused(error, lang)
    } else {
        // The system's own words.
        format!("{error:#}")
    }
}

fn refused(error: &Refused, lang: Lang) -> String {
    match error {
        Refused::NoDump => say::no_dump(lang),
        Refused::NameOfOtherClass(name) => say::name_of_other_class(lang, name),
        Refused::Unwritable(path, why) => {
            say::file_unwritable(lang, &path.display().to_string(), &why.to_string())
        }
        Refused::NoSignals(why) => say::no_signals(lang, &why.to_string()),
    }
}

fn open(error: &OpenError, lang: Lang) -> String {
    let shown = |path: &PathBuf| path.display().to_string();
    match error {
        OpenError::NeedsPrivilege => say::needs_privilege(lang),
        OpenError::HiddenRam => say::hidden_ram(lang),
        OpenError::Lockdown => say::lockdown(lang),
        OpenError::NoKcore => say::no_kcore(lang),
        OpenError::KcoreNeeds(capability) => say::kcore_needs(lang, capability),
        OpenError::KcoreForbidden => say::kcore_forbidden(lang),
        OpenError::NoReader { kcore, bpf } => {
            say::no_reader(lang, &open(kcore, lang), &self::bpf(bpf, lang))
        }
        OpenError::Bpf(error) => bpf(error, lang),
        OpenError::File { path, why } => say::file_unreadable(lang, &shown(path), &why.to_string()),
        OpenError::NotAFile { path, what } => {
            say::not_a_file(lang, &shown(path), &kind(what, lang))
        }
        OpenError::NotACore { path, why } => {
            say::file_and_why(lang, &shown(path), &core(why, lang))
        }
        OpenError::NotOneDump { path, other } => {
            say::not_one_dump(lang, &shown(other), &shown(path))
        }
        OpenError::SamePart { path, other } => say::same_part(lang, &shown(other), &shown(path)),
        OpenError::MissingPart { path, first, last } => {
            say::missing_part(lang, &shown(path), &format!("{first:#x}"), &format!("{last:#x}"))
        }
        OpenError::NoRoom { path, folder, needed, free } => {
            let numbers = [needed, free].map(u64::to_string);
            say::no_room(lang, &shown(path), &shown(folder), &numbers[0], &numbers[1])
        }
        OpenError::NoScratch { path, folder, why } => {
            say::no_scratch(lang, &shown(path), &shown(folder), &why.to_string())
        }
        OpenError::NoMatch { pattern } => say::no_match(lang, &shown(pattern)),
        OpenError::Cancelled => say::stopped_opening(lang),
        OpenError::Empty { path } => say::file_empty(lang, &shown(path)),
        OpenError::Truncated { path, missing } => {
            say::file_truncated(lang, &shown(path), &missing.to_string())
        }
        OpenError::CutWhileRead { path } => say::cut_while_read(lang, &shown(path)),
        OpenError::MissingVmcoreinfo { path, what } => say::no_vmcoreinfo(lang, &shown(path), what),
        OpenError::NoTypeInfo { object } => say::no_type_info(lang, object),
        OpenError::BadTypeInfo { path, why } => {
            say::bad_type_info(lang, &shown(path), &btf(why, lang))
        }
        OpenError::NoSymbols { path } => say::no_symbols(lang, &shown(path)),
        OpenError::Symbols(error) => symbols(error, lang),
        OpenError::BadSymbols { path, why } => {
            say::bad_symbols(lang, &shown(path), &symbols(why, lang))
        }
        OpenError::ForeignTypes { path } => say::foreign_types(lang, &shown(path)),
        OpenError::ForeignSymbols { path } => say::foreign_symbols(lang, &shown(path)),
    }
}

/// What a file is that is none.
fn kind(what: &str, lang: Lang) -> String {
    let kinds = [say::a_directory, say::a_pipe, say::a_socket, say::a_device];
    let known = kinds.into_iter().find(|kind| kind(Lang::En) == what);
    known.map_or_else(|| what.to_owned(), |kind| kind(lang))
}

fn core(error: &ElfError, lang: Lang) -> String {
    match error {
        ElfError::NotElf => say::not_elf(lang),
        ElfError::Foreign(what) => say::foreign(lang, what),
        ElfError::Packed(with) => say::packed(lang, with),
        ElfError::NotACore => say::no_core(lang),
        ElfError::Running => say::running_kernel(lang),
        ElfError::WrongArchitecture(machine) => say::other_machine(lang, machine),
        ElfError::Damaged(what) => say::damaged_core(lang, what),
    }
}

fn btf(error: &BtfError, lang: Lang) -> String {
    match error {
        BtfError::NotBtf => say::not_btf(lang),
        BtfError::Version(version) => say::btf_version(lang, &version.to_string()),
        BtfError::Corrupt { what, at } => say::btf_corrupt(lang, what, &at.to_string()),
    }
}

fn symbols(error: &KallsymsError, lang: Lang) -> String {
    match error {
        KallsymsError::Hidden => say::kallsyms_hidden(lang),
        KallsymsError::Empty => say::kallsyms_empty(lang),
        KallsymsError::Fault(error) => fault(error, lang),
        KallsymsError::Corrupt(what) => say::kallsyms_corrupt(lang, what),
    }
}

fn bpf(error: &BpfError, lang: Lang) -> String {
    match error {
        BpfError::Load(error) => match error {
            LoadError::NeedsPrivilege(missing) => say::bpf_needs(lang, missing),
            LoadError::Forbidden(why) => say::bpf_forbidden(lang, &why.to_string()),
            LoadError::NoHelper => say::bpf_no_helper(lang),
            LoadError::Unsupported(why) => say::bpf_unsupported(lang, why),
            LoadError::Setup(why) => say::bpf_setup(lang, &why.to_string()),
        },
        BpfError::NoType(name) => say::bpf_no_type(lang, name),
        BpfError::NotFound(what) => say::bpf_not_found(lang, what),
        BpfError::Cancelled => say::bpf_cancelled(lang),
    }
}

fn inspect(error: &InspectError, lang: Lang) -> String {
    match error {
        InspectError::HalfWay => say::stopped_half_way(lang),
        InspectError::NoObject(at) => say::no_object(lang, &at.to_string()),
        InspectError::Kernel(error) => kernel(error, lang),
        InspectError::Diagnose(error) => diagnose(error, lang),
    }
}

fn diagnose(error: &DiagnoseError, lang: Lang) -> String {
    match error {
        DiagnoseError::Kernel(error) => kernel(error, lang),
        DiagnoseError::NoSuchCache { name, near: None } => say::no_such_cache(lang, name),
        DiagnoseError::NoSuchCache { name, near: Some(near) } => {
            say::no_such_cache_but(lang, name, near)
        }
    }
}

fn kernel(error: &KernelError, lang: Lang) -> String {
    match error {
        KernelError::NoTypeInfo(Missing::Type(name)) => say::no_type(lang, name),
        KernelError::NoTypeInfo(Missing::OtherAllocator(name)) => say::other_allocator(lang, name),
        KernelError::NoAnchor(what) => say::no_anchor(lang, what),
        KernelError::NoSlub => say::no_slab(lang),
        KernelError::Fault(error) => fault(error, lang),
    }
}

fn fault(error: &Fault, lang: Lang) -> String {
    let why = match error.why {
        Why::Unmapped => say::unmapped(lang),
        Why::Absent => say::absent(lang),
        Why::Refused => say::refused_by_system(lang),
    };
    say::unreadable(lang, &error.at.to_string(), &why)
}

#[cfg(test)]
mod tests;
