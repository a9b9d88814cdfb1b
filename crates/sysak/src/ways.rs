//! Who holds objects that something leads to: a module's variable, an open file's process, a
//! thread, a variable of the kernel.
//!
//! Objects of one cache often hang on each other, in lists and trees: what hangs together is
//! held together, and only what points at it from outside is followed upwards.
//!
//! **Invariant:** a holder is named only where an unbroken way of references leads from it.

use std::collections::{HashMap, HashSet};

use sysak_analysis::climb::{Limits, Way, climb};
use sysak_analysis::refs::{self, From, Reference};
use sysak_base::heap::{Class, Heap, Object};
use sysak_base::{Cancel, Va};
use sysak_kernel::holders::{self, Owners};
use sysak_kernel::place::{Place, Places};
use sysak_kernel::{Kernel, shape};

use crate::look::Look;

/// Objects of one cache that are asked about.
pub const MOST_OBJECTS: usize = 1 << 16;
/// References from outside that are kept for what hangs together.
const KEPT: usize = 6;
/// Steps upwards.
const DEPTH: u32 = 7;

/// What a holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A process.
    Process,
    /// A module.
    Module,
    /// A variable of the kernel.
    Symbol,
    /// The kernel, nobody knows which part of it.
    Kernel,
}

/// Who holds some of the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBy {
    /// From the holder to the objects.
    pub path: Vec<String>,
    /// What it is.
    pub kind: Kind,
    /// How many of the objects.
    pub objects: u64,
}

/// Names the ways that references go.
pub struct Guide<'a, 'k> {
    kernel: &'a Kernel<'k>,
    look: &'a Look,
    places: Places<'a, 'k>,
    owners: Owners,
}

impl<'a, 'k> Guide<'a, 'k> {
    /// Reads what is needed of tasks, files and areas.
    pub fn new(kernel: &'a Kernel<'k>, look: &'a Look) -> Guide<'a, 'k> {
        let places = Places::new(kernel, &look.heap, &look.areas);
        Guide { kernel, look, places, owners: holders::owners(kernel, &look.heap) }
    }

    /// What places are called.
    pub fn places(&self) -> &Places<'a, 'k> {
        &self.places
    }

    /// Whether a way may end at an object: a thread, an open file, an address space, a module.
    pub fn is_end(&self, object: Object) -> bool {
        self.end(object).is_some()
    }

    /// Who holds an object that a way may end at.
    fn end(&self, object: Object) -> Option<(Kind, String)> {
        let heap = &self.look.heap;
        let cache = heap.cache_of(object);
        let at = heap.object_va(object);
        let named = |(pid, name): (u32, &str)| (Kind::Process, format!("{name} ({pid})"));
        let process = |index: &usize| {
            let process = &self.owners.processes[*index];
            named((process.pid, &process.name))
        };
        match cache.class {
            Class::Vmalloc => match self.places.of(at) {
                Place::Module(at) => {
                    let module = self.kernel.symbols.symbolize(at)?.module?;
                    Some((Kind::Module, format!("[{module}]")))
                }
                _ => None,
            },
            Class::Slab if cache.has_name(shape::TASK_CACHE) => {
                let (pid, name) = self.places.thread(at)?;
                Some(named((*pid, name)))
            }
            Class::Slab => {
                self.owners.files.get(&at).or_else(|| self.owners.spaces.get(&at)).map(process)
            }
            Class::Page | Class::PerCpu => None,
        }
    }

    /// How good an end of a way a reference is; `None` where no way ends there.
    pub fn rank(&self, reference: &Reference) -> Option<u32> {
        let (kind, _) = self.holder(reference)?;
        let is_stack = || matches!(self.places.of(reference.at), Place::Stack { .. });
        Some(match kind {
            Kind::Module => 0,
            // What merely stands on a stack may be anybody's.
            Kind::Process if reference.from == From::Root && is_stack() => 3,
            Kind::Process => 1,
            Kind::Symbol => 2,
            Kind::Kernel => 4,
        })
    }

