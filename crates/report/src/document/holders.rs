//! Who holds user memory: short tables, each left out when it has nothing worth saying.

use super::{Document, Lead, Lean, Level, Paint};
use crate::catalogue as say;
use crate::figures::{bytes, count};
use crate::words::{named, path};
use crate::{
    CachedFile, CgroupMemory, DeletedFile, Finding, Holder, HugePool, Lang, LockedMemory, Place,
    ProcessHolders, ProcessMemory, SharedKind, SharedMemory, TmpfsMount, UnreadData, UserHolders,
};

/// Who holds less is not worth a line.
const WORTH_BYTES: u64 = 1 << 20;
/// Fewer dying cgroups come and go on any machine.
const WORTH_DYING: u64 = 20;

/// Files that are named where groups that were removed hold memory.
const PINS: usize = 3;
/// Lines of memleak about user memory.
const MOST_LINES: usize = 5;

const RIGHT: Lean = Lean::Right;
const LEFT: Lean = Lean::Left;

/// All the sections.
pub(super) fn holders(doc: &mut Document, holders: &UserHolders, lang: Lang) {
    processes(doc, &holders.processes, lang);
    locked(doc, &holders.locked, lang);
    unread(doc, &holders.unread, lang);
    tmpfs(doc, &holders.tmpfs, lang);
    shared(doc, &holders.shared, lang);
    cached(doc, &holders.cached_files, lang);
    deleted(doc, &holders.deleted_files, lang);
    huge(doc, &holders.huge_pools, lang);
    cgroups(doc, holders, lang);
}

/// Memleak's few lines about user memory: so that nobody takes it for a leak.
pub(super) fn user_memory(doc: &mut Document, found: &Finding, lang: Lang) {
    let worth = found.holders.iter().filter(|holder| holder.bytes >= WORTH_BYTES);
    let rows: Vec<_> = worth
        .take(MOST_LINES)
        .map(|holder| vec![bytes(holder.bytes), path(&holder.path, lang)])
        .collect();
    let size = found.allocated_bytes.map_or("?".to_owned(), bytes);
    let is_unread = |holder: &Holder| holder.path.contains(&Place::Unread);
    let title = match found.holders.iter().any(is_unread) {
        true => say::user_title_unread(lang, &size),
        false => say::user_title(lang, &size),
    };
    let head = vec![say::head_memory(lang), say::head_holder(lang)];
    let told = !rows.is_empty();
    section(doc, title, &[RIGHT, LEFT], head, rows);
    let sum = found.holders.iter().map(|holder| holder.bytes).fold(0, u64::saturating_add);
    if told && found.allocated_bytes.is_some_and(|all| sum > all) {
        doc.sentence(Paint::Dim, Lead::Indent, say::user_shared(lang));
    }
}

/// A title and its table; nothing without rows.
fn section(
    doc: &mut Document,
    title: String,
    leans: &[Lean],
    head: Vec<String>,
    rows: Vec<Vec<String>>,
) {
    if rows.is_empty() {
        return;
    }
    doc.gap();
    doc.title(Level::Section, title);
    doc.table(leans, head, rows);
}

fn processes(doc: &mut Document, processes: &ProcessHolders, lang: Lang) {
    let size = |process: &ProcessMemory| {
        process.anon_bytes.max(process.swap_bytes).max(process.hugetlb_bytes)
    };
    let worth: Vec<_> =
        processes.top.iter().filter(|process| size(process) >= WORTH_BYTES).collect();
    // Where nothing is swapped out, or in huge pages, the column says nothing.
    let swap = worth.iter().any(|process| process.swap_bytes > 0);
    let huge = worth.iter().any(|process| process.hugetlb_bytes > 0);
    let cells = |private: String, swapped: String, in_huge: String, name: String| {
        let cells = [(true, private), (swap, swapped), (huge, in_huge), (true, name)];
        cells.into_iter().filter(|(told, _)| *told).map(|(_, cell)| cell).collect::<Vec<_>>()
    };
    let rows = worth.iter().map(|process| {
        let name = named(&process.comm, process.pid);
        let huge = bytes(process.hugetlb_bytes);
        cells(bytes(process.anon_bytes), bytes(process.swap_bytes), huge, name)
    });
    let head = cells(
        say::head_memory(lang),
        say::head_swapped(lang),
        say::head_in_huge(lang),
        say::head_process_name(lang),
    );
    let mut leans = vec![RIGHT; head.len() - 1];
    leans.push(LEFT);
    let title = say::processes_title(lang, &count(processes.count));
    section(doc, title, &leans, head, rows.collect());
}

