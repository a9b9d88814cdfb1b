//! The per-CPU allocator: its chunks, and how a page names the chunk that it belongs to.

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
    /// `immutable`: the chunk that was set up at boot.
    pub immutable: u64,
    /// `end_offset`, 32 bits wide: bytes at the end of a unit that are not the chunk's.
    pub end_offset: u64,
    /// `nr_pages`, 32 bits wide: pages in a unit.
    pub pages: u64,
    /// `nr_populated`, 32 bits wide: pages of a unit that are there.
    pub populated: u64,
    /// Fields of `struct page` that may hold the chunk: `index`, and `private` in kernels
    /// that have taken `index` out of it.
    pub of_page: Vec<u64>,
    /// `this_cpu_off`, inside a CPU's static variables.
    pub this_cpu_off: Option<u64>,
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
            end_offset: chunk("end_offset")?,
            pages: chunk("nr_pages")?,
            populated: chunk("nr_populated")?,
            of_page: of_page.collect(),
            this_cpu_off: names.0.find_per_cpu_variable("this_cpu_off"),
        })
    }
}

/// The chunk that was set up at boot; listed where KALLSYMS_ALL is set.
pub fn find_first_chunk(memory: &dyn Memory, symbols: &Kallsyms) -> Option<Va> {
    memory.read_u64(symbols.find("pcpu_first_chunk")?).ok().map(Va)
}

/// Where the first unit of that chunk starts, and how far into the chunk CPU 0's starts.
pub fn find_first_unit(memory: &dyn Memory, symbols: &Kallsyms) -> Option<(Va, u64)> {
    let base = Va(memory.read_u64(symbols.find("pcpu_base_addr")?).ok()?);
    let offsets = Va(memory.read_u64(symbols.find("pcpu_unit_offsets")?).ok()?);
    Some((base, memory.read_u64(offsets).ok()?))
}
