//! Who allocates: sysAK's table, its last line, and the ways to the allocator.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::page::{Lean, Page, Paint, SHOWN};
use crate::catalogue as say;
use crate::figures::{bytes, count};
use crate::words::{process, span, watched_s};
use crate::{Class, Finding, FindingVerdict, Function, Lang, Process, Report};

/// Functions whose ways and processes are shown where no stacks are wanted.
const TOLD: usize = 3;
/// Processes that are named for a function.
const PROCESSES: usize = 4;
/// Columns of the counts, as sysAK prints them.
const COUNT_WIDTH: usize = 6;

/// sysAK's table; nothing where no function is known.
pub(super) fn table<W: Write>(
    page: &mut Page<'_, W>,
    found: &Finding,
    lang: Lang,
) -> io::Result<()> {
    if found.seen_functions().next().is_none() {
        return Ok(());
    }
    page.gap()?;
    page.line(Paint::Title, &say::outstanding_title(lang))?;
    if found.class != Class::Slab {
        return table_of_bytes(page, found, lang);
    }
    let mut rows = vec![vec![
        wide(&say::head_count(lang)),
        say::head_marked(lang),
        say::head_unreachable(lang),
        say::head_function(lang),
    ]];
    rows.extend(found.seen_functions().take(SHOWN).map(|function| {
        let counts = [function.outstanding, function.marked, function.unreachable];
        counts.into_iter().map(number).chain([function.place()]).collect()
    }));
    page.table(&[Lean::Right, Lean::Right, Lean::Right, Lean::Left], &rows)
}

/// The same for memory in pieces of all sizes: what is lost, or grew, is told in bytes too.
fn table_of_bytes<W: Write>(page: &mut Page<'_, W>, found: &Finding, lang: Lang) -> io::Result<()> {
    let grew = found.verdict == FindingVerdict::Suspected
        && found.seen_functions().any(|function| function.grew_bytes.is_some());
    let mut rows = vec![vec![
        wide(&say::head_count(lang)),
        say::head_unreachable(lang),
        if grew { say::head_grew(lang) } else { say::head_memory(lang) },
        say::head_function(lang),
    ]];
    rows.extend(found.seen_functions().take(SHOWN).map(|function| {
        let counts = [function.outstanding, function.unreachable].map(number);
        let size = if grew { function.grew_bytes } else { function.unreachable_bytes };
        let size = size.map_or("?".to_owned(), bytes);
        counts.into_iter().chain([size, function.place()]).collect()
    }));
    page.table(&[Lean::Right, Lean::Right, Lean::Right, Lean::Left], &rows)
}

fn number(known: Option<u64>) -> String {
    known.map_or("?".to_owned(), |number| number.to_string())
}

fn wide(head: &str) -> String {
    " ".repeat(COUNT_WIDTH.saturating_sub(head.width())) + head
}

/// The last line of the table's block: the function, and what it is guilty of.
pub(super) fn last_line<W: Write>(
    page: &mut Page<'_, W>,
    found: &Finding,
    lang: Lang,
) -> io::Result<()> {
    let Some(first) = found.seen_functions().next() else { return Ok(()) };
    let (paint, line) = match found.verdict {
        FindingVerdict::Leak if found.is_root() => {
            match (found.leaking_function(), found.probable_function()) {
                (Some(function), _) => (Paint::Bad, say::leaking_function(lang, &function.place())),
                (_, Some(function)) => {
                    (Paint::Doubt, say::probable_function(lang, &function.place()))
                }
                _ => (Paint::Plain, say::leaking_function_unseen(lang)),
            }
        }
        FindingVerdict::Suspected => (Paint::Doubt, say::growing_function(lang, &first.place())),
        // What is lost through another cache is that cache's fault.
        FindingVerdict::Held | FindingVerdict::Leak => {
            (Paint::Plain, say::allocating_function(lang, &first.place()))
        }
    };
    page.line(paint, &line)
}

