//! Everything that a crash dump's own memory tells: symbols, types, fixed points.

use std::path::Path;

use sysak_base::{Anchors, Memory, PAGE_SIZE, Pa, Pfn, PfnRange, Va};
use sysak_symbols::{Kallsyms, KallsymsPlaces, TypeInfo, Vmcoreinfo};

use crate::arch::x86_64::{IMAGE_MAP, IMAGE_MAP_END, PageTable, frames, join};
use crate::elf::Core;
use crate::live::Resources;
use crate::vmcore::Vmcore;
use crate::{Identity, OpenError, Options, Reader, Target, files};

/// No kernel image is larger.
const MOST_IMAGE_BYTES: u64 = 256 << 20;
/// Entries of the resource tree; a large server has some thousands.
const MOST_RESOURCES: usize = 1 << 16;
/// Most CPUs that x86-64 kernels are built for.
pub(crate) const MOST_CPUS: u64 = 8192;
/// VMCOREINFO is one page; two in some kernels to come.
const NOTE_BYTES: usize = 8192;
/// Bytes of RAM per byte of its dump; 64 would do.
const MOST_RAM_PER_BYTE: u64 = 1024;
/// Copies of it in RAM to try.
const MOST_NOTES: usize = 4096;
/// Roots of the array of memory sections to look at: 2^52 bytes of memory have them.
const MOST_SECTION_ROOTS: u64 = 1 << 18;

/// Opens a crash dump with nothing but the file.
pub fn open(path: &Path, options: &Options) -> Result<Target, OpenError> {
    let (mut vmcore, core) = Vmcore::open(path)?;
    let (info, top) = vmcoreinfo(&mut vmcore, &core, path)?;
    let start = info.find_symbol("_stext").map_or(IMAGE_MAP, |text| text.0 & !0x1f_ffff);
    let image = (Va(start), Va((start + MOST_IMAGE_BYTES).min(vmcore.image_end)));
    let symbols = symbols(&vmcore, &info, image, path, options)?;
    let types = types(&vmcore, &symbols, image, path, options)?;
    let word = |vmcore: &Vmcore, name| vmcore.read_u64(symbols.find(name)?).ok();
    vmcore.page_offset = word(&vmcore, "page_offset_base").or_else(|| direct_map(&vmcore));
    let page_offset = vmcore.page_offset.map(Va);
    let resources = resources(&vmcore, &types, &symbols, top);
    let anchors = Anchors {
        page_offset,
        vmemmap: word(&vmcore, "vmemmap_base").map(Va).or_else(|| vmemmap(&vmcore, &info)),
        per_cpu_offsets: per_cpu_offsets(&vmcore, &symbols, None),
        page_table: Some(top),
        ram: resources.ram,
        image: resources.image,
        image_virtual: symbols.find("_text").zip(symbols.find("_end")),
        registers: core.registers,
        ..Anchors::default()
    };
    let identity = identity(&vmcore, &types, &symbols, &info);
    Ok(Target { memory: Box::new(vmcore), anchors, types, symbols, identity })
}

/// The note, or where a hypervisor's dump has none, the kernel's own copy of it in RAM; and
/// the top of the page tables. From here on the image can be read.
fn vmcoreinfo(
    vmcore: &mut Vmcore,
    core: &Core,
    path: &Path,
) -> Result<(Vmcoreinfo, Va), OpenError> {
    let note = core.vmcoreinfo.as_deref();
    let noted = note.and_then(|text| usable(vmcore, text));
    let (info, kernel) =
        noted.or_else(|| search(vmcore)).ok_or_else(|| OpenError::MissingVmcoreinfo {
            path: path.to_owned(),
            what: if note.is_some() { "usable VMCOREINFO" } else { "VMCOREINFO" },
        })?;
    vmcore.phys_base = kernel.phys_base;
    vmcore.image_end = kernel.image_end;
    vmcore.page_table = Some(kernel.table);
    Ok((info, kernel.top))
}

/// The kernel's own copy of the note in RAM.
fn search(vmcore: &Vmcore) -> Option<(Vmcoreinfo, Kernel)> {
    // An ELF note header: name of 11 bytes, padded, then the text. Programs that read dumps
    // carry the same bytes, and a boot before this one may have left its own.
    let mut found = vmcore.search(b"VMCOREINFO\0\0OSRELEASE=").take(MOST_NOTES);
    found.find_map(|bytes| usable(vmcore, bytes.get(12..)?))
}

