//! The per-CPU allocator: its chunks, their maps, and how a page names its chunk.

use sysak_base::{Memory, Va};
use sysak_symbols::Kallsyms;

use super::Names;

/// Offsets inside `struct pcpu_chunk`.
#[derive(Clone, Debug)]
pub struct PerCpuShape {
    /// Bytes of a `struct pcpu_chunk` without its bitmap.
    pub bytes: u64,
    /// `list`
    pub list: u64,
    /// `base_addr`
    pub base: u64,
    /// `immutable`: a chunk that was set up at boot.
    pub immutable: u64,
    /// `start_offset`, 32 bits wide: bytes at the start of a unit that are not the chunk's.
    pub start_offset: u64,
    /// `end_offset`, 32 bits wide: the same at its end.
    pub end_offset: u64,
    /// `nr_pages`, 32 bits wide: pages in a unit.
    pub pages: u64,
    /// `nr_populated`, 32 bits wide: pages of a unit that are there.
    pub populated: u64,
    /// `populated`: the chunk's last field, a bit for each page of a unit.
    pub populated_map: u64,
    /// `free_bytes`, 32 bits wide.
    pub free_bytes: u64,
    /// `alloc_map`: a bit for each [`GRAIN_BYTES`] that are in use.
    pub alloc_map: u64,
    /// `bound_map`: a bit where an allocation begins or one has ended.
    pub bound_map: u64,
    /// The charged cgroups; `None` where memory cgroups do not count kernel memory.
    pub charges: Option<ChargeShape>,
    /// Fields of `struct page` that may hold the chunk: `index`, and `private` in kernels
    /// that have taken `index` out of it.
    pub of_page: Vec<u64>,
    /// `this_cpu_off`, inside a CPU's static variables.
    pub this_cpu_off: Option<u64>,
}

/// Bytes that a bit of the maps stands for: a macro, so not in the type information
/// (`PCPU_MIN_ALLOC_SIZE`).
pub const GRAIN_BYTES: u64 = 4;

/// A chunk's vector of charged cgroups, with an entry for each [`GRAIN_BYTES`].
#[derive(Clone, Copy, Debug)]
pub struct ChargeShape {
    /// `obj_cgroups`, or `obj_exts` since Linux commit 8f30d2660a38 ("mm: percpu:
    /// introduce pcpuobj_ext") (v6.10); null where none is charged.
    pub vector: u64,
    /// Bytes of an entry.
    pub entry_bytes: u64,
    /// Where in it the `struct obj_cgroup *` is.
    pub group: u64,
}

impl PerCpuShape {
    pub(super) fn find(names: Names<'_>) -> Option<PerCpuShape> {
        let chunk = |path| names.find("pcpu_chunk", path);
        let of_page = ["index", "private"].iter().filter_map(|path| names.find("page", path));
        Some(PerCpuShape {
            bytes: names.find_size("pcpu_chunk")?,
            list: chunk("list")?,
            base: chunk("base_addr")?,
            immutable: chunk("immutable")?,
            start_offset: chunk("start_offset")?,
            end_offset: chunk("end_offset")?,
            pages: chunk("nr_pages")?,
            populated: chunk("nr_populated")?,
            populated_map: chunk("populated")?,
            free_bytes: chunk("free_bytes")?,
            alloc_map: chunk("alloc_map")?,
            bound_map: chunk("bound_map")?,
            charges: ChargeShape::find(names),
            of_page: of_page.collect(),
            this_cpu_off: names.0.find_per_cpu_variable("this_cpu_off"),
        })
    }
}

impl ChargeShape {
    fn find(names: Names<'_>) -> Option<ChargeShape> {
        if let Some(vector) = names.find("pcpu_chunk", "obj_cgroups") {
            return Some(ChargeShape { vector, entry_bytes: 8, group: 0 });
        }
        Some(ChargeShape {
            vector: names.find("pcpu_chunk", "obj_exts")?,
            entry_bytes: names.find_size("pcpuobj_ext").filter(|bytes| *bytes > 0)?,
            group: names.find("pcpuobj_ext", "cgroup")?,
        })
    }
}

/// The chunk that was set up at boot; listed where KALLSYMS_ALL is set.
pub fn find_first_chunk(memory: &dyn Memory, symbols: &Kallsyms) -> Option<Va> {
    memory.read_u64(symbols.find("pcpu_first_chunk")?).ok().map(Va)
}

/// The chunk for the static variables of modules, likewise.
pub fn find_reserved_chunk(memory: &dyn Memory, symbols: &Kallsyms) -> Option<Va> {
    memory.read_u64(symbols.find("pcpu_reserved_chunk")?).ok().map(Va)
}

/// Where the lowest unit of boot time starts, and how far behind it CPU 0's starts.
pub fn find_first_unit(memory: &dyn Memory, symbols: &Kallsyms) -> Option<(Va, u64)> {
    let base = Va(memory.read_u64(symbols.find("pcpu_base_addr")?).ok()?);
    let offsets = Va(memory.read_u64(symbols.find("pcpu_unit_offsets")?).ok()?);
    Some((base, memory.read_u64(offsets).ok()?))
}
