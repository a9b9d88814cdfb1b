//! The diagnosis behind the `sysak` commands, for the binary and for the benchmarks.

pub mod diagnose;
mod examine;
pub mod guess;
pub mod look;
pub mod makers;
pub mod plan;
mod suspects;
pub mod watch;
pub mod ways;
