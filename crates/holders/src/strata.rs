//! Strata: which objects of a cache are searched for, so that some speak for all.
//!
//! **Invariant:** of each kind of place that objects are pointed at from some are searched for, as far as there is
//! room.

use std::collections::HashMap;

use sysak_heap::Object;

use crate::ReferenceKind;

/// A component with an expected sample of at least so many objects is a stratum of its own.
const LARGE: u64 = 4;
/// The smallest sample of a stratum, so that rare kinds of references are seen, too.
const LEAST_SAMPLE: u64 = 32;

/// Objects whose sample speaks for all of them: those of a large component, or of the small ones that are
/// pointed at from the same kind of place.
pub(crate) struct Stratum {
    objects: u64,
    /// How many of them are searched for.
    quota: u64,
    seen: u64,
    /// The first object of its largest component, and how many that has.
    first: Object,
    largest: u32,
}

impl Stratum {
    /// Whether the next object is part of the sample, which is spread evenly over all.
    pub(crate) fn takes_next(&mut self) -> bool {
        let before = share(self.seen, self.quota, self.objects);
        self.seen += 1;
        share(self.seen, self.quota, self.objects) > before
    }

    /// Whether an object's component stands for all, as none of them is searched for.
    pub(crate) fn is_spoken_for_by(&self, object: Object) -> bool {
        self.quota == 0 && self.first == object
    }
}

/// The strata of a cache, where one in `spacing` objects is searched for.
pub(crate) struct Strata {
    spacing: u64,
    all: Vec<Stratum>,
    of_kind: HashMap<Option<ReferenceKind>, u32>,
}

impl Strata {
    pub(crate) fn new(spacing: u64) -> Strata {
        Strata { spacing, all: Vec::new(), of_kind: HashMap::new() }
    }

    /// Adds a component of so many objects that is mostly pointed at from such a place; the number of its stratum.
    pub(crate) fn add(&mut self, objects: u32, kind: Option<ReferenceKind>, first: Object) -> u32 {
        let next = self.all.len() as u32;
        let number = match u64::from(objects) >= LARGE * self.spacing {
            true => next,
            false => *self.of_kind.entry(kind).or_insert(next),
        };
        if number == next {
            self.all.push(Stratum { objects: 0, quota: 0, seen: 0, first, largest: 0 });
        }
        let stratum = &mut self.all[number as usize];
        stratum.objects += u64::from(objects);
        if objects > stratum.largest {
            (stratum.largest, stratum.first) = (objects, first);
        }
        number
    }

    /// The stratum of a number.
    pub(crate) fn get(&mut self, number: u32) -> &mut Stratum {
        &mut self.all[number as usize]
    }

    /// How many objects each has, and how many of all are searched for.
    pub(crate) fn objects_and_sampled(&self) -> (Vec<u64>, u64) {
        let objects = self.all.iter().map(|one| one.objects).collect();
        (objects, self.all.iter().map(|one| one.quota).sum())
    }

    /// Shares `most` searches out among the strata of so many objects; rare kinds have a least share.
    pub(crate) fn share_out(&mut self, most: u64, objects: u64) {
        let least = (most / 2 / (self.all.len() as u64).max(1)).min(LEAST_SAMPLE);
        for stratum in &mut self.all {
            stratum.quota = share(stratum.objects, most, objects).max(least).min(stratum.objects);
        }
    }
}

/// Of the first `seen` of all objects, how many are among the at most `most` that are chosen.
fn share(seen: u64, most: u64, all: u64) -> u64 {
    (u128::from(seen) * u128::from(most.min(all)) / u128::from(all.max(1))) as u64
}
