//! Where a reference stands, or who holds memory: a step of a retention path.
//!
//! JSON has a place as its English name. Read back, a name that could be anybody's is [`Place::Named`].
//!
//! **Invariant:** the English name of what was read is what was read.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Hex, PageNumber, Plain, Symbolic};
use crate::catalogue as say;
use crate::lang::Lang;

/// Where a reference stands, or who holds memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "place", content = "of", rename_all = "snake_case")]
pub enum Place {
    /// A variable, a function, a word of objects, a member of a struct: `kmalloc-64+0x10`,
    /// `flow_table [mod]`, `node.slots[]`.
    Kernel(Symbolic),
    /// A word of a free object.
    Free(Symbolic),
    /// A module.
    Module(Plain),
    /// A pending timer, by what it calls.
    Timer(Symbolic),
    /// Delayed work, by what it calls.
    DelayedWork(Symbolic),
    /// A process.
    Process {
        /// Its name.
        comm: String,
        /// Its number.
        pid: u32,
    },
    /// A thread's stack.
    StackOf {
        /// The thread's name.
        comm: String,
        /// Its number.
        pid: u32,
    },
    /// A stack of nobody known.
    Stack,
    /// A CPU's register.
    Register,
    /// Data of the kernel that no symbol names.
    KernelData,
    /// Data of a module that no symbol names.
    ModuleData,
    /// Per-CPU memory that no symbol names.
    Percpu,
    /// A table that was set aside at boot.
    Table,
    /// A vmalloc area.
    VmallocArea,
    /// A `struct page` of a slab.
    SlabPages,
    /// A `struct page`.
    StructPage,
    /// The `struct page` of a known page.
    StructPageOf(PageNumber),
    /// A page of the kernel.
    KernelPage,
    /// None of these.
    #[default]
    Unknown,
    /// A control group.
    Cgroup {
        /// Its path below the root of the hierarchy.
        path: String,
        /// Whether it was removed.
        removed: bool,
    },
    /// Many control groups as one.
    Cgroups {
        /// How many.
        count: u64,
        /// Whether they were removed.
        removed: bool,
    },
    /// Objects that are linked to each other.
    Family {
        /// How many.
        objects: u64,
        /// Their cache.
        cache: Plain,
    },
    /// The object itself, so far into it.
    Itself(Hex),
    /// What waits unread in pipes and sockets.
    Unread,
    /// Shared memory without a name.
    SharedMemory,
    /// A file or a mount, by its path.
    File(String),
    /// A file that was deleted and is open still, by the path that it had.
    DeletedFile(String),
    /// A block device.
    BlockDevice(String),
    /// A file without a path.
    Inode(u64),
    /// An open file that is no file of a file system, by its kind: `socket`, `eventpoll`.
    OpenFile(Plain),
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
    /// Files that were sent through a socket and not yet received.
    InFlight,
    /// It was looked for and not found.
    NotKnown,
    /// Somebody's name for something, or contents of memory.
    Named(String),
}

