//! Types and symbols that the user gives as files, where the target has none.

use std::path::Path;

use object::{Object, ObjectSection};
use sysak_symbols::{Kallsyms, TypeInfo};

use crate::OpenError;

/// A vmlinux with debuginfo has a GiB; nothing sensible is larger.
const MOST_BYTES: u64 = 4 << 30;

/// A BTF file, or an ELF file with a `.BTF` section.
pub fn types(path: &Path) -> Result<TypeInfo, OpenError> {
    let bytes = read(path)?;
    let section = object::File::parse(&bytes[..]).ok().and_then(|file| {
        let section = file.section_by_name(".BTF")?;
        section.data().ok()
    });
    TypeInfo::parse(section.unwrap_or(&bytes))
        .map_err(|why| OpenError::BadTypeInfo { path: path.to_owned(), why })
}

/// A copy of `/proc/kallsyms` (or a System.map, which has the same three columns).
pub fn symbols(path: &Path) -> Result<Kallsyms, OpenError> {
    Kallsyms::parse_proc(&read(path)?)
        .map_err(|why| OpenError::BadSymbols { path: path.to_owned(), why })
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    let at = |why| OpenError::File { path: path.to_owned(), why };
    let meta = std::fs::metadata(path).map_err(at)?;
    if meta.len() > MOST_BYTES {
        return Err(at(std::io::Error::from(std::io::ErrorKind::FileTooLarge)));
    }
    std::fs::read(path).map_err(at)
}
