//! A crash dump: everything that its own memory tells of its kernel.
//!
//! **Invariant:** nothing here knows the file's format; pages come from [`crate::physical`].

mod identity;
mod kernel;
mod memory;
mod ram;

use std::path::Path;

use sysak_base::{Anchors, Memory, PAGE_SIZE, Pa, Va};
use sysak_symbols::{Kallsyms, KallsymsPlaces, TypeInfo, Vmcoreinfo};

use crate::physical::{Changes, Dump};
use crate::unpack::Opening;
use crate::{Identity, OpenError, Options, Reader, Target, anchors, files, physical};

pub(crate) use kernel::find as find_kernel;
pub(crate) use memory::Vmcore;

/// No kernel image is larger.
const MOST_IMAGE_BYTES: u64 = 256 << 20;
/// The first MiB of RAM may be unmapped.
const FIRST_MAPPED: u64 = 1 << 20;

/// Opens a crash dump with nothing but its files, and with some changes.
pub fn open(
    options: &Options,
    opening: &Opening<'_>,
    changes: Changes<'_>,
) -> Result<Target, OpenError> {
    let paths = files::expand(&options.vmcore)?;
    // What is wrong with a dump is told of its first file.
    let path = paths[0].as_path();
    let dump = physical::open(&paths, opening, changes)?;
    let missing = dump.lost_bytes;
    let opened = read(dump, path, options, changes.unlisted);
    // What a dump lacks that was cut off is what was cut off.
    opened.map_err(|why| match missing {
        0 => why,
        _ => OpenError::Truncated { path: path.to_owned(), missing },
    })
}

/// What the memory of a dump tells of its kernel, whose table does not list one of its symbols.
fn read(
    dump: Dump,
    path: &Path,
    options: &Options,
    unlisted: Option<&str>,
) -> Result<Target, OpenError> {
    let found = find_kernel(&dump, path)?;
    let (info, top) = (found.info, found.top);
    let mut vmcore = Vmcore::new(dump.pages, found.space);
    let image_end = found.image_start.0.saturating_add(MOST_IMAGE_BYTES);
    let image = (found.image_start, Va(image_end.min(vmcore.image_end())));
    let mut symbols = symbols(&vmcore, &info, image, path, options)?;
    unlisted.into_iter().for_each(|name| symbols.remove(name));
    let types = types(&vmcore, &symbols, &info, image, path, options)?;
    let word = |vmcore: &Vmcore, name| vmcore.read_u64(symbols.find(name)?).ok().map(Va);
    let page_offset = word(&vmcore, "page_offset_base").or_else(|| direct_map(&vmcore));
    vmcore.set_page_offset(page_offset);
    let resources = ram::resources(&vmcore, &types, &symbols, top);
    let vmemmap = word(&vmcore, "vmemmap_base").or_else(|| anchors::vmemmap(&vmcore, &info));
    let anchors = Anchors {
        page_offset,
        vmemmap,
        per_cpu_offsets: anchors::per_cpu_offsets(&vmcore, &symbols, None),
        page_table: Some(top),
        ram: resources.ram,
        image: resources.image,
        image_virtual: symbols.find("_text").zip(symbols.find("_end")),
        registers: dump.registers,
        torn: dump.reader == Reader::Raw,
        ..Anchors::default()
    };
    let identity = identity::read(&vmcore, dump.reader, &types, &symbols, &info);
    let identity = Identity { torn: anchors.torn, ..identity };
    let threads = crate::threads(options.threads, false);
    Ok(Target { memory: Box::new(vmcore), threads, anchors, types, symbols, identity })
}

fn symbols(
    vmcore: &Vmcore,
    info: &Vmcoreinfo,
    image: (Va, Va),
    path: &Path,
    options: &Options,
) -> Result<Kallsyms, OpenError> {
    if let Some(file) = &options.kallsyms {
        let symbols = files::symbols(file)?;
        if !symbols.agrees_with(info) {
            return Err(OpenError::ForeignSymbols { path: file.clone() });
        }
        return Ok(symbols);
    }
    KallsymsPlaces::from_vmcoreinfo(info)
        .or_else(|| KallsymsPlaces::search(vmcore, image.0, image.1))
        .and_then(|places| Kallsyms::read_image(vmcore, &places).ok())
        .filter(|symbols| symbols.agrees_with(info))
        .ok_or_else(|| OpenError::NoSymbols { path: path.to_owned() })
}

fn types(
    vmcore: &Vmcore,
    symbols: &Kallsyms,
    info: &Vmcoreinfo,
    image: (Va, Va),
    path: &Path,
    options: &Options,
) -> Result<TypeInfo, OpenError> {
    if let Some(file) = &options.btf {
        let types = files::types(file)?;
        return match anchors::agrees(&types, info) {
            true => Ok(types),
            false => Err(OpenError::ForeignTypes { path: file.clone() }),
        };
    }
    let none = || OpenError::NoTypeInfo { object: path.display().to_string() };
    let (at, len) = symbols
        .find_btf()
        .or_else(|| TypeInfo::search(vmcore, image.0, image.1))
        .filter(|(_, len)| *len <= MOST_IMAGE_BYTES)
        .ok_or_else(none)?;
    let mut scratch = Vec::new();
    let bytes = vmcore.view(at, len as usize, &mut scratch).map_err(|_| none())?;
    TypeInfo::parse(bytes).map_err(|why| OpenError::BadTypeInfo { path: path.to_owned(), why })
}

/// The direct map by the page tables, where the symbol is not listed.
fn direct_map(vmcore: &Vmcore) -> Option<Va> {
    // The largest run is RAM for sure.
    let run = vmcore.pages().runs().into_iter().max_by_key(|run| run.bytes)?;
    let probe = run.start.0.max(FIRST_MAPPED).next_multiple_of(PAGE_SIZE);
    if probe - run.start.0 >= run.bytes {
        return None;
    }
    vmcore.find_direct_map(Pa(probe))
}

/// A text of at most `most` bytes, cut at its first zero.
fn read_text(memory: &dyn Memory, at: Va, most: usize) -> Option<String> {
    let mut bytes = vec![0; most];
    memory.read(at, &mut bytes).ok()?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(most);
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}
