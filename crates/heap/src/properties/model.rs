//! A small random memory, and what is true of it, found in the simplest way.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use sysak_base::{Memory, Pfn, Ranges, Va, VaRange};

use crate::references::{From, Reference};
use crate::testing::{BASE, MEMMAP, Ram};
use crate::{
    AreaPages, Block, Cache, Class, Heap, HeapBuilder, NonSlab, Object, PerCpuObject, UnmarkedHeap,
};

pub(super) const PAGES: u64 = 32;
const AREA: Va = Va(0xffff_c900_0010_0000);
const AREA_FRAMES: [u64; 2] = [14, 13];
/// First page and pages. The last page of all has the `struct page`s.
const BLOCKS: [(u64, u32); 2] = [(10, 2), (12, 1)];
const PER_CPU: u64 = 0x3_0000;
/// Beside page 0. Neither its start nor its end is aligned.
const ROOT_RANGE: VaRange = VaRange::new(Va(BASE.0 + 0x1014), 150);
/// What is taken into use later.
pub(super) const LATER: VaRange = VaRange::new(Va(BASE.0 + 0x2000), 64);

/// Numbers from which a memory is made; each is taken modulo what there is.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    /// Words: where, and what they lead to.
    pub edges: Vec<(u16, u16, u8)>,
    registers: Vec<(u16, u8)>,
    free: Vec<u16>,
    never_followed: Vec<u16>,
    bookkeeping: Vec<u16>,
    /// Start and bytes, from the start of memory.
    left_out: Vec<(u16, u8)>,
}

pub(super) fn seeds() -> impl Strategy<Value = Seed> {
    let edges = vec(any::<(u16, u16, u8)>(), 0..120);
    let some = || vec(any::<u16>(), 0..6);
    (edges, vec(any::<(u16, u8)>(), 0..3), some(), some(), some(), vec(any::<(u16, u8)>(), 0..4))
        .prop_map(|(edges, registers, free, never_followed, bookkeeping, left_out)| Seed {
            edges,
            registers,
            free,
            never_followed,
            bookkeeping,
            left_out,
        })
}

/// A memory, and the objects in it.
pub(super) struct Model {
    pub ram: Ram,
    /// All objects that a seed may choose, few of each slab, so that they meet.
    pub objects: Vec<Object>,
    pub free: BTreeSet<Object>,
    pub never_followed: Vec<Object>,
    pub bookkeeping: Vec<Object>,
    pub left_out: Vec<VaRange>,
    pub registers: Vec<u64>,
    /// Only looked up in, for places.
    places: Heap,
}

fn caches() -> Vec<Cache> {
    let mut padded = Cache::new(Va(3), "padded".into(), 96, 72).unwrap();
    padded.left_pad = 8;
    let plain = |at, bytes| Cache::new(Va(at), format!("kmalloc-{bytes}"), bytes, bytes).unwrap();
    vec![plain(1, 64), plain(2, 128), padded]
}

fn builder() -> HeapBuilder {
    let mut builder = HeapBuilder::new(BASE, PAGES, caches());
    for (pfn, order, cache, objects) in
        [(4, 0, 0, 64), (5, 0, 1, 32), (6, 1, 2, 85), (9, 0, 1, 32), (20, 0, 0, 64)]
    {
        builder.push(Pfn(pfn), order, cache, objects).unwrap();
    }
    builder
}

fn non_slab() -> NonSlab {
    NonSlab {
        blocks: BLOCKS.map(|(pfn, pages)| Block { pfn: Pfn(pfn), pages }).to_vec(),
        areas: vec![AreaPages { address: AREA, pages: AREA_FRAMES.map(Pfn).to_vec() }],
        per_cpu: vec![PerCpuObject { pointer: PER_CPU, bytes: 24 }],
        memmap: MEMMAP,
        struct_page_bytes: 64,
        cpus: 2,
    }
}

