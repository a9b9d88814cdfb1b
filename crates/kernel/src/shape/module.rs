//! Loadable modules: where they lie, their symbols, and the objects that keep their BTF.

use sysak_base::Va;
use sysak_symbols::{Kallsyms, TypeInfo};

use super::{ArrayPlace, FieldPlace, Missing, Names};

/// Offsets inside `struct module` and what hangs on it.
#[derive(Clone, Debug)]
pub struct ModuleShape {
    /// Bytes of a `struct module`.
    pub bytes: u64,
    /// `list`
    pub list: u64,
    /// `name`
    pub name: FieldPlace,
    /// `state`
    pub state: u64,
    /// The state of a module that is not laid out yet.
    pub unformed: u64,
    /// `taints`, a word of bits.
    pub taints: Option<u64>,
    /// Links to the directory of all modules and to its other entries.
    pub shared: Vec<FieldPlace>,
    /// Its memory.
    pub areas: ModuleAreaShape,
    /// Its static per-CPU variables, by per-CPU pointer.
    pub per_cpu: Option<ModuleAreaPlace>,
    /// Its symbols, where the kernel keeps them.
    pub symbols: Option<ModuleSymbolsShape>,
}

/// The members of `struct module` that lead to what all modules share, and their bytes.
const SHARED: [(&str, u64); 3] =
    [("mkobj.kobj.entry", 16), ("mkobj.kobj.parent", 8), ("mkobj.kobj.kset", 8)];

/// Base and size of each of a module's memory areas.
#[derive(Clone, Debug)]
pub struct ModuleAreaShape {
    /// Each of them.
    pub places: Vec<ModuleAreaPlace>,
}

/// Offsets inside `struct module` that describe one memory area.
#[derive(Clone, Copy, Debug)]
pub struct ModuleAreaPlace {
    /// Its address.
    pub base: u64,
    /// Its length, 32 bits wide.
    pub size: u64,
}

/// `struct mod_kallsyms` and the ELF symbols that it leads to.
#[derive(Clone, Debug)]
pub struct ModuleSymbolsShape {
    /// `module.kallsyms`, a pointer.
    pub table: u64,
    /// `symtab`, `num_symtab`, `strtab`
    pub symtab: u64,
    /// Number of symbols, 32 bits wide.
    pub count: u64,
    /// `strtab`
    pub strtab: u64,
    /// Bytes of one symbol.
    pub symbol_bytes: u64,
    /// `st_name`, `st_shndx`, `st_value`, `st_size` inside one.
    pub name: u64,
    /// `st_shndx`
    pub section: u64,
    /// `st_value`
    pub value: u64,
    /// `st_size`
    pub size: u64,
}

/// `struct btf`, and the table of all of them.
#[derive(Clone, Debug)]
pub struct BtfShape {
    /// Bytes of a `struct btf`.
    pub bytes: u64,
    /// `data`, a pointer.
    pub data: u64,
    /// `data_size`, 32 bits wide.
    pub data_size: u64,
    /// `name`
    pub name: FieldPlace,
    /// `kernel_btf`
    pub is_kernels: u64,
    /// `idr.idr_rt.xa_head`
    pub head: u64,
    /// `xa_node.slots`
    pub slots: ArrayPlace,
}

impl ModuleShape {
    /// Resolves every name; needs nothing that the slab walk needs.
    pub fn resolve(types: &TypeInfo) -> Result<ModuleShape, Missing> {
        let names = Names(types);
        Ok(ModuleShape {
            bytes: names.need_size("module")?,
            list: names.need("module", "list")?,
            name: text(names, "module")
                .ok_or_else(|| Missing::Type("struct module.name".into()))?,
            state: names.need("module", "state")?,
            unformed: names.find_value("MODULE_STATE_UNFORMED").unwrap_or(3),
            taints: names.find("module", "taints"),
            shared: SHARED
                .iter()
                .filter_map(|(path, bytes)| {
                    Some(FieldPlace { at: names.find("module", path)?, bytes: *bytes })
                })
                .collect(),
            areas: ModuleAreaShape::resolve(names),
            per_cpu: names
                .find("module", "percpu")
                .zip(names.find("module", "percpu_size"))
                .map(|(base, size)| ModuleAreaPlace { base, size }),
            symbols: ModuleSymbolsShape::resolve(names),
        })
    }
}

