//! Everything that a crash dump's own memory tells: symbols, types, fixed points.

use std::path::Path;

use sysak_base::{Anchors, Memory, Pa, PfnRange, Va};
use sysak_symbols::{Kallsyms, KallsymsPlaces, TypeInfo, Vmcoreinfo};

use crate::arch::x86_64::{IMAGE_MAP, IMAGE_MAP_END, PageTable};
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
/// VMCOREINFO is one page.
const NOTE_BYTES: usize = 4096;

/// Opens a crash dump with nothing but the file.
pub fn open(path: &Path, options: &Options) -> Result<Target, OpenError> {
    let (mut vmcore, core) = Vmcore::open(path)?;
    let info = vmcoreinfo(&vmcore, &core, path)?;
    let missing = |what: &'static str| OpenError::MissingVmcoreinfo { path: path.to_owned(), what };
    let phys_base = info.find_number("phys_base").ok_or(missing("phys_base"))?;
    vmcore.phys_base = phys_base as u64;
    let top = info.find_symbol("swapper_pg_dir").ok_or(missing("swapper_pg_dir"))?;
    let root = top.0.wrapping_sub(IMAGE_MAP).wrapping_add(vmcore.phys_base);
    let five_levels = info.find_number("pgtable_l5_enabled").unwrap_or(0) != 0;
    vmcore.page_table = Some(PageTable::new(root, five_levels));

    let start = info.find_symbol("_stext").map_or(IMAGE_MAP, |text| text.0 & !0x1f_ffff);
    let image = (Va(start), Va((start + MOST_IMAGE_BYTES).min(IMAGE_MAP_END)));
    let symbols = symbols(&vmcore, &info, image, path, options)?;
    let types = types(&vmcore, &symbols, image, path, options)?;
    let word = |name: &str| vmcore.read_u64(symbols.find(name)?).ok();
    let page_offset = word("page_offset_base").or_else(|| direct_map(&vmcore));
    vmcore.page_offset = page_offset;
    let word = |name: &str| vmcore.read_u64(symbols.find(name)?).ok();
    let resources = resources(&vmcore, &types, &symbols);
    let anchors = Anchors {
        page_offset: page_offset.map(Va),
        vmemmap: word("vmemmap_base").or_else(|| vmemmap(&info)).map(Va),
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

/// The note, or where a hypervisor's dump has none, the kernel's own copy of it in RAM.
fn vmcoreinfo(vmcore: &Vmcore, core: &Core, path: &Path) -> Result<Vmcoreinfo, OpenError> {
    let missing = || OpenError::MissingVmcoreinfo { path: path.to_owned(), what: "VMCOREINFO" };
    if let Some(note) = &core.vmcoreinfo {
        return Vmcoreinfo::parse(note).map_err(|_| missing());
    }
    // An ELF note header: name of 11 bytes, padded, then the text.
    let (_, bytes) = vmcore.search(b"VMCOREINFO\0\0OSRELEASE=").ok_or_else(missing)?;
    let text = bytes.get(12..).unwrap_or_default();
    let text = &text[..text.len().min(NOTE_BYTES)];
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    Vmcoreinfo::parse(&text[..end]).map_err(|_| missing())
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

/// The direct map by the page tables: the lowest address of the kernel's half that maps
/// physical memory from its start on, in steps of the 1 GiB that KASLR aligns it to.
fn direct_map(vmcore: &Vmcore) -> Option<u64> {
    const GIB: u64 = 1 << 30;
    const FIRST: u64 = 0xffff_8880_0000_0000;
    const STEPS: u64 = 64 << 10;
    let table = vmcore.page_table.as_ref()?;
    // Above the first MiB, which some kernels leave unmapped, and inside RAM.
    let probe = vmcore.runs().map(|(start, _)| start).find(|start| *start >= 1 << 20);
    let probe = probe.unwrap_or(1 << 20);
    (0..STEPS).map(|step| FIRST + step * GIB).find(|base| {
        let read = |pa| vmcore.physical_word(pa);
        table.translate(base + probe, read).is_some_and(|(pa, _)| pa == probe)
    })
}

fn vmemmap(info: &Vmcoreinfo) -> Option<u64> {
    // Without KASLR of the memory regions it is where it always was; with it, only the
    // symbol tells.
    (info.kernel_offset() == Some(0)).then_some(0xffff_ea00_0000_0000)
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

/// RAM and image from the kernel's resource tree, else from the file's own segments.
fn resources(vmcore: &Vmcore, types: &TypeInfo, symbols: &Kallsyms) -> Resources {
    let mut found = Resources::default();
    if walk_resources(vmcore, types, symbols, &mut found).is_none() || found.ram.is_empty() {
        found.ram = vmcore
            .runs()
            .map(|(start, bytes)| PfnRange::within_bytes(Pa(start), Pa(start + bytes)))
            .filter(|run| run.pages() > 0)
            .collect();
    }
    found.ram.sort_by_key(|run| run.start);
    // Overlapping runs would count a page twice.
    found.ram.dedup_by(|next, run| {
        if next.start >= run.end {
            return false;
        }
        run.end = run.end.max(next.end);
        true
    });
    found
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
        uptime_s: None,
    }
}

/// A text of at most `most` bytes, cut at its first zero.
fn read_text(vmcore: &Vmcore, at: Va, most: usize) -> Option<String> {
    let mut bytes = vec![0; most];
    vmcore.read(at, &mut bytes).ok()?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(most);
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}
