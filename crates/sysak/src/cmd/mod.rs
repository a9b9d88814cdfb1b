//! One file per command: parse → run → report.

pub mod memgraph;
pub mod memleak;
mod session;
