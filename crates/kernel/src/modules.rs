//! The loaded modules: their memory, their symbols, their BTF.
//!
//! A live kernel shows all of this in /proc and /sys; a dump has only the structures.
//! Modules come and go, so every walk is bounded and may come back short.
//!
//! **Invariant:** one damaged module costs its own symbols, never another's.

use std::collections::HashSet;

use sysak_arch::x86_64::KERNEL_HALF;
use sysak_base::numbers::{half, word};
use sysak_base::{Fault, Memory, Va};
use sysak_symbols::{Kallsyms, TypeInfo};

use crate::list::{Stop, Walk, walk_list};
use crate::read::text;
use crate::shape::{
    ArrayPlace, BtfShape, FieldPlace, KERNEL_BTF_NAME, ModuleAreaPlace, ModuleShape,
    ModuleSymbolsShape, OUT_OF_TREE, find_btf_table, find_modules,
};

/// A large machine has some 500.
const MAX_MODULES: usize = 4096;
/// The largest (amdgpu, i915) have some 30,000.
const MAX_SYMBOLS: u64 = 1 << 20;
const MAX_STRINGS_BYTES: u64 = 32 << 20;
const MAX_NAME_BYTES: usize = 512;
const MAX_BTF_BYTES: u64 = 64 << 20;
/// Nodes of the table of BTF objects; each holds 64.
const MAX_NODES: usize = 4096;
const PIECE_BYTES: u64 = 64 << 10;
/// Section number of what is not defined here (ELF's SHN_UNDEF), and the first that is no section.
const UNDEFINED: u16 = 0;
const RESERVED: u16 = 0xff00;

/// A loaded module.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Where its `struct module` lies.
    pub at: Va,
    /// Its memory, end exclusive: text, data and what else it has.
    pub areas: Vec<(Va, Va)>,
    /// Symbols that were read.
    pub symbols: usize,
}

/// Where the BTF of a module lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleBtf {
    /// The module's name.
    pub name: String,
    /// Its first byte.
    pub at: Va,
    /// Its length.
    pub bytes: u64,
}

/// Reads the loaded modules and adds their symbols to the kernel's.
///
/// Without the list's symbol (no KALLSYMS_ALL) or without its type nothing is seen.
pub fn read_modules(memory: &dyn Memory, types: &TypeInfo, symbols: &mut Kallsyms) -> Walk<Module> {
    let mut walk = Walk { seen: Vec::new(), stopped: None };
    let (Ok(shape), Some(head)) = (ModuleShape::resolve(types), find_modules(symbols)) else {
        return walk;
    };
    let links = walk_list(memory, head, MAX_MODULES);
    walk.stopped = links.stopped;
    let mut known = HashSet::new();
    for link in links.seen {
        // A list that runs in a circle names its modules again and again.
        if !known.insert(link) {
            continue;
        }
        let at = Va(link.0.wrapping_sub(shape.list));
        match read_module(memory, &shape, at, symbols) {
            Ok(Some(module)) => walk.seen.push(module),
            Ok(None) => {}
            Err(fault) => walk.stopped = Some(Stop::Unreadable(fault.at)),
        }
    }
    walk
}

/// The modules that were not built with the kernel, by name; `None` where that cannot be told.
pub fn find_out_of_tree(
    memory: &dyn Memory,
    types: &TypeInfo,
    symbols: &Kallsyms,
) -> Option<HashSet<String>> {
    let shape = ModuleShape::resolve(types).ok()?;
    let (taints, head) = (shape.taints?, find_modules(symbols)?);
    let walk = walk_list(memory, head, MAX_MODULES);
    let name = |link: Va| {
        let at = Va(link.0.wrapping_sub(shape.list));
        let bits = memory.read_u64(at.at(taints)).ok()?;
        let mut name = vec![0; shape.name.bytes.min(MAX_NAME_BYTES as u64) as usize];
        memory.read(at.at(shape.name.at), &mut name).ok()?;
        let name = string(&name, FieldPlace { at: 0, bytes: shape.name.bytes });
        (bits >> OUT_OF_TREE & 1 != 0).then_some(name)
    };
    Some(walk.seen.into_iter().filter_map(name).collect())
}

