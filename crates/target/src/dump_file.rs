//! A crash dump with as little opened as can be, for dumps that no diagnosis can be made of, too.

use sysak_base::{Cancel, Memory, PageCounts, PageStates, Pfn, PfnRange, Progress};
use sysak_symbols::Vmcoreinfo;

pub use crate::physical::facts::{DiskFiles, FileFacts, FileFormat, Packing, Uname};
use crate::unpack::Opening;
use crate::vmcore::{Vmcore, find_kernel};
use crate::{OpenError, Options, Reader, files, physical};

/// A crash dump: what its files tell, and its kernel's memory where that was found.
pub struct DumpFile {
    /// Its files on the disk.
    pub disk: DiskFiles,
    /// What they tell.
    pub facts: FileFacts,
    /// Pages up to the end of its memory by what it has of them.
    pub pages: PageCounts,
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

/// Opens a dump's files, and looks for the kernel in them.
pub fn open_dump_file(
    options: &Options,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<DumpFile, OpenError> {
    let paths = files::expand(&options.vmcore)?;
    let opening = Opening::new(options, cancel, progress);
    let dump = physical::open(&paths, &opening, physical::Changes::default())?;
    let note = dump.vmcoreinfo.as_deref().and_then(|text| Vmcoreinfo::parse(text).ok());
    let states: &dyn PageStates = dump.pages.as_ref();
    let mut opened = DumpFile {
        disk: dump.disk,
        facts: dump.pages.facts(),
        pages: states.count(PfnRange { start: Pfn(0), end: dump.pages.end().pfn() }),
        reader: dump.reader,
        has_note: note.is_some(),
        cpus_with_registers: dump.cpus,
        info: note,
        memory: None,
    };
    if let Ok(found) = find_kernel(&dump, &paths[0]) {
        opened.info = Some(found.info);
        opened.memory = Some(Box::new(Vmcore::new(dump.pages, found.space)));
    }
    Ok(opened)
}
