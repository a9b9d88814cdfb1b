//! How often the first function that the kernel's text names is the one that allocated:
//! `cargo run --release --example names -- VMCORE SEEN`.
//!
//! SEEN has a line for each object that was seen being allocated: its address in hexadecimal, and
//! the functions on the stack from the allocator outwards, a module's as `name[module]`.
//! `docs/design/allocators.md` says how to get them. The objects of one cache and one function that
//! are alike are taken for lost, as if that function leaked them, group by group.

mod dump;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result};
use sysak_base::{Cancel, Quiet};
use sysak_callsites::{CallSites, Matching, Subject, matching};
use sysak_heap::{Class, Heap, Object};
use sysak_infer::content::{self, FingerprintGroup};
use sysak_infer::{TypeInferrer, Types, fingerprint, kernel_types};
use sysak_kernel::Kernel;
use sysak_memleak::blame::{Frame, blamed};
use sysak_snapshot::take_inventory;

/// A leak of fewer objects is not told from chance.
const WORTH: usize = 20;
/// Functions that are tried.
const MOST_GROUPS: usize = 400;

/// Objects of one cache, by the function to blame.
type Groups = BTreeMap<(String, String), Vec<u64>>;

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let vmcore = words.next().context("which crash dump?")?;
    let seen = words.next().context("what was seen?")?;
    let seen = std::fs::read_to_string(seen).context("cannot read what was seen")?;
    let target = dump::open(Path::new(&vmcore))?;
    let kernel =
        Kernel::new(target.memory.as_ref(), &target.anchors, &target.types, &target.symbols)?;
    let types = kernel_types(&kernel);
    let sites = sysak_callsites::find(kernel.readers, kernel.symbols, &Cancel::default());
    let heap = without_lost(&kernel)?;
    let groups = groups(&kernel, &heap, &seen);
    drop(heap);
    let (mut named, mut right, mut all) = (0, 0, 0);
    for ((cache, function), objects) in groups.iter().take(MOST_GROUPS) {
        let found = explain(&kernel, &types, &sites, objects)?;
        let Some(found) = found else { continue };
        all += 1;
        let first = found.named.first().map(|one| {
            let symbol = kernel.symbols.symbolize(one.site.at);
            (symbol.map_or(one.site.at.to_string(), |symbol| symbol.name.to_owned()), one)
        });
        let is_right = first.as_ref().is_some_and(|(name, _)| name == function);
        named += usize::from(first.is_some());
        right += usize::from(is_right);
        let told = first.map_or("none".to_owned(), |(name, one)| {
            let sign = if is_right { "right" } else { "WRONG" };
            format!("{sign} {name} {:?}", one.links)
        });
        let functions = found.functions;
        println!("{cache}: {function}, {} objects: {told}, of {functions}", objects.len());
    }
    println!("{all} functions; {named} with a first name, {right} of these right");
    Ok(())
}

/// All objects, none of them lost.
fn without_lost(kernel: &Kernel<'_>) -> Result<Heap> {
    with_lost(kernel, &HashSet::new())
}

/// All objects, of which only these are lost.
fn with_lost(kernel: &Kernel<'_>, lost: &HashSet<u64>) -> Result<Heap> {
    let inventory = take_inventory(kernel, &Quiet, &Cancel::default())?;
    let mut heap = inventory.heap.adopt(inventory.non_slab).never_marked();
    for slab in 0..heap.slabs.len() as u32 {
        let mut live = Vec::new();
        heap.for_each_live(slab, |index| live.push(Object { slab, index }));
        for object in live {
            if !lost.contains(&heap.object_va(object).0) {
                heap.clear_suspicion(object);
            }
        }
    }
    Ok(heap)
}

/// The objects that are still allocated, by cache and function; of each only those that are alike.
fn groups(kernel: &Kernel<'_>, heap: &Heap, seen: &str) -> Groups {
    let mut by_content: HashMap<(String, String), HashMap<u64, Vec<u64>>> = HashMap::new();
    for line in seen.lines() {
        let mut words = line.split_whitespace();
        let Some(at) = words.next().and_then(|at| u64::from_str_radix(at, 16).ok()) else {
            continue;
        };
        let frames: Vec<Frame<'_>> = words.map(frame).collect();
        let Some(object) = heap.find_object(at).filter(|object| heap.is_live(*object)) else {
            continue;
        };
        let cache = heap.cache_of(object);
        let mut bytes = vec![0; cache.object_size as usize];
        let is_read = kernel.memory.read(heap.object_va(object), &mut bytes).is_ok();
        if let Some(function) = blamed(&frames)
            && cache.class == Class::Slab
            && is_read
        {
            let key = (cache.name.clone(), frames[function].name.to_owned());
            let print = fingerprint::of(heap, &bytes);
            let group = by_content.entry(key).or_default().entry(print).or_default();
            group.push(heap.object_va(object).0);
        }
    }
    let alike = by_content.into_iter().filter_map(|(key, contents)| {
        let biggest = contents.into_iter().max_by_key(|(print, all)| (all.len(), Reverse(*print)));
        Some((key, biggest?.1)).filter(|(_, objects)| objects.len() >= WORTH)
    });
    alike.collect()
}

/// `name` or `name[module]`
fn frame(word: &str) -> Frame<'_> {
    match word.strip_suffix(']').and_then(|word| word.split_once('[')) {
        Some((name, module)) => Frame { name, module: Some(module) },
        None => Frame { name: word, module: None },
    }
}

/// What the text says of these objects, as if they were lost.
fn explain(
    kernel: &Kernel<'_>,
    types: &Types,
    sites: &CallSites,
    objects: &[u64],
) -> Result<Option<Matching>> {
    let heap = with_lost(kernel, &objects.iter().copied().collect())?;
    let Some(first) = objects.first().and_then(|at| heap.find_object(*at)) else {
        return Ok(None);
    };
    let cache = heap.slabs[first.slab as usize].cache;
    let size = u64::from(heap.cache_of(first).object_size);
    let mut bytes = vec![0; size as usize];
    kernel.memory.read(heap.object_va(first), &mut bytes)?;
    let group = FingerprintGroup {
        cache,
        fingerprint: fingerprint::of(&heap, &bytes),
        only_unreachable: true,
    };
    let sample = content::sample(&heap, kernel.memory, &group);
    let is_named = |at| content::is_named(kernel, at);
    let symbols = content::symbols(&heap, kernel.memory, &sample, size, &is_named);
    let inferred = TypeInferrer::new(kernel, &heap, types).infer_group(&group, &symbols);
    let subject = Subject {
        cache,
        group: Some(group),
        content_symbols: &symbols,
        inferred: inferred.first(),
    };
    Ok(Some(matching(kernel, &heap, types, &subject, sites)))
}
