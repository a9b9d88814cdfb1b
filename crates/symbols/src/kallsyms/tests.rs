//! Handmade symbol tables, as text and as compressed tables in an image.

use super::*;
use sysak_base::{Memory, Why};

const PROC: &[u8] = b"0000000000000000 A fixed_percpu_data
0000000000015028 A this_cpu_off
ffffffff81000000 T _text
ffffffff81000000 T _stext
ffffffff81000100 t helper
ffffffff81000200 T vfs_read
ffffffff81000300 T _etext
ffffffff82000000 D init_task
ffffffff82002000 B __brk_limit
ffffffff82002000 B _end
ffffffffc0000000 t bond_open\t[bonding]
ffffffffc0000080 t helper\t[bonding]
ffffffffc0005000 d bond_data\t[bonding]
ffffffffc0a00000 t veth_open\t[veth]
";

fn shown(table: &Kallsyms, at: u64) -> String {
    table.symbolize(Va(at)).map_or("none".into(), |symbol| symbol.to_string())
}

#[test]
fn an_address_is_named_by_the_first_symbol_below_it() {
    let table = Kallsyms::parse_proc(PROC).unwrap();
    assert_eq!(shown(&table, 0xffff_ffff_8100_0001), "_text+0x1/0x100");
    assert_eq!(shown(&table, 0xffff_ffff_8100_02ff), "vfs_read+0xff/0x100");
    assert_eq!(shown(&table, 0xffff_ffff_8200_1fff), "init_task+0x1fff/0x2000");
    assert_eq!(shown(&table, 0xffff_ffff_c000_0004), "bond_open+0x4/0x80 [bonding]");
}

#[test]
fn nothing_is_named_beyond_its_image() {
    let table = Kallsyms::parse_proc(PROC).unwrap();
    for at in [
        0,
        0x15030,
        0xffff_8880_0000_0000,
        0xffff_ffff_80ff_ffff,
        0xffff_ffff_8100_0300,
        0xffff_ffff_8200_2000,
        0xffff_ffff_bfff_ffff,
        0xffff_ffff_c001_0000,
        0xffff_ffff_c0a0_1000,
        u64::MAX,
    ] {
        assert_eq!(shown(&table, at), "none", "{at:#x}");
    }
    assert_eq!(shown(&table, 0xffff_ffff_c0a0_0fff), "veth_open+0xfff [veth]");
}

#[test]
fn the_kernels_symbol_comes_before_a_modules_of_the_same_name() {
    let table = Kallsyms::parse_proc(PROC).unwrap();
    assert_eq!(table.find("helper"), Some(Va(0xffff_ffff_8100_0100)));
    assert_eq!(table.find("bond_data"), Some(Va(0xffff_ffff_c000_5000)));
    assert_eq!(table.find("this_cpu_off"), Some(Va(0x15028)));
    assert_eq!(table.find("_end"), Some(Va(0xffff_ffff_8200_2000)));
    assert_eq!(table.find("help"), None);
    assert_eq!(table.len(), 14);
}

#[test]
fn hidden_addresses_are_told_from_no_symbols() {
    let hidden = b"0000000000000000 T _text\n0000000000000000 T _end\n";
    assert_eq!(Kallsyms::parse_proc(hidden).unwrap_err(), KallsymsError::Hidden);
    assert_eq!(Kallsyms::parse_proc(b"\n?\n").unwrap_err(), KallsymsError::Empty);
}

#[test]
fn a_module_added_with_sizes_ends_where_its_last_symbol_ends() {
    let mut table = Kallsyms::parse_proc(PROC).unwrap();
    let symbols = [("ops", 0xffff_ffff_c0b0_0000, 0x40), ("data", 0xffff_ffff_c0b4_0000, 0)];
    table.add_module(
        "late",
        symbols.map(|(name, at, size)| (name.into(), Va(at), size)).into_iter(),
    );
    assert_eq!(shown(&table, 0xffff_ffff_c0b0_0008), "ops+0x8/0x40 [late]");
    assert_eq!(shown(&table, 0xffff_ffff_c0b0_0040), "none");
    assert_eq!(shown(&table, 0xffff_ffff_c0b4_0000), "data+0x0 [late]");
    assert_eq!(table.find("ops"), Some(Va(0xffff_ffff_c0b0_0000)));
    assert_eq!(table.len(), 16);
    assert_eq!(table.iter().filter(|symbol| symbol.2 == Some("late")).count(), 2);
}

