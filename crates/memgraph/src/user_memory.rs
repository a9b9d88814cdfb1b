//! Who holds user memory: the figures of the memory graph, and memleak's finding about it.

use std::cmp::Reverse;

use sysak_base::PAGE_SIZE;
use sysak_kernel::user_memory::{DyingCgroups, File, FileKind, ProcessUse, UserMemory};
use sysak_report as report;
use sysak_report::{Class, FindingVerdict, HolderKind, Place};

/// The holders, cut to the biggest `top` of each kind; `own` is a process that is none.
pub fn holders(found: UserMemory, top: usize, own: u32) -> report::UserHolders {
    let processes = &found.processes;
    report::UserHolders {
        processes: private(processes, top, own),
        unread: biggest(processes, top, own, unread, |one| one.bytes),
        unread_bytes: processes.iter().map(|one| unread(one).bytes).fold(0, u64::saturating_add),
        locked: biggest(processes, top, own, locked, |one| one.bytes),
        tmpfs: found
            .systems
            .into_iter()
            .map(|system| {
                let user = system.biggest_user;
                let user = user.and_then(|user| Some((processes.get(user.process)?, user.bytes)));
                report::TmpfsMount {
                    mount: system.mount,
                    used_bytes: system.bytes,
                    limit_bytes: system.limit_bytes,
                    pid: user.map(|(process, _)| process.pid),
                    comm: user.map_or(String::new(), |(process, _)| process.name.clone()),
                    open_bytes: user.map_or(0, |(_, bytes)| bytes),
                }
            })
            .collect(),
        shared: found.shared.iter().map(|file| shared(file, processes)).collect(),
        cached_files: found.cached.iter().map(cached).collect(),
        huge_pools: found
            .pools
            .into_iter()
            .flatten()
            .map(|pool| report::HugePool {
                page_bytes: pool.page_bytes,
                pages: pool.pages,
                free_pages: pool.free,
                reserved_pages: pool.reserved,
            })
            .collect(),
        deleted_files: found.deleted.iter().map(|file| deleted(file, processes)).collect(),
        cgroups: found
            .cgroups
            .into_iter()
            .map(|group| report::CgroupMemory {
                path: group.path,
                bytes: group.bytes,
                file_bytes: Some(group.user.file * PAGE_SIZE),
            })
            .collect(),
        dying_cgroups: found.dying.as_ref().map(|dying| dying.count),
        dying: found.dying.filter(|dying| dying.count > 0).map(gone),
    }
}

fn private(processes: &[ProcessUse], top: usize, own: u32) -> report::ProcessHolders {
    let others =
        || processes.iter().filter(|one| one.pid != own && one.address_space.anon_bytes > 0);
    let sum = others().fold(0, |sum: u64, one| sum.saturating_add(one.address_space.anon_bytes));
    let count = others().count() as u64;
    let tell = |one: &ProcessUse| report::ProcessMemory {
        pid: one.pid,
        comm: one.name.clone(),
        anon_bytes: one.address_space.anon_bytes,
        swap_bytes: one.address_space.swap_bytes,
        hugetlb_bytes: one.address_space.huge_bytes,
    };
    let size = |one: &report::ProcessMemory| {
        one.anon_bytes.saturating_add(one.swap_bytes).saturating_add(one.hugetlb_bytes)
    };
    let top = biggest(processes, top, own, tell, size);
    report::ProcessHolders { count, anon_bytes: sum, top }
}

/// What some processes hold, the most first.
fn biggest<T>(
    processes: &[ProcessUse],
    top: usize,
    own: u32,
    tell: impl Fn(&ProcessUse) -> T,
    size: impl Fn(&T) -> u64,
) -> Vec<T> {
    let mut reported: Vec<(u64, u32, T)> = processes
        .iter()
        .filter(|one| one.pid != own)
        .map(|one| (one.pid, tell(one)))
        .map(|(pid, reported)| (size(&reported), pid, reported))
        .filter(|(size, ..)| *size > 0)
        .collect();
    reported.sort_by_key(|(size, pid, _)| (Reverse(*size), *pid));
    reported.truncate(top);
    reported.into_iter().map(|(_, _, reported)| reported).collect()
}

fn unread(one: &ProcessUse) -> report::UnreadData {
    let unread = one.unread;
    report::UnreadData {
        pid: one.pid,
        comm: one.name.clone(),
        bytes: unread.pipe_bytes.saturating_add(unread.socket_bytes),
        pipes: unread.pipes,
        pipe_bytes: unread.pipe_bytes,
        sockets: unread.sockets,
        socket_bytes: unread.socket_bytes,
    }
}

fn locked(one: &ProcessUse) -> report::LockedMemory {
    let bytes = one.address_space.locked_bytes.saturating_add(one.address_space.pinned_bytes);
    report::LockedMemory { pid: one.pid, comm: one.name.clone(), bytes }
}

fn shared(file: &File, processes: &[ProcessUse]) -> report::SharedMemory {
    let holder = file.opener.and_then(|opener| processes.get(opener.process));
    report::SharedMemory {
        kind: match file.name.kind {
            FileKind::MemFd => report::SharedKind::Memfd,
            FileKind::SystemV => report::SharedKind::Sysv,
            FileKind::SharedAnon => report::SharedKind::Anonymous,
            _ => report::SharedKind::Unmounted,
        },
        name: file.name.path.clone(),
        bytes: file.bytes,
        pid: holder.map(|holder| holder.pid),
        comm: holder.map_or(String::new(), |holder| holder.name.clone()),
    }
}

