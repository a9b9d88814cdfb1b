//! Watches allocations and frees of a running kernel, with BPF on its tracepoints: of slab
//! objects, and where that is wanted of pages, per-CPU memory and vmalloc areas.
//!
//! What was allocated while it watched and has not been freed since is a record:
//! object, call site, time, process, and for some a stack. The tracer judges
//! nothing; whether an object is lost is for a look at memory to say.
//!
//! Danger: a free without an event (kfree_rcu, bulk frees) leaves a record behind.
//! A record therefore counts only where a later walk finds its object allocated.
//!
//! **Invariant:** nothing is pinned. When a [`Tracer`] is dropped, or the process
//! ends in any other way, its programs are detached and gone.

mod others;
mod seen;
mod table;
mod tracer;

pub use others::OtherMemory;
pub use seen::{Counts, Seen};
pub use sysak_bpf::LoadError;
pub use table::{Kind, Record};
pub use tracer::{Events, Follow, Followed, Mode, TraceError, Tracer};
