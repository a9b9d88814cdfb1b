//! To be filled.

pub mod bpf;
