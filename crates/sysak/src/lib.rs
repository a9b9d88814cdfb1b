//! The diagnosis behind the `sysak` commands, for the binary and for the benchmarks.

pub mod diagnose;
mod examine;
pub mod look;
mod suspects;
pub mod watch;
