//! Tables written by hand at 0x1000 (top), 0x2000, 0x3000, 0x4000.

use super::*;

const GIB: u64 = 1 << 30;
const TOP: Pa = Pa(0x1000);

fn read(at: Pa) -> Option<u64> {
    Some(match at.0 {
        0x1ff8 => 0x2003,
        0x2ff0 => 0x3003,
        0x2ff8 => 0x4000_0000 | PRESENT | LARGE,
        0x3000 => 0x4003,
        0x3008 => 0x60_0000 | PRESENT | LARGE,
        0x4028 => 0x7000 | PRESENT,
        0x4030 => 0x7000,
        _ => return None,
    })
}

/// The physical address of `va` and the bytes from there on in its page.
fn translate(
    paging: Paging,
    top: Pa,
    va: u64,
    read: impl Fn(Pa) -> Option<u64>,
) -> Option<(u64, u64)> {
    let step = paging.walk(top, Va(va), Some, |table, offset| read(Pa(table.0 + offset)));
    step.mapping()?.locate(Va(va)).map(|(pa, rest)| (pa.0, rest))
}

#[test]
fn pages_of_every_size_are_found_and_absent_ones_are_not() {
    let at = |va| translate(Paging::new(4), TOP, va, read);
    assert_eq!(at(0xffff_ffff_8000_5123), Some((0x7123, 0xedd)));
    assert_eq!(at(0xffff_ffff_8020_1000), Some((0x60_1000, 0x1f_f000)));
    assert_eq!(at(0xffff_ffff_c123_4567), Some((0x4123_4567, 0x3edc_ba99)));
    assert_eq!(at(0xffff_ffff_8000_6000), None, "not present");
}

#[test]
fn addresses_that_the_processor_refuses_are_not_mapped() {
    let paging = Paging::new(4);
    assert_eq!(translate(paging, TOP, 0x7fff_ffff_8000_5123, read), None);
    assert_eq!(translate(paging, TOP, 0x0000_ffff_8000_5123, read), None);
    let step = paging.walk(TOP, Va(0x8000_0000_0000), Some, |_, _| None);
    assert_eq!(step, Step::Hole(0xffff_0000_0000_0000));
}

#[test]
fn five_levels_are_walked() {
    let deep = |at: Pa| match at.0 {
        0x9ff8 => Some(0x1003),
        _ => read(at),
    };
    let at = |va| translate(Paging::new(5), Pa(0x9000), va, deep);
    assert_eq!(at(0xffff_ffff_8000_5123), Some((0x7123, 0xedd)));
    assert_eq!(at(0xff11_0000_0000_0000), None);
}

const BIT: u64 = 1 << 47;

#[test]
fn the_encryption_bit_is_no_address() {
    let marked = |at| read(at).map(|entry| entry | BIT);
    assert_eq!(translate(Paging::new(4), TOP, 0xffff_ffff_8020_1000, marked), None);
    let paging = Paging::new(4).encrypted_with(BIT);
    let found = translate(paging, TOP, 0xffff_ffff_8020_1000, marked);
    assert_eq!(found, Some((0x60_1000, 0x1f_f000)));
}

#[test]
fn an_entry_of_ram_tells_the_encryption_bit_and_other_bits_above_ram_are_unsound() {
    let of = |entry| Paging::of_ram(4, Pa(0x7fff_f000), entry);
    let paging = of(0x2003 | BIT).unwrap();
    assert_eq!(paging.decode(0x3003 | BIT, UPPER), Entry::Table(Pa(0x3000)));
    assert_eq!(paging.decode(0x3003, UPPER), Entry::Table(Pa(0x3000)));
    assert_eq!(paging.decode(0x3003 | BIT >> 1, UPPER), Entry::Absent);
    assert_eq!(of(0x2003).unwrap().decode(0x3003 | BIT, UPPER), Entry::Absent);
    assert_eq!(of(0x2003 | BIT | BIT >> 1), None);
}

#[test]
fn large_pages_exist_up_to_one_gib() {
    let of_level = |level| Paging::new(5).decode(0x4000_0000 | PRESENT | LARGE, level);
    let page = Entry::Page(Pa(0x4000_0000));
    assert_eq!([LEAF, MIDDLE, UPPER].map(of_level), [page; 3]);
    assert_eq!(of_level(UPPER + 1), Entry::Table(Pa(0x4000_0000)));
}

#[test]
fn a_table_that_the_caller_refuses_maps_nothing() {
    let refuse = |pa: Pa| (pa.0 < 0x3000).then_some(pa);
    let read = |table: Pa, offset| read(Pa(table.0 + offset));
    let at = |va| Paging::new(4).walk(TOP, Va(va), refuse, read);
    assert_eq!(at(0xffff_ffff_8000_5123), Step::Hole(GIB - 0x5123));
    assert!(at(0xffff_ffff_c123_4567).mapping().is_some());
}

/// Maps the first 2 GiB at 0xffff_9cec_8000_0000 by pages of 1 GiB.
fn direct(at: Pa) -> Option<u64> {
    let base = 0xffff_9cec_8000_0000u64;
    Some(match at.0 {
        at if at == 0x1000 + (base >> 39 & 511) * 8 => 0x2003,
        at if at == 0x2000 + (base >> 30 & 511) * 8 => PRESENT | LARGE,
        at if at == 0x2008 + (base >> 30 & 511) * 8 => GIB | PRESENT | LARGE,
        _ => 0,
    })
}

#[test]
fn the_direct_map_is_found_wherever_kaslr_put_it() {
    let find = |probe| Paging::new(4).find_direct_map(TOP, Pa(probe), direct);
    assert_eq!(find(1 << 20), Some(Va(0xffff_9cec_8000_0000)));
    assert_eq!(find(GIB + 4096), Some(Va(0xffff_9cec_8000_0000)));
    assert_eq!(find(3 * GIB), None);
}
