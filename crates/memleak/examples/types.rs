//! How often the inferred type is right, measured over the slab caches of a crash dump whose name
//! tells what their objects are: `cargo run --release --example types -- VMCORE`.
//!
//! The name of one cache at a time is hidden; what all others tell stays known. Of kmalloc objects
//! it prints how many get a type.

mod dump;

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use sysak_base::{Cancel, Quiet};
use sysak_heap::{Class, Heap, Object};
use sysak_infer::fingerprint;
use sysak_infer::kernel_types;
use sysak_infer::{Inference, KernelView, Word, code_of, of_cache};
use sysak_kernel::Kernel;
use sysak_snapshot::Snapshot;

/// A cache with fewer objects says little.
const WORTH: usize = 20;
const SAMPLE: usize = 32;
/// Groups of more bytes are worth a line.
const WORTH_BYTES: u64 = 16 << 10;
/// Less sure than this is no type.
const SURE: f64 = 0.5;
/// From this confidence on, the pointers of all objects of the group are typed.
const CERTAIN: f64 = 0.9;
/// Rounds in which typed pointers are followed.
const ROUNDS: u32 = 6;

fn main() -> Result<()> {
    let vmcore = std::env::args_os().nth(1).context("which crash dump?")?;
    let target = dump::open(Path::new(&vmcore))?;
    let kernel =
        Kernel::new(target.memory.as_ref(), &target.anchors, &target.types, &target.symbols)?;
    let seen = Snapshot::take(&kernel, &Quiet, &Cancel::default())?;
    let types = kernel_types(&kernel);
    let view = KernelView {
        memory: kernel.memory,
        heap: &seen.heap,
        symbols: kernel.symbols,
        types: &types,
        memmap: kernel.memmap_range(),
        per_cpu: kernel.per_cpu_offsets(),
        image: kernel.image_virtual,
        code: code_of(kernel.symbols),
    };
    named(view, false);
    named(view, true);
    general(view);
    Ok(())
}

/// Every n-th live object of a cache.
fn sample(heap: &Heap, cache: u16, most: usize) -> Vec<Object> {
    let mut all = Vec::new();
    for (slab, place) in (0..).zip(&heap.slabs) {
        if place.cache == cache {
            heap.for_each_live(slab, |index| all.push(Object { slab, index }));
        }
    }
    let every = (all.len() / most).max(1);
    all.into_iter().step_by(every).take(most).collect()
}

/// Caches whose name tells: how often that struct comes first, and among the first five.
fn named(view: KernelView<'_>, follow_typed_pointers: bool) {
    let (mut first, mut five, mut all) = (0, 0, 0);
    for (index, cache) in (0..).zip(&view.heap.caches) {
        if cache.class != Class::Slab || !cache.aliases.is_empty() {
            continue;
        }
        let Some(truth) = of_cache(view.types, &cache.name, cache.object_size) else { continue };
        let objects = sample(view.heap, index, SAMPLE);
        if objects.len() < WORTH {
            continue;
        }
        let mut inference = Inference::new(view, &[index]);
        if follow_typed_pointers {
            inference.follow_typed_pointers(1, &|| false);
        }
        inference.infer_pointees(&objects);
        let found = inference.infer(&objects, &[]);
        let place = found.iter().position(|one| view.types.same(one.id, truth));
        all += 1;
        first += usize::from(place == Some(0));
        five += usize::from(place.is_some());
        if place != Some(0) {
            let names: Vec<String> = found
                .iter()
                .map(|one| format!("{} {:.2}", view.types.name(one.id), one.confidence))
                .collect();
            println!("{} is {}: {}", cache.name, view.types.name(truth), names.join(", "));
        }
    }
    println!(
        "typed pointers followed: {follow_typed_pointers}; of {all} caches {first} first, {five} in five"
    );
}

/// Objects of a kmalloc cache of like content.
fn groups(view: KernelView<'_>, cache: u16) -> Vec<Vec<Object>> {
    let size = view.heap.caches[usize::from(cache)].object_size as usize;
    let mut groups: HashMap<u64, Vec<Object>> = HashMap::new();
    for object in sample(view.heap, cache, usize::MAX) {
        let mut raw = vec![0; size];
        if view.memory.read(view.heap.object_va(object), &mut raw).is_ok() {
            groups.entry(fingerprint::of(view.heap, &raw)).or_default().push(object);
        }
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.len()), group[0].slab, group[0].index));
    groups
}

/// Whether no word of an object leads anywhere: text, numbers, nothing at all.
fn is_mute(view: KernelView<'_>, object: Object) -> bool {
    let size = view.heap.cache_of(object).object_size as usize;
    let raw = view.read(view.heap.object_va(object).0, size).unwrap_or_default();
    let leads = |word: Word| {
        matches!(word, Word::Object(..) | Word::Text | Word::Data | Word::Page | Word::Poison)
    };
    !raw.chunks_exact(8).any(|word| {
        let word = word.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        leads(view.word(word))
    })
}

/// kmalloc objects: how many get a type, by what points to them and by content; and how often
/// content alone tells the type that the pointers tell.
fn general(view: KernelView<'_>) {
    let mut pointed = Inference::new(view, &[]);
    pointed.follow_typed_pointers(ROUNDS, &|| false);
    let mut alone = Inference::new(view, &[]);
    let (mut all, mut by_pointer, mut by_content, mut mute) = (0, 0, 0, 0);
    let (mut asked, mut first, mut five) = (0, 0, 0);
    for (index, cache) in (0..).zip(&view.heap.caches) {
        if cache.class != Class::Slab || !cache.name.starts_with("kmalloc-") {
            continue;
        }
        for group in groups(view, index) {
            let bytes = u64::from(cache.object_size) * group.len() as u64;
            all += bytes;
            let truth = group.iter().find_map(|one| {
                pointed.known().of_object(view.types, view.heap, *one).filter(|one| one.is_whole)
            });
            let few = &group[..group.len().min(SAMPLE)];
            match truth {
                Some(truth) => {
                    by_pointer += bytes;
                    if truth.is_array {
                        continue;
                    }
                    alone.infer_pointees(few);
                    let found = alone.infer(few, &[]);
                    let place = found.iter().position(|one| view.types.same(one.id, truth.id));
                    asked += 1;
                    first += usize::from(place == Some(0));
                    five += usize::from(place.is_some());
                }
                None => {
                    pointed.infer_pointees(few);
                    let best = pointed.infer(few, &[]).into_iter().next();
                    let is_told = best.as_ref().is_some_and(|best| best.confidence >= SURE);
                    if let Some(best) = best.as_ref().filter(|best| best.confidence >= CERTAIN) {
                        pointed.assume_type(&group, best.id);
                    }
                    by_content += if is_told { bytes } else { 0 };
                    mute += if !is_told && is_mute(view, group[0]) { bytes } else { 0 };
                    if !is_told && bytes > WORTH_BYTES {
                        let name = best.map_or(String::new(), |best| {
                            format!("{} {:.2}", view.types.name(best.id), best.confidence)
                        });
                        let at = view.heap.object_va(group[0]);
                        println!(
                            "not typed: {} of {} ({bytes} bytes, {at}): {name}",
                            group.len(),
                            cache.name
                        );
                    }
                }
            }
        }
    }
    println!("kmalloc: {all} bytes; typed by pointers {by_pointer}, by content {by_content}");
    println!("not typed, and without any address: {mute} bytes");
    println!("content alone against pointers: of {asked} groups {first} first, {five} in five");
}
