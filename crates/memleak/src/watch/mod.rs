//! Watches a live machine: records allocations, lets the short-lived drain, samples growth.
//!
//! **Invariant:** a record proves nothing by itself. It counts when a snapshot that was
//! taken after the drain finds its object allocated, and accuses when nothing leads there.

mod growth;
mod names;
mod pace;
pub mod rounds;
mod samples;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sysak_alloctrace::{
    Events, Follow, Followed, Kind, Mode, OtherMemory, Record, TraceError, Tracer,
};
use sysak_base::{Cancel, Va};
use sysak_heap::{Cache, Class, Heap, Object};
use sysak_kernel::Kernel;
use sysak_kernel::shape::EventShape;
use sysak_report::Stage;
use sysak_snapshot::{Stages, Watching};

use crate::decision::{DRAIN, Until};

pub use growth::{Growth, Known};
pub use names::{Blamed, FunctionId, Names};
pub use pace::Pace;
pub use samples::{Sample, Samples};

/// From one count of the records to the next.
const TICK: Duration = Duration::from_millis(250);
/// What is older than this is not in flight any more, most of it.
const AGED: Duration = Duration::from_secs(3);
/// Records are searched for the front-runner this often: symbols cost time.
const TICKS_A_COUNT: u32 = 4;

/// So many stacks of one process at one call site that agree speak for those not taken.
const UNANIMOUS: u64 = 8;

/// Watching goes on.
pub struct Watch<'a> {
    tracer: Tracer,
    /// Who is blamed for what.
    pub names: Names<'a>,
    /// What it costs.
    pub pace: Pace,
    /// How the machine grows.
    pub samples: Samples,
    /// Seconds of collecting.
    pub collected: Duration,
    /// Seconds in which only frees were recorded.
    pub drained: Duration,
    last_tick: Instant,
    ticks: u32,
    front: Option<(FunctionId, u64)>,
}

/// The events' arguments as the tracer wants them: 0 for none.
pub fn arguments(shape: EventShape) -> Events {
    let number = |argument: Option<u32>| argument.unwrap_or(0);
    Events {
        kmalloc_bytes: number(shape.kmalloc_bytes),
        alloc_bytes: number(shape.alloc_bytes),
        alloc_cache: number(shape.alloc_cache),
        free_cache: number(shape.free_cache),
        node_events: shape.node_events,
        per_cpu_pointer: shape.per_cpu.map_or(0, |event| event.pointer),
        per_cpu_bytes: shape.per_cpu.map_or(0, |event| event.bytes),
        per_cpu_site: shape.per_cpu.is_some_and(|event| event.has_site),
        areas: shape.areas,
    }
}

/// An object that is recorded, still allocated, and of the cache that the record says.
#[derive(Clone, Copy, Debug)]
pub struct Traced {
    /// What was recorded.
    pub record: Record,
    /// Its place in the heap.
    pub object: Object,
    /// Its cache.
    pub cache: u16,
    /// Who is blamed for it.
    pub function: FunctionId,
}

