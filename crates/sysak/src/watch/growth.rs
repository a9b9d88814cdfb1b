//! How one cache grew while it was watched, and whether a count that user space sees explains it.

use sysak_analysis::trend;
use sysak_target::Pulse;

use super::{Samples, Watch};

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

/// How a cache grew.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// Of the room in its slabs.
    pub bytes_per_s: f64,
    /// Whether it grew all the time, and enough to be a habit.
    pub is_steady: bool,
    /// A count that grew as much, and by how much.
    pub explained: Option<(Known, u64)>,
}

impl Growth {
    /// By the samples; `None` where the cache did not grow. What the kernel takes back when it
    /// needs memory never grows without bound.
    pub fn of(samples: &Samples, cache: u16, stride: u64, reclaimable: bool) -> Option<Growth> {
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
        let explained = COUNTS
            .iter()
            .filter(|_| is_much)
            .filter_map(grew)
            // Of several, the one that grew most like the cache.
            .min_by_key(|(_, grew_by)| grew_by.abs_diff(objects));
        Some(Growth { bytes_per_s, is_steady, explained })
    }

    /// Whether it grows and nothing explains it.
    pub fn is_suspicious(&self) -> bool {
        self.is_steady && self.explained.is_none()
    }
}

impl Watch<'_> {
    /// Whether memory that cannot be taken back grows so far.
    pub fn grows(&self) -> bool {
        trend::grows(&self.samples.unreclaimable())
    }
}
