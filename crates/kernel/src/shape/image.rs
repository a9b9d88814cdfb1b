//! Parts of the kernel's image that nobody writes to while it runs.

use sysak_base::VaRange;
use sysak_symbols::Kallsyms;

/// Text, constants, and the tables by which stacks are unwound (include/asm-generic/vmlinux.lds.h).
const CONSTANT: [[&str; 2]; 5] = [
    ["_stext", "_etext"],
    ["__start_rodata", "__end_rodata"],
    ["__start_orc_unwind_ip", "__stop_orc_unwind_ip"],
    ["__start_orc_unwind", "__stop_orc_unwind"],
    ["orc_lookup", "orc_lookup_end"],
];

/// Where such parts lie, as far as the symbols tell.
pub fn find_constant(symbols: &Kallsyms) -> impl Iterator<Item = VaRange> {
    CONSTANT.iter().filter_map(|[start, end]| {
        let (start, end) = (symbols.find(start)?, symbols.find(end)?);
        (start < end).then(|| VaRange::between(start, end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::Va;

    #[test]
    fn parts_need_a_start_and_an_end_behind_it() {
        let text = b"ffffffff81000000 T _stext\nffffffff82000000 T _etext\n\
            ffffffff83000000 D __start_rodata\nffffffff85000000 D __stop_orc_unwind\n\
            ffffffff86000000 D __start_orc_unwind\n";
        let symbols = Kallsyms::parse_proc(text).unwrap();
        let found: Vec<_> = find_constant(&symbols).collect();
        let text = VaRange::between(Va(0xffff_ffff_8100_0000), Va(0xffff_ffff_8200_0000));
        assert_eq!(found, [text]);
    }
}
