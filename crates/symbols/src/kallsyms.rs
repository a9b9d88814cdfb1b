//! The kernel's symbols: addresses to names and back.
//!
//! A table of 200,000 symbols stays in a few megabytes: one arena of names, 16
//! bytes a symbol, and a permutation sorted by hash for look-ups by name.
//!
//! **Invariant:** an address is named only where a symbol is known to reach:
//! never below the kernel's half, beyond its image, or between two modules.

mod image;
mod per_cpu;
mod places;
mod proc;
mod search;

use crate::le;
use crate::vmcoreinfo::Vmcoreinfo;
use std::fmt;
use std::sync::OnceLock;
use sysak_base::{Fault, PAGE_SIZE, Va};

pub use places::KallsymsPlaces;

/// Where the kernel's half of the address space starts on x86-64 with five-level page tables;
/// per-CPU offsets lie below.
const KERNEL_HALF: u64 = 0xff00_0000_0000_0000;
/// A module's sections lie apart; between symbols this far from each other is another section.
const MAX_MODULE_GAP: u64 = 1 << 20;
/// Padding between two symbols that still counts as the first one's, as the kernel counts it.
const MAX_PADDING: u64 = 64;
/// Twenty times what kernels with all their modules have.
const MAX_SYMBOLS: usize = 8 << 20;
const MAX_NAME_BYTES: usize = 1024;
const MAX_ARENA_BYTES: usize = 512 << 20;

/// Why symbols could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KallsymsError {
    /// All addresses read as zero.
    #[error(
        "/proc/kallsyms hides its addresses: \
         set kernel.kptr_restrict to 1 or 0 and run with CAP_SYSLOG"
    )]
    Hidden,
    /// No symbol at all.
    #[error("there are no kernel symbols in this table")]
    Empty,
    /// Memory that the tables lie in.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Damaged, or not what it was taken for.
    #[error("the kernel's symbol table is damaged: {0}")]
    Corrupt(&'static str),
}

/// Symbols of the kernel and its modules.
#[derive(Debug, Default)]
pub struct Kallsyms {
    /// Names, each ended by a zero byte.
    names: String,
    /// By address; equal ones in the kernel's own order.
    entries: Vec<Entry>,
    /// Module n + 1 of an entry; 0 is the kernel itself.
    modules: Vec<String>,
    symbols: usize,
    /// Entries by hash of the name; made when first asked.
    by_name: OnceLock<Vec<u32>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u64,
    name: u32,
    module: u16,
    /// Marks the end of something: gives the symbol before it a size and names nothing itself.
    ends: bool,
}

/// An address in terms of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its name.
    pub name: &'a str,
    /// Bytes from the symbol to the address.
    pub offset: u64,
    /// Bytes to the next symbol, where that is known to be its end.
    pub size: Option<u64>,
    /// The module that it belongs to; `None` is the kernel itself.
    pub module: Option<&'a str>,
}

impl fmt::Display for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)?;
        if let Some(size) = self.size {
            write!(f, "/{size:#x}")?;
        }
        match self.module {
            Some(module) => write!(f, " [{module}]"),
            None => Ok(()),
        }
    }
}

impl Kallsyms {
    /// Adds a module's symbols; a size of 0 is an unknown one.
    pub fn add_module(&mut self, module: &str, symbols: impl Iterator<Item = (String, Va, u64)>) {
        let Some(id) = self.module_id(module) else { return };
        let mut ends: Vec<(u64, u64)> = Vec::new();
        for (name, at, size) in symbols {
            if self.push(&name, at.0, id).is_none() {
                break;
            }
            ends.push((at.0, at.0.saturating_add(size)));
        }
        ends.sort_unstable();
        for (here, &(start, end)) in ends.iter().enumerate() {
            let next = ends[here + 1..].iter().map(|next| next.0).find(|&next| next > start);
            let far = next.is_none_or(|next| next.saturating_sub(end) > MAX_PADDING);
            if end > start && far {
                self.entries.push(Entry { at: end, name: u32::MAX, module: id, ends: true });
            }
        }
        self.seal();
    }

    /// Takes every symbol of a name out.
    pub fn remove(&mut self, name: &str) {
        let is_one = |entry: &Entry| entry.name != u32::MAX && self.name(entry) == name;
        let found = self.entries.iter().map(is_one).collect::<Vec<_>>();
        let mut is_found = found.iter();
        self.entries.retain(|_| !is_found.next().is_some_and(|is_one| *is_one));
        self.symbols -= found.iter().filter(|is_one| **is_one).count();
        self.seal();
    }

    /// The address of a symbol, the kernel's own before a module's.
    pub fn find(&self, name: &str) -> Option<Va> {
        let hash = le::hash(name.as_bytes());
        let by_name = self.by_name.get_or_init(|| self.sort_by_name());
        let first = by_name.partition_point(|&at| self.hash_at(at) < hash);
        by_name[first..]
            .iter()
            .map_while(|&at| self.entries.get(at as usize))
            .take_while(|entry| le::hash(self.name(entry).as_bytes()) == hash)
            .filter(|entry| self.name(entry) == name)
            .min_by_key(|entry| entry.module != 0)
            .map(|entry| Va(entry.at))
    }

    /// The module that has the first symbol of a range of addresses, `end` exclusive.
    pub fn module_within(&self, start: Va, end: Va) -> Option<&str> {
        let first = self.entries.partition_point(|entry| entry.at < start.0);
        let inside = self.entries[first..].iter().take_while(|entry| entry.at < end.0);
        let id = inside.filter(|entry| !entry.ends).find(|entry| entry.module != 0)?.module;
        self.modules.get(usize::from(id) - 1).map(String::as_str)
    }

