//! Fixed points of a kernel's address space that are found alike in dumps and in `/proc/kcore`.

use sysak_arch::x86_64::frames::{Tables, join};
use sysak_arch::x86_64::{DIRECT_MAP_ALIGNMENT, IMAGE_MAP, MOST_CPUS};
use sysak_base::{Anchors, Memory, PAGE_SIZE, Pfn, PfnRange, Va};
use sysak_symbols::{Kallsyms, TypeInfo, Vmcoreinfo};

use crate::Target;

/// Roots of the array of memory sections to look at: 2^52 bytes of memory have them.
const MOST_SECTION_ROOTS: u64 = 1 << 18;

/// Where the array of `struct page` starts, by the first memory section that is present:
/// it holds that address, moved so that page frame numbers index it, and flags below.
///
/// VMCOREINFO tells where the sections are, so this needs no symbol.
pub(crate) fn vmemmap(memory: &dyn Memory, info: &Vmcoreinfo) -> Option<Va> {
    const PRESENT_WITH_MAP: u64 = 3;
    let roots = info.find_symbol("mem_section")?;
    let size = info.find_size("mem_section").filter(|size| (8..=PAGE_SIZE).contains(size))?;
    let field = info.find_offset("mem_section.section_mem_map").filter(|at| *at < size)?;
    let many = info.find_length("mem_section")?.min(MOST_SECTION_ROOTS);
    let word = |at: Va| memory.read_u64(at).unwrap_or(0);
    let sections = (0..many).map_while(|root| memory.read_u64(roots.at(root * 8)).ok());
    let maps = sections
        .filter(|section| *section != 0)
        .flat_map(|first| (0..PAGE_SIZE / size).map(move |n| Va(first).at(n * size + field)));
    let map = maps.map(word).find(|map| map & PRESENT_WITH_MAP == PRESENT_WITH_MAP)?;
    let start = map & !(PAGE_SIZE - 1);
    // Only the array of all of memory starts like that; without it each section has its own.
    (start.is_multiple_of(DIRECT_MAP_ALIGNMENT) && start < IMAGE_MAP).then_some(Va(start))
}

/// The per-CPU offset of each possible CPU. `cpus` is the number of CPUs, if it is known. Empty if the offsets in a dump
/// are damaged: with one missing, the free objects that this CPU keeps would count as allocated.
pub(crate) fn per_cpu_offsets(
    memory: &dyn Memory,
    symbols: &Kallsyms,
    cpus: Option<u64>,
) -> Vec<u64> {
    let Some(table) = symbols.find("__per_cpu_offset") else { return Vec::new() };
    let said = |cpu: u64| memory.read_u64(table.at(cpu * 8)).ok();
    if let Some(cpus) = cpus {
        return (0..cpus.min(MOST_CPUS)).map_while(said).collect();
    }
    let counted = symbols.find("nr_cpu_ids").and_then(|at| memory.read_u32(at).ok());
    let cpus = counted.map_or(0, u64::from).min(MOST_CPUS);
    let checks = OffsetChecks::find(memory, symbols);
    // `nr_cpu_ids` can be damaged too.
    let is_uncounted =
        |cpu: u64, offset: u64| checks.is_possible(cpu) == Some(true) && checks.agrees(offset);
    let all = (0..MOST_CPUS).map_while(|cpu| {
        let offset = said(cpu)?;
        (cpu < cpus || is_uncounted(cpu, offset)).then_some(offset)
    });
    checks.mended(all.collect()).unwrap_or_default()
}

/// What else in a dump tells of the offsets of the CPUs' copies.
struct OffsetChecks<'a> {
    memory: &'a dyn Memory,
    /// `this_cpu_off`: each CPU's own copy of its offset.
    own: Option<Va>,
    possible: Option<Va>,
    /// The distances between the CPUs' units.
    units: Option<Va>,
}

