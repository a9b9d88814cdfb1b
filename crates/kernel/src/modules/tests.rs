//! Handmade modules, laid out as a real kernel's types say.

use super::*;
use crate::shape::ModuleAreaPlace;
use sysak_base::Why;

const HEAD: u64 = 0xffff_ffff_8200_0000;
const MODULE: u64 = 0xffff_ffff_c000_0000;

/// Bytes from `HEAD` on and from `MODULE` on; nothing else is mapped.
struct Image {
    head: Vec<u8>,
    module: Vec<u8>,
}

impl Image {
    fn put(&mut self, at: u64, value: u64, len: usize) {
        let (bytes, start) =
            if at >= MODULE { (&mut self.module, MODULE) } else { (&mut self.head, HEAD) };
        let start = (at - start) as usize;
        bytes[start..start + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    fn text(&mut self, at: u64, text: &str) {
        text.bytes().zip(at..).for_each(|(byte, at)| self.put(at, u64::from(byte), 1));
    }
}

impl Memory for Image {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { at, why: Why::Unmapped };
        let (bytes, start) =
            if at.0 >= MODULE { (&self.module, MODULE) } else { (&self.head, HEAD) };
        let start = at.0.checked_sub(start).ok_or(fault)? as usize;
        let end = start.checked_add(buf.len()).ok_or(fault)?;
        buf.copy_from_slice(bytes.get(start..end).ok_or(fault)?);
        Ok(())
    }
}

fn types() -> TypeInfo {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/btf-6.12");
    TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap()
}

fn kernel_symbols() -> Kallsyms {
    Kallsyms::parse_proc(b"ffffffff82000000 D modules\nffffffff82000100 D btf_idr\n").unwrap()
}

/// One module with a function, a variable and what must not be listed; then a link to `after`.
fn image(after: u64) -> Image {
    let shape = ModuleShape::resolve(&types()).unwrap();
    let table = shape.symbols.clone().unwrap();
    let mut image = Image { head: vec![0; 0x1000], module: vec![0; 0x4000] };
    image.put(HEAD, MODULE + shape.list, 8);
    image.put(HEAD + 8, MODULE + shape.list, 8);
    image.put(MODULE + shape.list, after, 8);
    image.put(MODULE + shape.list + 8, HEAD, 8);
    image.text(MODULE + shape.name.at, "bonding");
    let ModuleAreaPlace { base, size } = shape.areas.places[0];
    image.put(MODULE + base, MODULE + 0x2000, 8);
    image.put(MODULE + size, 0x1000, 4);
    image.put(MODULE + table.table, MODULE + 0x1000, 8);
    image.put(MODULE + 0x1000 + table.symtab, MODULE + 0x1100, 8);
    image.put(MODULE + 0x1000 + table.count, 4, 4);
    image.put(MODULE + 0x1000 + table.strtab, MODULE + 0x1f00, 8);
    let strings = "\0bond_open\0bond_data\0far\0";
    image.text(MODULE + 0x1f00, strings);
    let entries = [(0, 0, 0), (1, 1, 0x2000), (11, 2, 0x2800), (21, 3, 0x3800)];
    for (slot, (name, section, offset)) in entries.into_iter().enumerate() {
        let at = MODULE + 0x1100 + slot as u64 * table.symbol_bytes;
        image.put(at + table.name, name, 4);
        image.put(at + table.section, section, 2);
        image.put(at + table.value, MODULE + offset, 8);
        image.put(at + table.size, 0x40, 8);
    }
    image
}

#[test]
fn a_modules_symbols_are_named_inside_its_memory_only() {
    let mut symbols = kernel_symbols();
    let walk = read_modules(&image(HEAD), &types(), &mut symbols);
    assert_eq!(walk.stopped, None);
    let module = &walk.seen[0];
    assert_eq!((module.name.as_str(), module.symbols, walk.seen.len()), ("bonding", 2, 1));
    assert_eq!(module.areas, [(Va(MODULE + 0x2000), Va(MODULE + 0x3000))]);
    let shown = symbols.symbolize(Va(MODULE + 0x2010)).unwrap().to_string();
    assert_eq!(shown, "bond_open+0x10/0x40 [bonding]");
    assert!(symbols.symbolize(Va(MODULE + 0x2040)).is_none());
    assert!(symbols.find("far").is_none());
}

#[test]
fn per_cpu_variables_at_addresses_of_the_kernel_are_named_too() {
    let shape = ModuleShape::resolve(&types()).unwrap();
    let ModuleAreaPlace { base, size } = shape.per_cpu.unwrap();
    let mut image = image(HEAD);
    image.put(MODULE + base, MODULE + 0x3800, 8);
    image.put(MODULE + size, 0x100, 4);
    let mut symbols = kernel_symbols();
    let walk = read_modules(&image, &types(), &mut symbols);
    assert_eq!((walk.seen[0].symbols, walk.seen[0].areas.len()), (3, 1));
    assert_eq!(symbols.find("far"), Some(Va(MODULE + 0x3800)));
}

#[test]
fn the_words_that_lead_to_what_all_modules_share_are_those_of_every_module() {
    let links = find_shared_links(&image(HEAD), &types(), &kernel_symbols());
    let words = [("entry", 0), ("entry", 8), ("parent", 0), ("kset", 0)].map(|(member, behind)| {
        let path = format!("mkobj.kobj.{member}");
        Va(MODULE + types().find_field("module", &path).unwrap().offset_bytes + behind)
    });
    assert_eq!(links, words);
    let none = Kallsyms::parse_proc(b"ffffffff82000100 D btf_idr\n").unwrap();
    assert!(find_shared_links(&image(HEAD), &types(), &none).is_empty());
}

#[test]
fn a_damaged_module_costs_only_itself() {
    let mut symbols = kernel_symbols();
    let lost = 0xffff_ffff_d000_0000;
    let walk = read_modules(&image(lost), &types(), &mut symbols);
    assert!(matches!(walk.stopped, Some(Stop::Mended(_))), "{:?}", walk.stopped);
    assert_eq!(walk.seen.iter().filter(|module| module.name == "bonding").count(), 1);
    assert!(symbols.find("bond_open").is_some());
}

#[test]
fn a_ring_of_modules_without_its_head_comes_to_an_end() {
    let shape = ModuleShape::resolve(&types()).unwrap();
    let mut symbols = kernel_symbols();
    let walk = read_modules(&image(MODULE + shape.list), &types(), &mut symbols);
    assert!(matches!(walk.stopped, Some(Stop::Mended(_))), "{:?}", walk.stopped);
    assert_eq!(symbols.find("bond_data"), Some(Va(MODULE + 0x2800)));
}

#[test]
fn btf_of_modules_is_found_and_the_kernels_own_left_out() {
    let shape = BtfShape::resolve(&types()).unwrap();
    let mut image = Image { head: vec![0; 0x1000], module: vec![0; 0x4000] };
    image.put(HEAD + 0x100 + shape.head, MODULE + 2, 8);
    for (slot, (name, is_kernels)) in
        [("vmlinux", 1), ("bonding", 1), ("a_program", 0)].into_iter().enumerate()
    {
        let at = MODULE + 0x1000 * (slot as u64 + 1);
        image.put(MODULE + shape.slots.at + 8 * (slot as u64 + 1), at, 8);
        image.text(at + shape.name.at, name);
        image.put(at + shape.is_kernels, is_kernels, 1);
        image.put(at + shape.data, 0xffff_c900_0000_0000, 8);
        image.put(at + shape.data_size, 396, 4);
    }
    let found = find_module_btf(&image, &types(), &kernel_symbols());
    let bonding = ModuleBtf { name: "bonding".into(), at: Va(0xffff_c900_0000_0000), bytes: 396 };
    assert_eq!(found, [bonding]);
}

#[test]
fn an_xarray_that_holds_itself_comes_to_an_end() {
    let mut image = Image { head: vec![0; 0x1000], module: Vec::new() };
    image.put(HEAD + 8, HEAD + 2, 8);
    image.put(HEAD + 16, HEAD + 2, 8);
    image.put(HEAD + 24, 0x31, 8);
    image.put(HEAD + 32, HEAD + 0x500, 8);
    assert_eq!(walk_xarray(&image, HEAD + 2, ArrayPlace { at: 8, len: 3 }), []);
    assert_eq!(walk_xarray(&image, MODULE, ArrayPlace { at: 8, len: 4 }), [Va(MODULE)]);
    assert_eq!(walk_xarray(&image, 0, ArrayPlace { at: 8, len: 4 }), []);
}

#[test]
fn strings_end_with_their_page() {
    let image = Image { head: vec![0; 0x1000], module: Vec::new() };
    assert_eq!(read_up_to(&image, Va(HEAD + 0xff0), 600).len(), 16);
}