/// The words of loaded modules that lead to what all of them share: no module holds that.
pub fn find_shared_links(memory: &dyn Memory, types: &TypeInfo, symbols: &Kallsyms) -> Vec<Va> {
    let (Ok(shape), Some(head)) = (ModuleShape::resolve(types), find_modules(symbols)) else {
        return Vec::new();
    };
    let words = shape.shared.iter().flat_map(|place| (place.at..place.at + place.bytes).step_by(8));
    let words: Vec<u64> = words.collect();
    let links = walk_list(memory, head, MAX_MODULES).seen.into_iter();
    let words_of = |link: Va| {
        let at = Va(link.0.wrapping_sub(shape.list));
        words.iter().map(move |word| at.at(*word))
    };
    links.flat_map(words_of).collect()
}

/// `None` for a module that is not laid out yet.
fn read_module(
    memory: &dyn Memory,
    shape: &ModuleShape,
    at: Va,
    symbols: &mut Kallsyms,
) -> Result<Option<Module>, Fault> {
    let mut bytes = vec![0; shape.bytes.min(PIECE_BYTES) as usize];
    memory.read(at, &mut bytes)?;
    let name = string(&bytes, shape.name);
    if u64::from(half(&bytes, shape.state)) == shape.unformed || name.is_empty() {
        return Ok(None);
    }
    let area = |place: &ModuleAreaPlace| {
        let (start, len) = (Va(word(&bytes, place.base)), u64::from(half(&bytes, place.size)));
        let end = start.checked_add(len)?;
        (start != Va(0) && len != 0).then_some((start, end))
    };
    let areas: Vec<_> = shape.areas.places.iter().filter_map(area).collect();
    // Since v6.15 per-CPU variables have addresses of the kernel's half too.
    let named: Vec<_> =
        areas.iter().copied().chain(shape.per_cpu.as_ref().and_then(area)).collect();
    let mut module = Module { name, at, areas, symbols: 0 };
    let found = shape.symbols.as_ref().map(|table| {
        let place = Va(word(&bytes, table.table));
        read_symbols(memory, table, place, &named)
    });
    if let Some(Ok(found)) = found {
        module.symbols = found.len();
        symbols.add_module(&module.name, found.into_iter());
    }
    Ok(Some(module))
}

/// Name, address and size of a module's symbols.
fn read_symbols(
    memory: &dyn Memory,
    shape: &ModuleSymbolsShape,
    table: Va,
    areas: &[(Va, Va)],
) -> Result<Vec<(String, Va, u64)>, Fault> {
    let strtab = Va(memory.read_u64(table.at(shape.strtab))?);
    let symtab = Va(memory.read_u64(table.at(shape.symtab))?);
    let count = u64::from(memory.read_u32(table.at(shape.count))?).min(MAX_SYMBOLS);
    let mut raw = vec![0; (count * shape.symbol_bytes) as usize];
    memory.read(symtab, &mut raw)?;
    let entries = raw.chunks_exact(shape.symbol_bytes.max(1) as usize);
    let last = entries.clone().map(|entry| half(entry, shape.name)).max().unwrap_or(0);
    let strings = read_up_to(memory, strtab, u64::from(last) + MAX_NAME_BYTES as u64);
    Ok(entries
        .filter_map(|entry| {
            let section = half(entry, shape.section) as u16;
            let at = Va(word(entry, shape.value));
            // What is in no area is damaged or freed; before v6.15 per-CPU variables have offsets for
            // addresses.
            let placed =
                at.0 < KERNEL_HALF || areas.iter().any(|area| (area.0..area.1).contains(&at));
            if section == UNDEFINED || section >= RESERVED || !placed {
                return None;
            }
            let name = string(
                &strings,
                FieldPlace { at: half(entry, shape.name).into(), bytes: MAX_NAME_BYTES as u64 },
            );
            (!name.is_empty()).then(|| (name, at, word(entry, shape.size)))
        })
        .collect())
}

