//! Which types are inferred, and which must not be, from handmade type information and memory.

#![allow(clippy::unwrap_used)]

use sysak_base::{Fault, Memory, Pfn, Va, Why};
use sysak_heap::{Cache, Heap, HeapBuilder, Object};
use sysak_infer::{Inference, KernelView, Types, code_of};
use sysak_symbols::{Kallsyms, TypeId, TypeInfo};

const BASE: Va = Va(0xffff_8880_0000_0000);
const OPS: u64 = 0xffff_ffff_8200_0040;
const POISONS: [u64; 2] = [0xdead_0000_0000_0100, 0xdead_0000_0000_0122];

/// Writes BTF, as much of it as structs need.
#[derive(Default)]
struct Btf {
    types: Vec<u8>,
    strings: Vec<u8>,
    many: u32,
}

impl Btf {
    fn words(&mut self, words: &[u32]) {
        self.types.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    fn add(&mut self, words: &[u32]) -> u32 {
        self.words(words);
        self.many += 1;
        self.many
    }

    fn int(&mut self, name: &str, bytes: u32) -> u32 {
        let name = self.name(name);
        self.add(&[name, 1 << 24, bytes, bytes * 8])
    }

    fn pointer(&mut self, to: u32) -> u32 {
        self.add(&[0, 2 << 24, to])
    }

    fn array(&mut self, of: u32, len: u32) -> u32 {
        self.add(&[0, 3 << 24, 0, of, of, len])
    }

    /// Members: name, type, bytes from the start.
    fn structure(&mut self, name: &str, bytes: u32, members: &[(&str, u32, u32)]) -> u32 {
        let name = self.name(name);
        let mut words = vec![name, 4 << 24 | members.len() as u32, bytes];
        for (name, kind, at) in members {
            words.extend([self.name(name), *kind, at * 8]);
        }
        self.add(&words)
    }

    fn parse(self) -> TypeInfo {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut all = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, strings] {
            all.extend(word.to_le_bytes());
        }
        all.extend(self.types);
        all.extend(self.strings);
        TypeInfo::parse(&all).unwrap()
    }
}

/// `struct event`, what it points to, and structs of its size that are not it.
fn types() -> Types {
    let mut btf = Btf::default();
    let long = btf.int("unsigned long", 8);
    let int = btf.int("int", 4);
    let link = btf.pointer(4);
    let list = btf.structure("list_head", 16, &[("next", link, 0), ("prev", link, 8)]);
    assert_eq!(list, 4);
    let ops = btf.structure("event_ops", 16, &[("handle", long, 0), ("name", long, 8)]);
    let ops = btf.pointer(ops);
    let owner = btf.structure("owner", 256, &[("refs", long, 0), ("ops", ops, 8)]);
    let owner = btf.pointer(owner);
    let members = [("owner", owner, 0), ("link", list, 8), ("mask", int, 24), ("serial", int, 28)];
    let event = btf.structure("event", 32, &members);
    btf.pointer(event);
    let decoys: [&[(&str, u32, u32)]; 3] = [
        &[("count", long, 0), ("list", list, 8), ("private", owner, 24)],
        &[("list", list, 0), ("owner", owner, 16), ("flags", long, 24)],
        &[("a", long, 0), ("b", long, 8), ("c", long, 16), ("d", long, 24)],
    ];
    for (index, members) in decoys.into_iter().enumerate() {
        let decoy = btf.structure(&format!("decoy_{index}"), 32, members);
        btf.pointer(decoy);
    }
    Types::new(&btf.parse(), Vec::new())
}

struct Ram(Vec<u8>);

impl Memory for Ram {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { at, why: Why::Unmapped };
        let start = at.checked_sub(BASE).ok_or(fault)? as usize;
        buf.copy_from_slice(self.0.get(start..start + buf.len()).ok_or(fault)?);
        Ok(())
    }
}