fn locked(doc: &mut Document, locked: &[LockedMemory], lang: Lang) {
    let worth = locked.iter().filter(|one| one.bytes >= WORTH_BYTES);
    let rows = worth.map(|one| vec![bytes(one.bytes), named(&one.comm, one.pid)]);
    let head = vec![say::head_memory(lang), say::head_process_name(lang)];
    section(doc, say::locked_title(lang), &[RIGHT, LEFT], head, rows.collect());
}

fn unread(doc: &mut Document, unread: &[UnreadData], lang: Lang) {
    let worth = unread.iter().filter(|one| one.bytes >= WORTH_BYTES);
    let rows = worth.map(|one| {
        let held = |many: u64, size: u64| match many {
            0 => String::new(),
            _ => say::in_so_many(lang, &bytes(size), &count(many)),
        };
        let (pipes, sockets) =
            (held(one.pipes, one.pipe_bytes), held(one.sockets, one.socket_bytes));
        vec![bytes(one.bytes), pipes, sockets, named(&one.comm, one.pid)]
    });
    let head = vec![
        say::head_memory(lang),
        say::head_pipes(lang),
        say::head_sockets(lang),
        say::head_process_name(lang),
    ];
    section(doc, say::unread_title(lang), &[RIGHT, RIGHT, RIGHT, LEFT], head, rows.collect());
}

/// What a program holds, or a System V segment, which says how it goes; and what no program has open or mapped.
fn shared(doc: &mut Document, shared: &[SharedMemory], lang: Lang) {
    let worth = shared.iter().filter(|one| one.bytes >= WORTH_BYTES);
    let (held, others): (Vec<_>, Vec<_>) =
        worth.partition(|one| one.pid.is_some() || one.kind == SharedKind::Sysv);
    shared_section(doc, say::shared_title(lang), &held, lang);
    shared_section(doc, say::shared_unheld_title(lang), &others, lang);
}

fn shared_section(doc: &mut Document, title: String, shared: &[&SharedMemory], lang: Lang) {
    let rows = shared.iter().map(|one| {
        let kind = match one.kind {
            SharedKind::Memfd => "memfd".to_owned(),
            SharedKind::Sysv => "System V".to_owned(),
            SharedKind::Anonymous => "MAP_SHARED".to_owned(),
            SharedKind::Unmounted => say::other_kind(lang),
        };
        let holder = one.pid.map_or(String::new(), |pid| named(&one.comm, pid));
        vec![bytes(one.bytes), kind, holder, one.name.clone()]
    });
    let head = vec![
        say::head_memory(lang),
        say::head_kind(lang),
        say::head_process_name(lang),
        say::head_name(lang),
    ];
    section(doc, title, &[RIGHT, LEFT, LEFT, LEFT], head, rows.collect());
}

fn cached(doc: &mut Document, files: &[CachedFile], lang: Lang) {
    let worth = files.iter().filter(|file| file.bytes >= WORTH_BYTES);
    let rows = worth.map(|file| {
        let lies = match file.device.is_empty() || file.system == *file.device {
            true => file.system.to_string(),
            false => format!("{} {}", file.system, file.device),
        };
        vec![bytes(file.bytes), lies, file.path.name(lang)]
    });
    let head = vec![say::head_memory(lang), say::head_lies(lang), say::head_file(lang)];
    section(doc, say::cached_title(lang), &[RIGHT, LEFT, LEFT], head, rows.collect());
}

fn tmpfs(doc: &mut Document, mounts: &[TmpfsMount], lang: Lang) {
    let worth = mounts.iter().filter(|mount| mount.used_bytes >= WORTH_BYTES);
    let rows = worth.map(|mount| {
        let limit = mount.limit_bytes.map_or_else(|| say::no_limit(lang), bytes);
        let opener = mount.pid.map_or(String::new(), |pid| named(&mount.comm, pid));
        vec![bytes(mount.used_bytes), limit, opener, mount.mount.clone()]
    });
    let head = vec![
        say::head_memory(lang),
        say::head_limit(lang),
        say::head_opened_by(lang),
        say::head_mount(lang),
    ];
    section(doc, say::tmpfs_title(lang), &[RIGHT, RIGHT, LEFT, LEFT], head, rows.collect());
}

fn deleted(doc: &mut Document, files: &[DeletedFile], lang: Lang) {
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
    section(doc, say::deleted_title(lang), &[RIGHT, LEFT, LEFT, LEFT], head, rows.collect());
}

