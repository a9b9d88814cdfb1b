//! The `sysak` binary.
fn main() {}
