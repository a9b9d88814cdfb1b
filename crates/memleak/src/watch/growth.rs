//! How one cache grew while it was watched, and whether a count that user space sees explains it.

use sysak_base::PAGE_SIZE;
use sysak_heap::Class;
use sysak_target::Pulse;

use super::{Samples, Watch};
use crate::trend;

/// Counts that user space sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Open files.
    Files,
    /// Inodes in memory.
    Inodes,
    /// Directory entries in memory.
    Dentries,
    /// Sockets.
    Sockets,
    /// Threads.
    Threads,
    /// Connections that the firewall tracks.
    Connections,
    /// Keys.
    Keys,
    /// Mounts.
    Mounts,
    /// Memory cgroups.
    Cgroups,
    /// Loaded modules.
    Modules,
    /// Pages in the hypervisor's balloon.
    Balloon,
    /// Bytes that wait unread in pipes and sockets.
    Unread,
}

type Count = fn(&Pulse) -> Option<u64>;

/// A count, where it is kept, and how many objects of one cache each of its things may have: a
/// thread brings its address space with it, a file or a socket little more than itself.
const COUNTS: [(Known, Count, u64); 8] = [
    (Known::Files, |pulse| pulse.files, 1),
    (Known::Sockets, |pulse| pulse.sockets, 2),
    (Known::Threads, |pulse| pulse.threads, 64),
    (Known::Connections, |pulse| pulse.connections, 2),
    (Known::Keys, |pulse| pulse.keys, 1),
    (Known::Mounts, |pulse| pulse.mounts, 2),
    (Known::Inodes, |pulse| pulse.inodes, 1),
    (Known::Dentries, |pulse| pulse.dentries, 1),
];

/// Counts that explain the growth of other memory, and the bytes that each of their things may
/// have of it for each CPU: what is more is somebody else's.
const OTHERS: [(Class, Known, Count, u64); 7] = [
    (Class::Vmalloc, Known::Threads, |pulse| pulse.threads, 64 << 10),
    (Class::Vmalloc, Known::Modules, |pulse| pulse.modules, 4 << 20),
    (Class::PerCpu, Known::Cgroups, |pulse| pulse.cgroups, 64 << 10),
    (Class::PerCpu, Known::Mounts, |pulse| pulse.mounts, 4 << 10),
    (Class::PerCpu, Known::Modules, |pulse| pulse.modules, 64 << 10),
    (Class::Page, Known::Balloon, |pulse| pulse.balloon_pages, PAGE_SIZE),
    (Class::Page, Known::Threads, |pulse| pulse.threads, 64 << 10),
];

/// The machine's own counters may be wrong by so much for each CPU (125 pages, twice), and the
/// lists of free pages that each CPU has to itself come and go.
const SWAY_BYTES: u64 = 2 << 20;
/// What is no slab must grow by so much on the smallest machine.
const MIN_OTHER_BYTES: u64 = 16 << 20;

/// How a cache grew.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// Of the room in its slabs.
    pub bytes_per_s: f64,
    /// Whether it grew all the time, and enough to be a habit.
    pub is_steady: bool,
    /// A count that grew as much, and by how much.
    pub explained: Option<(Known, u64)>,
    /// Whether every count that could explain it is known: without that nobody is accused.
    pub is_examined: bool,
}

impl Growth {
    /// By the samples; `None` where the cache did not grow. What the kernel takes back when it
    /// needs memory never grows without bound.
    pub fn of(
        samples: &Samples,
        cache: u16,
        (stride, reclaimable): (u64, bool),
        unread_bytes: Option<u64>,
    ) -> Option<Growth> {
        let sizes = samples.of_cache(cache);
        let (first, last) = (sizes.first()?.1, sizes.last()?.1);
        let bytes_per_s = trend::rate(&sizes)?;
        if last <= first || bytes_per_s <= 0.0 {
            return None;
        }
        let objects = (last - first) / stride.max(1);
        let (before, after) = samples.ends()?;
        let grew = |(known, count, each): &(Known, Count, u64)| {
            let grew_by = count(after)?.saturating_sub(count(before)?);
            trend::explains(grew_by * each, objects).then_some((*known, grew_by))
        };
        let is_steady = !reclaimable && trend::is_steady(&sizes);
        // The sway of any machine needs no explanation.
        let is_much = !reclaimable && trend::growth_bytes(&sizes) >= trend::MIN_GROWTH_BYTES;
        // Packets are slab objects, and their data mostly too.
        let unread = unread_bytes.filter(|unread| trend::explains(*unread, last - first));
        let explained = COUNTS
            .iter()
            .filter_map(grew)
            .chain(unread.map(|unread| (Known::Unread, unread)))
            .filter(|_| is_much)
            // Of several, the one that grew most like the cache.
            .min_by_key(|(_, grew_by)| grew_by.abs_diff(objects));
        let is_examined = unread_bytes.is_some();
        Some(Growth { bytes_per_s, is_steady, explained, is_examined })
    }

    /// Of memory that is no slab, by what the machine counts of it.
    pub fn of_class(samples: &Samples, class: Class, unread_bytes: Option<u64>) -> Option<Growth> {
        let sizes = samples.of_class(class);
        let bytes_per_s = trend::rate(&sizes).filter(|rate| *rate > 0.0)?;
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
        let enough = MIN_OTHER_BYTES.max(cpus.saturating_mul(SWAY_BYTES));
        let is_steady = trend::is_steady_above(&sizes, enough);
        let bytes = trend::growth_bytes(&sizes);
        let (before, after) = samples.ends()?;
        let of_unread = unread_bytes.filter(|_| class == Class::Page);
        let of_unread = of_unread.map(|unread| (Known::Unread, unread, 1));
        let counted = OTHERS.iter().filter(|(of, ..)| *of == class).filter_map(|one| {
            let (_, known, count, each) = one;
            Some((*known, count(after)?.saturating_sub(count(before)?), *each))
        });
        let explained = counted
            .chain(of_unread)
            .find(|(_, grew_by, each)| trend::explains(grew_by.saturating_mul(*each), bytes))
            .filter(|_| is_steady)
            .map(|(known, grew_by, _)| (known, grew_by));
        let is_examined = class != Class::Page || unread_bytes.is_some();
        Some(Growth { bytes_per_s, is_steady, explained, is_examined })
    }

    /// Whether it grows and nothing explains it.
    pub fn is_suspicious(&self) -> bool {
        self.is_steady && self.is_examined && self.explained.is_none()
    }
}

impl Watch<'_> {
    /// Whether memory that cannot be taken back grows so far.
    pub fn grows(&self) -> bool {
        trend::grows(&self.samples.unreclaimable())
            || trend::grows(&self.samples.of_class(Class::Page))
    }
}
