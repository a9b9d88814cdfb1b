//! What a kernel says about itself: types (BTF), symbols (kallsyms) and the VMCOREINFO note.
//!
//! Bytes in, tables out. All of it comes from the target, so every length,
//! count and depth is bounded and nothing here panics on damaged input.
//!
//! **Invariant:** no I/O and no unsafe code; the same parsers serve a live machine and a dump.

mod btf;
mod kallsyms;
mod le;
mod vmcoreinfo;

pub use btf::{BtfError, Field, IntKind, MemberOf, Shape, TypeId, TypeInfo, Variable};
pub use kallsyms::{Kallsyms, KallsymsError, KallsymsPlaces, Symbol};
pub use vmcoreinfo::{Vmcoreinfo, VmcoreinfoError};
