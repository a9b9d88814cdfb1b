//! Variables of the kernel that keep an address long after what lay there is gone.

use sysak_base::Va;
use sysak_symbols::Kallsyms;

/// What was patched last in the kernel's text (arch/x86/kernel/alternative.c): an array of the
/// image, or one on the stack of a task that may have ended since. Its place may be an area's now.
const DANGLING: [&str; 1] = ["bp_desc"];
/// A pointer, and two counts behind it.
const MOST_BYTES: u64 = 16;

/// Where such variables lie in the image, and how many bytes they are.
pub fn find_dangling(symbols: &Kallsyms) -> impl Iterator<Item = (Va, u64)> {
    let places = DANGLING.iter().filter_map(|name| symbols.find(name));
    places.filter_map(|at| {
        let symbol = symbols.symbolize(at).filter(|symbol| symbol.module.is_none())?;
        Some((at, symbol.size?.min(MOST_BYTES)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_variable_is_one() {
        let text =
            b"ffffffff81000000 T _stext\nffffffff82000000 b bp_desc\nffffffff82000010 b next\n";
        let symbols = Kallsyms::parse_proc(text).unwrap();
        let found: Vec<_> = find_dangling(&symbols).collect();
        assert_eq!(found, [(Va(0xffff_ffff_8200_0000), 16)]);
        let none = Kallsyms::parse_proc(b"ffffffff81000000 T _stext\n").unwrap();
        assert_eq!(find_dangling(&none).count(), 0);
    }
}
