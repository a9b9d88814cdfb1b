//! References: every word of memory that leads to one of the wanted objects.
//!
//! Marking does not store which word led to an object; that keeps it small. Here the same memory is read
//! once more, and only words that lead to wanted objects are kept.
//!
//! **Invariant:** a word of a root or of a reachable object counts here exactly if it counted for marking: not in
//! memory that is left out, and not in objects that are never followed. Objects that were cleared of suspicion after
//! marking count as reachable. Memory that was allocated while a live kernel was looked at is not searched.

use sysak_base::{Cancel, Memory, PAGE_SIZE, Ranges, Readers, Va, VaRange};

use crate::page_targets::{Known, Noted};
use crate::parts::{Part, parts};
use crate::{Class, Heap, Object, ObjectSet, PageTargets, never_followed};

pub use crate::marking::Roots;

/// Bytes of an address.
const WORD: u64 = 8;
/// Bytes that one thread searches in a row: the references in them wait to be looked at.
const PART: u64 = 512 << 10;

/// Where a reference stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum From {
    /// In a root.
    Root,
    /// In an object.
    Object(Object),
    /// In a register of a crashed machine.
    Register,
}

/// A word that leads to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// What the word is part of.
    pub from: From,
    /// Where it stands, as an address of the direct map or of the array of `struct page`.
    pub at: Va,
    /// The word itself.
    pub word: u64,
    /// The object that it leads to.
    pub to: Object,
}

/// Knows which of the memory among the roots is part of an object all the same: each CPU's copy of
/// an allocation of per-CPU memory.
pub trait RootObjects {
    /// The object that a place among the roots is part of.
    fn object_at(&self, at: Va) -> Option<Object>;
}

/// Where references are looked for.
#[derive(Clone, Copy)]
pub struct SearchSpace<'a> {
    /// Everything that was allocated.
    pub heap: &'a Heap,
    /// Where it is read, and by how many threads.
    pub readers: Readers<'a>,
    /// Knows the objects among the roots.
    pub root_objects: &'a dyn RootObjects,
    /// Where several searches go through the same roots, and memory does not change: what the first one notes.
    pub targets: Option<&'a PageTargets>,
}

/// Gives `each` every reference to a wanted object that lies in roots or in objects that are
/// reached; with `lost` also those that lie in lost objects. False when cancelled.
pub fn find(
    space: SearchSpace<'_>,
    roots: Roots<'_>,
    wanted: &ObjectSet,
    lost: bool,
    cancel: &Cancel,
    each: &mut dyn FnMut(Reference),
) -> bool {
    let SearchSpace { heap, readers, root_objects, .. } = space;
    // Lost objects were not read by those who looked for other references.
    let targets = space.targets.filter(|_| !lost);
    let known = targets.and_then(PageTargets::known);
    let notes = targets.is_some() && known.is_none();
    let place = Places { heap, wanted, left_out: roots.left_out, known, notes, cancel };
    let mut learned = Known::default();
    let mut give = |(found, noted): (Vec<Reference>, Noted)| {
        learned.add(noted);
        for one in found {
            let part = match one.from {
                From::Root => root_objects.object_at(one.at).map(From::Object),
                From::Object(_) | From::Register => None,
            };
            each(Reference { from: part.unwrap_or(one.from), ..one });
        }
    };
    let words = roots.words;
    let parts = parts(heap, roots.memory(heap.page_offset()), PART);
    let search = |memory: &dyn Memory, scratch: &mut Vec<u8>, part: Part| {
        let mut search = Search::new(place, memory, scratch);
        match part {
            Part::Roots(ranges) => {
                ranges.into_iter().for_each(|range| search.range(From::Root, range));
            }
            Part::Slabs(slabs) => slabs.for_each(|slab| search.slab(slab, lost)),
        }
        (search.found, search.noted)
    };
    let mut scratch = Vec::new();
    let mut registers = Search::new(place, readers.memory(), &mut scratch);
    words.iter().for_each(|word| registers.word(From::Register, Va(0), *word, *word));
    give((registers.found, Noted::default()));
    readers.in_order(parts.take_while(|_| !cancel.is_set()), search, give);
    let is_whole = !cancel.is_set();
    if let Some(targets) = targets.filter(|_| notes && is_whole) {
        targets.learn(learned);
    }
    is_whole
}

/// What is searched for, and where.
#[derive(Clone, Copy)]
struct Places<'a> {
    heap: &'a Heap,
    wanted: &'a ObjectSet,
    left_out: &'a Ranges,
    /// What an earlier search noted.
    known: Option<&'a Known>,
    /// Whether this one does.
    notes: bool,
    cancel: &'a Cancel,
}

struct Search<'a> {
    place: Places<'a>,
    memory: &'a dyn Memory,
    /// Whether `left_out` does not overlap the range that is being read.
    counts_whole: bool,
    found: Vec<Reference>,
    noted: Noted,
    scratch: &'a mut Vec<u8>,
}