    /// The symbol that reaches to an address.
    pub fn symbolize(&self, at: Va) -> Option<Symbol<'_>> {
        if at.0 < KERNEL_HALF { None } else { self.reaching(at) }
    }

    /// The function that goes on at a return address, which may lie behind its last instruction;
    /// the offset is that of the address.
    pub fn symbolize_return(&self, at: Va) -> Option<Symbol<'_>> {
        let call = self.symbolize(Va(at.0.wrapping_sub(1)))?;
        Some(Symbol { offset: call.offset + 1, ..call })
    }

    fn reaching(&self, at: Va) -> Option<Symbol<'_>> {
        let after = self.entries.partition_point(|entry| entry.at <= at.0);
        let start = self.entries.get(after.checked_sub(1)?)?.at;
        if start < KERNEL_HALF && at.0 >= KERNEL_HALF {
            return None;
        }
        // Of several names for one address the kernel shows the first.
        let first = self.entries.partition_point(|entry| entry.at < start);
        let here = &self.entries[first..after];
        let is_end = |entry: &Entry| entry.module == 0 && entry.ends && self.name(entry) == "_end";
        if here.iter().any(is_end) {
            return None;
        }
        let entry = here.iter().find(|entry| !entry.ends)?;
        let offset = at.0 - start;
        let next = self.entries.get(after).map_or(start, |next| next.at);
        let size = self.entries[after..]
            .iter()
            .take_while(|other| other.at == next)
            .filter(|other| other.module == entry.module)
            .any(|other| entry.module == 0 || other.ends || next - start <= MAX_MODULE_GAP)
            .then_some(next - start);
        // Without a known end, no further than the page it starts on.
        if size.is_none() && (start & (PAGE_SIZE - 1)) + offset >= PAGE_SIZE {
            return None;
        }
        let module = usize::from(entry.module).checked_sub(1);
        let module = module.and_then(|id| self.modules.get(id)).map(String::as_str);
        Some(Symbol { name: self.name(entry), offset, size, module })
    }

    /// Where the kernel's own BTF lies, and how many bytes it has.
    pub fn find_btf(&self) -> Option<(Va, u64)> {
        let start = self.find("__start_BTF")?;
        let len = self.find("__stop_BTF")?.checked_sub(start)?;
        (len > 0).then_some((start, len))
    }

    /// How many symbols there are.
    pub fn len(&self) -> usize {
        self.symbols
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.symbols == 0
    }

    /// Every symbol by address: name, address, module.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Va, Option<&str>)> {
        self.entries.iter().filter(|entry| entry.name != u32::MAX).map(|entry| {
            let module = usize::from(entry.module).checked_sub(1);
            let module = module.and_then(|id| self.modules.get(id)).map(String::as_str);
            (self.name(entry), Va(entry.at), module)
        })
    }

    /// Whether the note's symbols have the addresses that this table gives them.
    ///
    /// Of pointers (`mem_section`, `vmemmap`) the note tells the value, which lies below the image.
    pub fn agrees_with(&self, info: &Vmcoreinfo) -> bool {
        let Some(start) = info.find_symbol("_stext") else { return false };
        let places = || info.symbols().filter(|&(_, at)| at >= start);
        self.find("_stext") == Some(start)
            && places().all(|(name, at)| self.find(name).is_none_or(|here| here == at))
    }

    /// The id of a module by name; `None` when there are too many.
    fn module_id(&mut self, module: &str) -> Option<u16> {
        let known = self.modules.iter().rposition(|known| known == module);
        let index = known.unwrap_or_else(|| {
            self.modules.push(module.to_owned());
            self.modules.len() - 1
        });
        u16::try_from(index + 1).ok()
    }

    /// Adds a symbol to the end; `None` when the table is full.
    fn push(&mut self, name: &str, at: u64, module: u16) -> Option<()> {
        let name = name.split('\0').next().unwrap_or_default();
        if self.symbols >= MAX_SYMBOLS
            || name.len() > MAX_NAME_BYTES
            || self.names.len() + name.len() > MAX_ARENA_BYTES
        {
            return None;
        }
        let ends =
            module == 0 && matches!(name, "_etext" | "_einittext" | "_end" | "__per_cpu_end");
        let start = self.names.len() as u32;
        self.names.push_str(name);
        self.names.push('\0');
        self.entries.push(Entry { at, name: start, module, ends });
        self.symbols += 1;
        Some(())
    }

    /// Puts new entries in their place; what is sorted already costs little.
    fn seal(&mut self) {
        self.entries.sort_by_key(|entry| entry.at);
        self.by_name.take();
    }

    fn sort_by_name(&self) -> Vec<u32> {
        let mut keys: Vec<(u32, u32)> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.name != u32::MAX)
            .map(|(at, entry)| (le::hash(self.name(entry).as_bytes()), at as u32))
            .collect();
        keys.sort_unstable();
        // Not by value: the result would keep the memory of the keys, which is twice as much.
        keys.iter().map(|(_, at)| *at).collect()
    }

    fn hash_at(&self, at: u32) -> u32 {
        self.entries.get(at as usize).map_or(0, |entry| le::hash(self.name(entry).as_bytes()))
    }

    fn name(&self, entry: &Entry) -> &str {
        let rest = self.names.get(entry.name as usize..).unwrap_or_default();
        rest.split('\0').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