#[test]
fn a_note_of_another_kernel_is_told_from_a_pointers_value() {
    let table = Kallsyms::parse_proc(PROC).unwrap();
    let agrees = |symbols: &str| {
        let note = format!("OSRELEASE=6.12\n{symbols}");
        table.agrees_with(&Vmcoreinfo::parse(note.as_bytes()).unwrap())
    };
    let stext = "SYMBOL(_stext)=ffffffff81000000\n";
    assert!(agrees(stext));
    assert!(agrees(&format!("{stext}SYMBOL(init_task)=ffff8c1abfda6680\nSYMBOL(other)=1\n")));
    assert!(!agrees(&format!("{stext}SYMBOL(init_task)=ffffffff82000040\n")));
    assert!(!agrees("SYMBOL(_stext)=ffffffff81200000\n"));
    assert!(!agrees(""));
}

/// An image of bytes at a fixed address.
struct Image(Vec<u8>);

const IMAGE: u64 = 0xffff_ffff_8100_0000;

impl Memory for Image {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { at, why: Why::Unmapped };
        let start = at.0.checked_sub(IMAGE).ok_or(fault)? as usize;
        let end = start.checked_add(buf.len()).ok_or(fault)?;
        buf.copy_from_slice(self.0.get(start..end).ok_or(fault)?);
        Ok(())
    }
}

/// Which release's tables to write.
#[derive(Clone, Copy, Debug)]
enum Order {
    AddressesFirst,
    /// And the order of the names before the tokens: 6.2 and 6.3.
    NamesSorted,
    AddressesLast,
    PlaceRelative,
}

/// Writes tables as scripts/kallsyms does, every character a token and "vfs_" one more.
fn write_tables(order: Order, symbols: &[(u64, String)]) -> (Image, KallsymsPlaces) {
    let mut image = Image(vec![0xcc; 0x1000]);
    let place = |image: &mut Image| {
        let aligned = image.0.len().next_multiple_of(8);
        image.0.resize(aligned, 0);
        Va(IMAGE + aligned as u64)
    };
    let addresses = |image: &mut Image| {
        let offsets = place(image);
        for (slot, (at, _)) in symbols.iter().enumerate() {
            let offset = match order {
                _ if at >> 63 == 0 => *at as u32,
                Order::AddressesFirst | Order::NamesSorted => (IMAGE - 1).wrapping_sub(*at) as u32,
                Order::AddressesLast => (at - IMAGE) as u32,
                Order::PlaceRelative => at.wrapping_sub(offsets.0 + 4 * slot as u64) as u32,
            };
            image.0.extend(offset.to_le_bytes());
        }
        let base = place(image);
        image.0.extend(IMAGE.to_le_bytes());
        (offsets, base)
    };
    let first =
        matches!(order, Order::AddressesFirst | Order::NamesSorted).then(|| addresses(&mut image));
    let num_syms = place(&mut image);
    image.0.extend((symbols.len() as u32).to_le_bytes());
    let names = place(&mut image);
    let start = image.0.len();
    let mut markers = Vec::new();
    for (slot, (_, name)) in symbols.iter().enumerate() {
        if slot % 256 == 0 {
            markers.push((image.0.len() - start) as u32);
        }
        let codes = format!("T{name}").replace("vfs_", "\u{1}");
        match codes.len() {
            len @ 0..128 => image.0.push(len as u8),
            len => image.0.extend([len as u8 & 0x7f | 0x80, (len >> 7) as u8]),
        }
        image.0.extend(codes.bytes());
    }
    place(&mut image);
    image.0.extend(markers.iter().flat_map(|marker| marker.to_le_bytes()));
    if matches!(order, Order::NamesSorted) {
        place(&mut image);
        let order = (0..symbols.len() as u32).rev();
        image.0.extend(order.flat_map(|seq| seq.to_be_bytes().into_iter().skip(1)));
    }
    let token_table = place(&mut image);
    let mut index = Vec::new();
    for code in 0..=255u8 {
        index.extend(((image.0.len() as u64 + IMAGE - token_table.0) as u16).to_le_bytes());
        match code {
            1 => image.0.extend(b"vfs_\0"),
            _ if code.is_ascii_graphic() => image.0.extend([code, 0]),
            _ => image.0.extend(b"?\0"),
        }
    }
    let token_index = place(&mut image);
    image.0.extend(index);
    let (offsets, base) = first.unwrap_or_else(|| addresses(&mut image));
    image.0.extend([0xcc; 0x2000]);
    let relative_base = (!matches!(order, Order::PlaceRelative)).then_some(base);
    let places =
        KallsymsPlaces { num_syms, names, token_table, token_index, offsets, relative_base };
    (image, places)
}

