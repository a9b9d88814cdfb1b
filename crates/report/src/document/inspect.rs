//! What `sysak inspect` shows, for a person who knows the kernel.

use super::{Document, Lead, Lean, Level, Paint, crash_dump, finding, foot, functions};
use crate::catalogue as say;
use crate::figures::{bytes, count};
use crate::{
    Dump, InspectedCache, Inspection, Lang, ObjectState, PageUse, Refs, Spot, SpotKind, Subject,
    Word, WordKind,
};

/// What was asked for.
pub(crate) fn document(seen: &Inspection, lang: Lang) -> Document {
    let mut document = Document::default();
    let doc = &mut document;
    match &seen.subject {
        Subject::Addr(spot) => whole_spot(doc, spot, lang),
        Subject::Object(dump) => objects(doc, dump, lang),
        Subject::Refs(refs) => references(doc, refs, lang),
        Subject::Cache(cache) => self::cache(doc, cache, lang),
        Subject::Dump(dump) => crash_dump::crash_dump(doc, dump, lang),
    }
    doc.gap();
    if !seen.target.kernel_release.is_empty() {
        foot::machine(doc, &seen.target, lang);
    }
    doc.sentence(Paint::Plain, Lead::Flush, foot::reader(&seen.target, lang));
    foot::timings(doc, &seen.timings, lang);
    foot::notice(doc, seen.redacted, lang);
    document
}

/// What an address is, and in which page it lies.
fn whole_spot(doc: &mut Document, spot: &Spot, lang: Lang) {
    let address = spot.address.map_or("?".to_owned(), |at| at.to_string());
    let colon = say::about(lang, &address, &place(spot, lang));
    doc.title(Level::Section, colon);
    if let Some(state) = spot.state {
        doc.sentence(paint(state), Lead::Indent, self::state(state, lang));
    }
    if let (Some(pfn), Some(owner)) = (spot.pfn, spot.page_owner) {
        let said =
            say::about(lang, &say::spot_in_page(lang, &pfn.to_string()), &page_use(owner, lang));
        doc.sentence(Paint::Plain, Lead::Indent, said);
    }
}

fn paint(state: ObjectState) -> Paint {
    match state {
        ObjectState::Unreachable => Paint::Bad,
        ObjectState::Free => Paint::Dim,
        ObjectState::Reachable | ObjectState::Allocated => Paint::Plain,
    }
}

/// `object of slab cache kmalloc-64 at 0x…, 64 bytes, 0x10 into it`
fn place(spot: &Spot, lang: Lang) -> String {
    let start = spot.start.map_or(String::new(), |at| at.to_string());
    let size = spot.size_bytes.map_or("?".to_owned(), count);
    let module = spot.module.as_ref().map_or(String::new(), |name| format!(" [{name}]"));
    let name = spot.name.as_ref().map(|name| match spot.pid {
        Some(pid) => format!("{} ({pid})", name.name(lang)),
        None => format!("{}{module}", name.name(lang)),
    });
    let pfn = spot.pfn.map_or("?".to_owned(), |pfn| pfn.to_string());
    let named = name.clone().unwrap_or_default();
    let mut parts = vec![match spot.kind {
        SpotKind::SlabObject => say::spot_slab_object(lang, &named, &start, &size),
        SpotKind::PageBlock => say::spot_page_block(lang, &start, &size),
        SpotKind::VmallocArea => say::spot_vmalloc_area(lang, &start, &size),
        SpotKind::PercpuObject => say::spot_percpu_object(lang, &start, &size),
        SpotKind::Image if name.is_none() => say::spot_image_nameless(lang),
        SpotKind::Image => say::spot_image(lang, &named),
        SpotKind::Module if name.is_none() => say::spot_module_nameless(lang),
        SpotKind::Module => say::spot_module(lang, &named),
        SpotKind::BootTable => say::spot_boot_table(lang, &named),
        SpotKind::PercpuVariable => say::spot_percpu_variable(lang, &named),
        SpotKind::Stack => say::spot_stack(lang, &name.unwrap_or_else(|| "?".to_owned())),
        SpotKind::StructPage => return say::spot_struct_page(lang, &pfn),
        SpotKind::Page => return say::spot_page(lang, &pfn),
        SpotKind::Unknown => return say::spot_unknown(lang),
    }];
    if spot.kind == SpotKind::VmallocArea && !named.is_empty() {
        parts.push(say::spot_asked_by(lang, &named));
    }
    if let Some(offset) = spot.offset.filter(|offset| offset.0 > 0) {
        parts.push(say::spot_offset(lang, &offset.to_string()));
    }
    parts.join(&say::comma(lang))
}

fn state(state: ObjectState, lang: Lang) -> String {
    match state {
        ObjectState::Free => say::state_free(lang),
        ObjectState::Reachable => say::state_reachable(lang),
        ObjectState::Unreachable => say::state_unreachable(lang),
        ObjectState::Allocated => say::state_allocated(lang),
    }
}

