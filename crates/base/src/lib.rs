//! The vocabulary of every other crate: addresses, and the seam to a target's memory.
//!
//! **Invariant:** no I/O and no unsafe code; nothing here knows where memory comes from.

mod addr;
mod memory;
pub mod numbers;
mod page_state;
mod progress;
mod ranges;
mod readers;

pub use addr::{PAGE_SHIFT, PAGE_SIZE, Pa, Pfn, PfnRange, Va};
pub use memory::{Anchors, Fault, Memory, OwnProcess, Why};
pub use page_state::{PageCounts, PageState, PageStates};
pub use progress::{Budget, Cancel, Clock, Progress, Quiet};
pub use ranges::{Ranges, VaRange};
pub use readers::{Readers, SharedMemory};
