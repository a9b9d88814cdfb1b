//! Who allocates: sysAK's table, its last line, and the ways to the allocator.

use super::{Block, Cell, Column, Document, Lead, Lean, Level, Paint, SHOWN, Table, cells};
use crate::catalogue as say;
use crate::figures::{bytes, count};
use crate::words::{process, span, watched_s};
use crate::{Class, Finding, FindingVerdict, Function, Lang, Process, Report, Symbolic};

/// Functions whose ways and processes are shown where no stacks are wanted.
const TOLD: usize = 3;
/// Processes that are named for a function.
const PROCESSES: usize = 4;
/// Columns of the counts, as sysAK prints them.
const COUNT_WIDTH: usize = 6;
/// How deep the ways to a function stand below it.
const WAY: usize = 2;

/// sysAK's table; nothing where no function is known.
pub(super) fn table(doc: &mut Document, found: &Finding, lang: Lang) {
    if found.seen_functions().next().is_none() {
        return;
    }
    doc.gap();
    doc.title(Level::Part, say::outstanding_title(lang));
    if found.class != Class::Slab {
        table_of_bytes(doc, found, lang);
        return;
    }
    let head = vec![
        say::head_count(lang),
        say::head_marked(lang),
        say::head_unreachable(lang),
        say::head_function(lang),
    ];
    let rows = found.seen_functions().take(SHOWN).map(|function| {
        let counts = [function.outstanding, function.marked, function.unreachable];
        counts.into_iter().map(number).chain([function.place(lang)]).collect()
    });
    counted_table(doc, [Lean::Right, Lean::Right, Lean::Left], head, rows.collect());
}

/// The same for memory in pieces of all sizes: what is lost, or grew, is told in bytes too.
fn table_of_bytes(doc: &mut Document, found: &Finding, lang: Lang) {
    let grew = found.verdict == FindingVerdict::Suspected
        && found.seen_functions().any(|function| function.grew_bytes.is_some());
    let head = vec![
        say::head_count(lang),
        say::head_unreachable(lang),
        if grew { say::head_grew(lang) } else { say::head_memory(lang) },
        say::head_function(lang),
    ];
    let rows = found.seen_functions().take(SHOWN).map(|function| {
        let counts = [function.outstanding, function.unreachable].map(number);
        let size = if grew { function.grew_bytes } else { function.unreachable_bytes };
        let size = size.map_or("?".to_owned(), bytes);
        counts.into_iter().chain([size, function.place(lang)]).collect()
    });
    counted_table(doc, [Lean::Right, Lean::Right, Lean::Left], head, rows.collect());
}

fn number(known: Option<u64>) -> String {
    known.map_or("?".to_owned(), |number| number.to_string())
}

/// A table whose first column has counts, as wide as sysAK prints it.
fn counted_table(doc: &mut Document, others: [Lean; 3], head: Vec<String>, rows: Vec<Vec<String>>) {
    let counts = Column { lean: Lean::Right, least_width: COUNT_WIDTH };
    let columns = [counts].into_iter().chain(others.map(Column::from)).collect();
    let rows: Vec<Vec<Cell>> = rows.into_iter().map(cells).collect();
    doc.blocks.push(Block::Table(Table { columns, head: Some(head), rows }));
}

/// The last line of the table's block: the function, and what it is guilty of.
pub(super) fn last_line(doc: &mut Document, found: &Finding, lang: Lang) {
    let Some(first) = found.seen_functions().next() else { return };
    let (paint, line) = match found.verdict {
        FindingVerdict::Leak if found.is_root() && found.counted.is_some() => {
            (Paint::Plain, say::counted_function(lang, &first.place(lang)))
        }
        FindingVerdict::Leak if found.is_root() => {
            match (found.leaking_function(), found.probable_function()) {
                (Some(function), _) => {
                    (Paint::Bad, say::leaking_function(lang, &function.place(lang)))
                }
                (_, Some(function)) => {
                    (Paint::Doubt, say::probable_function(lang, &function.place(lang)))
                }
                _ => (Paint::Plain, say::leaking_function_unseen(lang)),
            }
        }
        FindingVerdict::Suspected => {
            (Paint::Doubt, say::growing_function(lang, &first.place(lang)))
        }
        // What is lost through another cache is that cache's fault.
        FindingVerdict::Held | FindingVerdict::Leak => {
            (Paint::Plain, say::allocating_function(lang, &first.place(lang)))
        }
    };
    doc.line(paint, 0, line);
}

