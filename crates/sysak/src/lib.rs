//! The diagnosis behind the `sysak` commands, for the binary and for the benchmarks.

pub mod diagnose;
pub mod look;
