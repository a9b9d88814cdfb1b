//! Runs the fuzz targets' entry functions on a stable compiler, see `fuzz/entries/replay.rs`.

#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/entries/replay.rs"]
mod replay;
#[path = "../../../fuzz/entries/target.rs"]
mod target;

#[test]
fn a_damaged_core_file_never_panics() {
    replay::replay("elf", target::elf);
}

#[test]
fn a_damaged_kdump_never_panics() {
    replay::replay("kdump", target::kdump);
}

#[test]
fn a_damaged_packed_file_never_panics() {
    replay::replay("packed", target::packed);
}