fn symbols(count: u64) -> Vec<(u64, String)> {
    let long = |n: u64| if n == 300 { "y".repeat(200) } else { String::new() };
    (0..count).map(|n| (IMAGE + n * 0x10, format!("vfs_{n}{}", long(n)))).collect()
}

#[test]
fn tables_of_every_order_give_the_same_symbols() {
    let symbols = symbols(1000);
    for order in
        [Order::AddressesFirst, Order::NamesSorted, Order::AddressesLast, Order::PlaceRelative]
    {
        let (image, places) = write_tables(order, &symbols);
        let table = Kallsyms::read_image(&image, &places).unwrap();
        let read: Vec<_> = table.iter().map(|(name, at, _)| (at.0, name.to_owned())).collect();
        assert_eq!(read, symbols, "{order:?}");
    }
}

#[test]
fn per_cpu_symbols_of_older_kernels_are_absolute() {
    let mut symbols = symbols(600);
    symbols.insert(0, (0x15028, "this_cpu_off".into()));
    let (image, places) = write_tables(Order::AddressesFirst, &symbols);
    let table = Kallsyms::read_image(&image, &places).unwrap();
    assert_eq!(table.find("this_cpu_off"), Some(Va(0x15028)));
    assert_eq!(table.find("vfs_599"), Some(Va(IMAGE + 599 * 0x10)));
}

#[test]
fn tables_are_found_by_their_shape() {
    for (order, count) in [
        (Order::AddressesFirst, 1000),
        (Order::AddressesLast, 1000),
        (Order::AddressesFirst, 1025),
        (Order::AddressesLast, 1279),
        (Order::NamesSorted, 1000),
        (Order::NamesSorted, 1025),
        (Order::NamesSorted, 1279),
    ] {
        let (image, places) = write_tables(order, &symbols(count));
        let end = Va(IMAGE + image.0.len() as u64);
        assert_eq!(KallsymsPlaces::search(&image, Va(IMAGE), end), Some(places), "{order:?}");
    }
}

#[test]
fn an_image_without_tables_has_no_places() {
    let (image, places) = write_tables(Order::AddressesLast, &symbols(1000));
    let cut = Image(image.0[..(places.token_index.0 - IMAGE) as usize].to_vec());
    let end = Va(IMAGE + cut.0.len() as u64);
    assert_eq!(KallsymsPlaces::search(&cut, Va(IMAGE), end), None);
    assert_eq!(
        KallsymsPlaces::search(&Image(vec![0; 0x8000]), Va(IMAGE), Va(IMAGE + 0x8000)),
        None
    );
}

