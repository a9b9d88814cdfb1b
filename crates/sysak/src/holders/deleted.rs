//! Files that were deleted and are open still: no name leads to them, and what they take
//! comes back only when the last process closes them.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sysak_report::DeletedFile;

use super::{Budget, processes};

/// What `/proc/PID/fd/N` says behind the name.
const DELETED: &str = " (deleted)";
/// File systems whose files lie in memory: tmpfs, hugetlbfs, ramfs.
const IN_MEMORY: [u64; 3] = [0x0102_1994, 0x9584_58f6, 0x8584_58f6];
/// `st_blocks` counts these, whatever the file system.
const BLOCK_BYTES: u64 = 512;

/// Files by device and inode, each with the process that was last seen to have it open.
type Files = HashMap<(u64, u64), (u32, DeletedFile)>;

/// The biggest, those in memory first, and how many processes there was no time for.
pub(super) fn find(
    proc: &Path,
    pids: &[u32],
    top: usize,
    budget: &Budget<'_>,
) -> (Vec<DeletedFile>, u64) {
    let mut files = Files::new();
    let mut missed = 0;
    'all: for (index, pid) in pids.iter().enumerate() {
        let folder = proc.join(pid.to_string()).join("fd");
        let descriptors = std::fs::read_dir(folder).into_iter().flatten();
        for descriptor in descriptors.flatten() {
            if budget.is_spent() {
                missed = (pids.len() - index) as u64;
                break 'all;
            }
            look(&mut files, *pid, &descriptor.path());
        }
    }
    let mut files: Vec<_> = files.into_values().map(|(_, file)| file).collect();
    files.sort_by(|a, b| {
        let key = |file: &DeletedFile| (file.in_memory, file.bytes);
        key(b).cmp(&key(a)).then_with(|| a.path.cmp(&b.path))
    });
    files.truncate(top);
    for file in &mut files {
        file.comm = processes::comm(proc, file.pid);
    }
    (files, missed)
}

/// Counts what a descriptor leads to, where that was deleted.
fn look(files: &mut Files, pid: u32, descriptor: &Path) {
    let Ok(target) = std::fs::read_link(descriptor) else { return };
    let target = target.to_string_lossy();
    let Some(path) = target.strip_suffix(DELETED) else { return };
    let Ok(file) = std::fs::metadata(descriptor) else { return };
    // A name may really end like this.
    if !file.is_file() || file.nlink() > 0 || file.blocks() == 0 {
        return;
    }
    let made = || DeletedFile {
        path: path.strip_prefix("/memfd:").map_or(path.to_owned(), |name| format!("memfd:{name}")),
        bytes: file.blocks().saturating_mul(BLOCK_BYTES),
        in_memory: rustix::fs::statfs(descriptor)
            .is_ok_and(|system| IN_MEMORY.contains(&(system.f_type as u64 & 0xffff_ffff))),
        pid,
        comm: String::new(),
        processes: 0,
    };
    let (last, known) = files.entry((file.dev(), file.ino())).or_insert_with(|| (0, made()));
    // One process may have it open many times.
    if std::mem::replace(last, pid) != pid {
        known.processes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::Duration;
    use sysak_base::Cancel;

    #[test]
    fn an_open_file_without_a_name_is_found_with_its_size_and_owner() {
        let path = std::env::temp_dir().join(format!("sysak-deleted-{}", std::process::id()));
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&[7; 256 << 10]).unwrap();
        file.sync_all().unwrap();
        let _twice = file.try_clone().unwrap();
        std::fs::remove_file(&path).unwrap();
        let cancel = Cancel::default();
        let budget = Budget::new(Duration::from_secs(9), &cancel);
        let own = std::process::id();
        let (found, missed) = find(Path::new("/proc"), &[own], 100, &budget);
        let found = found.iter().find(|found| Path::new(&found.path) == path).unwrap();
        assert_eq!((found.pid, found.processes, missed), (own, 1, 0));
        assert!(found.bytes >= 256 << 10 && !found.comm.is_empty(), "{found:?}");
    }
}
