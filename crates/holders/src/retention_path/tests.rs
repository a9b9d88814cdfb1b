//! Which paths are one, and what they are called.

use super::*;
use sysak_base::Pfn;
use sysak_heap::{Cache, HeapBuilder};

/// A page of kmalloc-64 and one of kmalloc-128.
fn heap() -> Heap {
    let cache = |at, name: &str, bytes| Cache::new(Va(at), name.into(), bytes, bytes).unwrap();
    let caches = vec![cache(1, "kmalloc-64", 64), cache(2, "kmalloc-128", 128)];
    let mut heap = HeapBuilder::new(Va(0xffff_8880_0000_0000), 8, caches);
    heap.push(Pfn(1), 0, 0, 64).unwrap();
    heap.push(Pfn(2), 0, 1, 32).unwrap();
    heap.seal().never_marked()
}

/// Knows the structs of kmalloc-64's first object, and of all of kmalloc-128.
#[derive(Default)]
struct Known(Vec<u64>);

impl MemberNaming for Known {
    fn first_of_member(&mut self, cache: u16, offset: u64) -> u64 {
        if cache == 1 { 0 } else { offset }
    }

    fn member(&mut self, objects: &[Object], offset: u64, infer: bool) -> Option<String> {
        self.0.extend(infer.then_some(offset));
        match objects[0] {
            Object { slab: 1, .. } => Some("node.slots[]".to_owned()),
            Object { slab: 0, index: 1 } if infer => Some("flow.link".to_owned()),
            _ => None,
        }
    }
}

fn path(holder: &str, steps: &[(u32, u16, u64)], objects: u64) -> RetentionPath {
    let step = |(slab, index, offset): &(u32, u16, u64)| PathObject {
        object: Object { slab: *slab, index: *index },
        offset: Some(*offset),
    };
    let to = Object { slab: 0, index: 0 };
    let anchor = Reference { from: From::Root, at: Va(0), word: 0, to };
    let steps = steps.iter().map(step).collect();
    RetentionPath {
        kind: HolderKind::Module,
        holder: Step::Module(holder.to_owned()),
        through: None,
        removed_cgroup: None,
        holders: 1,
        steps,
        objects,
        anchor,
    }
}

/// The steps that occur here, short enough to compare.
fn short(step: &Step) -> String {
    match step {
        Step::Module(name) | Step::Member(name) => name.clone(),
        Step::Cgroup { path, .. } => path.clone().unwrap_or_default(),
        Step::Cgroups { count, removed } => format!("{count} cgroups, removed: {removed}"),
        Step::Object { cache, offset: Some(offset) } => format!("{cache}+{offset:#x}"),
        Step::Object { cache, offset: None } => cache.clone(),
        other => format!("{other:?}"),
    }
}

fn expect(held: &[Holder], expected: &[(&str, u64)]) {
    let path = |one: &Holder| one.path.iter().map(short).collect::<Vec<_>>().join(" → ");
    let held: Vec<_> = held.iter().map(|one| (path(one), one.objects)).collect();
    let held: Vec<_> = held.iter().map(|(path, objects)| (path.as_str(), *objects)).collect();
    assert_eq!(held, expected);
}

#[test]
fn paths_through_the_same_fields_are_one_and_so_are_the_slots_of_a_table() {
    let paths = [
        path("table", &[(0, 2, 8)], 5),
        path("table", &[(0, 3, 8)], 6),
        path("table", &[(1, 1, 0), (0, 3, 8)], 1),
        path("table", &[(1, 2, 8), (0, 4, 8)], 1),
        path("array", &[(0, 4, 0)], 1),
        path("array", &[(0, 4, 8)], 1),
        path("list", &[(0, 5, 8), (0, 6, 8)], 20),
    ];
    let held = merge(&heap(), paths.into_iter(), &mut Known::default());
    let expected = [
        ("list → kmalloc-64+0x8", 20),
        ("table → kmalloc-64+0x8", 11),
        ("array → kmalloc-64", 2),
        ("table → node.slots[] → kmalloc-64+0x8", 2),
    ];
    expect(&held, &expected);
}

#[test]
fn groups_with_the_same_names_are_merged() {
    let paths = [
        path("flows", &[(0, 1, 0x10)], 3),
        path("flows", &[(0, 1, 0x18)], 30),
        path("flows", &[(0, 2, 0x20)], 7),
    ];
    let held = merge(&heap(), paths.into_iter(), &mut Known::default());
    expect(&held, &[("flows → flow.link", 33), ("flows → kmalloc-64+0x20", 7)]);
}

#[test]
fn structs_are_inferred_where_most_objects_are_held() {
    let paths = [
        path("few", &[(0, 1, 0x40)], 1),
        path("most", &[(0, 1, 0x10)], 3),
        path("most", &[(0, 1, 0x18)], 300),
        path("some", &[(0, 1, 0x20)], 7),
    ];
    let mut known = Known::default();
    let held = merge(&heap(), paths.into_iter(), &mut known);
    assert_eq!(known.0, [0x18, 0x10, 0x20]);
    let expected =
        [("most → flow.link", 303), ("some → flow.link", 7), ("few → kmalloc-64+0x40", 1)];
    expect(&held, &expected);
}

#[test]
fn many_control_groups_are_one_holder_and_a_few_are_each_its_own() {
    let group = |name: String, index| RetentionPath {
        kind: HolderKind::Cgroup,
        holder: Step::Cgroup { path: Some(name), removed: false },
        removed_cgroup: Some(false),
        ..path("", &[(0, index, 0)], 2)
    };
    let many = (0..9).map(|at| group(format!("/{at}"), 1));
    let few = (0..2).map(|at| RetentionPath { steps: Vec::new(), ..group(format!("/{at}"), 1) });
    // Three groups hold a component; each path names one of them.
    let common = |objects, offset| RetentionPath {
        holders: 3,
        objects,
        steps: path("", &[(0, 2, offset)], 0).steps,
        ..group("/0".to_owned(), 1)
    };
    let all = many.chain(few).chain([common(70, 8), common(7, 8)]);
    let held = merge(&heap(), all, &mut Known::default());
    let expected = [
        ("6 cgroups, removed: false → kmalloc-64+0x8", 77),
        ("9 cgroups, removed: false → flow.link", 18),
        ("/0", 2),
        ("/1", 2),
    ];
    expect(&held, &expected);
    let anchors: Vec<bool> = held.iter().map(|one| one.anchor.is_some()).collect();
    assert_eq!(anchors, [false, false, true, true], "nothing is retained by many together");
}
