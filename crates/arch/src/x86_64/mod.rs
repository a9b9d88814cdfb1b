//! x86-64 with four or five levels of page tables.

pub mod frames;
mod paging;
mod registers;
mod space;

pub use paging::{
    ADDRESS, ENTRIES, Entry, LARGE, LEAF, MIDDLE, Mapping, Paging, Step, UPPER, index,
};
pub use registers::of_prstatus;
pub use space::{
    DIRECT_MAP_ALIGNMENT, IMAGE_MAP, IMAGE_MAP_END, KERNEL_HALF, LOWEST_DIRECT_MAPS, MOST_CPUS,
    MOST_PHYSICAL_BYTES, NAME, is_canonical, levels_of,
};
