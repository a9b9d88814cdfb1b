//! Loads, attaches and steers the programs, and reads what they keep.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Instant;

use libbpf_rs::{Link, MapCore, MapFlags, Object, OpenObject};
use sysak_base::{Pfn, Va};
use sysak_bpf::{Aligned, LoadError, Mapping, Pagemap};

use crate::others::{OTHERS, OtherMemory};
use crate::seen::{SEEN_BYTES, Seen};
use crate::table::{FOLLOWED, FRAMES, RECORD_BYTES, RECORDS, Record, control, hint_slot};

const LEN: usize = include_bytes!(concat!(env!("OUT_DIR"), "/tracer.bpf.o")).len();
static OBJECT: Aligned<LEN> = Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/tracer.bpf.o")));

/// Which arguments this kernel's events have: the number of the argument, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Bytes allocated, of `kmalloc`.
    pub kmalloc_bytes: u32,
    /// Bytes allocated, of `kmem_cache_alloc`.
    pub alloc_bytes: u32,
    /// The cache, of `kmem_cache_alloc`.
    pub alloc_cache: u32,
    /// The cache, of `kmem_cache_free`.
    pub free_cache: u32,
    /// Whether allocations on a given node have events of their own.
    pub node_events: bool,
    /// The pointer, of `percpu_alloc_percpu`; without it per-CPU memory is not followed.
    pub per_cpu_pointer: u32,
    /// Bytes allocated or asked for, of `percpu_alloc_percpu`.
    pub per_cpu_bytes: u32,
    /// Whether the call site is the first argument of `percpu_alloc_percpu`.
    pub per_cpu_site: bool,
    /// Whether there are `alloc_vmap_area` and `free_vmap_area_noflush`.
    pub areas: bool,
}

/// Whose allocations are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Every cache's.
    All,
    /// These caches', eight at most.
    Caches(Vec<Followed>),
}

/// A cache to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Its `struct kmem_cache`.
    pub cache: Va,
    /// Bytes from one of its objects to the next, where its events tell only those.
    pub bytes: Option<u64>,
}

/// What the programs do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Off = 0,
    /// Allocations are no longer recorded, frees are: what is in flight drains.
    Drain = 1,
    /// Both are.
    Record = 2,
}

/// Why allocations cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The programs were refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An event does not exist, or refuses the program.
    #[error("cannot watch the kernel's event {event}: {why} (is CONFIG_TRACEPOINTS set?)")]
    NoEvent {
        /// The tracepoint.
        event: &'static str,
        /// What the kernel said.
        why: String,
    },
}

/// Programs on the allocation events of the running kernel.
pub struct Tracer {
    // Dropped first: nothing runs any more when the maps go.
    links: Vec<Link>,
    object: Object,
    records: Mapping,
    control: Mapping,
    tick: Cell<u32>,
    start: Instant,
    /// What there are programs for.
    attached: OtherMemory,
    /// What there can be none for.
    refused: OtherMemory,
    followed: OtherMemory,
}

/// Program and event.
const ATTACHED: [(&str, &str); 4] = [
    ("on_kmalloc", "kmalloc"),
    ("on_cache_alloc", "kmem_cache_alloc"),
    ("on_kfree", "kfree"),
    ("on_cache_free", "kmem_cache_free"),
];
/// Since Linux commit 11e9734bcb6a ("mm/slab_common: unify NUMA and UMA version of
/// tracepoints") (v6.1) the events above speak for these too.
const ATTACHED_BEFORE_6_1: [(&str, &str); 2] =
    [("on_kmalloc", "kmalloc_node"), ("on_cache_alloc", "kmem_cache_alloc_node")];

