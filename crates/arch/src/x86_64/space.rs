//! The bounds of the kernel's address space (`Documentation/arch/x86/x86_64/mm.rst`).

use sysak_base::{PAGE_SHIFT, Va};

/// What `uname -m` calls this architecture.
pub const NAME: &str = "x86_64";

/// Addresses from here on are the kernel's with five levels; with four, the lowest of them do not
/// exist.
pub const KERNEL_HALF: u64 = 0xff00_0000_0000_0000;

/// The kernel's text, data and bss are mapped from here on, and modules above them
/// (`__START_KERNEL_map`). An address from here on is one of the image or of a module.
pub const IMAGE_MAP: u64 = 0xffff_ffff_8000_0000;

/// The image ends here at the latest: modules follow (`MODULES_VADDR` with KASLR).
pub const IMAGE_MAP_END: u64 = 0xffff_ffff_c000_0000;

/// Where the direct map starts at the lowest, and always without KASLR: with four and with five
/// levels (`__PAGE_OFFSET_BASE_L4`, `_L5`).
pub const LOWEST_DIRECT_MAPS: [u64; 2] = [0xffff_8880_0000_0000, 0xff11_0000_0000_0000];

/// The direct map and the array of `struct page` start at a multiple of this.
pub const DIRECT_MAP_ALIGNMENT: u64 = 1 << 30;

/// Physical memory ends here at the latest (`MAX_PHYSMEM_BITS` with four levels).
pub const MOST_PHYSICAL_BYTES: u64 = 1 << 46;

/// No kernel is built for more CPUs (`CONFIG_NR_CPUS_RANGE_END`).
pub const MOST_CPUS: u64 = 8192;

/// The kernel's half starts here with four levels, and lower with five.
const FOUR_LEVELS_FROM: Va = Va(0xffff_8000_0000_0000);

/// How many levels of page tables a kernel uses whose direct map starts at `page_offset`.
pub fn levels_of(page_offset: Va) -> u32 {
    if page_offset < FOUR_LEVELS_FROM { 5 } else { 4 }
}

/// Whether the processor accepts an address: its upper bits must all be alike.
pub fn is_canonical(va: Va, levels: u32) -> bool {
    let half = 1 << (address_bits(levels) - 1);
    va.0 < half || va.0 >= upper_half(levels)
}

/// The first address of the kernel's half.
pub(super) fn upper_half(levels: u32) -> u64 {
    u64::MAX << (address_bits(levels) - 1)
}

fn address_bits(levels: u32) -> u32 {
    PAGE_SHIFT + 9 * levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direct_map_tells_how_many_levels_there_are() {
        assert_eq!(LOWEST_DIRECT_MAPS.map(|start| levels_of(Va(start))), [4, 5]);
        assert_eq!(upper_half(5), KERNEL_HALF);
    }

    #[test]
    fn the_hole_between_the_halves_is_not_canonical() {
        assert!(is_canonical(Va(0x7fff_ffff_ffff), 4) && is_canonical(Va(IMAGE_MAP), 4));
        assert!(!is_canonical(Va(0x8000_0000_0000), 4) && is_canonical(Va(0x8000_0000_0000), 5));
        assert!(!is_canonical(Va(0xff11_0000_0000_0000), 4));
        assert!(is_canonical(Va(0xff11_0000_0000_0000), 5));
    }
}
