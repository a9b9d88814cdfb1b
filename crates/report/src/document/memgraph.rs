//! The memory graph for a person: a tree with bars, the biggest slab caches, the holders
//! in user space.

use super::census::{LEAF, leaf as line};
use super::{Cell, Document, Lead, Lean, Level, Paint, census, foot, holders};
use crate::catalogue as say;
use crate::figures::{bytes, count};
use crate::model::function_name;
use crate::{
    AreaCaller, CacheTotals, Census, KernelMemory, Lang, MemGraph, PageOwner, PercpuUse, UserMemory,
};

/// What is smaller is not worth a line.
const WORTH_BYTES: u64 = 1 << 20;

/// The graph for a person; its sentence is there already.
pub(crate) fn document(graph: &MemGraph, lang: Lang) -> Document {
    let mut document = Document::default();
    let doc = &mut document;
    let paint = if graph.interrupted.is_some() { Paint::Doubt } else { Paint::Title };
    doc.sentence(paint, Lead::Flush, &*graph.summary);
    doc.gap();
    foot::machine(doc, &graph.target, lang);
    doc.sentence(Paint::Plain, Lead::Flush, foot::reader(&graph.target, lang));
    census::counters(doc, &graph.counters, lang);
    census::ownerless(doc, graph.ownerless, lang);
    tree(doc, &graph.census, lang);
    caches(doc, &graph.caches, lang);
    areas(doc, &graph.vmalloc_callers, lang);
    per_cpu(doc, graph.percpu_use, lang);
    if let Some(user) = &graph.holders {
        holders::holders(doc, user, lang);
    }
    doc.gap();
    foot::dump_pages(doc, &graph.coverage, lang);
    foot::left_out(doc, &graph.coverage, lang);
    foot::timings(doc, &graph.timings, lang);
    foot::notice(doc, graph.redacted, lang);
    document
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
fn tree(doc: &mut Document, census: &Census, lang: Lang) {
    let Some(total) = census.total_bytes.filter(|total| *total > 0) else { return };
    let branches = [
        alone(say::leaf_free(lang), census.free_bytes),
        programs(&census.user, lang),
        alone(say::leaf_files(lang), census.user.file_bytes),
        kernel(&census.kernel, lang),
        alone(say::leaf_reserved(lang), census.reserved_bytes),
        alone(say::leaf_unaccounted(lang), census.unaccounted_bytes),
    ];
    doc.gap();
    doc.title(Level::Section, say::census_title(lang, &bytes(total)));
    let row = |depth, leaf: &Leaf| line(leaf.name.clone(), depth, leaf.bytes, total);
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for branch in &branches {
        rows.extend(row(0, &branch.top));
        let mut below: Vec<_> = branch.below.iter().collect();
        below.sort_by_key(|leaf| std::cmp::Reverse(leaf.bytes));
        for leaf in below {
            rows.extend(row(1, leaf));
            if leaf.name == say::leaf_page_alloc(lang) {
                let parts = census.page_alloc_owners.iter();
                let parts = parts.map(|part| self::leaf(owner(part.owner, lang), Some(part.bytes)));
                rows.extend(parts.filter_map(|part| row(2, &part)));
            }
        }
    }
    doc.bare_table(&LEAF, rows);
    unknown(doc, census, &branches, lang);
}

/// What is not told apart, and where its bytes are.
fn unknown(doc: &mut Document, census: &Census, branches: &[Branch], lang: Lang) {
    let vmemmap = say::leaf_vmemmap(lang);
    let leaves = branches.iter().flat_map(|branch| &branch.below);
    let names: Vec<_> = leaves
        .filter(|leaf| leaf.bytes.is_none() && leaf.name != vmemmap)
        .map(|leaf| leaf.name.as_str())
        .collect();
    if !names.is_empty() {
        let list = names.join(&say::comma(lang));
        let said = say::not_told_apart(lang, &list, &say::leaf_page_alloc(lang));
        doc.sentence(Paint::Dim, Lead::Indent, said);
    }
    // The array of struct page that was not found is memory of the boot.
    if census.kernel.vmemmap_bytes.is_none() {
        let said = say::not_told_apart(lang, &vmemmap, &say::leaf_reserved(lang));
        doc.sentence(Paint::Dim, Lead::Indent, said);
    }
}

/// What pages of a known owner are called.
pub(crate) fn owner(owner: PageOwner, lang: Lang) -> String {
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
fn areas(doc: &mut Document, callers: &[AreaCaller], lang: Lang) {
    let worth: Vec<_> = callers.iter().filter(|caller| caller.bytes >= WORTH_BYTES).collect();
    if worth.is_empty() {
        return;
    }
    doc.gap();
    doc.title(Level::Section, say::areas_title(lang));
    let head = vec![say::head_memory(lang), say::head_areas(lang), say::head_function(lang)];
    let rows = worth.into_iter().map(|caller| {
        let module = caller.module.as_ref().map_or(String::new(), |name| format!(" [{name}]"));
        vec![
            bytes(caller.bytes),
            count(caller.areas),
            function_name(&caller.function, lang) + &module,
        ]
    });
    doc.table(&[Lean::Right, Lean::Right, Lean::Left], head, rows.collect());
}

/// How much of the per-CPU memory is in use, where much of it is not.
fn per_cpu(doc: &mut Document, percpu: Option<PercpuUse>, lang: Lang) {
    let Some(percpu) = percpu.filter(|percpu| {
        percpu.fragmented_bytes >= WORTH_BYTES
            && percpu.fragmented_bytes > percpu.allocated_bytes / 2
    }) else {
        return;
    };
    let parts = [percpu.allocated_bytes, percpu.fragmented_bytes, percpu.empty_bytes].map(bytes);
    let [used, split, empty] = parts.each_ref().map(String::as_str);
    doc.gap();
    doc.sentence(Paint::Plain, Lead::Flush, say::percpu_use(lang, used, split, empty));
}

/// The biggest slab caches.
fn caches(doc: &mut Document, caches: &[CacheTotals], lang: Lang) {
    if caches.is_empty() {
        return;
    }
    doc.gap();
    doc.title(Level::Section, say::biggest_title(lang));
    let head = vec![
        say::head_memory(lang),
        say::head_used(lang),
        say::head_room(lang),
        say::head_freeable(lang),
        say::head_cache(lang),
    ];
    let rows = caches.iter().map(|cache| {
        vec![
            bytes(cache.bytes),
            count(cache.objects_live),
            count(cache.objects_total),
            if cache.reclaimable { say::yes(lang) } else { say::no(lang) },
            cache.name.to_string(),
        ]
    });
    let right = Lean::Right;
    doc.table(&[right, right, right, Lean::Left, Lean::Left], head, rows.collect());
}