impl OffsetChecks<'_> {
    fn find<'a>(memory: &'a dyn Memory, symbols: &Kallsyms) -> OffsetChecks<'a> {
        let units = symbols.find("pcpu_unit_offsets").and_then(|at| memory.read_u64(at).ok());
        OffsetChecks {
            memory,
            own: symbols.find("this_cpu_off"),
            possible: symbols.find("__cpu_possible_mask"),
            units: units.map(Va),
        }
    }

    /// Whether a CPU's own copy says the same.
    fn agrees(&self, offset: u64) -> bool {
        let copy = |own: Va| Va(own.0.wrapping_add(offset));
        self.own.is_some_and(|own| self.memory.read_u64(copy(own)) == Ok(offset))
    }

    fn is_possible(&self, cpu: u64) -> Option<bool> {
        let word = self.memory.read_u64(self.possible?.at(cpu / 64 * 8)).ok()?;
        Some(word >> (cpu % 64) & 1 != 0)
    }

    fn unit(&self, cpu: u64) -> Option<u64> {
        self.memory.read_u64(self.units?.at(cpu * 8)).ok()
    }

    /// The offsets where each CPU's own copy agrees; a damaged one follows from those of other CPUs. `None` where a
    /// possible CPU has none that its copy agrees with.
    fn mended(&self, said: Vec<u64>) -> Option<Vec<u64>> {
        if self.own.is_none() {
            return Some(said);
        }
        let good = (0..).zip(&said).find(|(_, offset)| self.agrees(**offset));
        let mend = |(cpu, offset): (u64, &u64)| {
            if self.agrees(*offset) || self.is_possible(cpu) == Some(false) {
                return Some(*offset);
            }
            let (other, good) = good?;
            let offset = good.wrapping_add(self.unit(cpu)?.wrapping_sub(self.unit(other)?));
            self.agrees(offset).then_some(offset)
        };
        (0..).zip(&said).map(mend).collect()
    }
}

/// The pages of the array of `struct page`, by the kernel's page tables; none where those
/// were not found.
pub(crate) fn memmap(target: &Target) -> Vec<PfnRange> {
    let Anchors { page_offset, vmemmap, page_table, ram, .. } = &target.anchors;
    let size = target.types.find_size("page");
    let (Some(page_offset), Some(vmemmap), Some(top), Some(size)) =
        (*page_offset, *vmemmap, *page_table, size)
    else {
        return Vec::new();
    };
    let memory = target.memory.as_ref();
    let mask = target.symbols.find("sme_me_mask").and_then(|at| memory.read_u64(at).ok());
    let tables = Tables { memory, top, page_offset, encryption: mask.unwrap_or(0) };
    let at = |pfn: Pfn| vmemmap.at(pfn.0.saturating_mul(size));
    let mut frames: Vec<_> =
        ram.iter().flat_map(|run| tables.frames(at(run.start), at(run.end))).collect();
    join(&mut frames);
    frames
}

/// What VMCOREINFO tells of the kernel's types.
const SIZES: [&str; 6] = ["page", "pglist_data", "zone", "free_area", "list_head", "mem_section"];
const OFFSETS: [(&str, &str); 9] = [
    ("page", "_refcount"),
    ("page", "lru"),
    ("pglist_data", "node_zones"),
    ("pglist_data", "nr_zones"),
    ("pglist_data", "node_start_pfn"),
    ("zone", "free_area"),
    ("zone", "vm_stat"),
    ("zone", "spanned_pages"),
    ("vmap_area", "va_start"),
];

