//! Files that hold the physical memory of a machine.
//!
//! A dump is two things: its pages, which the file's format knows how to find (here), and the
//! kernel's address space above them ([`crate::vmcore`]). A new format is a new file here.
//!
//! **Invariant:** a read yields bytes of the file, never zeroes for what is missing; nothing here
//! knows virtual addresses.

mod bytes;
mod cache;
mod elf;
pub(crate) mod facts;
#[cfg(test)]
pub(crate) mod fake;
mod kdump;
mod lime;
mod pieces;
mod proc_file;
mod ram_map;
mod vmware;
mod without;
mod xen;

use std::ops::Range;
use std::path::PathBuf;

use sysak_base::{PAGE_SIZE, Pa, PageStates, Pfn};

use bytes::{FileBytes, Raw};
use facts::{DiskFiles, FileFacts, FileFormat};
use pieces::FilePages;
use proc_file::ProcFile;
pub use ram_map::RamMap;

use crate::elf::Core;
use crate::elf::ElfError;
use crate::unpack::{Opening, Packing};
use crate::{OpenError, Reader, files};

/// A run of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its first byte.
    pub start: Pa,
    /// Its length.
    pub bytes: u64,
}

/// The physical memory that a dump file holds.
pub(crate) trait PhysicalPages: PageStates + Send + Sync {
    /// Copies bytes from `at` on, as many as the file holds in one piece, and returns how many:
    /// 0 where it does not hold the first.
    fn read_piece(&self, at: Pa, buf: &mut [u8]) -> usize;

    /// The bytes from `at` to the end of the piece, where the file holds them ready to be lent.
    /// `None` says nothing about whether they can be read.
    fn borrow(&self, at: Pa) -> Option<&[u8]>;

    /// The runs that the file holds, ascending and disjoint.
    fn runs(&self) -> Vec<Run>;

    /// The end of physical memory, whether the file holds its last pages or not.
    fn end(&self) -> Pa;

    /// How much RAM a file of this size can be the dump of at most.
    fn most_ram_bytes(&self) -> u64;

    /// What the file tells of itself.
    fn facts(&self) -> FileFacts;

    /// The lowest address from `from` on where `needle` lies in one run.
    fn find(&self, needle: &[u8], from: Pa) -> Option<Pa>;

    /// Fills `buf` from `at` up to the first byte that the file does not hold; returns how many
    /// bytes those are.
    fn read(&self, at: Pa, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            match self.read_piece(Pa(at.0.wrapping_add(done as u64)), &mut buf[done..]) {
                0 => break,
                len => done += len,
            }
        }
        done
    }

    /// The little-endian word at `at`.
    fn word(&self, at: Pa) -> Option<u64> {
        let mut word = [0; 8];
        (self.read(at, &mut word) == word.len()).then(|| u64::from_le_bytes(word))
    }
}

/// Bytes that a text is searched in at once.
const SEARCHED: usize = 1 << 20;

/// The first place of `needle` in a run that must be copied to be searched, piece by piece into `window`. A page that
/// cannot be read is skipped.
fn find_in_run(
    needle: &[u8],
    run: Range<Pa>,
    window: &mut Vec<u8>,
    read: impl Fn(Pa, &mut [u8]) -> usize,
) -> Option<Pa> {
    let mut at = run.start.0;
    while at < run.end.0 {
        // Pieces overlap by what a text across their border needs.
        let bytes = (run.end.0 - at).min((SEARCHED + needle.len()) as u64) as usize;
        window.resize(bytes, 0);
        let there = read(Pa(at), window);
        if let Some(found) = memchr::memmem::find(&window[..there], needle) {
            return Some(Pa(at + found as u64));
        }
        let missing = at + there as u64;
        at = match there < bytes {
            true => (missing / PAGE_SIZE + 1) * PAGE_SIZE,
            false => at + SEARCHED as u64,
        };
    }
    None
}

/// A dump file, and what it says beside its memory.
pub(crate) struct Dump {
    pub pages: Box<dyn PhysicalPages>,
    /// Text of the VMCOREINFO note.
    pub vmcoreinfo: Option<Vec<u8>>,
    /// The general registers of the CPUs.
    pub registers: Vec<u64>,
    /// How many CPUs' registers these are.
    pub cpus: u32,
    /// Its files on the disk.
    pub disk: DiskFiles,
    /// The format.
    pub reader: Reader,
    /// Memory that the dump was to have, and that is missing because the file was cut off.
    pub lost_bytes: u64,
}