fn huge(doc: &mut Document, pools: &[HugePool], lang: Lang) {
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
    section(doc, say::huge_title(lang), &[RIGHT; 4], head, rows.collect());
}

fn cgroups(doc: &mut Document, holders: &UserHolders, lang: Lang) {
    let worth = holders.cgroups.iter().filter(|cgroup| cgroup.bytes >= WORTH_BYTES);
    let rows = worth.map(|cgroup: &CgroupMemory| {
        let files = cgroup.file_bytes.map_or_else(String::new, bytes);
        vec![bytes(cgroup.bytes), files, cgroup.path.clone()]
    });
    let head = vec![say::head_memory(lang), say::head_of_it_files(lang), say::head_cgroup(lang)];
    section(doc, say::cgroups_title(lang), &[RIGHT, RIGHT, LEFT], head, rows.collect());
    dying(doc, holders, lang);
}

/// Groups that were removed, and what keeps them.
fn dying(doc: &mut Document, holders: &UserHolders, lang: Lang) {
    let Some(many) = holders.dying_cgroups.filter(|many| *many >= WORTH_DYING) else {
        return;
    };
    doc.gap();
    doc.sentence(Paint::Plain, Lead::Flush, say::dying_cgroups(lang, &count(many)));
    let Some(dying) = &holders.dying else { return };
    let parts = [dying.bytes, dying.file_bytes, dying.anon_bytes, dying.shmem_bytes].map(bytes);
    let [all, file, anon, shmem] = parts.each_ref().map(String::as_str);
    doc.sentence(Paint::Plain, Lead::Indent, say::dying_hold(lang, all, file, anon, shmem));
    if !dying.files.is_empty() {
        doc.sentence(Paint::Plain, Lead::Indent, say::dying_files(lang));
    }
    let files = dying.files.iter().take(PINS);
    let rows = files.map(|file| vec![bytes(file.bytes).into(), file.path.name(lang).into()]);
    doc.bare_table(&[RIGHT, LEFT], rows.collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Block, Cell};

    fn texts(doc: &Document) -> String {
        let text = |block: &Block| match block {
            Block::Title { text, .. } | Block::Sentence { text, .. } | Block::Line { text, .. } => {
                text.clone()
            }
            Block::Table(table) => {
                let cells = table.rows.iter().flatten();
                let texts = cells.filter_map(|cell| match cell {
                    Cell::Text { text, .. } => Some(text.as_str()),
                    Cell::Bar { .. } => None,
                });
                texts.collect::<Vec<_>>().join(" ")
            }
            Block::Gap => String::new(),
        };
        doc.blocks.iter().map(text).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn memory_that_no_process_holds_does_not_go_when_one_closes_it() {
        let memory = |name: &str, pid, kind| SharedMemory {
            kind,
            name: name.to_owned(),
            bytes: 8 << 20,
            pid,
            comm: "ring".to_owned(),
        };
        let held = memory("held", Some(7), SharedKind::Memfd);
        let segment = memory("segment", None, SharedKind::Sysv);
        let buffer = memory("buffer", None, SharedKind::Unmounted);
        let mut doc = Document::default();
        shared(&mut doc, &[held, segment, buffer], Lang::En);
        let text = texts(&doc);
        let (before, after) = text.split_once("no process has open or mapped").unwrap();
        assert!(
            before.contains("held") && before.contains("segment") && !before.contains("buffer")
        );
        assert!(after.contains("buffer") && !after.contains("closes it"), "{text}");
    }

    #[test]
    fn the_holders_of_user_memory_have_no_more_than_there_is_or_it_is_said_why() {
        let holder =
            |path: Vec<Place>, mib: u64| Holder { path, bytes: mib << 20, ..Holder::default() };
        let of = |holders, mib: u64| {
            let found = Finding { holders, allocated_bytes: Some(mib << 20), ..Finding::default() };
            let mut doc = Document::default();
            user_memory(&mut doc, &found, Lang::En);
            texts(&doc)
        };
        let process = Place::Process { comm: "collector".to_owned(), pid: 22 };
        let unread = vec![process.clone(), Place::Unread];
        let text = of(vec![holder(unread, 25)], 31);
        assert!(text.contains("with unread data in pipes and sockets: 31.0 MiB"), "{text}");
        assert!(!text.contains("share"), "{text}");
        let text = of(vec![holder(vec![process.clone()], 20), holder(vec![process], 20)], 24);
        assert!(text.contains("Pages that several of them share count for each"), "{text}");
    }
}