    /// Who holds what a reference leads to, if the way ends there.
    pub fn holder(&self, reference: &Reference) -> Option<(Kind, String)> {
        match reference.from {
            From::Object(object) => {
                let (kind, name) = self.end(object)?;
                match self.places.of(reference.at) {
                    Place::Module(at) => Some((kind, self.symbol(at).unwrap_or(name))),
                    _ => Some((kind, name)),
                }
            }
            From::Register => Some((Kind::Kernel, "a register".to_owned())),
            From::Root => Some(self.root(reference.at)),
        }
    }

    fn root(&self, at: Va) -> (Kind, String) {
        let known = |kind, name: Option<String>, or: &str| match name {
            Some(name) => (kind, name),
            None => (Kind::Kernel, or.to_owned()),
        };
        match self.places.of(at) {
            Place::Image(at) => known(Kind::Symbol, self.symbol(at), "data of the kernel"),
            Place::Module(at) => known(Kind::Module, self.symbol(at), "data of a module"),
            Place::PerCpu(at) => known(Kind::Symbol, self.symbol(at), "per-CPU memory"),
            Place::Stack { pid: 0, name } if name.is_empty() => {
                (Kind::Kernel, "a stack".to_owned())
            }
            Place::Stack { pid, name } => (Kind::Process, format!("stack of {name} ({pid})")),
            Place::Area(_) => (Kind::Kernel, "a vmalloc area".to_owned()),
            Place::StructPage(_) => (Kind::Kernel, "struct page".to_owned()),
            Place::Page(_) => (Kind::Kernel, "a page of the kernel".to_owned()),
            Place::Unknown => (Kind::Kernel, "unknown memory".to_owned()),
        }
    }

    /// `flow_table [mod]`, without the offset: a table is one holder.
    fn symbol(&self, at: Va) -> Option<String> {
        let symbol = self.kernel.symbols.symbolize(at)?;
        let is_inside = symbol.size.is_none_or(|size| symbol.offset < size);
        is_inside.then(|| match symbol.module {
            Some(module) => format!("{} [{module}]", symbol.name),
            None => symbol.name.to_owned(),
        })
    }

    /// What a reference stands in: `kmalloc-64+0x10`.
    pub fn step(&self, reference: &Reference) -> String {
        let From::Object(object) = reference.from else {
            return self.holder(reference).map_or(String::new(), |(_, name)| name);
        };
        let heap = &self.look.heap;
        let name = &heap.cache_of(object).name;
        match heap.cache_of(object).class {
            Class::Slab => {
                let offset = reference.at.0.wrapping_sub(heap.object_va(object).0);
                format!("{name}+{offset:#x}")
            }
            _ => name.clone(),
        }
    }

    /// The names along a way, from the holder downwards.
    fn path(&self, way: &Way) -> Option<(Kind, Vec<String>)> {
        let (kind, name) = self.holder(way.last()?)?;
        let steps = way.iter().rev().skip(1).map(|step| self.step(step));
        Some((kind, std::iter::once(name).chain(steps).collect()))
    }
}

/// Up to [`MOST_OBJECTS`] reached objects of a cache, those of whole slabs.
pub fn sample(heap: &Heap, cache: u16) -> Vec<Object> {
    let mut objects = Vec::new();
    for (slab, _) in (0..).zip(&heap.slabs).filter(|(_, slab)| slab.cache == cache) {
        if objects.len() >= MOST_OBJECTS {
            break;
        }
        heap.for_each_live(slab, |index| {
            let object = Object { slab, index };
            if !heap.is_white(object) {
                objects.push(object);
            }
        });
    }
    objects.truncate(MOST_OBJECTS);
    objects
}