#[test]
fn forged_tables_are_refused() {
    let (image, places) = write_tables(Order::AddressesLast, &symbols(1000));
    let at = |va: Va| (va.0 - IMAGE) as usize;
    let damage = |place: Va, bytes: &[u8]| {
        let mut image = Image(image.0.clone());
        image.0[at(place)..at(place) + bytes.len()].copy_from_slice(bytes);
        Kallsyms::read_image(&image, &places).unwrap_err()
    };
    assert!(matches!(damage(places.num_syms, &[0xff; 4]), KallsymsError::Corrupt(_)));
    assert_eq!(damage(places.num_syms, &[0; 4]), KallsymsError::Empty);
    assert!(matches!(damage(places.names, &[0]), KallsymsError::Corrupt(_)));
    assert!(matches!(damage(places.token_index.at(2), &[0, 0]), KallsymsError::Corrupt(_)));
    // Another letter where "B" stands, another end of "A", and one that is lost.
    let letter = |code: u64| places.token_table.at(2 * code + 3);
    for (place, byte) in [(letter(66), b'c'), (letter(65).at(1), b'c'), (letter(66), 0)] {
        assert_eq!(damage(place, &[byte]), KallsymsError::Corrupt("the tokens"));
    }
    let base = places.relative_base.unwrap();
    assert!(matches!(damage(base, &[0; 8]), KallsymsError::Corrupt(_)));
    let far = damage(places.num_syms, &[0, 0, 1, 0]);
    assert!(matches!(far, KallsymsError::Corrupt(_) | KallsymsError::Fault(_)), "{far}");
}

#[test]
fn per_cpu_variables_are_small_numbers_that_nothing_else_is_looked_up_by() {
    let text = b"0000000000000000 A __per_cpu_start\n0000000000002000 A cpu_info\n\
                 0000000000035000 A __per_cpu_end\n0000000000035100 A other\n\
                 ffffffff81000000 T _stext\n";
    let mut symbols = Kallsyms::parse_proc(text).unwrap();
    symbols.add_module("mod", [("held".to_owned(), Va(0x3_5000), 16)].into_iter());
    let name = |at| symbols.symbolize_per_cpu(Va(at)).map(|symbol| (symbol.name, symbol.module));
    assert_eq!(name(0x2008), Some(("cpu_info", None)));
    assert_eq!(name(0x3_5008), Some(("held", Some("mod"))), "not the end of the kernel's own");
    assert_eq!(symbols.symbolize(Va(0x3_5008)), None);
    assert_eq!(symbols.symbolize_per_cpu(Va(0xffff_8880_0000_0000)), None);
    assert_eq!(name(0x3_5800), None, "allocated, whatever comes next");
}

#[test]
fn per_cpu_variables_of_modules_lie_among_addresses_of_the_image() {
    let text = b"ffffffff81000000 T _stext\nffffffff82c0c000 D __call_sites\n\
                 ffffffff82d0c000 D __per_cpu_start\nffffffff82d0c040 D cpu_info\n\
                 ffffffff82d42000 D __per_cpu_end\nffffffff82d42000 R __start_runtime\n\
                 ffffffff82d42008 R __stop_runtime\nffffffff82d42018 R __start_other\n";
    let mut symbols = Kallsyms::parse_proc(text).unwrap();
    let held = ("held".to_owned(), Va(0xffff_ffff_82d4_2000), 16);
    symbols.add_module("mod", [held].into_iter());
    let name = |at| {
        let symbol = symbols.symbolize_per_cpu(Va(at))?;
        Some((symbol.name, symbol.offset, symbol.size, symbol.module))
    };
    let own = 0xffff_ffff_82d0_c048;
    assert_eq!(name(own), Some(("cpu_info", 8, Some(0x3_5fc0), None)));
    let held = |offset| Some(("held", offset, Some(16), Some("mod")));
    assert_eq!(name(0xffff_ffff_82d4_2000), held(0), "not the image's symbols there");
    assert_eq!(name(0xffff_ffff_82d4_2008), held(8), "and not the one between");
    assert_eq!(name(0xffff_ffff_82d4_2010), None, "behind its end");
    assert_eq!(name(0xffff_ffff_82c0_c100), None, "an address of the image is no per-CPU pointer");
    assert_eq!(name(0xffff_ffff_82d4_3100), None, "allocated, whatever comes next");
}