impl Ram {
    fn put(&mut self, at: Va, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            let start = (at.0 - BASE.0) as usize + index * 8;
            self.0[start..start + 8].copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// Page 1 has objects of 32 bytes, page 2 of 256, page 3 of 32 in a cache of another name.
fn heap(named: &str) -> Heap {
    let cache = |at, name: &str, bytes| Cache::new(Va(at), name.into(), bytes, bytes).unwrap();
    let caches =
        vec![cache(1, "kmalloc-32", 32), cache(2, "kmalloc-256", 256), cache(3, named, 32)];
    let mut heap = HeapBuilder::new(BASE, 8, caches);
    for (pfn, cache, objects) in [(1, 0, 128), (2, 1, 16), (3, 2, 128)] {
        heap.push(Pfn(pfn), 0, cache, objects).unwrap();
    }
    heap.seal().never_marked()
}

fn object(slab: u32, index: u16) -> Object {
    Object { slab, index }
}

/// Asks about the first eight objects of a slab; names and confidences.
fn infer(ram: &Ram, heap: &Heap, hidden: &[u16], slab: u32) -> Vec<(String, f64)> {
    let types = types();
    let symbols = Kallsyms::parse_proc(
        b"ffffffff81000000 T _stext\nffffffff81800000 T _etext\n\
          ffffffff82000040 D main_event_ops\nffffffff82000080 D end\n",
    )
    .unwrap();
    let image = Some((Va(0xffff_ffff_8100_0000), Va(0xffff_ffff_8300_0000)));
    let memmap = (Va(0xffff_ea00_0000_0000), Va(0xffff_ea00_0001_0000));
    let (memory, code) = (ram, code_of(&symbols));
    let view = KernelView {
        memory,
        heap,
        symbols: &symbols,
        types: &types,
        memmap,
        per_cpu: &[],
        image,
        code,
    };
    let mut inference = Inference::new(view, hidden);
    let objects: Vec<Object> = (0..8).map(|index| object(slab, index)).collect();
    inference.infer_pointees(&objects);
    let found = inference.infer(&objects, &[]);
    found.iter().map(|one| (types.name(one.id).to_owned(), one.confidence)).collect()
}

fn events(heap: &Heap, slab: u32) -> Ram {
    let mut ram = Ram(vec![0; 8 << 12]);
    let owner = heap.object_va(object(1, 3));
    ram.put(owner, &[8, OPS]);
    for index in 0..8 {
        let numbers = 0x400 | u64::from(index) << 32;
        let at = heap.object_va(object(slab, index));
        ram.put(at, &[owner.0, POISONS[0], POISONS[1], numbers]);
    }
    ram
}

#[test]
fn the_objects_words_and_pointees_tell_their_struct() {
    let heap = heap("kmalloc-rcl-32");
    let found = infer(&events(&heap, 0), &heap, &[], 0);
    assert_eq!(found[0].0, "event", "{found:?}");
    assert!(found[0].1 > 0.9, "{found:?}");
}

#[test]
fn objects_without_anything_in_them_get_no_type() {
    let heap = heap("kmalloc-rcl-32");
    let found = infer(&Ram(vec![0; 8 << 12]), &heap, &[], 0);
    assert!(found.iter().all(|one| one.1 < 0.5), "{found:?}");
}

#[test]
fn a_number_where_an_address_should_be_speaks_against_a_struct() {
    let heap = heap("kmalloc-rcl-32");
    let mut ram = events(&heap, 0);
    for index in 0..8 {
        ram.put(heap.object_va(object(0, index)), &[0x1234_5678_9abc]);
    }
    let found = infer(&ram, &heap, &[], 0);
    assert!(found.first().is_none_or(|first| first.0 != "event" || first.1 < 0.5), "{found:?}");
}

#[test]
fn a_caches_name_tells_unless_it_is_hidden() {
    let heap = heap("event");
    let types = types();
    let known = sysak_infer::KnownTypes::by_caches(&types, &heap, &[]);
    let name = |id: Option<TypeId>| id.map(|id| types.name(id).to_owned());
    assert_eq!(name(known.of_cache(2)).as_deref(), Some("event"));
    assert_eq!(known.of_cache(0), None, "kmalloc's objects may be anything");
    let hidden = sysak_infer::KnownTypes::by_caches(&types, &heap, &[2]);
    assert_eq!(hidden.of_cache(2), None);
    // The content tells what the name would have told.
    assert_eq!(infer(&events(&heap, 2), &heap, &[2], 2)[0].0, "event");
}

#[test]
fn of_a_merged_cache_the_names_strengthen_only_what_the_content_says() {
    let merged = |names: [&str; 2]| {
        let mut heap = heap(names[0]);
        heap.caches[2].aliases = vec![names[1].into()];
        heap
    };
    let (told, other) = (merged(["decoy_2", "event"]), merged(["other", "another"]));
    // Without their owner the objects are told less well.
    let unclear = |heap: &Heap| {
        let mut ram = events(heap, 2);
        (0..8).for_each(|index| ram.put(heap.object_va(object(2, index)), &[0]));
        infer(&ram, heap, &[], 2)
    };
    let (by_name, alone) = (unclear(&told), unclear(&other));
    assert_eq!((by_name[0].0.as_str(), alone[0].0.as_str()), ("event", "event"));
    assert!(by_name[0].1 > 0.9 && alone[0].1 < 0.9, "{by_name:?} {alone:?}");
    let blank = infer(&Ram(vec![0; 8 << 12]), &told, &[], 2);
    assert!(blank.iter().all(|one| one.1 < 0.5), "{blank:?}");
}

#[test]
fn members_are_named_by_their_path() {
    let types = types();
    let event = types.named("event").next().unwrap();
    assert_eq!(types.field(event, 0).as_deref(), Some("owner"));
    assert_eq!(types.field(event, 16).as_deref(), Some("link.prev"));
    assert_eq!(types.field(event, 28).as_deref(), Some("serial"));
    assert_eq!(types.field(event, 32), None);
}

#[test]
fn links_and_slots_are_part_of_one_member() {
    let mut btf = Btf::default();
    let long = btf.int("unsigned long", 8);
    let link = btf.pointer(3);
    let node =
        btf.structure("rb_node", 24, &[("up", long, 0), ("left", link, 8), ("right", link, 16)]);
    assert_eq!(node, 3);
    let (slots, open) = (btf.array(link, 2), btf.array(node, 0));
    let members = [("rb", node, 0), ("slots", slots, 24), ("more", open, 40)];
    btf.structure("tree", 40, &members);
    let types = Types::new(&btf.parse(), Vec::new());
    let id = types.named("tree").next().unwrap();
    let both = |offset| (types.field(id, offset).unwrap(), types.member(id, offset).unwrap());
    let expected = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    assert_eq!(both(16), expected("rb.right", "rb"));
    assert_eq!(both(32), expected("slots[1]", "slots[]"));
    assert_eq!(both(40 + 24 + 8), expected("more[1].left", "more[]"));
}
