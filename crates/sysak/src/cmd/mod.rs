//! One file per command: parse → run → report.

pub mod memleak;