/// Code that may have allocated the objects, found in the kernel's text.
pub(super) fn possible(doc: &mut Document, found: &Finding, lang: Lang) {
    let all = found.call_sites.unwrap_or(0);
    if all == 0 {
        return;
    }
    if found.possible_functions().next().is_none() {
        doc.sentence(Paint::Plain, Lead::Flush, say::possible_too_many(lang, &count(all)));
        return;
    }
    doc.title(Level::Part, say::possible_title(lang));
    let mut told = 0;
    for function in found.possible_functions() {
        told += 1;
        let size = function
            .asked_bytes
            .map_or(String::new(), |size| format!(" ({})", say::asks_for(lang, &count(size))));
        doc.line(Paint::Plain, 1, function.place(lang) + &size);
    }
    let others = all.saturating_sub(told);
    if others > 0 {
        doc.line(Paint::Dim, 1, say::possible_others(lang, &count(others)));
    }
}

/// How the functions came to allocate: through what, for whom, and the stacks if wanted.
pub(super) fn ways(doc: &mut Document, found: &Finding, stacks: bool, lang: Lang) {
    let told = found.seen_functions().take(if stacks { SHOWN } else { TOLD });
    let mut first = true;
    for function in told {
        let lines = way(function, stacks, lang);
        if lines.is_empty() {
            continue;
        }
        if std::mem::take(&mut first) {
            doc.title(Level::Part, say::ways_title(lang));
        }
        doc.line(Paint::Plain, 1, function.place(lang));
        for (depth, line) in lines {
            doc.line(Paint::Plain, depth, line);
        }
    }
}

/// Lines, and how deep they stand.
fn way(function: &Function, stacks: bool, lang: Lang) -> Vec<(usize, String)> {
    let site = function.call_site.iter().map(|site| (WAY, say::called_through(lang, site)));
    let mut lines: Vec<_> = site.collect();
    if !function.processes.is_empty() {
        lines.push((WAY, say::for_processes(lang, &processes(&function.processes, lang))));
    }
    if stacks && function.stacks.is_empty() && !function.stack.is_empty() {
        lines.push((WAY, say::stack_line(lang)));
        lines.extend(frames(&function.stack));
    }
    for stack in function.stacks.iter().filter(|_| stacks) {
        lines.push((WAY, say::stack_line_of(lang, &count(stack.outstanding))));
        lines.extend(frames(&stack.frames));
    }
    lines
}

fn frames(frames: &[Symbolic]) -> impl Iterator<Item = (usize, String)> {
    frames.iter().map(|frame| (WAY + 1, frame.to_string()))
}

/// `nginx (812) 40, sh (99) 2, …`
fn processes(processes: &[Process], lang: Lang) -> String {
    let shown = processes.iter().take(PROCESSES);
    let mut parts: Vec<_> =
        shown.map(|one| format!("{} {}", process(one), count(one.outstanding))).collect();
    if processes.len() > PROCESSES {
        parts.push("…".to_owned());
    }
    parts.join(&say::comma(lang))
}

/// Who allocated what is no leak and stayed: a line each, over all caches.
pub(super) fn stayed(doc: &mut Document, report: &Report, held: &[&Finding], lang: Lang) {
    let all = held.iter().flat_map(|found| found.seen_functions().map(move |one| (*found, one)));
    let mut all: Vec<_> = all
        .filter_map(|(found, one)| Some((one.outstanding.filter(|n| *n > 0)?, found, one)))
        .collect();
    if all.is_empty() {
        return;
    }
    all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.2.name.cmp(&b.2.name)));
    doc.gap();
    let title = match report.trace.as_ref().and_then(watched_s) {
        Some(seconds) => say::stayed_title(lang, &span(seconds, lang)),
        None => say::stayed_title_ever(lang),
    };
    doc.title(Level::Section, title);
    let head = vec![
        say::head_count(lang),
        say::head_function(lang),
        say::head_process(lang),
        say::head_cache(lang),
    ];
    let rows = all.into_iter().take(SHOWN).map(|(outstanding, found, function)| {
        vec![
            count(outstanding),
            function.place(lang),
            function.processes.first().map(process).unwrap_or_default(),
            found.cache.as_deref().unwrap_or_default().to_owned(),
        ]
    });
    counted_table(doc, [Lean::Left; 3], head, rows.collect());
}