/// A word of physical memory, and what is read there instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Where it lies.
    pub at: Pa,
    /// What is read there.
    pub word: u64,
}

/// What a dump is read without, or with instead: the file stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes<'a> {
    /// Words that are read instead of the file's.
    pub words: &'a [Replaced],
    /// Pages that the dump has not, as if a filter had left them out.
    pub without: &'a [Pfn],
    /// A symbol that the kernel's table does not list.
    pub unlisted: Option<&'a str>,
}

/// Whether a file begins like a dump.
pub(crate) fn is_known(start: &[u8]) -> bool {
    start.starts_with(elf::START)
        || bytes::is_flattened(start)
        || kdump::is_kdump(start)
        || lime::is_lime(start)
        || vmware::is_state(start)
}

/// Opens a dump of any format that is known, as it would be with some changes. Several files are the parts of one
/// dump, in any order.
pub(crate) fn open(
    paths: &[PathBuf],
    opening: &Opening<'_>,
    changes: Changes<'_>,
) -> Result<Dump, OpenError> {
    let dump = open_replaced(paths, opening, changes.words)?;
    if changes.without.is_empty() {
        return Ok(dump);
    }
    let pages = without::Without::new(dump.pages, changes.without);
    Ok(Dump { pages: Box::new(pages), ..dump })
}

fn open_replaced(
    paths: &[PathBuf],
    opening: &Opening<'_>,
    replaced: &[Replaced],
) -> Result<Dump, OpenError> {
    let mut paths = paths.to_vec();
    if opening.ram_map.is_none() && paths.len() == 1 {
        paths.extend(vmware::beside(&paths[0]));
    }
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    let names = PathBuf::from(names.join(", "));
    let mut disk = DiskFiles::default();
    let open = |path: PathBuf| {
        let file = match ProcFile::open(&path)? {
            Some(file) => Raw::Proc(file),
            None => Raw::Mapped(files::map(&path, &names)?),
        };
        disk.files += 1;
        disk.bytes += file.len();
        let file = match file {
            Raw::Mapped(file) => {
                disk.packed = disk.packed.or(Packing::of(&file).map(Packing::name));
                Raw::Mapped(opening.unpacked(&path, &names, file)?)
            }
            file => file,
        };
        match FileBytes::of(file) {
            Ok(file) => Ok((path, file)),
            Err(why) => Err(OpenError::NotACore { path, why }),
        }
    };
    let files = paths.into_iter().map(open).collect::<Result<Vec<_>, OpenError>>()?;
    if opening.ram_map.is_none() && files.iter().all(|(_, file)| kdump::is_kdump(&file.start())) {
        let (mut pages, core) = kdump::KdumpPages::open(files)?;
        pages.replace(replaced);
        let (format, lost_bytes) = (pages.format(), pages.lost_bytes());
        return Ok(Dump::new(Box::new(pages), format, core, disk, lost_bytes));
    }
    let path = files[0].0.clone();
    let (mut pages, core) = in_pieces(files, opening.ram_map)?;
    if !replaced.is_empty() {
        pages.replace(replaced).map_err(|why| OpenError::File { path, why })?;
    }
    let (format, lost_bytes) = (pages.format(), pages.lost_bytes());
    Ok(Dump::new(Box::new(pages), format, core, disk, lost_bytes))
}

/// Opens a dump whose memory lies in a file as it is.
fn in_pieces(
    files: Vec<(PathBuf, FileBytes)>,
    ram_map: Option<&RamMap>,
) -> Result<(FilePages, Core), OpenError> {
    let files = match <[_; 2]>::try_from(files) {
        Ok(two) => return with_state(two),
        Err(files) => files,
    };
    let [(path, file)] = <[_; 1]>::try_from(files).map_err(not_one_dump)?;
    let failed = |why| OpenError::NotACore { path: path.clone(), why };
    let start = file.start();
    let (spans, format) = match ram_map {
        Some(map) => (map.spans(), FileFormat::Raw),
        None if lime::is_lime(&start) => (lime::spans(&file).map_err(failed)?, FileFormat::Lime),
        None if vmware::is_state(&start) => {
            let state = vmware::parse(file.raw().whole().unwrap_or_default()).map_err(failed)?;
            let none =
                ElfError::Foreign("the state of a VMware machine without the .vmem file beside it");
            let (at, bytes) = state.memory.ok_or_else(|| failed(none))?;
            (state.spans(at, bytes), FileFormat::Vmware)
        }
        None => {
            drop(start);
            return elf::open(&path, file);
        }
    };
    drop(start);
    let pages = FilePages::new(&path, format, file, spans, Vec::new())?;
    Ok((pages, Core::default()))
}

