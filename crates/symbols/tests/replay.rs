//! Runs the fuzz targets' entry functions on a stable compiler, see `fuzz/entries/replay.rs`.

#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/entries/replay.rs"]
mod replay;
#[path = "../../../fuzz/entries/symbols.rs"]
mod symbols;

use replay::replay;

#[test]
fn damaged_btf_never_panics() {
    replay("btf", symbols::btf);
}

#[test]
fn damaged_proc_kallsyms_never_panics() {
    replay("kallsyms", symbols::kallsyms);
}

#[test]
fn damaged_kallsyms_tables_never_panic() {
    replay("kallsyms_image", symbols::kallsyms_image);
}

#[test]
fn damaged_vmcoreinfo_never_panics() {
    replay("vmcoreinfo", symbols::vmcoreinfo);
}
