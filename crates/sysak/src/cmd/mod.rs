//! One file per command: parse → run → report.

mod dump;
pub mod inspect;
pub mod memgraph;
pub mod memleak;
mod output;
mod session;