/// The memory of a VMware machine beside its state, in any order.
fn with_state(files: [(PathBuf, FileBytes); 2]) -> Result<(FilePages, Core), OpenError> {
    let is_state = |file: &(PathBuf, FileBytes)| vmware::is_state(&file.1.start());
    let [state, (path, memory)] = match files.each_ref().map(is_state) {
        [true, false] => files,
        [false, true] => {
            let [memory, state] = files;
            [state, memory]
        }
        _ => return Err(not_one_dump(files.into())),
    };
    let parsed = vmware::parse(state.1.raw().whole().unwrap_or_default());
    let parsed = parsed.map_err(|why| OpenError::NotACore { path: state.0, why })?;
    let spans = parsed.spans(0, memory.len());
    let pages = FilePages::new(&path, FileFormat::Vmware, memory, spans, Vec::new())?;
    Ok((pages, Core::default()))
}

/// Several files, at least one of which is of no format that has parts.
fn not_one_dump(files: Vec<(PathBuf, FileBytes)>) -> OpenError {
    let mut paths = files.into_iter().map(|(path, _)| path);
    let (other, path) = (paths.next().unwrap_or_default(), paths.next().unwrap_or_default());
    OpenError::NotOneDump { path, other }
}

impl Dump {
    fn new(
        pages: Box<dyn PhysicalPages>,
        format: FileFormat,
        core: Core,
        disk: DiskFiles,
        lost_bytes: u64,
    ) -> Dump {
        let Core { vmcoreinfo, registers, cpus, .. } = core;
        Dump { pages, vmcoreinfo, registers, cpus, reader: format.reader(), disk, lost_bytes }
    }
}

/// Opens bytes as a dump of any format, and counts the pages that can be read: for fuzzing.
pub fn count_pages(file: Vec<u8>) -> Result<u64, OpenError> {
    let path = PathBuf::from("bytes");
    let file = match FileBytes::of(Raw::Memory(file)) {
        Ok(file) => file,
        Err(why) => return Err(OpenError::NotACore { path, why }),
    };
    let pages: Box<dyn PhysicalPages> = match kdump::is_kdump(&file.start()) {
        true => Box::new(kdump::KdumpPages::open(vec![(path, file)])?.0),
        false => Box::new(in_pieces(vec![(path, file)], None)?.0),
    };
    let in_run = |run: Run| (run.start.0..run.start.0 + run.bytes).step_by(PAGE_SIZE as usize);
    let pages =
        pages.runs().into_iter().flat_map(in_run).filter(|at| pages.word(Pa(*at)).is_some());
    Ok(pages.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_goes_on_behind_a_page_that_is_missing() {
        let (missing, run) = (Pa(0x3000), Pa(0x1080)..Pa(0x40_0000));
        // Reads go up to the missing page; behind it, a text crosses the border of two windows.
        let texts = [0x2ffc, 0x4010, 0x4000 + SEARCHED as u64 - 3, 0x40_0000 - 6];
        for text in texts {
            let byte = |at: u64| *b"needle".get(at.wrapping_sub(text) as usize).unwrap_or(&0);
            let read = |from: Pa, buf: &mut [u8]| {
                let end = if from < missing { missing.0 } else { u64::MAX };
                let is_there = |at: &u64| *at < end && !(missing.0..0x4000).contains(at);
                let there = (from.0..).zip(buf).take_while(|(at, _)| is_there(at));
                there.map(|(at, place)| *place = byte(at)).count()
            };
            let found = find_in_run(b"needle", run.clone(), &mut Vec::new(), read);
            let is_whole = text != 0x2ffc;
            assert_eq!(found, is_whole.then_some(Pa(text)), "{text:#x}");
        }
        assert_eq!(find_in_run(b"needle", run, &mut Vec::new(), |_, _| 0), None);
    }
}