/// Code that may have allocated the objects, found in the kernel's text.
pub(super) fn possible<W: Write>(
    page: &mut Page<'_, W>,
    found: &Finding,
    lang: Lang,
) -> io::Result<()> {
    let all = found.call_sites.unwrap_or(0);
    if all == 0 {
        return Ok(());
    }
    if found.possible_functions().next().is_none() {
        return page.sentence(Paint::Plain, "", &say::possible_too_many(lang, &count(all)));
    }
    page.line(Paint::Title, &say::possible_title(lang))?;
    let mut told = 0;
    for function in found.possible_functions() {
        told += 1;
        let size = function
            .asked_bytes
            .map_or(String::new(), |size| format!(" ({})", say::asks_for(lang, &count(size))));
        page.line(Paint::Plain, &format!("  {}{size}", function.place()))?;
    }
    let others = all.saturating_sub(told);
    match others {
        0 => Ok(()),
        _ => page.line(Paint::Dim, &format!("  {}", say::possible_others(lang, &count(others)))),
    }
}

/// How the functions came to allocate: through what, for whom, and the stacks if wanted.
pub(super) fn ways<W: Write>(
    page: &mut Page<'_, W>,
    found: &Finding,
    lang: Lang,
) -> io::Result<()> {
    let stacks = page.style().stacks;
    let told = found.seen_functions().take(if stacks { SHOWN } else { TOLD });
    let mut first = true;
    for function in told {
        let lines = way(function, stacks, lang);
        if lines.is_empty() {
            continue;
        }
        if std::mem::take(&mut first) {
            page.line(Paint::Title, &say::ways_title(lang))?;
        }
        page.line(Paint::Plain, &format!("  {}", function.place()))?;
        lines.iter().try_for_each(|line| page.line(Paint::Plain, &format!("    {line}")))?;
    }
    Ok(())
}

fn way(function: &Function, stacks: bool, lang: Lang) -> Vec<String> {
    let site = function.call_site.iter().map(|site| say::called_through(lang, site));
    let mut lines: Vec<String> = site.collect();
    if !function.processes.is_empty() {
        lines.push(say::for_processes(lang, &processes(&function.processes, lang)));
    }
    if stacks && function.stacks.is_empty() && !function.stack.is_empty() {
        lines.push(say::stack_line(lang));
        lines.extend(frames(&function.stack));
    }
    for stack in function.stacks.iter().filter(|_| stacks) {
        lines.push(say::stack_line_of(lang, &count(stack.outstanding)));
        lines.extend(frames(&stack.frames));
    }
    lines
}

fn frames(frames: &[String]) -> impl Iterator<Item = String> {
    frames.iter().map(|frame| format!("  {frame}"))
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
pub(super) fn stayed<W: Write>(
    page: &mut Page<'_, W>,
    report: &Report,
    held: &[&Finding],
    lang: Lang,
) -> io::Result<()> {
    let all = held.iter().flat_map(|found| found.seen_functions().map(move |one| (*found, one)));
    let mut all: Vec<_> = all
        .filter_map(|(found, one)| Some((one.outstanding.filter(|n| *n > 0)?, found, one)))
        .collect();
    if all.is_empty() {
        return Ok(());
    }
    all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.2.name.cmp(&b.2.name)));
    page.gap()?;
    page.line(
        Paint::Title,
        &match report.trace.as_ref().and_then(watched_s) {
            Some(seconds) => say::stayed_title(lang, &span(seconds, lang)),
            None => say::stayed_title_ever(lang),
        },
    )?;
    let mut rows = vec![vec![
        wide(&say::head_count(lang)),
        say::head_function(lang),
        say::head_process(lang),
        say::head_cache(lang),
    ]];
    rows.extend(all.into_iter().take(SHOWN).map(|(outstanding, found, function)| {
        vec![
            count(outstanding),
            function.place(),
            function.processes.first().map(process).unwrap_or_default(),
            found.cache.clone().unwrap_or_default(),
        ]
    }));
    page.table(&[Lean::Right, Lean::Left, Lean::Left, Lean::Left], &rows)
}
