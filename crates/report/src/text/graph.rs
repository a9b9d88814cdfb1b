//! The memory graph for a person: a tree with bars, the biggest slab caches, the holders
//! in user space.

use std::io::{self, Write};

use super::census::bar;
use super::page::{Lean, Page, Paint};
use super::{Style, foot, holders};
use crate::catalogue as say;
use crate::figures::{bytes, count, percent};
use crate::{
    AreaCaller, CacheTotals, Census, KernelMemory, Lang, MemGraph, PageOwner, PercpuUse, UserMemory,
};

/// What is smaller is not worth a line.
const WORTH_BYTES: u64 = 1 << 20;

/// Writes the graph for a person; the sentence is made here if it was not yet.
pub fn graph_text(
    graph: &MemGraph,
    lang: Lang,
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    if graph.lang != Some(lang) {
        let mut rendered = graph.clone();
        rendered.render_sentences(lang);
        return graph_text(&rendered, lang, style, out);
    }
    let page = &mut Page::new(out, style);
    let paint = if graph.interrupted.is_some() { Paint::Doubt } else { Paint::Title };
    page.sentence(paint, "", &graph.summary)?;
    page.gap()?;
    foot::machine(page, &graph.target, lang)?;
    page.sentence(Paint::Plain, "", &foot::reader(&graph.target, lang))?;
    tree(page, &graph.census, lang)?;
    caches(page, &graph.caches, lang)?;
    areas(page, &graph.vmalloc_callers, lang)?;
    per_cpu(page, graph.percpu_use, lang)?;
    if let Some(user) = &graph.holders {
        holders::holders(page, user, lang)?;
    }
    page.gap()?;
    foot::left_out(page, &graph.coverage, lang)?;
    foot::timings(page, &graph.timings, lang)
}

/// A line of the tree.
struct Leaf {
    name: String,
    bytes: Option<u64>,
}

/// A line of the tree and those below it.
struct Branch {
    top: Leaf,
    below: Vec<Leaf>,
}

fn leaf(name: String, bytes: Option<u64>) -> Leaf {
    Leaf { name, bytes }
}

fn alone(name: String, bytes: Option<u64>) -> Branch {
    Branch { top: leaf(name, bytes), below: Vec::new() }
}

fn programs(user: &UserMemory, lang: Lang) -> Branch {
    let below = vec![
        leaf(say::leaf_anon(lang), user.anon_bytes),
        leaf(say::leaf_shmem(lang), user.shmem_bytes),
        leaf(say::leaf_hugetlb(lang), user.hugetlb_bytes),
        leaf(say::leaf_unevictable(lang), user.unevictable_bytes),
    ];
    Branch { top: leaf(say::leaf_programs(lang), user.programs_bytes()), below }
}

fn kernel(kernel: &KernelMemory, lang: Lang) -> Branch {
    let below = vec![
        leaf(say::leaf_slab_unreclaimable(lang), kernel.slab_unreclaimable_bytes),
        leaf(say::leaf_slab_reclaimable(lang), kernel.slab_reclaimable_bytes),
        leaf(say::leaf_vmalloc(lang), kernel.vmalloc_bytes),
        leaf(say::leaf_percpu(lang), kernel.percpu_bytes),
        leaf(say::leaf_page_table(lang), kernel.page_table_bytes),
        leaf(say::leaf_kernel_stack(lang), kernel.kernel_stack_bytes),
        leaf(say::leaf_image(lang), kernel.image_bytes),
        leaf(say::leaf_vmemmap(lang), kernel.vmemmap_bytes),
        leaf(say::leaf_page_alloc(lang), kernel.page_alloc_bytes),
    ];
    Branch { top: leaf(say::leaf_whole_kernel(lang), kernel.total_bytes()), below }
}

/// The owners of all RAM; nothing where the census did not end.
fn tree<W: Write>(page: &mut Page<'_, W>, census: &Census, lang: Lang) -> io::Result<()> {
    let Some(total) = census.total_bytes.filter(|total| *total > 0) else { return Ok(()) };
    let branches = [
        alone(say::leaf_free(lang), census.free_bytes),
        programs(&census.user, lang),
        alone(say::leaf_files(lang), census.user.file_bytes),
        kernel(&census.kernel, lang),
        alone(say::leaf_reserved(lang), census.reserved_bytes),
        alone(say::leaf_unaccounted(lang), census.unaccounted_bytes),
    ];
    page.gap()?;
    page.line(Paint::Title, &say::census_title(lang, &bytes(total)))?;
    let mut rows = Vec::new();
    for branch in &branches {
        rows.extend(row("", &branch.top, total, "#"));
        let mut below: Vec<_> = branch.below.iter().collect();
        below.sort_by_key(|leaf| std::cmp::Reverse(leaf.bytes));
        for leaf in below {
            rows.extend(row("  ", leaf, total, "-"));
            if leaf.name == say::leaf_page_alloc(lang) {
                let parts = census.page_alloc_owners.iter();
                let parts = parts.map(|part| self::leaf(owner(part.owner, lang), Some(part.bytes)));
                rows.extend(parts.filter_map(|part| row("    ", &part, total, ".")));
            }
        }
    }
    page.bare_table(&[Lean::Left, Lean::Right, Lean::Right, Lean::Left], &rows)?;
    unknown(page, census, &branches, lang)
}

