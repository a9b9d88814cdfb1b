//! What is done with hostile bytes in the name of `sysak-symbols`.
//!
//! Shared by the fuzz targets and by the replay that the tests run on a stable
//! compiler. Nothing here may panic, overflow or allocate without a bound.

use std::hint::black_box;
use sysak_base::{Fault, Memory, Va, Why};
use sysak_symbols::{Kallsyms, KallsymsPlaces, TypeInfo, Vmcoreinfo};

/// Names that the seeds know, so that a look-up gets somewhere.
const OWNERS: [&str; 7] = ["page", "slab", "kmem_cache", "zone", "list_head", "gfp_t", "module"];
const PATHS: [&str; 7] =
    ["flags", "lru.next", "freelist", "frozen", "node", "list.prev", "mem.base"];

fn look_up(types: &TypeInfo) {
    for owner in OWNERS {
        black_box(types.find_size(owner));
        black_box(types.find_typedef_params(owner));
        for path in PATHS {
            black_box(types.find_field(owner, path));
            black_box(types.find_array_len(owner, path));
            black_box(types.find_field_type(owner, path));
        }
    }
    black_box(types.find_enumerator("PGTY_slab"));
    black_box(types.find_per_cpu_variable("runqueues"));
}

/// A kernel's BTF, and the same bytes as a module's on top of it.
pub fn btf(data: &[u8]) {
    if let Ok(types) = TypeInfo::parse(data) {
        look_up(&types);
        if let Ok(module) = types.parse_split(data) {
            look_up(&module);
        }
    }
}

fn ask(table: &Kallsyms) {
    for at in [0, 0x15028, IMAGE, IMAGE + 0x123, 0xffff_ffff_c000_0004, u64::MAX] {
        black_box(table.symbolize(Va(at)).map(|symbol| symbol.to_string()));
    }
    let found: Vec<_> =
        table.iter().step_by(97).map(|(name, at, _)| (name.to_owned(), at)).collect();
    for (name, at) in found {
        assert!(table.find(&name).is_some(), "{name} was listed");
        black_box(table.symbolize(at));
    }
    black_box(table.find_btf());
}

/// The text of `/proc/kallsyms`.
pub fn kallsyms(data: &[u8]) {
    if let Ok(mut table) = Kallsyms::parse_proc(data) {
        ask(&table);
        let again: Vec<_> = table
            .iter()
            .zip(data)
            .map(|((name, at, _), size)| (name.to_owned(), at, u64::from(*size)))
            .collect();
        table.add_module("again", again.into_iter());
        ask(&table);
    }
}

const IMAGE: u64 = 0xffff_ffff_8100_0000;

/// The fuzzer's bytes as a kernel's image.
struct Image<'a>(&'a [u8]);

impl Memory for Image<'_> {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { at, why: Why::Unmapped };
        let start = usize::try_from(at.0.checked_sub(IMAGE).ok_or(fault)?).map_err(|_| fault)?;
        let end = start.checked_add(buf.len()).ok_or(fault)?;
        buf.copy_from_slice(self.0.get(start..end).ok_or(fault)?);
        Ok(())
    }
}

/// The compressed tables, found by shape and at places that the data itself names.
pub fn kallsyms_image(data: &[u8]) {
    let memory = Image(data);
    let end = Va(IMAGE + data.len() as u64);
    black_box(TypeInfo::search(&memory, Va(IMAGE), end));
    if let Some(places) = KallsymsPlaces::search(&memory, Va(IMAGE), end)
        && let Ok(table) = Kallsyms::read_image(&memory, &places)
    {
        ask(&table);
    }
    let mut places = data.chunks_exact(4).take(6).map(|four| {
        let [a, b, c, _] = [four[0], four[1], four[2], four[3]].map(u64::from);
        Va(IMAGE + (a | b << 8 | c << 16))
    });
    let mut next = || places.next().unwrap_or(Va(IMAGE));
    let places = KallsymsPlaces {
        num_syms: next(),
        names: next(),
        token_table: next(),
        token_index: next(),
        offsets: next(),
        relative_base: data.len().is_multiple_of(2).then(next),
    };
    if let Ok(table) = Kallsyms::read_image(&memory, &places) {
        ask(&table);
    }
}

/// The VMCOREINFO note.
pub fn vmcoreinfo(data: &[u8]) {
    if let Ok(info) = Vmcoreinfo::parse(data) {
        black_box((info.release(), info.page_size(), info.kernel_offset(), info.crash_time_s()));
        black_box((info.find_number("phys_base"), info.find_size("page")));
        black_box((info.find_offset("page.lru"), info.find_length("zone.free_area")));
        black_box((info.symbols().count(), KallsymsPlaces::from_vmcoreinfo(&info)));
        black_box(Kallsyms::default().agrees_with(&info));
    }
}
