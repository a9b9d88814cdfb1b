//! Where the memory is: a few lines with bars, and the table of all caches.

use std::io::{self, Write};

use super::page::{Lean, Page, Paint};
use crate::catalogue as say;
use crate::figures::{bytes, count, percent};
use crate::{CacheTotals, Census, Lang};

/// Columns of a full bar.
const BAR: u64 = 30;

/// The owners of all RAM; nothing where the census did not end.
pub(super) fn census<W: Write>(
    page: &mut Page<'_, W>,
    census: &Census,
    lang: Lang,
) -> io::Result<()> {
    let Some(total) = census.total_bytes.filter(|total| *total > 0) else { return Ok(()) };
    page.gap()?;
    page.line(Paint::Title, &say::census_title(lang, &bytes(total)))?;
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
    let known = leaves.into_iter().filter_map(|(name, size)| Some((name, size?)));
    let rows: Vec<_> = known
        .filter(|(_, size)| *size > 0)
        .map(|(name, size)| vec![name, bytes(size), percent(size, total), bar(size, total)])
        .collect();
    page.bare_table(&[Lean::Left, Lean::Right, Lean::Right, Lean::Left], &rows)
}

/// As many marks as the share is big; one at least for something.
pub(super) fn bar(part: u64, whole: u64) -> String {
    let marks = u128::from(part) * u128::from(BAR) / u128::from(whole.max(1));
    "#".repeat((marks as usize).clamp(1, BAR as usize))
}

/// Totals of every cache, biggest first.
pub(super) fn all_caches<W: Write>(
    page: &mut Page<'_, W>,
    caches: &[CacheTotals],
    lang: Lang,
) -> io::Result<()> {
    let mut sorted: Vec<_> = caches.iter().collect();
    sorted.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    page.line(Paint::Title, &say::all_caches_title(lang))?;
    let mut rows = vec![vec![
        say::head_memory(lang),
        say::head_used(lang),
        say::head_room(lang),
        say::head_size(lang),
        say::head_cache(lang),
    ]];
    rows.extend(sorted.into_iter().map(|cache| {
        vec![
            bytes(cache.bytes),
            count(cache.objects_live),
            count(cache.objects_total),
            count(cache.object_size_bytes),
            cache.name.clone(),
        ]
    }));
    let right = Lean::Right;
    page.table(&[right, right, right, right, Lean::Left], &rows)
}