fn row(indent: &str, leaf: &Leaf, total: u64, mark: &str) -> Option<Vec<String>> {
    let size = leaf.bytes.filter(|size| *size > 0)?;
    let bar = bar(size, total).replace('#', mark);
    Some(vec![format!("{indent}{}", leaf.name), bytes(size), percent(size, total), bar])
}

/// What is not told apart, and where its bytes are.
fn unknown<W: Write>(
    page: &mut Page<'_, W>,
    census: &Census,
    branches: &[Branch],
    lang: Lang,
) -> io::Result<()> {
    let vmemmap = say::leaf_vmemmap(lang);
    let leaves = branches.iter().flat_map(|branch| &branch.below);
    let names: Vec<_> = leaves
        .filter(|leaf| leaf.bytes.is_none() && leaf.name != vmemmap)
        .map(|leaf| leaf.name.as_str())
        .collect();
    if !names.is_empty() {
        let list = names.join(&say::comma(lang));
        let said = say::not_told_apart(lang, &list, &say::leaf_page_alloc(lang));
        page.sentence(Paint::Dim, "  ", &said)?;
    }
    // The array of struct page that was not found is memory of the boot.
    if census.kernel.vmemmap_bytes.is_none() {
        let said = say::not_told_apart(lang, &vmemmap, &say::leaf_reserved(lang));
        page.sentence(Paint::Dim, "  ", &said)?;
    }
    Ok(())
}

fn owner(owner: PageOwner, lang: Lang) -> String {
    match owner {
        PageOwner::Balloon => say::part_balloon(lang),
        PageOwner::Poisoned => say::part_poisoned(lang),
        PageOwner::Compressed => say::part_compressed(lang),
        PageOwner::PagePool => say::part_page_pool(lang),
        PageOwner::SecondaryPageTables => say::part_secondary_tables(lang),
        PageOwner::Sysak => say::part_sysak(lang),
    }
}

/// Who asked for most of the vmalloc areas.
fn areas<W: Write>(page: &mut Page<'_, W>, callers: &[AreaCaller], lang: Lang) -> io::Result<()> {
    let worth: Vec<_> = callers.iter().filter(|caller| caller.bytes >= WORTH_BYTES).collect();
    if worth.is_empty() {
        return Ok(());
    }
    page.gap()?;
    page.line(Paint::Title, &say::areas_title(lang))?;
    let mut rows =
        vec![vec![say::head_memory(lang), say::head_areas(lang), say::head_function(lang)]];
    rows.extend(worth.into_iter().map(|caller| {
        let module = caller.module.as_ref().map_or(String::new(), |name| format!(" [{name}]"));
        vec![bytes(caller.bytes), count(caller.areas), format!("{}{module}", caller.function)]
    }));
    page.table(&[Lean::Right, Lean::Right, Lean::Left], &rows)
}

/// How much of the per-CPU memory is in use, where much of it is not.
fn per_cpu<W: Write>(
    page: &mut Page<'_, W>,
    percpu: Option<PercpuUse>,
    lang: Lang,
) -> io::Result<()> {
    let Some(percpu) = percpu.filter(|percpu| {
        percpu.fragmented_bytes >= WORTH_BYTES
            && percpu.fragmented_bytes > percpu.allocated_bytes / 2
    }) else {
        return Ok(());
    };
    let parts = [percpu.allocated_bytes, percpu.fragmented_bytes, percpu.empty_bytes].map(bytes);
    let [used, split, empty] = parts.each_ref().map(String::as_str);
    page.gap()?;
    page.sentence(Paint::Plain, "", &say::percpu_use(lang, used, split, empty))
}

/// The biggest slab caches.
fn caches<W: Write>(page: &mut Page<'_, W>, caches: &[CacheTotals], lang: Lang) -> io::Result<()> {
    if caches.is_empty() {
        return Ok(());
    }
    page.gap()?;
    page.line(Paint::Title, &say::biggest_title(lang))?;
    let mut rows = vec![vec![
        say::head_memory(lang),
        say::head_used(lang),
        say::head_room(lang),
        say::head_freeable(lang),
        say::head_cache(lang),
    ]];
    rows.extend(caches.iter().map(|cache| {
        vec![
            bytes(cache.bytes),
            count(cache.objects_live),
            count(cache.objects_total),
            if cache.reclaimable { say::yes(lang) } else { say::no(lang) },
            cache.name.clone(),
        ]
    }));
    let right = Lean::Right;
    page.table(&[right, right, right, Lean::Left, Lean::Left], &rows)
}