/// Whether types can be the kernel's that wrote the note: another's lead to nonsense, or to leaks that are none.
pub(crate) fn agrees(types: &TypeInfo, info: &Vmcoreinfo) -> bool {
    let sizes = SIZES.iter().map(|name| (info.find_size(name), types.find_size(name)));
    let offsets = OFFSETS.iter().map(|(owner, field)| {
        let told = info.find_offset(&format!("{owner}.{field}"));
        (told, types.find_field(owner, field).map(|field| field.offset_bytes))
    });
    // What one of the two does not have says nothing.
    sizes.chain(offsets).all(|pair| !matches!(pair, (Some(told), Some(found)) if told != found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use sysak_base::{Fault, Why};

    struct Words(HashMap<u64, u64>);

    impl Memory for Words {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            let word = self.0.get(&at.0).ok_or(Fault { at, why: Why::Unmapped })?;
            buf.copy_from_slice(&word.to_le_bytes()[..buf.len()]);
            Ok(())
        }
    }

    /// The offsets of three CPUs, of which the last cannot be, once they were damaged so.
    fn offsets(damage: &[(u64, u64)]) -> Vec<u64> {
        let [table, own, mask, units, many] = [0x1000, 0x30, 0x2000, 0x3000, 0x4000];
        let symbols = b"0000000000001000 D __per_cpu_offset\n0000000000000030 A this_cpu_off\n\
            0000000000002000 D __cpu_possible_mask\n0000000000003000 D pcpu_unit_offsets\n\
            0000000000004000 D nr_cpu_ids\n";
        let mut words = Words(HashMap::from([
            (table, 0x10_0000),
            (table + 8, 0x20_0000),
            (table + 16, 0x77_0000),
            (0x10_0000 + own, 0x10_0000),
            (0x20_0000 + own, 0x20_0000),
            (mask, 0b011),
            (many, 3),
            (units, units + 8),
            (units + 8, 0),
            (units + 16, 0x10_0000),
        ]));
        words.0.extend(damage.iter().copied());
        per_cpu_offsets(&words, &Kallsyms::parse_proc(symbols).unwrap(), None)
    }

    #[test]
    fn a_damaged_offset_of_a_cpu_follows_from_another_one_or_none_count() {
        let good = [0x10_0000, 0x20_0000, 0x77_0000];
        assert_eq!(offsets(&[]), good);
        assert_eq!(offsets(&[(0x1000, 0x10_0008)]), good);
        assert_eq!(offsets(&[(0x1008, 0)]), good);
        assert_eq!(offsets(&[(0x1000, 1), (0x1008, 2)]), []);
        assert_eq!(offsets(&[(0x1000, 1), (0x3010, 5)]), []);
        // The number of CPUs is no truth either.
        assert_eq!(offsets(&[(0x4000, 1)]), good[..2]);
        assert_eq!(offsets(&[(0x4000, 0), (0x2000, 0b001)]), good[..1]);
        assert_eq!(offsets(&[(0x4000, 0), (0x1000, 1)]), []);
        // Nobody knows what a CPU that cannot be has there.
        assert_eq!(offsets(&[(0x1010, 1)])[..2], good[..2]);
    }

    const SECTIONS: &[u8] = b"OSRELEASE=6\nSYMBOL(mem_section)=ffff888000001000\n\
        LENGTH(mem_section)=4096\nSIZE(mem_section)=32\nOFFSET(mem_section.section_mem_map)=0\n";

    #[test]
    fn the_first_present_section_tells_where_struct_page_lies() {
        let info = Vmcoreinfo::parse(SECTIONS).unwrap();
        let mut words = Words(HashMap::from([
            (0xffff_8880_0000_1000, 0),
            (0xffff_8880_0000_1008, 0xffff_8880_0000_2000),
            (0xffff_8880_0000_2000, 0),
            (0xffff_8880_0000_2020, 0xffff_d844_8000_000f),
        ]));
        assert_eq!(vmemmap(&words, &info), Some(Va(0xffff_d844_8000_0000)));
        // An array of its own for each section starts anywhere.
        words.0.insert(0xffff_8880_0000_2020, 0xffff_8880_0123_400f);
        assert_eq!(vmemmap(&words, &info), None);
    }

    #[test]
    fn sections_of_forged_size_are_refused() {
        for forged in ["SIZE(mem_section)=0\n", "SIZE(mem_section)=7\n", "SIZE(mem_section)=4097\n"]
        {
            let text = String::from_utf8_lossy(SECTIONS).replace("SIZE(mem_section)=32\n", forged);
            let info = Vmcoreinfo::parse(text.as_bytes()).unwrap();
            assert_eq!(vmemmap(&Words(HashMap::new()), &info), None);
        }
    }
}
