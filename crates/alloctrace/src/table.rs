//! The table that the programs keep: its layout, and how a record is read out of it.
//!
//! **Invariant:** sizes and order of the fields are those of tracer.bpf.c.

use sysak_base::Va;

/// Records that the table has room for.
pub(crate) const RECORDS: usize = 1 << 17;
/// Caches that can be followed by name.
pub(crate) const FOLLOWED: usize = 8;
/// Call sites that have a hint.
pub(crate) const HINTS: usize = 4096;
/// Frames of a stack.
pub(crate) const FRAMES: usize = 32;
/// Bytes of a record.
pub(crate) const RECORD_BYTES: usize = 64;

/// Offsets inside `struct control`.
pub(crate) mod control {
    use super::{FOLLOWED, HINTS, RECORDS};

    pub const MODE: usize = 0;
    pub const OWN_TGID: usize = 4;
    pub const ALL: usize = 8;
    pub const ONE_IN: usize = 12;
    pub const TICK: usize = 16;
    pub const STACKS: usize = 20;
    pub const NOW_NS: usize = 24;
    pub const PAGES: usize = 32;
    pub const PER_CPU: usize = 36;
    pub const AREAS: usize = 40;
    pub const CACHES: usize = 48;
    pub const SIZES: usize = CACHES + 8 * FOLLOWED;
    pub const HINTS_AT: usize = SIZES + 8 * FOLLOWED;
    pub const TAGS: usize = HINTS_AT + HINTS;
    pub const BYTES: usize = TAGS + RECORDS;
}

/// An object that was allocated while the tracer watched, and not freed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it lies.
    pub object: Va,
    /// Where the allocator was called from; 0 where the event does not tell.
    pub site: Va,
    /// When, in nanoseconds since the tracer's start, to the last [`crate::Tracer::tick`].
    pub time_ns: u64,
    /// The process that it was allocated in; in an interrupt, the interrupted one.
    pub pid: u32,
    /// The command of that process, ended by a zero byte.
    pub comm: [u8; 16],
    /// Its stack, for [`crate::Tracer::stack`].
    pub stack: Option<u32>,
    /// The address of its `struct kmem_cache` where the event told it, else the bytes
    /// that were allocated for it; what is no slab object has none, see [`Record::kind`].
    pub cache: u64,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A slab object.
    Object,
    /// A block of pages, by its first `struct page`.
    Pages {
        /// log2 of the pages that were allocated. Those behind the first may have been freed one
        /// by one since, and be another's: a snapshot must find them to be of one block still.
        order: u32,
    },
    /// Per-CPU memory, by its per-CPU pointer.
    PerCpu {
        /// Bytes on each CPU: those allocated where the event tells them (since v6.1), else
        /// those asked for.
        bytes: u32,
    },
    /// What takes room in the vmalloc address space, by its first address.
    Area {
        /// Pages of that room, the guard page behind it included.
        pages: u32,
    },
}

/// Upper half of `cache` of what is no slab object; as in tracer.bpf.c.
const PAGE: u64 = 0x5041_4745;
const PER_CPU: u64 = 0x5043_5055;
const AREA: u64 = 0x4152_4541;

impl Record {
    /// What it is about.
    pub fn kind(&self) -> Kind {
        match self.cache >> 32 {
            PAGE => Kind::Pages { order: self.cache as u32 },
            PER_CPU => Kind::PerCpu { bytes: self.cache as u32 },
            AREA => Kind::Area { pages: self.cache as u32 },
            _ => Kind::Object,
        }
    }

    /// The record in these bytes; `None` when two CPUs wrote it at once.
    pub(crate) fn parse(bytes: &[u8; RECORD_BYTES]) -> Option<Record> {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(word)
        };
        let (pid, stack) = (word(24) as u32, (word(24) >> 32) as u32);
        let (key, site, time_ns, cache) = (word(0), word(8), word(16), word(32));
        let sum = [
            (key, 1),
            (site, 3),
            (time_ns, 5),
            (cache, 7),
            (u64::from(pid), 11),
            (u64::from(stack), 13),
            (word(40), 17),
            (word(48), 19),
            (1, 1),
        ]
        .iter()
        .fold(0u64, |sum, (word, factor)| sum.wrapping_add(word.wrapping_mul(*factor)));
        if sum != word(56) {
            return None;
        }
        let mut comm = [0; 16];
        comm.copy_from_slice(&bytes[40..56]);
        let stack = (stack as i32 >= 0).then_some(stack);
        Some(Record { object: Va(!key), site: Va(site), time_ns, pid, comm, stack, cache })
    }
}

/// Which hint a call site has; as `hints` is indexed in tracer.bpf.c.
pub(crate) fn hint_slot(site: Va) -> usize {
    (site.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize % HINTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_slab_object_says_so_where_others_have_their_cache() {
        let mut record = parse(0xffff_ea00_0123_4580);
        record.cache = PAGE << 32 | 3;
        assert_eq!(record.kind(), Kind::Pages { order: 3 });
        record.cache = PER_CPU << 32 | 4096;
        assert_eq!(record.kind(), Kind::PerCpu { bytes: 4096 });
        record.cache = AREA << 32 | 5;
        assert_eq!(record.kind(), Kind::Area { pages: 5 });
        for cache in [0xffff_8880_0004_2500, 64, 4 << 20] {
            record.cache = cache;
            assert_eq!(record.kind(), Kind::Object, "{cache:#x}");
        }
    }

    fn parse(object: u64) -> Record {
        Record::parse(&whole(object)).unwrap()
    }

    fn whole(object: u64) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&(!object).to_ne_bytes());
        bytes[28..32].copy_from_slice(&(-1i32).to_ne_bytes());
        let sum = (!object).wrapping_add(u64::from(u32::MAX) * 13).wrapping_add(1);
        bytes[56..].copy_from_slice(&sum.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_record_that_two_cpus_wrote_at_once_is_none() {
        let object = 0xffff_8880_1234_5640u64;
        let record = parse(object);
        assert_eq!((record.object, record.stack), (Va(object), None));
        let mut bytes = whole(object);
        bytes[8] = 1;
        assert_eq!(Record::parse(&bytes), None);
    }
}
