//! Who holds user memory: short tables, each left out when it has nothing worth saying.

use std::io::{self, Write};

use super::page::{Lean, Page, Paint};
use crate::catalogue as say;
use crate::figures::{bytes, count};
use crate::words::named;
use crate::{
    CgroupMemory, DeletedFile, HugePool, Lang, ProcessHolders, ProcessMemory, TmpfsMount,
    UserHolders,
};

/// Who holds less is not worth a line.
const WORTH_BYTES: u64 = 1 << 20;
/// Fewer dying cgroups come and go on any machine.
const WORTH_DYING: u64 = 20;

const RIGHT: Lean = Lean::Right;
const LEFT: Lean = Lean::Left;

/// All the sections.
pub(super) fn holders<W: Write>(
    page: &mut Page<'_, W>,
    holders: &UserHolders,
    lang: Lang,
) -> io::Result<()> {
    processes(page, &holders.processes, lang)?;
    tmpfs(page, &holders.tmpfs, lang)?;
    deleted(page, &holders.deleted_files, lang)?;
    huge(page, &holders.huge_pools, lang)?;
    cgroups(page, holders, lang)
}

/// A title and its table; nothing without rows.
fn section<W: Write>(
    page: &mut Page<'_, W>,
    title: &str,
    leans: &[Lean],
    head: Vec<String>,
    rows: Vec<Vec<String>>,
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    page.gap()?;
    page.sentence(Paint::Title, "", title)?;
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    page.table(leans, &rows)
}

fn processes<W: Write>(
    page: &mut Page<'_, W>,
    processes: &ProcessHolders,
    lang: Lang,
) -> io::Result<()> {
    let size = |process: &ProcessMemory| process.anon_bytes.saturating_add(process.swap_bytes);
    let worth: Vec<_> =
        processes.top.iter().filter(|process| size(process) >= WORTH_BYTES).collect();
    // Without swap in use the column says nothing.
    let swap = worth.iter().any(|process| process.swap_bytes > 0);
    let cells = |private: String, swapped: String, name: String| match swap {
        true => vec![private, swapped, name],
        false => vec![private, name],
    };
    let rows = worth.iter().map(|process| {
        let name = named(&process.comm, process.pid);
        cells(bytes(process.anon_bytes), bytes(process.swap_bytes), name)
    });
    let head = cells(say::head_memory(lang), say::head_swapped(lang), say::head_process_name(lang));
    let leans: &[Lean] = if swap { &[RIGHT, RIGHT, LEFT] } else { &[RIGHT, LEFT] };
    let title = say::processes_title(lang, &count(processes.count));
    section(page, &title, leans, head, rows.collect())
}

fn tmpfs<W: Write>(page: &mut Page<'_, W>, mounts: &[TmpfsMount], lang: Lang) -> io::Result<()> {
    let worth = mounts.iter().filter(|mount| mount.used_bytes >= WORTH_BYTES);
    let rows = worth.map(|mount| {
        let limit = mount.limit_bytes.map_or_else(|| say::no_limit(lang), bytes);
        vec![bytes(mount.used_bytes), limit, mount.mount.clone()]
    });
    let head = vec![say::head_memory(lang), say::head_limit(lang), say::head_mount(lang)];
    section(page, &say::tmpfs_title(lang), &[RIGHT, RIGHT, LEFT], head, rows.collect())
}

fn deleted<W: Write>(page: &mut Page<'_, W>, files: &[DeletedFile], lang: Lang) -> io::Result<()> {
    let worth = files.iter().filter(|file| file.bytes >= WORTH_BYTES);
    let rows = worth.map(|file| {
        let opener = named(&file.comm, file.pid);
        let opener = match file.processes {
            0 | 1 => opener,
            many => format!("{opener} +{}", count(many - 1)),
        };
        let lies = match file.in_memory {
            true => say::lies_in_memory(lang),
            false => say::lies_on_disk(lang),
        };
        vec![bytes(file.bytes), lies, opener, file.path.clone()]
    });
    let head = vec![
        say::head_memory_or_disk(lang),
        say::head_lies(lang),
        say::head_opened_by(lang),
        say::head_file(lang),
    ];
    section(page, &say::deleted_title(lang), &[RIGHT, LEFT, LEFT, LEFT], head, rows.collect())
}

fn huge<W: Write>(page: &mut Page<'_, W>, pools: &[HugePool], lang: Lang) -> io::Result<()> {
    let rows = pools.iter().filter(|pool| pool.pages > 0).map(|pool| {
        let size = |pages: u64| bytes(pages.saturating_mul(pool.page_bytes));
        vec![
            size(pool.pages),
            size(pool.free_pages),
            size(pool.reserved_pages),
            bytes(pool.page_bytes),
        ]
    });
    let head = vec![
        say::head_memory(lang),
        say::head_unused(lang),
        say::head_promised(lang),
        say::head_page_size(lang),
    ];
    section(page, &say::huge_title(lang), &[RIGHT; 4], head, rows.collect())
}

fn cgroups<W: Write>(page: &mut Page<'_, W>, holders: &UserHolders, lang: Lang) -> io::Result<()> {
    let worth = holders.cgroups.iter().filter(|cgroup| cgroup.bytes >= WORTH_BYTES);
    let rows = worth.map(|cgroup: &CgroupMemory| {
        let files = cgroup.file_bytes.map_or_else(String::new, bytes);
        vec![bytes(cgroup.bytes), files, cgroup.path.clone()]
    });
    let head = vec![say::head_memory(lang), say::head_of_it_files(lang), say::head_cgroup(lang)];
    section(page, &say::cgroups_title(lang), &[RIGHT, RIGHT, LEFT], head, rows.collect())?;
    match holders.dying_cgroups {
        Some(dying) if dying >= WORTH_DYING => {
            page.gap()?;
            page.sentence(Paint::Plain, "", &say::dying_cgroups(lang, &count(dying)))
        }
        _ => Ok(()),
    }
}
