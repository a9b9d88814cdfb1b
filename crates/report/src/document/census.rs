//! Where the memory is: a few lines with bars, and the table of all caches.

use super::{Cell, Document, Lead, Lean, Level, Paint, share};
use crate::catalogue as say;
use crate::figures::{bytes, count, percent};
use crate::{CacheTotals, Census, Counter, Lang, Ownerless};

/// The owners of all RAM; nothing where the census did not end.
pub(super) fn census(doc: &mut Document, census: &Census, lang: Lang) {
    let Some(total) = census.total_bytes.filter(|total| *total > 0) else { return };
    doc.gap();
    doc.title(Level::Section, say::census_title(lang, &bytes(total)));
    let (user, kernel) = (&census.user, &census.kernel);
    let leaves = [
        (say::leaf_free(lang), census.free_bytes),
        (say::leaf_programs(lang), user.programs_bytes()),
        (say::leaf_files(lang), user.file_bytes),
        (say::leaf_slab(lang), kernel.slab_bytes()),
        (say::leaf_kernel(lang), kernel.other_bytes()),
        (say::leaf_reserved(lang), census.reserved_bytes),
        (say::leaf_unaccounted(lang), census.unaccounted_bytes),
    ];
    let rows = leaves.into_iter().filter_map(|(name, size)| leaf(name, 0, size, total));
    doc.bare_table(&LEAF, rows.collect());
}

/// Counters of the kernel that are wrong.
pub(super) fn counters(doc: &mut Document, counters: &[Counter], lang: Lang) {
    for Counter { name, kernel_says_bytes: says, found_bytes: found } in counters {
        let figures = [*says, *found, says.abs_diff(*found)].map(bytes);
        let [says_text, found_text, gap] = figures.each_ref().map(String::as_str);
        let sentence = if says > found { say::counter_too_high } else { say::counter_too_low };
        let text = sentence(lang, name.text(), says_text, found_text, gap);
        doc.sentence(Paint::Doubt, Lead::Flush, text);
    }
}

/// Memory of programs that no process has.
pub(super) fn ownerless(doc: &mut Document, ownerless: Option<Ownerless>, lang: Lang) {
    let Some(Ownerless { bytes: all, pinned_bytes }) = ownerless else { return };
    let text = match pinned_bytes {
        0 => say::ownerless(lang, &bytes(all)),
        pinned => say::ownerless_pinned(lang, &bytes(all), &bytes(pinned)),
    };
    doc.sentence(Paint::Doubt, Lead::Flush, text);
}

/// How the cells of [`leaf`] lean.
pub(super) const LEAF: [Lean; 4] = [Lean::Left, Lean::Right, Lean::Right, Lean::Left];

/// Name, bytes, percent and a bar of a part of all memory; nothing for no part.
pub(super) fn leaf(name: String, depth: usize, size: Option<u64>, total: u64) -> Option<Vec<Cell>> {
    let size = size.filter(|size| *size > 0)?;
    let name = Cell::Text { depth, text: name };
    let bar = Cell::Bar { share: share(size, total), depth };
    Some(vec![name, bytes(size).into(), percent(size, total).into(), bar])
}

/// Totals of every cache, biggest first.
pub(super) fn all_caches(doc: &mut Document, caches: &[CacheTotals], lang: Lang) {
    let mut sorted: Vec<_> = caches.iter().collect();
    sorted.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    doc.title(Level::Section, say::all_caches_title(lang));
    let head = vec![
        say::head_memory(lang),
        say::head_used(lang),
        say::head_room(lang),
        say::head_size(lang),
        say::head_cache(lang),
    ];
    let rows = sorted.into_iter().map(|cache| {
        vec![
            bytes(cache.bytes),
            count(cache.objects_live),
            count(cache.objects_total),
            count(cache.object_size_bytes),
            cache.name.to_string(),
        ]
    });
    let right = Lean::Right;
    doc.table(&[right, right, right, right, Lean::Left], head, rows.collect());
}
