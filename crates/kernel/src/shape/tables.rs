//! Page tables: where their tops are.

use sysak_base::{Memory, Va};
use sysak_symbols::Kallsyms;

use super::Shape;

/// The cache of address spaces, each of which has a top-level table.
pub const SPACE_CACHE: &str = "mm_struct";

/// The top of the tables that EFI's services run with; listed where KALLSYMS_ALL is set.
pub fn find_firmware_tables(memory: &dyn Memory, symbols: &Kallsyms, shape: &Shape) -> Option<Va> {
    let top = memory.read_u64(symbols.find("efi_mm")?.at(shape.top_table?)).ok()?;
    (top != 0).then_some(Va(top))
}

/// The list of the top tables of all programs, linked through their pages; listed where
/// KALLSYMS_ALL is set.
pub fn find_program_tables(symbols: &Kallsyms) -> Option<Va> {
    symbols.find("pgd_list")
}
