//! What is done with hostile bytes in the name of `sysak-target`.

use std::hint::black_box;

/// The headers and notes of an ELF core file.
pub fn elf(data: &[u8]) {
    if let Ok(core) = black_box(sysak_target::elf::parse(data)) {
        black_box(core.segments.iter().map(|s| s.offset.saturating_add(s.bytes)).max());
    }
}

/// A whole dump of any format that is read without unpacking the file.
pub fn kdump(data: &[u8]) {
    let _ = black_box(sysak_target::count_pages(data.to_vec()));
}

/// A file that is packed as a whole; of one that becomes large, the beginning.
pub fn packed(data: &[u8]) {
    black_box(sysak_target::count_unpacked(data, 16 << 20));
}