impl Place {
    /// What the place is called.
    pub fn name(&self, lang: Lang) -> String {
        match self {
            Place::Kernel(name) => name.to_string(),
            Place::Free(name) => say::place_free(lang, name),
            Place::Module(name) => say::place_module(lang, name),
            Place::Timer(function) => say::place_timer(lang, function),
            Place::DelayedWork(function) => say::place_delayed_work(lang, function),
            Place::Process { comm, pid } => say::place_process(lang, comm, &pid.to_string()),
            Place::StackOf { comm, pid } => {
                say::place_stack_of(lang, &say::place_process(lang, comm, &pid.to_string()))
            }
            Place::Stack => say::place_stack(lang),
            Place::Register => say::place_register(lang),
            Place::KernelData => say::place_kernel_data(lang),
            Place::ModuleData => say::place_module_data(lang),
            Place::Percpu => say::place_percpu(lang),
            Place::Table => say::place_table(lang),
            Place::VmallocArea => say::place_vmalloc_area(lang),
            Place::SlabPages => say::place_slab_pages(lang),
            Place::StructPage => say::place_struct_page(lang),
            Place::StructPageOf(number) => say::place_struct_page_of(lang, &number.to_string()),
            Place::KernelPage => say::place_kernel_page(lang),
            Place::Unknown => say::place_unknown(lang),
            Place::Cgroup { path, removed: false } => say::place_cgroup(lang, path),
            Place::Cgroup { path, removed: true } => say::place_removed_cgroup(lang, path),
            Place::Cgroups { count, removed: false } => {
                say::place_cgroups(lang, &count.to_string())
            }
            Place::Cgroups { count, removed: true } => {
                say::place_removed_cgroups(lang, &count.to_string())
            }
            Place::Family { objects, cache } => {
                say::place_family(lang, &objects.to_string(), cache)
            }
            Place::Itself(offset) => say::place_itself(lang, &offset.to_string()),
            Place::Unread => say::place_unread(lang),
            Place::SharedMemory => say::place_shared_memory(lang),
            Place::File(path) | Place::Named(path) => path.clone(),
            Place::DeletedFile(path) => say::place_deleted_file(lang, path),
            Place::BlockDevice(device) => say::place_block_device(lang, device),
            Place::Inode(number) => say::place_inode(lang, &number.to_string()),
            Place::OpenFile(kind) => say::place_open_file(lang, kind),
            Place::FileSystem(path) => say::place_file_system(lang, path),
            Place::Mount(path) => say::place_mount(lang, path),
            Place::Pin(path) => say::place_pin(lang, path),
            Place::MessageQueue(name) => say::place_message_queue(lang, name),
            Place::Keyring(name) => say::place_keyring(lang, name),
            Place::InFlight => say::place_in_flight(lang),
            Place::NotKnown => say::place_not_known(lang),
        }
    }

    /// The place that has an English name; one that could be anybody's is [`Place::Named`].
    pub fn parse(name: &str) -> Place {
        let known = Place::known(name).or_else(|| Place::symbol(name));
        let known = known.filter(|place| place.name(Lang::En) == name);
        known.unwrap_or_else(|| Place::Named(name.to_owned()))
    }

    /// The place that has an English name which is known to be no process's, file's or control
    /// group's.
    pub fn kernel(name: &str) -> Place {
        let known = Place::known(name).filter(|place| place.name(Lang::En) == name);
        known.unwrap_or_else(|| Place::Kernel(name.into()))
    }

    /// Whether it is a module, or a variable or function of one.
    pub fn is_of_module(&self) -> bool {
        match self {
            Place::Module(_) | Place::ModuleData => true,
            Place::Kernel(name) | Place::Timer(name) | Place::DelayedWork(name) => {
                name.ends_with(']')
            }
            _ => false,
        }
    }