fn cached(file: &File) -> report::CachedFile {
    let name = &file.name;
    report::CachedFile {
        path: match name.kind {
            FileKind::BlockDevice => Place::BlockDevice(name.path.clone()),
            _ if name.path.is_empty() => Place::Inode(name.number),
            _ => Place::File(name.path.clone()),
        },
        system: name.system.as_str().into(),
        device: name.device.clone(),
        bytes: file.bytes,
    }
}

fn deleted(file: &File, processes: &[ProcessUse]) -> report::DeletedFile {
    let holder = file.opener.and_then(|opener| processes.get(opener.process));
    let path = match file.name.kind {
        FileKind::MemFd => format!("memfd:{}", file.name.path),
        _ => file.name.path.clone(),
    };
    report::DeletedFile {
        path,
        bytes: file.bytes,
        in_memory: file.name.is_in_memory(),
        pid: holder.map_or(0, |holder| holder.pid),
        comm: holder.map_or(String::new(), |holder| holder.name.clone()),
        processes: file.opener.map_or(0, |opener| opener.processes),
    }
}

fn gone(dying: DyingCgroups) -> report::DyingCgroups {
    let bytes = |pages: u64| pages.saturating_mul(PAGE_SIZE);
    report::DyingCgroups {
        bytes: bytes(dying.user.pages()),
        anon_bytes: bytes(dying.user.anon),
        file_bytes: bytes(dying.user.file),
        shmem_bytes: bytes(dying.user.shared),
        files: dying.files.iter().map(cached).collect(),
    }
}

/// Memory that programs use, and what they let wait in the kernel, as a finding: held, never leaked.
pub fn finding(held: &report::UserHolders, census: &report::Census) -> report::Finding {
    let user = &census.user;
    let unread = Some(held.unread_bytes).filter(|bytes| *bytes > 0);
    let parts = [user.anon_bytes, user.file_bytes, user.shmem_bytes, user.hugetlb_bytes, unread];
    let mut holders = Vec::new();
    let mut add = |path: Vec<Place>, objects, bytes, kind| {
        holders.push(report::Holder { path, objects, bytes, retained_bytes: None, kind });
    };
    let named = |comm: &str, pid: u32| Place::Process { comm: comm.to_owned(), pid };
    for one in &held.processes.top {
        add(vec![named(&one.comm, one.pid)], 1, one.anon_bytes, HolderKind::Process);
    }
    for one in &held.unread {
        let objects = one.pipes + one.sockets;
        add(
            vec![named(&one.comm, one.pid), Place::Unread],
            objects,
            one.bytes,
            HolderKind::Process,
        );
    }
    for one in &held.tmpfs {
        let user = one.pid.filter(|_| one.open_bytes * 2 >= one.used_bytes);
        let kind = if user.is_some() { HolderKind::Process } else { HolderKind::File };
        let user = user.map(|pid| named(&one.comm, pid));
        add(
            user.into_iter().chain([Place::File(one.mount.clone())]).collect(),
            1,
            one.used_bytes,
            kind,
        );
    }
    for one in &held.shared {
        let holder = one.pid.map(|pid| named(&one.comm, pid));
        let kind = if holder.is_some() { HolderKind::Process } else { HolderKind::Unknown };
        let name = match one.name.is_empty() {
            true => Place::SharedMemory,
            false => Place::Named(one.name.clone()),
        };
        add(holder.into_iter().chain([name]).collect(), 1, one.bytes, kind);
    }
    for one in &held.cached_files {
        add(vec![one.path.clone()], 1, one.bytes, HolderKind::File);
    }
    for one in held.deleted_files.iter().filter(|one| one.in_memory) {
        let path = vec![named(&one.comm, one.pid), Place::DeletedFile(one.path.clone())];
        add(path, one.processes, one.bytes, HolderKind::Process);
    }
    holders.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    report::Finding {
        class: Class::User,
        verdict: FindingVerdict::Held,
        allocated_bytes: parts.into_iter().flatten().reduce(u64::saturating_add),
        holders,
        ..report::Finding::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_data_is_part_of_what_the_holders_hold() {
        let unread =
            report::UnreadData { pid: 7, bytes: 25 << 20, ..report::UnreadData::default() };
        let held = report::UserHolders {
            unread: vec![unread],
            unread_bytes: 26 << 20,
            ..report::UserHolders::default()
        };
        let user =
            report::UserMemory { anon_bytes: Some(5 << 20), ..report::UserMemory::default() };
        let census = report::Census { user, ..report::Census::default() };
        assert_eq!(finding(&held, &census).allocated_bytes, Some(31 << 20));
    }

    #[test]
    fn shared_memory_without_a_process_is_no_processs() {
        let shared = report::SharedMemory { bytes: 1 << 20, ..report::SharedMemory::default() };
        let held = report::UserHolders { shared: vec![shared], ..report::UserHolders::default() };
        let found = finding(&held, &report::Census::default());
        assert_eq!(found.holders[0].kind, HolderKind::Unknown);
    }
}