fn page_use(owner: PageUse, lang: Lang) -> String {
    match owner {
        PageUse::Free => say::use_free(lang),
        PageUse::Slab => say::use_slab(lang),
        PageUse::Anon => say::use_anon(lang),
        PageUse::File => say::use_file(lang),
        PageUse::Shmem => say::use_shmem(lang),
        PageUse::Hugetlb => say::use_hugetlb(lang),
        PageUse::PageTable => say::use_page_table(lang),
        PageUse::Image => say::use_image(lang),
        PageUse::Reserved => say::use_reserved(lang),
        PageUse::Vmemmap => say::use_vmemmap(lang),
        PageUse::Kernel => say::use_kernel(lang),
        PageUse::Untouchable => say::use_untouchable(lang),
    }
}

/// An object's words, and below them those of the objects that they lead to.
fn objects(doc: &mut Document, dump: &Dump, lang: Lang) {
    whole_spot(doc, &dump.spot, lang);
    if let Some(guess) = &dump.object_type {
        finding::kind(doc, guess, lang);
    }
    words(doc, dump, lang);
    for next in &dump.leads_to {
        doc.gap();
        objects(doc, next, lang);
    }
}

fn words(doc: &mut Document, dump: &Dump, lang: Lang) {
    if dump.words.is_empty() {
        return;
    }
    let named = dump.words.iter().any(|word| word.field.is_some());
    let mut head = vec![say::head_offset(lang), say::head_word(lang)];
    let mut leans = vec![Lean::Right, Lean::Left];
    if named {
        head.push(say::head_field(lang));
        leans.push(Lean::Left);
    }
    head.push(say::head_meaning(lang));
    leans.push(Lean::Left);
    let rows = dump.words.iter().map(|word| {
        let mut row = vec![word.offset.to_string(), format!("{:016x}", word.value.0)];
        if named {
            row.push(word.field.as_deref().unwrap_or_default().to_owned());
        }
        row.push(meaning(word, lang));
        row
    });
    doc.table(&leans, head, rows.collect());
    if dump.cut {
        doc.line(Paint::Dim, 1, say::dump_cut(lang));
    }
}

fn meaning(word: &Word, lang: Lang) -> String {
    let told = word.meaning.as_ref().map_or(String::new(), |place| place.name(lang));
    let said = match word.kind {
        WordKind::Zero => String::new(),
        WordKind::Number | WordKind::Symbol | WordKind::Object => told,
        WordKind::Text => format!("\"{told}\""),
        WordKind::Address if told.is_empty() => say::word_address(lang),
        WordKind::Address => told,
        WordKind::Poison => say::about(lang, &told, &say::word_off_list(lang)),
        WordKind::Error => say::word_error(lang, &told),
    };
    match (word.count, said.is_empty()) {
        (0 | 1, _) => said,
        (many, true) => say::word_times(lang, &count(many)),
        (many, false) => format!("{said}, {}", say::word_times(lang, &count(many))),
    }
}

fn references(doc: &mut Document, refs: &Refs, lang: Lang) {
    whole_spot(doc, &refs.spot, lang);
    doc.gap();
    let Some(references) = refs.references else {
        doc.sentence(Paint::Plain, Lead::Flush, say::refs_of_root(lang));
        return;
    };
    if refs.places.is_empty() {
        doc.sentence(Paint::Plain, Lead::Flush, say::refs_none(lang));
        return;
    }
    doc.title(Level::Section, say::refs_title(lang, &count(references)));
    let head = vec![say::head_pointers(lang), say::head_place(lang), say::head_first_at(lang)];
    let rows = refs.places.iter().map(|place| {
        let lost =
            if place.unreachable { format!(" ({})", say::ref_lost(lang)) } else { String::new() };
        vec![
            count(place.references),
            format!("{}{lost}", place.name.name(lang)),
            place.example.map_or(String::new(), |at| at.to_string()),
        ]
    });
    doc.table(&[Lean::Right, Lean::Left, Lean::Left], head, rows.collect());
    doc.gap();
    if refs.ways.is_empty() {
        doc.sentence(Paint::Plain, Lead::Flush, say::no_way_up(lang));
        return;
    }
    doc.title(Level::Section, say::ways_up_title(lang));
    for way in &refs.ways {
        let steps: Vec<_> = way.iter().map(|step| step.name.name(lang)).collect();
        doc.sentence(Paint::Plain, Lead::Bullet, steps.join(" → "));
    }
}

fn cache(doc: &mut Document, cache: &InspectedCache, lang: Lang) {
    let found = &cache.finding;
    let known = |number: Option<u64>| number.map_or("?".to_owned(), count);
    finding::heading(doc, found, lang);
    let (used, room) = (known(found.allocated_objects), known(found.total_objects));
    let size = found.slab_bytes.map_or("?".to_owned(), bytes);
    let slabs = say::cache_slabs(lang, &count(cache.slabs), &room, &used);
    doc.sentence(Paint::Plain, Lead::Bullet, slabs);
    doc.sentence(Paint::Plain, Lead::Bullet, say::cache_bytes(lang, &size));
    if let (Some(objects @ 1..), Some(lost)) = (found.unreachable_objects, found.unreachable_bytes)
    {
        let said = say::cache_lost(lang, &count(objects), &bytes(lost));
        doc.sentence(Paint::Plain, Lead::Bullet, said);
    }
    finding::contents(doc, found, lang);
    functions::possible(doc, found, lang);
}