/// Who holds some objects, the most first.
pub fn held_by(guide: &Guide<'_, '_>, objects: &[Object], cancel: &Cancel) -> Vec<HeldBy> {
    let (kernel, look) = (guide.kernel, guide.look);
    let mut family = Family::of(objects);
    look.with_roots(kernel, &mut |roots| {
        let wanted = |object: Object| family.index.contains_key(&object);
        let mut found = Vec::new();
        refs::find(&look.heap, kernel.memory, roots, &wanted, false, cancel, &mut |one| {
            found.push(one);
        });
        found.into_iter().for_each(|one| family.add(one, guide));
    });
    let groups = family.groups();
    let outside: HashSet<Object> = groups
        .iter()
        .flat_map(|(_, references)| references)
        .filter_map(|one| match one.from {
            From::Object(object) if !guide.is_end(object) => Some(object),
            _ => None,
        })
        .collect();
    let outside: Vec<Object> = outside.into_iter().collect();
    let ends = |object: Object| guide.is_end(object);
    let mut with = |each: &mut dyn FnMut(refs::Roots<'_>)| look.with_roots(kernel, each);
    let limits = Limits { depth: DEPTH };
    let found = climb(&look.heap, kernel.memory, &mut with, &outside, &ends, limits, cancel);
    let rank = |one: &Reference| guide.rank(one);
    let mut held: HashMap<(Kind, Vec<String>), u64> = HashMap::new();
    for (many, references) in groups {
        let ways = references.iter().filter_map(|one| {
            let mut way = vec![*one];
            if guide.rank(one).is_none() {
                let From::Object(object) = one.from else { return None };
                way.extend(found.way(object, &rank)?);
            }
            Some((guide.rank(way.last()?)?, way.len(), way))
        });
        let best = ways.min_by_key(|(rank, len, _)| (*rank, *len));
        if let Some((kind, path)) = best.and_then(|(_, _, way)| guide.path(&way)) {
            *held.entry((kind, path)).or_insert(0) += many;
        }
    }
    let mut held: Vec<HeldBy> =
        held.into_iter().map(|((kind, path), objects)| HeldBy { path, kind, objects }).collect();
    held.sort_by(|a, b| (b.objects, &a.path).cmp(&(a.objects, &b.path)));
    held
}

/// Objects, and which of them hang together.
struct Family {
    index: HashMap<Object, u32>,
    /// Of each object, another that it hangs together with; itself where it is the first.
    above: Vec<u32>,
    outside: Vec<Vec<Reference>>,
}

impl Family {
    fn of(objects: &[Object]) -> Family {
        let index = objects.iter().copied().zip(0..).collect();
        let above = (0..objects.len() as u32).collect();
        Family { index, above, outside: vec![Vec::new(); objects.len()] }
    }

    fn first(&mut self, mut at: u32) -> u32 {
        while self.above[at as usize] != at {
            let over = self.above[at as usize];
            self.above[at as usize] = self.above[over as usize];
            at = over;
        }
        at
    }

    fn add(&mut self, one: Reference, guide: &Guide<'_, '_>) {
        let Some(to) = self.index.get(&one.to).copied() else { return };
        let to = self.first(to);
        if let From::Object(from) = one.from
            && let Some(from) = self.index.get(&from).copied()
        {
            let from = self.first(from);
            let kept = std::mem::take(&mut self.outside[from as usize]);
            self.above[from as usize] = to;
            let all = &mut self.outside[to as usize];
            all.extend(kept);
            Family::thin(all, guide);
            return;
        }
        let all = &mut self.outside[to as usize];
        all.push(one);
        Family::thin(all, guide);
    }

    /// Keeps the best references.
    fn thin(all: &mut Vec<Reference>, guide: &Guide<'_, '_>) {
        if all.len() > 4 * KEPT {
            all.sort_by_key(|one| (guide.rank(one).unwrap_or(2), one.at));
            all.truncate(KEPT);
        }
    }

    /// What hangs together: how many objects, and what points at them from outside.
    fn groups(mut self) -> Vec<(u64, Vec<Reference>)> {
        let mut many: HashMap<u32, u64> = HashMap::new();
        for at in 0..self.above.len() as u32 {
            let first = self.first(at);
            *many.entry(first).or_insert(0) += 1;
        }
        many.into_iter()
            .map(|(first, many)| (many, std::mem::take(&mut self.outside[first as usize])))
            .collect()
    }
}
