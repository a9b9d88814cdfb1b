//! Names static per-CPU variables by the pointers to them.
//!
//! Since v6.15 such a pointer is an address of the kernel's image, where the variables' first values
//! lay. Variables of modules have pointers behind the kernel's own, among addresses that other symbols
//! of the image have, too; and any other address of the image is no per-CPU pointer.

use sysak_base::Va;

use super::{Kallsyms, Symbol};

/// Eight times what the kernel reserves for the variables of all modules (`PERCPU_MODULE_RESERVE`).
const MAX_MODULE_BYTES: u64 = 64 << 10;

impl Kallsyms {
    /// The static variable that a per-CPU pointer points into. Before v6.15 these pointers are
    /// small numbers, so that any other word must not be looked up here. What lies behind them was
    /// allocated, and has no name.
    pub fn symbolize_per_cpu(&self, pointer: Va) -> Option<Symbol<'_>> {
        match (self.find("__per_cpu_start"), self.find("__per_cpu_end")) {
            (Some(start), _) if pointer < start => None,
            (_, Some(end)) if pointer >= end => self.reaching_of_module(pointer),
            _ => self.reaching(pointer),
        }
    }

    /// The symbol of a module that reaches to an address, whatever symbols of the kernel lie between;
    /// only where its end is known.
    fn reaching_of_module(&self, at: Va) -> Option<Symbol<'_>> {
        let after = self.entries.partition_point(|entry| entry.at <= at.0);
        let near = self.entries[..after].iter().rev();
        let mut near = near.take_while(|entry| at.0 - entry.at <= MAX_MODULE_BYTES);
        let start = near.find(|entry| entry.module != 0)?.at;
        let first = self.entries.partition_point(|entry| entry.at < start);
        let entry = self.entries[first..after].iter().find(|one| one.module != 0 && !one.ends)?;
        let behind = self.entries[after..].iter();
        let mut behind = behind.take_while(|one| one.at - start <= MAX_MODULE_BYTES);
        let next = behind.find(|one| one.module != 0)?;
        let size = (next.module == entry.module).then_some(next.at - start)?;
        let module = self.modules.get(usize::from(entry.module) - 1).map(String::as_str);
        Some(Symbol { name: self.name(entry), offset: at.0 - start, size: Some(size), module })
    }
}