impl Tracer {
    /// Loads and attaches the programs; nothing is recorded before [`Tracer::set_mode`].
    pub fn start(events: Events, follow: &Follow) -> Result<Tracer, TraceError> {
        sysak_bpf::preflight()?;
        let mut object = sysak_bpf::open(&OBJECT)?;
        set_arguments(&mut object, events);
        let object = object.load().map_err(|error| LoadError::load(&error))?;
        let map = |name, len| Mapping::of_map(&object, name, len).map_err(LoadError::setup);
        let records = map("records", RECORDS * RECORD_BYTES)?;
        let control = map(".bss", control::BYTES)?;
        let (tick, start) = (Cell::new(0), Instant::now());
        let (links, attached, followed) = (Vec::new(), OtherMemory::NONE, OtherMemory::NONE);
        let refused = OtherMemory {
            per_cpu: events.per_cpu_pointer == 0,
            areas: !events.areas,
            ..OtherMemory::NONE
        };
        let mut tracer =
            Tracer { links, object, records, control, tick, start, attached, refused, followed };
        tracer.put(control::OWN_TGID, std::process::id());
        tracer.put(control::ONE_IN, 1);
        tracer.follow(follow);
        // Frees first: an allocation that is recorded before its free is watched for
        // would stay in the table.
        let older = ATTACHED_BEFORE_6_1.iter().filter(|_| events.node_events);
        for (program, event) in ATTACHED.iter().rev().chain(older) {
            tracer.attach(program, event)?;
        }
        Ok(tracer)
    }

    fn attach(&mut self, name: &str, event: &'static str) -> Result<(), TraceError> {
        let program = self.object.progs_mut().find(|program| program.name() == name);
        let missing = || TraceError::NoEvent { event, why: "no program for it".to_owned() };
        let link = program.ok_or_else(missing)?.attach_raw_tracepoint(event);
        let refused = |error| TraceError::NoEvent { event, why: format!("{error}") };
        self.links.push(link.map_err(refused)?);
        Ok(())
    }

    /// Changes whose allocations are recorded; what is in the table stays.
    pub fn follow(&self, follow: &Follow) {
        let none = Vec::new();
        let caches = match follow {
            Follow::All => &none,
            Follow::Caches(caches) => caches,
        };
        for slot in 0..FOLLOWED {
            let followed = caches.get(slot);
            let cache = followed.map_or(0, |followed| followed.cache.0);
            let bytes = followed.and_then(|followed| followed.bytes).unwrap_or(0);
            self.control.put(control::CACHES + slot * 8, &cache.to_ne_bytes());
            self.control.put(control::SIZES + slot * 8, &bytes.to_ne_bytes());
        }
        self.put(control::ALL, u32::from(*follow == Follow::All));
    }

    /// Follows other memory too, or no longer; returns what is followed now. Programs are attached
    /// when they are first wanted, and stay: what is recorded must not miss its free. What the
    /// kernel has no events for is left out, now and later: see [`Tracer::can_follow`].
    pub fn follow_others(&mut self, wanted: OtherMemory) -> OtherMemory {
        for kind in OTHERS {
            let (attached, refused) = (kind.is_in(self.attached), kind.is_in(self.refused));
            if kind.is_in(wanted) && !attached && !refused {
                let all = self.attach_all(&kind.programs);
                kind.put(if all.is_ok() { &mut self.attached } else { &mut self.refused });
            }
        }
        self.followed = wanted.and(self.attached);
        self.put(control::PAGES, u32::from(self.followed.pages));
        self.put(control::PER_CPU, u32::from(self.followed.per_cpu));
        self.put(control::AREAS, u32::from(self.followed.areas));
        self.followed
    }

    /// What this kernel has events for, besides slab objects. That it has those of a kind that was
    /// never followed is taken for granted until then.
    pub fn can_follow(&self) -> OtherMemory {
        self.refused.not()
    }

