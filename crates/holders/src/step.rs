//! The steps of a retention path, as values; their wording belongs to the report.
//!
//! **Invariant:** no step holds a word of any language: names are the kernel's or its users' own.

use sysak_heap::{Class, Heap, Object};
use sysak_symbols::Symbol;

/// A variable or function by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SymbolName {
    /// Its name.
    pub name: String,
    /// The module that it belongs to; `None` is the kernel itself.
    pub module: Option<String>,
}

impl From<Symbol<'_>> for SymbolName {
    fn from(symbol: Symbol<'_>) -> SymbolName {
        SymbolName { name: symbol.name.to_owned(), module: symbol.module.map(str::to_owned) }
    }
}

/// One step of a retention path: the holder comes first, then what leads from it to the objects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A variable of the kernel or of a module.
    Symbol(SymbolName),
    /// A module's memory.
    Module(String),
    /// A process: its thread, an open file or its address space.
    Process {
        /// Its name.
        name: String,
        /// Its number.
        pid: u32,
    },
    /// The stack of a thread.
    Stack {
        /// The thread's name.
        name: String,
        /// Its number.
        pid: u32,
    },
    /// A control group.
    Cgroup {
        /// Its path below the root of its hierarchy, where that could be read.
        path: Option<String>,
        /// Whether it was removed.
        removed: bool,
    },
    /// Many control groups, counted together.
    Cgroups {
        /// How many.
        count: usize,
        /// Whether they were removed.
        removed: bool,
    },
    /// An open file that is no file of a file system, by its kind: `socket`, `eventpoll`.
    OpenFile(String),
    /// Files that were sent through a socket and not yet received.
    InFlight,
    /// A mounted file system, by where it is mounted.
    FileSystem(String),
    /// A mount, by its path.
    Mount(String),
    /// A pin in bpffs, by its path.
    Pin(String),
    /// A POSIX message queue.
    MessageQueue(String),
    /// A keyring.
    Keyring(String),
    /// Nobody that was found.
    NotKnown,
    /// A pending timer.
    Timer {
        /// The function that it calls, where that has a name.
        function: Option<SymbolName>,
        /// Whether a worker calls it: delayed work.
        delayed: bool,
    },
    /// A register of a crashed machine.
    Register,
    /// Data of the kernel's image without a symbol.
    KernelData,
    /// Data of a module without a symbol.
    ModuleData,
    /// Per-CPU memory without a symbol.
    PerCpuData,
    /// A stack whose thread is not known.
    UnknownStack,
    /// A table that was set aside at boot, without a symbol.
    BootTable,
    /// An area of the vmalloc address space.
    VmallocArea,
    /// The `struct page` of a slab: the vector of those who are charged for its objects.
    SlabStructPage,
    /// Any other `struct page`.
    StructPage,
    /// A page of the kernel whose user is not known.
    KernelPage,
    /// Memory of which nothing is known.
    UnknownMemory,
    /// A member of a struct: `dentry.d_inode`.
    Member(String),
    /// An object of a slab cache whose struct is not known.
    Object {
        /// The cache.
        cache: String,
        /// Where the reference lies in the object; `None` for several places.
        offset: Option<u64>,
    },
    /// A block of pages.
    PageBlock,
    /// An object of the vmalloc address space.
    VmallocObject,
    /// A per-CPU allocation.
    PerCpuObject,
}

impl Step {
    /// An object whose struct is not known, and where in it a reference stands.
    pub(crate) fn object(heap: &Heap, object: Object, offset: Option<u64>) -> Step {
        let cache = heap.cache_of(object);
        match cache.class {
            Class::Slab => Step::Object { cache: cache.name.clone(), offset },
            Class::Page => Step::PageBlock,
            Class::Vmalloc => Step::VmallocObject,
            Class::PerCpu => Step::PerCpuObject,
        }
    }
}
