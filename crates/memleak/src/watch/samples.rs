//! How the machine grew while it was watched: a sample a second.

use std::time::{Duration, Instant};

use sysak_heap::{Cache, Class};
use sysak_kernel::{Kernel, slub};
use sysak_target::Pulse;

/// What was counted at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Since the first one.
    pub at: Duration,
    /// Figures of the whole machine.
    pub pulse: Pulse,
    /// Objects that each cache has room for; empty where this kernel does not count them.
    pub totals: Vec<u64>,
}

/// Samples, the first at the start.
pub struct Samples {
    start: Instant,
    caches: Vec<Cache>,
    /// In order.
    pub taken: Vec<Sample>,
}

/// From one sample to the next.
const EVERY: Duration = Duration::from_secs(1);

impl Samples {
    /// Takes the first.
    pub fn start(kernel: &Kernel<'_>, caches: &[Cache]) -> Samples {
        // Slab caches come first: what stands for one in other memory counts no objects.
        let slabs = caches.iter().take_while(|cache| cache.class == Class::Slab);
        let caches = slabs.cloned().collect();
        let mut samples = Samples { start: Instant::now(), caches, taken: Vec::new() };
        samples.take(kernel);
        samples
    }

    /// Takes one more where it is time for it.
    pub fn tick(&mut self, kernel: &Kernel<'_>) {
        if self.taken.last().is_none_or(|last| self.start.elapsed() >= last.at + EVERY) {
            self.take(kernel);
        }
    }

    fn take(&mut self, kernel: &Kernel<'_>) {
        let totals = slub::object_totals(kernel, &self.caches).unwrap_or_default();
        self.taken.push(Sample { at: self.start.elapsed(), pulse: Pulse::take(), totals });
    }

    /// Seconds and bytes of all memory that cannot be taken back.
    pub fn unreclaimable(&self) -> Vec<(f64, u64)> {
        let each =
            |sample: &Sample| Some((sample.at.as_secs_f64(), sample.pulse.unreclaimable_bytes?));
        self.taken.iter().filter_map(each).collect()
    }

    /// Seconds and bytes of one cache's objects.
    pub fn of_cache(&self, cache: u16) -> Vec<(f64, u64)> {
        let stride = u64::from(self.caches[usize::from(cache)].stride);
        let each = |sample: &Sample| {
            Some((sample.at.as_secs_f64(), sample.totals.get(usize::from(cache))? * stride))
        };
        self.taken.iter().filter_map(each).collect()
    }

    /// Seconds and bytes of memory that is no slab.
    pub fn of_class(&self, class: Class) -> Vec<(f64, u64)> {
        let bytes = |pulse: &Pulse| match class {
            Class::Slab => None,
            Class::Page => pulse.page_bytes,
            Class::Vmalloc => pulse.vmalloc_bytes,
            Class::PerCpu => pulse.percpu_bytes,
        };
        let each = |sample: &Sample| Some((sample.at.as_secs_f64(), bytes(&sample.pulse)?));
        self.taken.iter().filter_map(each).collect()
    }

    /// The figures of the first and of the last sample.
    pub fn ends(&self) -> Option<(&Pulse, &Pulse)> {
        Some((&self.taken.first()?.pulse, &self.taken.last()?.pulse))
    }
}