impl Model {
    pub fn new(seed: &Seed) -> Model {
        let places = builder().seal().adopt(non_slab()).never_marked();
        let slabs = (0..).zip(&places.slabs);
        let objects: Vec<Object> = slabs
            .flat_map(|(slab, place)| {
                (0..place.objects).step_by(9).map(move |index| Object { slab, index })
            })
            .collect();
        let choose = |seeds: &[u16]| -> Vec<Object> {
            seeds.iter().map(|seed| objects[usize::from(*seed) % objects.len()]).collect()
        };
        let left_out = seed.left_out.iter().map(|(at, bytes)| {
            VaRange::new(BASE.at(u64::from(*at) * 2 % (12 << 12)), u64::from(*bytes))
        });
        let mut model = Model {
            ram: Ram::new(PAGES as usize),
            free: choose(&seed.free).into_iter().collect(),
            never_followed: choose(&seed.never_followed),
            bookkeeping: choose(&seed.bookkeeping),
            left_out: left_out.collect(),
            registers: Vec::new(),
            objects,
            places,
        };
        let word = |model: &Model, (to, at): (u16, u8)| model.target(to, at);
        model.registers = seed.registers.iter().map(|one| word(&model, *one)).collect();
        for (from, to, at) in &seed.edges {
            let word = model.target(*to, *at);
            let place = model.place(*from, *at);
            model.ram.put_va(place.0, word);
        }
        model
    }

    /// The same memory as a heap, nothing marked yet.
    pub fn heap(&self) -> UnmarkedHeap {
        let mut builder = builder();
        for object in &self.free {
            let slab = &self.places.slabs[object.slab as usize];
            let before = &self.places.slabs[..object.slab as usize];
            let before = before.iter().filter(|one| self.class(one.cache) == Class::Slab).count();
            // Non-slab objects are never free.
            if self.class(slab.cache) == Class::Slab {
                builder.set_free(Object { slab: before as u32, index: object.index });
            }
        }
        builder.seal().adopt(non_slab())
    }

    pub fn left_out(&self) -> Ranges {
        self.left_out.iter().copied().collect()
    }

    pub fn root_range() -> VaRange {
        ROOT_RANGE
    }

    fn class(&self, cache: u16) -> Class {
        self.places.caches[usize::from(cache)].class
    }

    pub fn is_live(&self, object: Object) -> bool {
        self.places.cache_of(object).class != Class::Slab || !self.free.contains(&object)
    }

    /// An address that leads to an object, or to none.
    pub fn target(&self, to: u16, at: u8) -> u64 {
        let object = self.objects[usize::from(to) % self.objects.len()];
        let start = self.places.object_va(object).0;
        match self.places.cache_of(object).class {
            Class::Page if at.is_multiple_of(2) => {
                MEMMAP.0
                    + 64 * (self.places.slabs[object.slab as usize].pfn.0)
                    + u64::from(at) % 150
            }
            _ => start.wrapping_add(u64::from(at) % 130).wrapping_sub(8),
        }
    }

    /// Where a word is put: mostly in roots and in objects, seldom unaligned.
    fn place(&self, from: u16, at: u8) -> Va {
        let unaligned = u64::from(at == 77) * 3;
        let offset = u64::from(at / 16) * 8 + unaligned;
        match from % 8 {
            0 => BASE.at(u64::from(at) * 8 + unaligned),
            1 => Va(ROOT_RANGE.start().0 / 8 * 8).at(u64::from(at % 22) * 8),
            2 => LATER.start().at(offset),
            3 => MEMMAP.at(u64::from(at % 16) * 64 + u64::from(from / 8 % 8) * 8),
            _ => {
                let object = self.objects[usize::from(from / 8) % self.objects.len()];
                let memory = self.memory(object);
                let Some(first) = memory.first() else { return BASE.at(offset) };
                first.start().at(offset % 64)
            }
        }
    }

    /// The memory that an object's words lie in.
    fn memory(&self, object: Object) -> Vec<VaRange> {
        let cache = self.places.cache_of(object);
        let page = |pfn: u64| VaRange::new(BASE.at(pfn << 12), 4096);
        let tells = |pfn: u64| VaRange::new(MEMMAP.at(64 * pfn), 64);
        let first = self.places.slabs[object.slab as usize].pfn.0;
        match cache.class {
            Class::Slab => {
                vec![VaRange::new(self.places.object_va(object), cache.object_size.into())]
            }
            Class::Page => {
                let pages = u64::from(self.places.slabs[object.slab as usize].pages);
                (first..first + pages).map(page).chain([tells(first)]).collect()
            }
            Class::Vmalloc => {
                AREA_FRAMES.iter().flat_map(|pfn| [page(*pfn), tells(*pfn)]).collect()
            }
            Class::PerCpu => vec![],
        }
    }

