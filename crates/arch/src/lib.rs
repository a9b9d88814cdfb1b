//! What differs between processor architectures: the layout of the kernel's address space, the
//! format of page tables, the registers in a crash dump.
//!
//! Each architecture is a module of its own and exports the same names; x86-64 is the only one
//! so far. The base page of 4 KiB is [`sysak_base::PAGE_SIZE`].
//!
//! **Invariant:** no I/O and no unsafe code; memory is read through functions that the caller gives.

pub mod x86_64;