/// Where a kernel lies, by its VMCOREINFO.
struct Kernel {
    phys_base: u64,
    image_end: u64,
    top: Va,
    table: PageTable,
}

/// The text as VMCOREINFO, if it has what we need and the page tables that it names map the
/// kernel's text where it says.
fn usable(vmcore: &Vmcore, text: &[u8]) -> Option<(Vmcoreinfo, Kernel)> {
    let info = Vmcoreinfo::parse(&text[..text.len().min(NOTE_BYTES)]).ok()?;
    let phys_base = info.find_number("phys_base")? as u64;
    let top = info.find_symbol("swapper_pg_dir").or_else(|| info.find_symbol("init_top_pgt"))?;
    let physical = |va: Va| va.0.wrapping_sub(IMAGE_MAP).wrapping_add(phys_base);
    let five_levels = info.find_number("pgtable_l5_enabled").unwrap_or(0) != 0;
    let encryption = info.find_number("sme_mask").unwrap_or(0) as u64;
    let table = PageTable::new(physical(top), five_levels).encrypted_with(encryption);
    let text = info.find_symbol("_stext")?;
    let (pa, _) = table.translate(text.0, |pa| vmcore.physical_word(pa))?;
    // Half a GiB without KASLR: what lies above is walked then.
    let image_bytes = info.find_number("KERNEL_IMAGE_SIZE").unwrap_or(1 << 29) as u64;
    let image_end = IMAGE_MAP + image_bytes.min(IMAGE_MAP_END - IMAGE_MAP);
    (pa == physical(text)).then_some((info, Kernel { phys_base, image_end, top, table }))
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
    image: (Va, Va),
    path: &Path,
    options: &Options,
) -> Result<TypeInfo, OpenError> {
    if let Some(file) = &options.btf {
        return files::types(file);
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
fn direct_map(vmcore: &Vmcore) -> Option<u64> {
    // The largest run is RAM for sure, and the first MiB may be unmapped.
    let (start, bytes) = vmcore.runs().max_by_key(|(_, bytes)| *bytes)?;
    let probe = start.max(1 << 20).next_multiple_of(PAGE_SIZE);
    let inside = probe - start < bytes;
    let table = vmcore.page_table.as_ref().filter(|_| inside)?;
    table.find_direct_map(probe, |pa| vmcore.physical_word(pa))
}

/// Where the array of `struct page` starts, by the first memory section that is present:
/// it holds that address, moved so that page frame numbers index it, and flags below.
///
/// VMCOREINFO tells where the sections are, so this needs no symbol.
pub(crate) fn vmemmap(memory: &dyn Memory, info: &Vmcoreinfo) -> Option<Va> {
    const PRESENT_WITH_MAP: u64 = 3;
    const GIB: u64 = 1 << 30;
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
    (start & (GIB - 1) == 0 && start < IMAGE_MAP).then_some(Va(start))
}

/// What to add to a per-CPU pointer, for each possible CPU.
pub(crate) fn per_cpu_offsets(
    memory: &dyn Memory,
    symbols: &Kallsyms,
    cpus: Option<u64>,
) -> Vec<u64> {
    let counted = || memory.read_u32(symbols.find("nr_cpu_ids")?).ok().map(u64::from);
    let Some(table) = symbols.find("__per_cpu_offset") else { return Vec::new() };
    let cpus = cpus.or_else(counted).unwrap_or(1).min(MOST_CPUS);
    (0..cpus).map_while(|cpu| memory.read_u64(table.at(cpu * 8)).ok()).collect()
}

/// RAM and image from the kernel's resource tree, else what of the file's own segments the
/// direct map maps: firmware is in the file too.
fn resources(vmcore: &Vmcore, types: &TypeInfo, symbols: &Kallsyms, top: Va) -> Resources {
    let mut found = Resources::default();
    let walked = walk_resources(vmcore, types, symbols, &mut found);
    let end = Pa(vmcore.end()).pfn();
    for run in &mut found.ram {
        run.end = run.end.min(end);
    }
    found.ram.retain(|run| run.start < run.end);
    if walked.is_none() || found.ram.is_empty() {
        let mapped = |run: PfnRange| match vmcore.page_offset.map(Va) {
            Some(base) => {
                let range = (base.at(run.start.pa().0), base.at(run.end.pa().0));
                frames(vmcore, top, base, 0, range)
            }
            None => vec![run],
        };
        found.ram = vmcore
            .runs()
            .map(|(start, bytes)| PfnRange::within_bytes(Pa(start), Pa(start + bytes)))
            .flat_map(mapped)
            .filter(|run| run.pages() > 0)
            .collect();
    }
    // Overlapping runs would count a page twice.
    join(&mut found.ram);
    limit(&mut found.ram, vmcore.file_bytes());
    found
}

/// Cuts off RAM that the file cannot be the dump of: every dump holds the array of
/// `struct page`, which takes a 64th of memory, so a forged size must not cost more.
fn limit(ram: &mut Vec<PfnRange>, file_bytes: u64) {
    let mut left = file_bytes.saturating_mul(MOST_RAM_PER_BYTE) / PAGE_SIZE;
    for run in ram.iter_mut() {
        run.end = run.end.min(Pfn(run.start.0.saturating_add(left)));
        left -= run.pages();
    }
    ram.retain(|run| run.pages() > 0);
}

fn walk_resources(
    vmcore: &Vmcore,
    types: &TypeInfo,
    symbols: &Kallsyms,
    found: &mut Resources,
) -> Option<()> {
    let field = |path| types.find_field("resource", path).map(|field| field.offset_bytes);
    let (start, end, name) = (field("start")?, field("end")?, field("name")?);
    let (sibling, child) = (field("sibling")?, field("child")?);
    let mut todo = vec![symbols.find("iomem_resource")?];
    for _ in 0..MOST_RESOURCES {
        let Some(at) = todo.pop() else { break };
        let word = |offset| vmcore.read_u64(at.at(offset)).unwrap_or(0);
        if let Some(text) = read_text(vmcore, Va(word(name)), 32) {
            found.add(&text, word(start), word(end));
        }
        let next = [word(sibling), word(child)];
        todo.extend(next.into_iter().filter(|at| *at != 0).map(Va));
    }
    Some(())
}

fn identity(vmcore: &Vmcore, types: &TypeInfo, symbols: &Kallsyms, info: &Vmcoreinfo) -> Identity {
    let uts = |path| {
        let field = types.find_field("uts_namespace", path)?;
        let at = symbols.find("init_uts_ns")?.at(field.offset_bytes);
        read_text(vmcore, at, 65).filter(|text| !text.is_empty())
    };
    Identity {
        live: false,
        reader: Reader::Elf,
        kernel_release: info
            .release()
            .map(str::to_owned)
            .or_else(|| uts("name.release"))
            .unwrap_or_default(),
        arch: "x86_64".to_owned(),
        hostname: uts("name.nodename"),
        uptime_s: uptime_s(vmcore, types, symbols),
    }
}

/// Seconds since the boot, as the clock that the timer interrupt keeps last had them.
fn uptime_s(vmcore: &Vmcore, types: &TypeInfo, symbols: &Kallsyms) -> Option<u64> {
    let field = |owner, path| types.find_field(owner, path).map(|field| field.offset_bytes);
    // Named type since v6.13, in an array since v6.17; before, the shadow copy stands alone.
    let named = || {
        Some((
            field("tk_data", "timekeeper")?,
            symbols.find("timekeeper_data").or_else(|| symbols.find("tk_core"))?,
        ))
    };
    let (offset, at) = symbols.find("shadow_timekeeper").map(|at| (0, at)).or_else(named)?;
    vmcore.read_u64(at.at(offset + field("timekeeper", "ktime_sec")?)).ok()
}

/// A text of at most `most` bytes, cut at its first zero.
fn read_text(vmcore: &Vmcore, at: Va, most: usize) -> Option<String> {
    let mut bytes = vec![0; most];
    vmcore.read(at, &mut bytes).ok()?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(most);
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use sysak_base::{Fault, Why};

    #[test]
    fn ram_that_no_dump_of_that_size_holds_is_cut_off() {
        let run = |start, end| PfnRange { start: Pfn(start), end: Pfn(end) };
        let mut ram = vec![run(1, 1000), run(2000, 1 << 40), run(1 << 41, 1 << 42)];
        limit(&mut ram, PAGE_SIZE * 2);
        assert_eq!(ram, [run(1, 1000), run(2000, 2000 + 2048 - 999)]);
    }

    struct Words(HashMap<u64, u64>);

    impl Memory for Words {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            let word = self.0.get(&at.0).ok_or(Fault { at, why: Why::Unmapped })?;
            buf.copy_from_slice(&word.to_le_bytes()[..buf.len()]);
            Ok(())
        }
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