    /// What the form of a name tells.
    fn known(name: &str) -> Option<Place> {
        use Place::*;
        let simple = [
            Stack,
            Register,
            KernelData,
            ModuleData,
            Percpu,
            Table,
            VmallocArea,
            SlabPages,
            StructPage,
            KernelPage,
            Unknown,
            Unread,
            SharedMemory,
            InFlight,
            NotKnown,
        ];
        if let Some(place) = simple.into_iter().find(|place| place.name(Lang::En) == name) {
            return Some(place);
        }
        let owned = |text: &str| text.to_owned();
        let hole = |says: fn(Lang, &str) -> String| hole(says, name);
        let number = |says| hole(says)?.parse::<u64>().ok();
        None.or_else(|| {
            hole(say::place_stack_of).and_then(process).map(|(comm, pid)| StackOf { comm, pid })
        })
        .or_else(|| process(name).map(|(comm, pid)| Process { comm, pid }))
        .or_else(|| {
            hole(say::place_removed_cgroup).map(|path| Cgroup { path: owned(path), removed: true })
        })
        .or_else(|| hole(say::place_deleted_file).map(|path| DeletedFile(owned(path))))
        .or_else(|| hole(say::place_free).map(|name| Free(name.into())))
        .or_else(|| hole(say::place_timer).map(|name| Timer(name.into())))
        .or_else(|| hole(say::place_delayed_work).map(|name| DelayedWork(name.into())))
        .or_else(|| hole(say::place_module).map(|name| Module(name.into())))
        .or_else(|| hole(say::place_open_file).map(|kind| OpenFile(kind.into())))
        .or_else(|| hole(say::place_file_system).map(|path| FileSystem(owned(path))))
        .or_else(|| hole(say::place_mount).map(|path| Mount(owned(path))))
        .or_else(|| hole(say::place_pin).map(|path| Pin(owned(path))))
        .or_else(|| hole(say::place_message_queue).map(|name| MessageQueue(owned(name))))
        .or_else(|| hole(say::place_keyring).map(|name| Keyring(owned(name))))
        .or_else(|| hole(say::place_block_device).map(|name| BlockDevice(owned(name))))
        .or_else(|| {
            number(say::place_struct_page_of).map(|number| StructPageOf(PageNumber(number)))
        })
        .or_else(|| {
            number(say::place_removed_cgroups).map(|count| Cgroups { count, removed: true })
        })
        .or_else(|| number(say::place_cgroups).map(|count| Cgroups { count, removed: false }))
        .or_else(|| number(say::place_inode).map(Inode))
        .or_else(|| family(name))
        .or_else(|| {
            let digits = hole(say::place_itself)?.strip_prefix("0x")?;
            Some(Itself(Hex(u64::from_str_radix(digits, 16).ok()?)))
        })
    }

    /// A name that only the kernel's things have: with an offset, or with a module.
    fn symbol(text: &str) -> Option<Place> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let (rest, module) = match text.strip_suffix(']').and_then(|text| text.rsplit_once(" [")) {
            Some((rest, module)) => (rest, Some(module)),
            None => (text, None),
        };
        let (name, offset) = match rest.split_once("+0x") {
            Some((name, offset)) => (name, Some(offset)),
            None => (rest, None),
        };
        let is_symbol = !name.is_empty()
            && name.chars().all(is_name)
            && module.unwrap_or_default().chars().all(is_name)
            && offset.unwrap_or_default().chars().all(|c| c.is_ascii_hexdigit())
            && offset.or(module).is_some();
        is_symbol.then(|| Place::Kernel(text.into()))
    }
}

/// What stands where a sentence has its fact.
fn hole(says: fn(Lang, &str) -> String, text: &str) -> Option<&str> {
    const FACT: &str = "\0";
    let pattern = says(Lang::En, FACT);
    let (before, after) = pattern.split_once(FACT)?;
    text.strip_prefix(before)?.strip_suffix(after)
}

/// `nginx (812)`
fn process(text: &str) -> Option<(String, u32)> {
    let (comm, pid) = text.strip_suffix(')')?.rsplit_once(" (")?;
    Some((comm.to_owned(), pid.parse().ok()?))
}

/// `30 linked objects of kmalloc-64`
fn family(text: &str) -> Option<Place> {
    let pattern = say::place_family(Lang::En, "\0", "\0");
    let mut parts = pattern.split('\0').skip(1);
    let (between, after) = (parts.next()?, parts.next()?);
    let (objects, cache) = text.strip_suffix(after)?.split_once(between)?;
    Some(Place::Family { objects: objects.parse().ok()?, cache: cache.into() })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name(Lang::En))
    }
}

/// As it is in JSON.
impl JsonSchema for Place {
    fn schema_name() -> Cow<'static, str> {
        "Place".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let said = "A place in memory, or who holds memory: its English name.";
        json_schema!({ "type": "string", "description": said })
    }
}