impl ModuleAreaShape {
    fn resolve(names: Names<'_>) -> ModuleAreaShape {
        let place = |base: &str, size: &str| {
            let base = names.find("module", base)?;
            Some(ModuleAreaPlace { base, size: names.find("module", size)? })
        };
        // One area per kind of memory since Linux commit ac3b43283923 ("module:
        // replace module_layout with module_memory") (v6.4), two layouts before.
        let areas = || {
            let first = place("mem.base", "mem.size")?;
            let step = names.find_size("module_memory")?;
            let len = names.find_len("module", "mem")?.min(64);
            let place =
                |n| ModuleAreaPlace { base: first.base + n * step, size: first.size + n * step };
            Some((0..len).map(place).collect())
        };
        let layouts = || {
            ["core_layout", "init_layout"]
                .iter()
                .filter_map(|layout| place(&format!("{layout}.base"), &format!("{layout}.size")))
                .collect()
        };
        ModuleAreaShape { places: areas().unwrap_or_else(layouts) }
    }
}

impl ModuleSymbolsShape {
    fn resolve(names: Names<'_>) -> Option<ModuleSymbolsShape> {
        let table = |path| names.find("mod_kallsyms", path);
        let symbol = |path| names.find("elf64_sym", path);
        Some(ModuleSymbolsShape {
            table: names.find("module", "kallsyms")?,
            symtab: table("symtab")?,
            count: table("num_symtab")?,
            strtab: table("strtab")?,
            symbol_bytes: names.find_size("elf64_sym")?,
            name: symbol("st_name")?,
            section: symbol("st_shndx")?,
            value: symbol("st_value")?,
            size: symbol("st_size")?,
        })
    }
}

impl BtfShape {
    /// `None` for kernels whose modules have no BTF (before v5.11).
    pub fn resolve(types: &TypeInfo) -> Option<BtfShape> {
        let names = Names(types);
        let btf = |path| names.find("btf", path);
        Some(BtfShape {
            bytes: names.find_size("btf")?,
            data: btf("data")?,
            data_size: btf("data_size")?,
            name: text(names, "btf")?,
            is_kernels: btf("kernel_btf")?,
            head: names.find("idr", "idr_rt.xa_head")?,
            slots: names.find_array("xa_node", "slots")?,
        })
    }
}

/// The bit of `module.taints` of a module that was not built with the kernel
/// (`TAINT_OOT_MODULE`).
pub const OUT_OF_TREE: u32 = 12;

/// The head of the list of modules; listed where KALLSYMS_ALL is set.
pub fn find_modules(symbols: &Kallsyms) -> Option<Va> {
    symbols.find("modules")
}

/// The table of all BTF objects; listed where KALLSYMS_ALL is set.
pub fn find_btf_table(symbols: &Kallsyms) -> Option<Va> {
    symbols.find("btf_idr")
}

/// The name under which the kernel's own BTF is in that table.
pub const KERNEL_BTF_NAME: &str = "vmlinux";

fn text(names: Names<'_>, owner: &str) -> Option<FieldPlace> {
    Some(FieldPlace { at: names.find(owner, "name")?, bytes: names.find_len(owner, "name")? })
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn modules_of_every_kernel_have_memory_and_symbols() {
        for (version, areas) in [("5.10", 2), ("6.1", 2), ("6.12", 7), ("6.18", 7), ("7.3", 7)] {
            let shape = ModuleShape::resolve(&fixture(version)).unwrap();
            assert_eq!(shape.areas.places.len(), areas, "{version}");
            assert_eq!(shape.name.bytes, 56, "{version}");
            assert_eq!(shape.unformed, 3, "{version}");
            assert_eq!(shape.symbols.map(|symbols| symbols.symbol_bytes), Some(24), "{version}");
        }
    }

    #[test]
    fn modules_have_btf_of_their_own_since_5_11() {
        assert!(BtfShape::resolve(&fixture("5.10")).is_none());
        for version in ["6.1", "6.12", "6.18", "7.2", "7.3"] {
            assert_eq!(BtfShape::resolve(&fixture(version)).unwrap().slots.len, 64, "{version}");
        }
    }
}
