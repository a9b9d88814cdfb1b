//! What the objects mean: which are lost, which are alike, what they hold, and the verdict.
//!
//! Pure: it sees a heap, a memory to read objects from, and nothing of any
//! kernel's layout. Live machine, crash dump and the made-up target of the
//! benchmarks go through the same code.

pub mod alike;
pub mod blame;
pub mod climb;
pub mod confirm;
pub mod content;
pub mod fingerprint;
pub mod lost;
pub mod newborn;
pub mod rank;
pub mod reach;
pub mod refs;
pub mod retained;
pub mod trend;
pub mod verdict;
