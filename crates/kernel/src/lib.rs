//! What the structures of a Linux kernel mean: pages, slabs, free lists, vmalloc areas, per-CPU
//! memory, page tables, stacks, timers, modules, processes, files and control groups.
//!
//! Start with [`Kernel::new`], which resolves the layout ([`shape`]) of one kernel. [`page::Census`]
//! gives every page an owner, [`slub::walk`] finds the objects of all slabs; [`vmalloc`], [`percpu`],
//! [`tables`] and [`tasks`] add what they know. [`user_memory`] reports processes, files and cgroups.
//! [`read`] is for walks of your own: many small structures at once, and texts inside them.
//! [`log`] reads the kernel's log, which needs no type information.
//!
//! A target is seen only as [`sysak_base::Memory`]: a live machine and a crash dump go through the
//! same walks. All of it is untrusted: every walk is bounded, and one that ends early says so in
//! [`Coverage`].
//!
//! **Invariant:** nothing here prints, opens a file, or knows its target; only
//! [`shape`] spells the kernel's type and field names.

mod aliases;
mod counters;
mod coverage;
mod free;
pub mod functions;
mod kernel;
pub mod links;
mod list;
pub mod log;
pub mod modules;
pub mod own_buffers;
pub mod page;
pub mod percpu;
pub mod read;
pub mod shape;
pub mod slub;
pub mod tables;
pub mod tasks;
pub mod timers;
pub mod user_memory;
pub mod vmalloc;

pub use counters::Counters;
pub use coverage::{Book, Books, Coverage, Omission, Omitted, Reason};
pub use free::FreePages;
pub use kernel::{Kernel, KernelError};
pub use list::{Stop, Walk};