/// Reads as much as there is of `len` bytes.
fn read_up_to(memory: &dyn Memory, at: Va, len: u64) -> Vec<u8> {
    let len = len.min(MAX_STRINGS_BYTES);
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < len {
        let here = at.at(bytes.len() as u64);
        // To the next page end at least, so that a hole behind the table costs nothing.
        let room = 4096 - here.0 % 4096;
        let old = bytes.len();
        bytes.resize(old + room as usize, 0);
        if memory.read(here, &mut bytes[old..]).is_err() {
            bytes.truncate(old);
            break;
        }
    }
    bytes
}

/// Finds the BTF of every module through the kernel's table of BTF objects.
///
/// `module.btf_data` is cleared once a module is loaded; these objects stay.
pub fn find_module_btf(
    memory: &dyn Memory,
    types: &TypeInfo,
    symbols: &Kallsyms,
) -> Vec<ModuleBtf> {
    let (Some(shape), Some(table)) = (BtfShape::resolve(types), find_btf_table(symbols)) else {
        return Vec::new();
    };
    let Ok(head) = memory.read_u64(table.at(shape.head)) else { return Vec::new() };
    walk_xarray(memory, head, shape.slots)
        .into_iter()
        .filter_map(|at| read_btf(memory, &shape, at))
        .collect()
}

/// The types that the modules declare themselves, by module.
pub fn module_types(
    memory: &dyn Memory,
    types: &TypeInfo,
    symbols: &Kallsyms,
) -> Vec<(String, TypeInfo)> {
    let tables = find_module_btf(memory, types, symbols);
    let read = |found: ModuleBtf| {
        let mut bytes = vec![0; found.bytes as usize];
        memory.read(found.at, &mut bytes).ok()?;
        Some((found.name, types.parse_split(&bytes).ok()?))
    };
    tables.into_iter().filter_map(read).collect()
}

fn read_btf(memory: &dyn Memory, shape: &BtfShape, at: Va) -> Option<ModuleBtf> {
    let mut bytes = vec![0; shape.bytes.min(PIECE_BYTES) as usize];
    memory.read(at, &mut bytes).ok()?;
    let name = string(&bytes, shape.name);
    let kernels = *bytes.get(shape.is_kernels as usize)? == 1;
    let len = u64::from(half(&bytes, shape.data_size));
    let module = kernels && !name.is_empty() && name != KERNEL_BTF_NAME;
    (module && (1..=MAX_BTF_BYTES).contains(&len)).then(|| ModuleBtf {
        name,
        at: Va(word(&bytes, shape.data)),
        bytes: len,
    })
}

/// The pointers that an xarray holds.
///
/// An entry whose low bits are 10 is a node (include/linux/xarray.h), and one whose
/// bit 0 is set a number; what lies below a page is a mark of the array itself.
fn walk_xarray(memory: &dyn Memory, head: u64, slots: ArrayPlace) -> Vec<Va> {
    const NODE: u64 = 2;
    let mut found = Vec::new();
    let mut todo = vec![head];
    let mut nodes = 0;
    let mut raw = vec![0; (slots.len.min(64) * 8) as usize];
    while let Some(entry) = todo.pop() {
        match entry & 3 {
            _ if entry < 4096 => {}
            0 => found.push(Va(entry)),
            NODE if nodes < MAX_NODES => {
                nodes += 1;
                if memory.read(Va(entry - NODE).at(slots.at), &mut raw).is_ok() {
                    todo.extend(raw.chunks_exact(8).rev().map(|slot| word(slot, 0)));
                }
            }
            _ => {}
        }
    }
    found
}

/// A zero-terminated string inside bytes already read.
fn string(bytes: &[u8], field: FieldPlace) -> String {
    String::from_utf8_lossy(text(bytes, field.at, field.bytes)).into_owned()
}

#[cfg(test)]
mod tests;