    /// All of these programs, or none.
    fn attach_all(&mut self, programs: &[(&str, &'static str)]) -> Result<(), TraceError> {
        let before = self.links.len();
        let all = programs.iter().try_for_each(|(program, event)| self.attach(program, event));
        if all.is_err() {
            self.links.truncate(before);
        }
        all
    }

    /// From now on.
    pub fn set_mode(&self, mode: Mode) {
        self.put(control::MODE, mode as u32);
    }

    /// Records one of `one_in` allocations; rounded up to a power of two.
    pub fn thin(&self, one_in: u32) {
        self.put(control::ONE_IN, one_in.clamp(1, 1 << 20).next_power_of_two());
    }

    /// Begins a new period, in which each CPU may take this many stacks; where pages are followed,
    /// half of them are theirs. Records get the time of the period's beginning: their age is
    /// known no better than these calls are frequent.
    pub fn tick(&self, stacks_each_cpu: u32) {
        self.tick.set(self.tick.get().wrapping_add(1));
        self.control.put(control::NOW_NS, &self.now_ns().to_ne_bytes());
        let purses = 1 + u32::from(self.followed.pages);
        self.put(control::STACKS, stacks_each_cpu.div_ceil(purses));
        self.put(control::TICK, self.tick.get());
    }

    /// Notes that a call site is the function to blame itself: others need a stack more. Where
    /// the site is not known (0), only a stack can tell.
    pub fn names_itself(&self, site: Va) {
        if site.0 != 0 {
            self.control.put(control::HINTS_AT + hint_slot(site), &[1]);
        }
    }

    /// Nanoseconds since the start, as [`Record::time_ns`] has them.
    pub fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// What was counted since the start.
    pub fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        let map = self.object.maps().find(|map| map.name() == "seen");
        let values = map.and_then(|map| map.lookup_percpu(&[0; 4], MapFlags::ANY).ok().flatten());
        for cpu in values.unwrap_or_default() {
            seen.add(&cpu[..SEEN_BYTES.min(cpu.len())]);
        }
        seen
    }

    /// Shows every record to `each`; returns how many were damaged.
    pub fn for_each_record(&self, mut each: impl FnMut(Record)) -> u64 {
        let mut tags = vec![0; RECORDS];
        self.control.get(control::TAGS, &mut tags);
        let mut damaged = 0;
        for (index, _) in tags.iter().enumerate().filter(|(_, tag)| **tag != 0) {
            let mut bytes = [0; RECORD_BYTES];
            self.records.get(index * RECORD_BYTES, &mut bytes);
            match Record::parse(&bytes) {
                Some(record) => each(record),
                None => damaged += 1,
            }
        }
        damaged
    }

    /// How many records there are.
    pub fn outstanding(&self) -> u64 {
        let mut tags = vec![0; RECORDS];
        self.control.get(control::TAGS, &mut tags);
        tags.iter().filter(|tag| **tag != 0).count() as u64
    }

    /// The return addresses of a stack, innermost first; empty where it is gone.
    pub fn stack(&self, id: u32) -> Vec<Va> {
        let map = self.object.maps().find(|map| map.name() == "stacks");
        let found = map.and_then(|map| map.lookup(&id.to_ne_bytes(), MapFlags::ANY).ok().flatten());
        let words = found.unwrap_or_default();
        let frames = words.chunks_exact(8).take(FRAMES).map(|word| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(word);
            Va(u64::from_ne_bytes(bytes))
        });
        frames.take_while(|frame| frame.0 != 0).collect()
    }

    /// The pages of the tables: what lies in them must not count as a reference.
    pub fn own_pages(&self) -> Vec<Pfn> {
        let Ok(pagemap) = Pagemap::open() else { return Vec::new() };
        let places = [self.records.place(), self.control.place()];
        let pages: BTreeSet<Pfn> = places
            .into_iter()
            .flat_map(|(start, len)| pagemap.frames(start, len).collect::<Vec<_>>())
            .collect();
        pages.into_iter().collect()
    }

    fn put(&self, at: usize, value: u32) {
        self.control.put(at, &value.to_ne_bytes());
    }
}

/// The first words of the programs' constants, in the order of tracer.bpf.c.
fn set_arguments(object: &mut OpenObject, events: Events) {
    let constants = object.maps_mut().find(|map| map.name().to_string_lossy().ends_with(".rodata"));
    let Some(mut constants) = constants else { return };
    let Some(bytes) = constants.initial_value_mut() else { return };
    let numbers = [
        events.kmalloc_bytes,
        events.alloc_bytes,
        events.alloc_cache,
        events.free_cache,
        events.per_cpu_pointer,
        events.per_cpu_bytes,
        u32::from(events.per_cpu_site),
    ];
    for (place, number) in bytes.chunks_exact_mut(4).zip(numbers) {
        place.copy_from_slice(&number.to_ne_bytes());
    }
}
