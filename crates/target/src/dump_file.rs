//! A crash dump with as little opened as can be, for dumps that no diagnosis can be made of, too.

use std::path::Path;

use sysak_base::Memory;
use sysak_symbols::Vmcoreinfo;

pub use crate::physical::facts::{FileFacts, FileFormat, Packing, PageCounts, Uname};
use crate::vmcore::{Vmcore, find_kernel};
use crate::{OpenError, Reader, physical};

/// A crash dump: what its file tells, and its kernel's memory where that was found.
pub struct DumpFile {
    /// What the file tells.
    pub facts: FileFacts,
    /// How it is read.
    pub reader: Reader,
    /// Whether it has a VMCOREINFO note.
    pub has_note: bool,
    /// Whose registers it has.
    pub cpus_with_registers: u32,
    /// What the kernel tells dump readers.
    pub info: Option<Vmcoreinfo>,
    /// The kernel's memory.
    pub memory: Option<Box<dyn Memory>>,
}

/// Opens a dump's file, and looks for the kernel in it.
pub fn open_dump_file(path: &Path) -> Result<DumpFile, OpenError> {
    let dump = physical::open(path, &[])?;
    let note = dump.vmcoreinfo.as_deref().and_then(|text| Vmcoreinfo::parse(text).ok());
    let mut opened = DumpFile {
        facts: dump.pages.facts(),
        reader: dump.reader,
        has_note: note.is_some(),
        cpus_with_registers: dump.cpus,
        info: note,
        memory: None,
    };
    if let Ok(found) = find_kernel(&dump, path) {
        opened.info = Some(found.info);
        opened.memory = Some(Box::new(Vmcore::new(dump.pages, found.space)));
    }
    Ok(opened)
}