impl<'a> Search<'a> {
    fn new(place: Places<'a>, memory: &'a dyn Memory, scratch: &'a mut Vec<u8>) -> Search<'a> {
        let (found, noted) = (Vec::new(), Noted::default());
        Search { place, memory, counts_whole: false, found, noted, scratch }
    }

    /// Memory that belongs together, as far as it may lead to what is wanted.
    fn range(&mut self, from: From, range: VaRange) {
        let Places { known, wanted, .. } = self.place;
        match known {
            Some(known) => {
                let parts = known.leading_to(range, wanted.caches());
                parts.for_each(|part| self.pieces(from, part));
            }
            None => self.pieces(from, range),
        }
    }

    /// The same; page by page where it cannot be read in one go.
    fn pieces(&mut self, from: From, range: VaRange) {
        let most = (self.memory.best_read_bytes() as u64).max(PAGE_SIZE);
        // The roots of a large machine are ranges of gigabytes.
        for piece in range.pieces(most).take_while(|_| !self.place.cancel.is_set()) {
            if !self.piece(from, piece) && piece.bytes() > PAGE_SIZE {
                piece.pages().for_each(|page| _ = self.piece(from, page));
            }
        }
    }

    fn piece(&mut self, from: From, piece: VaRange) -> bool {
        let mut scratch = std::mem::take(self.scratch);
        let (at, bytes) = (piece.start(), piece.bytes() as usize);
        self.counts_whole = !self.place.left_out.overlaps(piece);
        let read = match self.memory.view(at, bytes, &mut scratch) {
            Ok(raw) => {
                self.words(from, at, raw);
                true
            }
            Err(_) => false,
        };
        *self.scratch = scratch;
        read
    }

    /// The objects of a slab, a block or an area; per-CPU memory is among the roots.
    fn slab(&mut self, slab: u32, lost: bool) {
        let Search { place: Places { heap, .. }, memory, .. } = *self;
        let place = heap.slabs[slab as usize];
        let cache = &heap.caches[usize::from(place.cache)];
        let passed_over = heap.never_followed.of_slab(slab);
        let counts = |index| {
            let object = Object { slab, index };
            (lost || !heap.is_white(object)) && !never_followed::has(passed_over, object)
        };
        match cache.class {
            Class::PerCpu => {}
            Class::Page | Class::Vmalloc => {
                let object = Object { slab, index: 0 };
                if heap.is_live(object) && counts(0) {
                    for range in heap.words_of(slab) {
                        self.range(From::Object(object), range);
                    }
                }
            }
            Class::Slab => {
                let (stride, pad) = (cache.stride as usize, cache.left_pad as usize);
                let size = (cache.object_size as usize).min(stride - pad);
                let start = heap.slab_va(&place);
                let range = VaRange::new(start, place.bytes());
                let Places { known, wanted, left_out, .. } = self.place;
                let leads =
                    |known: &Known| known.leading_to(range, wanted.caches()).next().is_some();
                if !known.is_none_or(leads) {
                    return;
                }
                self.counts_whole = !left_out.overlaps(range);
                let mut scratch = std::mem::take(self.scratch);
                if let Ok(raw) = memory.view(start, place.bytes() as usize, &mut scratch) {
                    heap.for_each_live(slab, |index| {
                        if counts(index) {
                            let at = usize::from(index) * stride + pad;
                            let from = From::Object(Object { slab, index });
                            self.words(from, start.at(at as u64), &raw[at..at + size]);
                        }
                    });
                }
                *self.scratch = scratch;
            }
        }
    }

    fn words(&mut self, from: From, at: Va, raw: &[u8]) {
        let to_a_word = at.0.wrapping_neg() % WORD;
        let Some(raw) = raw.get(to_a_word as usize..) else { return };
        let at = at.at(to_a_word);
        let heap = self.place.heap;
        let filter = *heap.address_filter();
        filter.for_each_within(raw, |offset, word| {
            self.word(from, at.at(offset as u64), word, word);
            if heap.record_starts().contains(Va(word))
                && let Some(address) = heap.record(raw, offset)
            {
                self.word(from, at.at(offset as u64), word, address);
            }
        });
    }

    /// A word, and the address that it means.
    #[inline]
    fn word(&mut self, from: From, at: Va, word: u64, address: u64) {
        let Places { heap, wanted, .. } = self.place;
        let to = match self.place.notes {
            true => heap.find_object(address).filter(|to| {
                self.noted.note(at, heap.slabs[to.slab as usize].cache);
                wanted.has(heap, *to)
            }),
            false => wanted.find(heap, address),
        };
        if let Some(to) = to
            && from != From::Object(to)
            && (self.counts_whole
                || from == From::Register
                || !self.place.left_out.overlaps(VaRange::new(at, WORD)))
        {
            self.found.push(Reference { from, at, word, to });
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::marking::{Context, Marking};
    use crate::testing::{BASE, MEMMAP, Ram, page_set};
    use crate::{Block, NonSlab};
    use sysak_base::{Pfn, Quiet};

    /// Nothing among the roots is part of an object, or what lies at one place is.
    pub(crate) struct Part(pub(crate) Option<(Va, Object)>);

    impl RootObjects for Part {
        fn object_at(&self, at: Va) -> Option<Object> {
            self.0.filter(|(place, _)| *place == at).map(|(_, object)| object)
        }
    }

    /// All references to an object, with page 0 as root.
    fn references(
        heap: &Heap,
        ram: &Ram,
        (target, lost): (Object, bool),
        (part, left_out): (Part, &Ranges),
    ) -> Vec<Reference> {
        let space =
            SearchSpace { heap, readers: Readers::one(ram), root_objects: &part, targets: None };
        let wanted = ObjectSet::new(heap, [target]);
        let pages = page_set(&[0]);
        let roots = Roots { left_out, ..Roots::of_pages(&pages) };
        let mut found = Vec::new();
        find(space, roots, &wanted, lost, &Cancel::default(), &mut |one| found.push(one));
        found
    }

    #[test]
    fn objects_that_are_never_followed_hold_nothing() {
        let mut ram = Ram::new(16);
        let heap = ram.builder(&[(4, 0), (8, 1)]).seal().adopt(NonSlab {
            blocks: vec![Block { pfn: Pfn(9), pages: 1 }],
            memmap: MEMMAP,
            struct_page_bytes: 64,
            ..NonSlab::default()
        });
        let object = |slab, index| Object { slab, index };
        let (target, neighbour) = (object(0, 6), object(1, 3));
        // Two are never followed from the start; one is bookkeeping that nothing leads to.
        let (note, array, spare) = (object(1, 2), object(2, 0), object(1, 9));
        let to = heap.object_va(target).0;
        for (index, holder) in [note, neighbour, array, spare].into_iter().enumerate() {
            let at = heap.object_va(holder).0;
            ram.put_va(at + 24, to);
            if holder != spare {
                ram.put(0x10 + 8 * index, at);
            }
        }
        let pages = page_set(&[0]);
        let cancel = Cancel::default();
        let context = Context { readers: Readers::one(&ram), progress: &Quiet, cancel: &cancel };
        let marking = Marking::start(heap, vec![array, note], context);
        let excused = marking.from_roots(Roots::of_pages(&pages)).excuse(vec![spare, neighbour]);
        let heap = excused.finish().0;
        assert!([target, note, array, spare].iter().all(|one| !heap.is_white(*one)));
        for lost in [false, true] {
            let found = references(&heap, &ram, (target, lost), (Part(None), &Ranges::new()));
            let found: Vec<From> = found.iter().map(|one| one.from).collect();
            assert_eq!(found, [From::Object(neighbour)]);
        }
    }

    #[test]
    fn every_word_that_leads_to_an_object_is_given_with_its_place() {
        let mut ram = Ram::new(16);
        let heap = ram.builder(&[(4, 0), (8, 1)]).seal();
        let object = |slab, index| Object { slab, index };
        let (target, middle, lost) = (object(0, 6), object(1, 2), object(1, 5));
        let [to, held, gone] = [target, middle, lost].map(|one| heap.object_va(one));
        ram.put(0x10, held.0);
        ram.put(0x20, to.0 + 8);
        ram.put_va(held.0 + 24, to.0);
        ram.put_va(gone.0 + 16, to.0);
        ram.put_va(to.0, to.0);
        let heap = ram.mark(heap, &[0]);
        let nothing = Ranges::new();
        let found = |lost: bool, part: Part, left_out: &Ranges| -> Vec<_> {
            let found = references(&heap, &ram, (target, lost), (part, left_out));
            found.iter().map(|one| (one.from, one.at, one.word - to.0)).collect()
        };
        let root = (From::Root, BASE.at(0x20), 8);
        let reached = (From::Object(middle), held.at(24), 0);
        let none = || Part(None);
        assert_eq!(
            found(false, none(), &nothing),
            [root, reached],
            "a pointer to itself holds nothing"
        );
        let all = [root, reached, (From::Object(lost), gone.at(16), 0)];
        assert_eq!(found(true, none(), &nothing), all);
        let left_out: Ranges = [VaRange::new(BASE.at(0x18), 16)].into_iter().collect();
        assert_eq!(found(false, none(), &left_out), [reached], "as for marking");
        let part = found(false, Part(Some((BASE.at(0x20), middle))), &nothing);
        assert_eq!(part, [(From::Object(middle), BASE.at(0x20), 8), reached]);
    }
}
