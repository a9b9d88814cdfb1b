//! How often the inferred type is right, measured over the slab caches of a crash dump whose name
//! tells what their objects are: `cargo run --release --example types -- VMCORE`.
//!
//! The name of one cache at a time is hidden; what all others tell stays known. Of kmalloc objects
//! it prints how many get a type.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use sysak_base::{Cancel, Quiet};
use sysak_heap::{Class, Heap, Object};
use sysak_infer::fingerprint;
use sysak_infer::kernel_types;
use sysak_infer::{Inference, Word, World, code_of, of_cache};
use sysak_kernel::{Kernel, modules};
use sysak_snapshot::Snapshot;
use sysak_target::{Choice, Options};

/// A cache with fewer objects says little.
const WORTH: usize = 20;
const SAMPLE: usize = 32;
/// Groups of more bytes are worth a line.
const WORTH_BYTES: u64 = 16 << 10;
/// Less sure than this is no type.
const SURE: f64 = 0.5;
/// As sure as this, the pointers of all that are alike are followed in turn.
const CERTAIN: f64 = 0.9;
/// Rounds in which typed pointers are followed.
const ROUNDS: u32 = 6;

fn main() -> Result<()> {
    let vmcore = std::env::args_os().nth(1).context("which crash dump?")?;
    let options = Options {
        reader: Choice::Auto,
        vmcore: Some(PathBuf::from(vmcore)),
        btf: None,
        kallsyms: None,
    };
    let cancel = Cancel::default();
    let mut target = sysak_target::open(&options, &cancel)?;
    modules::read_modules(target.memory.as_memory(), &target.types, &mut target.symbols);
    let kernel =
        Kernel::new(target.memory.as_memory(), &target.anchors, &target.types, &target.symbols)?;
    let seen = Snapshot::take(&kernel, &Quiet, &cancel)?;
    let types = kernel_types(&kernel);
    let world = World {
        memory: kernel.memory,
        heap: &seen.heap,
        symbols: kernel.symbols,
        types: &types,
        memmap: kernel.memmap_range(),
        per_cpu: kernel.per_cpu_offsets(),
        image: kernel.image_virtual,
        code: code_of(kernel.symbols),
    };
    named(world, false);
    named(world, true);
    general(world);
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
fn named(world: World<'_>, spread: bool) {
    let (mut first, mut five, mut all) = (0, 0, 0);
    for (index, cache) in (0..).zip(&world.heap.caches) {
        if cache.class != Class::Slab || !cache.aliases.is_empty() {
            continue;
        }
        let Some(truth) = of_cache(world.types, &cache.name, cache.object_size) else { continue };
        let objects = sample(world.heap, index, SAMPLE);
        if objects.len() < WORTH {
            continue;
        }
        let mut inference = Inference::new(world, &[index]);
        if spread {
            inference.spread(1, &|| false);
        }
        inference.look_behind(&objects);
        let found = inference.infer(&objects, &[]);
        let place = found.iter().position(|one| world.types.same(one.id, truth));
        all += 1;
        first += usize::from(place == Some(0));
        five += usize::from(place.is_some());
        if place != Some(0) {
            let names: Vec<String> = found
                .iter()
                .map(|one| format!("{} {:.2}", world.types.name(one.id), one.confidence))
                .collect();
            println!("{} is {}: {}", cache.name, world.types.name(truth), names.join(", "));
        }
    }
    println!("typed pointers followed: {spread}; of {all} caches {first} first, {five} in five");
}

/// Objects of a kmalloc cache of like content.
fn groups(world: World<'_>, cache: u16) -> Vec<Vec<Object>> {
    let size = world.heap.caches[usize::from(cache)].object_size as usize;
    let mut groups: HashMap<u64, Vec<Object>> = HashMap::new();
    for object in sample(world.heap, cache, usize::MAX) {
        let mut raw = vec![0; size];
        if world.memory.read(world.heap.object_va(object), &mut raw).is_ok() {
            groups.entry(fingerprint::of(world.heap, &raw)).or_default().push(object);
        }
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.len()), group[0].slab, group[0].index));
    groups
}

/// Whether no word of an object leads anywhere: text, numbers, nothing at all.
fn is_mute(world: World<'_>, object: Object) -> bool {
    let size = world.heap.cache_of(object).object_size as usize;
    let raw = world.read(world.heap.object_va(object).0, size).unwrap_or_default();
    let leads = |word: Word| {
        matches!(word, Word::Object(..) | Word::Text | Word::Data | Word::Page | Word::Poison)
    };
    !raw.chunks_exact(8).any(|word| {
        let word = word.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        leads(world.word(word))
    })
}

/// kmalloc objects: how many get a type, by what points to them and by content; and how often
/// content alone tells the type that the pointers tell.
fn general(world: World<'_>) {
    let mut pointed = Inference::new(world, &[]);
    pointed.spread(ROUNDS, &|| false);
    let mut alone = Inference::new(world, &[]);
    let (mut all, mut by_pointer, mut by_content, mut mute) = (0, 0, 0, 0);
    let (mut asked, mut first, mut five) = (0, 0, 0);
    for (index, cache) in (0..).zip(&world.heap.caches) {
        if cache.class != Class::Slab || !cache.name.starts_with("kmalloc-") {
            continue;
        }
        for group in groups(world, index) {
            let bytes = u64::from(cache.object_size) * group.len() as u64;
            all += bytes;
            let truth = group.iter().find_map(|one| {
                pointed.known().of_object(world.types, world.heap, *one).filter(|one| one.whole)
            });
            let few = &group[..group.len().min(SAMPLE)];
            match truth {
                Some(truth) => {
                    by_pointer += bytes;
                    if truth.many {
                        continue;
                    }
                    alone.look_behind(few);
                    let found = alone.infer(few, &[]);
                    let place = found.iter().position(|one| world.types.same(one.id, truth.id));
                    asked += 1;
                    first += usize::from(place == Some(0));
                    five += usize::from(place.is_some());
                }
                None => {
                    pointed.look_behind(few);
                    let best = pointed.infer(few, &[]).into_iter().next();
                    let is_told = best.as_ref().is_some_and(|best| best.confidence >= SURE);
                    if let Some(best) = best.as_ref().filter(|best| best.confidence >= CERTAIN) {
                        pointed.learn(&group, best.id);
                    }
                    by_content += if is_told { bytes } else { 0 };
                    mute += if !is_told && is_mute(world, group[0]) { bytes } else { 0 };
                    if !is_told && bytes > WORTH_BYTES {
                        let name = best.map_or(String::new(), |best| {
                            format!("{} {:.2}", world.types.name(best.id), best.confidence)
                        });
                        let at = world.heap.object_va(group[0]);
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