impl<'a> Watch<'a> {
    /// Attaches the tracer; nothing is recorded before [`Watch::collect`].
    pub fn start(
        kernel: &Kernel<'a>,
        events: EventShape,
        caches: &[Cache],
        follow: Option<&[u16]>,
        budget_percent: f64,
    ) -> Result<Watch<'a>, TraceError> {
        let events = arguments(events);
        let is_of = |cache: &u16, class| caches[usize::from(*cache)].class == class;
        let followed = |cache: &u16| {
            let cache = &caches[usize::from(*cache)];
            // Events of kmalloc, and before v6.1 of all caches, tell only the size.
            let by_size = events.alloc_cache == 0 || cache.name.contains("kmalloc");
            Followed { cache: cache.va, bytes: by_size.then_some(cache.stride.into()) }
        };
        let follow_caches = follow;
        let follow = match follow {
            Some(some) => {
                let slabs = some.iter().filter(|cache| is_of(cache, Class::Slab));
                Follow::Caches(slabs.map(followed).collect())
            }
            None => Follow::All,
        };
        let follows = |class| follow_caches.is_none_or(|c| c.iter().any(|c| is_of(c, class)));
        let others = OtherMemory {
            pages: follows(Class::Page),
            per_cpu: follows(Class::PerCpu),
            areas: follows(Class::Vmalloc),
        };
        let mut tracer = Tracer::start(events, &follow)?;
        tracer.follow_others(others);
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
        Ok(Watch {
            tracer,
            names: Names::new(kernel.symbols),
            pace: Pace::new(budget_percent, cpus as u64),
            samples: Samples::start(kernel, caches),
            collected: Duration::ZERO,
            drained: Duration::ZERO,
            last_tick: Instant::now(),
            ticks: 0,
            front: None,
        })
    }

    /// The pages that the records lie in: they must be no roots.
    pub fn own_pages(&self) -> Vec<sysak_base::Pfn> {
        self.tracer.own_pages()
    }

    /// What was counted since the start.
    pub fn seen(&self) -> sysak_alloctrace::Seen {
        self.tracer.seen()
    }

    /// Records allocations until there is enough; false when cancelled.
    pub fn collect(
        &mut self,
        kernel: &Kernel<'_>,
        until: Until,
        stages: &dyn Stages,
        cancel: &Cancel,
    ) -> bool {
        self.pace.begin(&self.tracer, self.tracer.seen());
        self.tracer.set_mode(Mode::Record);
        self.last_tick = Instant::now();
        let start = Instant::now();
        let is_enough = |watch: &Watch<'_>| {
            let front = watch.front.map_or(0, |(_, aged)| aged);
            start.elapsed() >= until.least && front >= until.enough
        };
        while !cancel.is_set() && start.elapsed() < until.most && !is_enough(self) {
            let total = until.most.as_millis() as u64;
            stages.tell(Stage::Collect, start.elapsed().as_millis() as u64, total);
            self.tick(kernel, stages);
            std::thread::sleep(TICK.min(until.most.saturating_sub(start.elapsed())));
        }
        self.collected += start.elapsed();
        !cancel.is_set()
    }

    /// From now on all that is allocated is recorded; returns what is, besides slab objects.
    pub fn follow_all(&mut self) -> OtherMemory {
        self.tracer.follow(&Follow::All);
        self.tracer.follow_others(OtherMemory::ALL)
    }

    /// Lets what is in flight drain; false when cancelled.
    pub fn drain(&mut self, kernel: &Kernel<'_>, stages: &dyn Stages, cancel: &Cancel) -> bool {
        self.tracer.set_mode(Mode::Drain);
        let start = Instant::now();
        while !cancel.is_set() && start.elapsed() < DRAIN {
            let total = DRAIN.as_millis() as u64;
            stages.tell(Stage::Drain, start.elapsed().as_millis() as u64, total);
            self.tick(kernel, stages);
            std::thread::sleep(TICK);
        }
        self.drained += start.elapsed();
        !cancel.is_set()
    }

    fn tick(&mut self, kernel: &Kernel<'_>, stages: &dyn Stages) {
        let seen = self.tracer.seen();
        let passed = self.last_tick.elapsed().as_nanos() as u64;
        self.last_tick = Instant::now();
        self.pace.tick(&self.tracer, &seen, passed);
        self.samples.tick(kernel);
        self.ticks += 1;
        if self.ticks.is_multiple_of(TICKS_A_COUNT) {
            self.count();
        }
        let front = self.front.map(|(id, _)| self.names.name(id));
        stages.watching(&Watching {
            events: seen.allocs + seen.frees,
            outstanding: self.tracer.outstanding(),
            front_runner: front,
        });
    }

    /// Finds the function with most aged records.
    fn count(&mut self) {
        let mut records = Vec::new();
        self.tracer.for_each_record(|record| records.push(record));
        let aged = self.tracer.now_ns().saturating_sub(AGED.as_nanos() as u64);
        let mut counts: HashMap<FunctionId, u64> = HashMap::new();
        for record in &records {
            let function = self.names.of(&self.tracer, record);
            if record.time_ns <= aged {
                *counts.entry(function).or_insert(0) += 1;
            }
        }
        self.front = counts.into_iter().max_by_key(|(id, count)| (*count, std::cmp::Reverse(*id)));
    }

    /// The records whose objects a snapshot found allocated, in the cache that they say; and how
    /// many records there were, and how many of them were damaged.
    pub fn traced(&mut self, heap: &Heap) -> (Vec<Traced>, Counted) {
        let mut records = Vec::new();
        let damaged = self.tracer.for_each_record(|record| records.push(record));
        let counted = Counted { outstanding: records.len() as u64, damaged };
        let functions = self.functions(&records);
        let records = records.into_iter().zip(functions);
        let traced = records.filter_map(|(record, function)| {
            let object = heap.find_object(record.object.0)?;
            let cache = heap.slabs[object.slab as usize].cache;
            is_still_there(heap, &record, object).then_some(Traced {
                record,
                object,
                cache,
                function,
            })
        });
        (traced.collect(), counted)
    }

    /// Who is blamed for each record. One without a stack, at a call site that only allocates for
    /// others, is put down to the function that all the others of its process there belong to.
    fn functions(&mut self, records: &[Record]) -> Vec<FunctionId> {
        let own = records.iter().map(|record| self.names.of(&self.tracer, record));
        let own: Vec<FunctionId> = own.collect();
        let mut by_caller: HashMap<(Va, u32), HashMap<FunctionId, u64>> = HashMap::new();
        for (record, function) in records.iter().zip(&own) {
            if record.stack.is_some() {
                let functions = by_caller.entry((record.site, record.pid)).or_default();
                *functions.entry(*function).or_insert(0) += 1;
            }
        }
        let only = |record: &Record| {
            let mut functions = by_caller.get(&(record.site, record.pid))?.iter();
            let (function, many) = functions.next()?;
            (functions.next().is_none() && *many >= UNANIMOUS).then_some(*function)
        };
        let of = |(record, own): (&Record, &FunctionId)| match record.stack {
            None if self.names.function(*own).is_wrapper => only(record).unwrap_or(*own),
            _ => *own,
        };
        records.iter().zip(&own).map(of).collect()
    }
}

/// Whether a record's object is allocated, and what the record says that it is.
fn is_still_there(heap: &Heap, record: &Record, object: Object) -> bool {
    let slab = &heap.slabs[object.slab as usize];
    let known = &heap.caches[usize::from(slab.cache)];
    let same = match (record.kind(), known.class) {
        (Kind::Object, Class::Slab) => {
            let same = record.cache == known.va.0 || record.cache == u64::from(known.stride);
            same && heap.object_va(object) == record.object
        }
        (Kind::Pages { order }, Class::Page) => {
            let start = heap.struct_pages(slab.pfn, 1).start() == record.object;
            start && 1u64.checked_shl(order) == Some(u64::from(slab.pages))
        }
        (Kind::PerCpu { .. }, Class::PerCpu) | (Kind::Area { .. }, Class::Vmalloc) => {
            heap.object_va(object) == record.object
        }
        _ => false,
    };
    same && heap.is_live(object)
}

/// How many records there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Records that could be read.
    pub outstanding: u64,
    /// Records that two CPUs wrote at once.
    pub damaged: u64,
}