/// For people its English name, else its parts: `redact` must tell them apart.
impl Serialize for Place {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match out.is_human_readable() {
            true => out.serialize_str(&self.name(Lang::En)),
            false => Place::serialize(self, out),
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Place, D::Error> {
        match serde_json::Value::deserialize(from)? {
            serde_json::Value::String(name) => Ok(Place::parse(&name)),
            parts => Place::deserialize(parts).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind; a kind that is missing here does not compile.
    fn all() -> Vec<Place> {
        use Place::*;
        let name = || "flow_table [bonding]".to_owned();
        let next = |place: &Place| match place {
            Kernel(_) => Free("kmalloc-64+0x10".into()),
            Free(_) => Module("bonding".into()),
            Module(_) => Timer("flow_timeout [bonding]".into()),
            Timer(_) => DelayedWork("flow_work".into()),
            DelayedWork(_) => Process { comm: "tmux: server".to_owned(), pid: 812 },
            Process { .. } => StackOf { comm: "a (b)".to_owned(), pid: 7 },
            StackOf { .. } => Stack,
            Stack => Register,
            Register => KernelData,
            KernelData => ModuleData,
            ModuleData => Percpu,
            Percpu => Table,
            Table => VmallocArea,
            VmallocArea => SlabPages,
            SlabPages => StructPage,
            StructPage => StructPageOf(PageNumber(1234)),
            StructPageOf(_) => KernelPage,
            KernelPage => Unknown,
            Unknown => Cgroup { path: "/a.slice".to_owned(), removed: true },
            Cgroup { .. } => Cgroups { count: 9, removed: true },
            Cgroups { removed: true, .. } => Cgroups { count: 9, removed: false },
            Cgroups { .. } => Family { objects: 30, cache: "kmalloc-64".into() },
            Family { .. } => Itself(Hex(0x10)),
            Itself(_) => Unread,
            Unread => SharedMemory,
            SharedMemory => DeletedFile("/tmp/a".to_owned()),
            DeletedFile(_) => BlockDevice("259:0".to_owned()),
            BlockDevice(_) => Inode(77),
            Inode(_) => OpenFile("socket".into()),
            OpenFile(_) => FileSystem("/disk".to_owned()),
            FileSystem(_) => Mount("/run/netns/a".to_owned()),
            Mount(_) => Pin("/sys/fs/bpf/a".to_owned()),
            Pin(_) => MessageQueue("/a".to_owned()),
            MessageQueue(_) => Keyring("_uid.0".to_owned()),
            Keyring(_) => InFlight,
            InFlight => NotKnown,
            NotKnown => File("/dev/shm".to_owned()),
            File(_) => Named("eth0".to_owned()),
            Named(_) => Kernel(name().into()),
        };
        let mut all = vec![Kernel(name().into())];
        loop {
            let place = next(all.last().unwrap_or(&Unknown));
            if all.contains(&place) {
                return all;
            }
            all.push(place);
        }
    }

    #[test]
    fn a_name_is_read_back_as_the_place_that_has_it() {
        for place in all() {
            let written = serde_json::to_string(&place).unwrap();
            let read: Place = serde_json::from_str(&written).unwrap();
            let expected = match &place {
                Place::File(path) => Place::Named(path.clone()),
                place => place.clone(),
            };
            assert_eq!(read, expected, "{written}");
        }
    }

    #[test]
    fn a_name_that_could_be_anybodys_is_not_taken_for_the_kernels() {
        for name in ["", "nginx", "/dev/shm", "a+b", "/tmp/a [b]", "é [b]", "a [b", "timer", "x\0"]
        {
            assert_eq!(Place::parse(name), Place::Named(name.to_owned()), "{name}");
            assert_eq!(Place::parse(name).to_string(), name);
        }
        assert_eq!(Place::kernel("init_task"), Place::Kernel("init_task".into()));
        assert_eq!(Place::parse("kmalloc-64+0x8"), Place::Kernel("kmalloc-64+0x8".into()));
    }

    #[test]
    fn words_of_ours_are_told_in_chinese() {
        for place in all() {
            let is_ours = !matches!(
                place,
                Place::Kernel(_)
                    | Place::Module(_)
                    | Place::Process { .. }
                    | Place::StructPage
                    | Place::Inode(_)
                    | Place::File(_)
                    | Place::Named(_)
            );
            assert_eq!(place.name(Lang::Zh) != place.name(Lang::En), is_ours, "{place}");
        }
    }
}