    /// The object that a word leads to, found by looking at all.
    pub fn find(&self, word: u64) -> Option<Object> {
        if word < PER_CPU {
            return None;
        }
        let slabs = (0..).zip(&self.places.slabs);
        let all = slabs
            .flat_map(|(slab, place)| (0..place.objects).map(move |index| Object { slab, index }));
        let mut all = all;
        all.find(|object| {
            let place = &self.places.slabs[object.slab as usize];
            let cache = self.places.cache_of(*object);
            let start = self.places.object_va(*object).0;
            let within = |start: u64, bytes: u64| start <= word && word - start < bytes;
            match cache.class {
                Class::Slab => within(start - u64::from(cache.left_pad), cache.stride.into()),
                Class::Page => {
                    let pages = u64::from(place.pages);
                    within(start, pages << 12) || within(MEMMAP.0 + 64 * place.pfn.0, 64 * pages)
                }
                Class::Vmalloc => within(AREA.0, 2 << 12),
                Class::PerCpu => within(PER_CPU, 24),
            }
        })
    }

    /// Every aligned word of some memory that is not left out, with its place.
    pub fn words(&self, memory: &[VaRange], left_out: &[VaRange]) -> Vec<(Va, u64)> {
        let mut words = Vec::new();
        for range in memory {
            let aligned = (range.start().0.next_multiple_of(8)..).step_by(8);
            for at in aligned.take_while(|at| at + 8 <= range.end().0).map(Va) {
                let word = VaRange::new(at, 8);
                if left_out.iter().all(|one| one.intersection(word).is_empty()) {
                    words.push((at, self.ram.read_u64(at).unwrap()));
                }
            }
        }
        words
    }

    /// Page 0 and a range.
    pub fn root_memory() -> [VaRange; 2] {
        [VaRange::new(BASE, 4096), ROOT_RANGE]
    }

    /// What is reached from some words, beside what was reached before; `never` is not followed.
    pub fn reach(
        &self,
        reached: &mut BTreeSet<Object>,
        never: &BTreeSet<Object>,
        words: Vec<u64>,
        left_out: &[VaRange],
    ) {
        let mut waiting = words;
        while let Some(word) = waiting.pop() {
            let Some(object) = self.find(word).filter(|object| self.is_live(*object)) else {
                continue;
            };
            if reached.insert(object) && !never.contains(&object) {
                let words = self.words(&self.memory(object), left_out);
                waiting.extend(words.into_iter().map(|(_, word)| word));
            }
        }
    }

    /// What is never followed from the start.
    pub fn never(&self) -> BTreeSet<Object> {
        self.never_followed.iter().copied().filter(|object| self.is_live(*object)).collect()
    }

    /// What marking from the roots reaches.
    pub fn reached(&self) -> BTreeSet<Object> {
        let never = self.never();
        let mut reached = never.clone();
        let memory = self.words(&Model::root_memory(), &self.left_out);
        let words = memory.into_iter().map(|(_, word)| word).chain(self.registers.iter().copied());
        self.reach(&mut reached, &never, words.collect(), &self.left_out);
        reached
    }

    /// All references from roots and from these objects.
    pub fn references(&self, sources: &BTreeSet<Object>) -> Vec<Reference> {
        let root = self.words(&Model::root_memory(), &self.left_out);
        let mut all: Vec<_> = root.into_iter().map(|(at, word)| (From::Root, at, word)).collect();
        all.extend(self.registers.iter().map(|word| (From::Register, Va(0), *word)));
        for object in sources {
            let words = self.words(&self.memory(*object), &self.left_out);
            all.extend(words.into_iter().map(|(at, word)| (From::Object(*object), at, word)));
        }
        let leads = |(from, at, word): (From, Va, u64)| {
            let to = self.find(word).filter(|to| from != From::Object(*to))?;
            Some(Reference { from, at, word, to })
        };
        all.into_iter().filter_map(leads).collect()
    }
}
