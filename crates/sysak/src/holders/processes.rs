//! Processes by private memory.
//!
//! `statm` is the cheapest of a process's files: resident pages without the shared ones are
//! its anonymous pages. Only the biggest are asked for more.

use std::path::Path;

use sysak_base::PAGE_SIZE;
use sysak_report::{ProcessHolders, ProcessMemory};

use super::{Budget, keyed, text};

/// Every process but `own`.
pub(super) fn pids(proc: &Path, own: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(proc) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    names.filter(|pid| *pid != own).collect()
}

/// The biggest, and how many there was no time for.
pub(super) fn find(
    proc: &Path,
    pids: &[u32],
    top: usize,
    budget: &Budget<'_>,
) -> (ProcessHolders, u64) {
    let mut found = ProcessHolders::default();
    let mut sizes = Vec::new();
    let mut missed = 0;
    for (index, pid) in pids.iter().enumerate() {
        if budget.is_spent() {
            missed = (pids.len() - index) as u64;
            break;
        }
        let size = anon_bytes(&proc.join(pid.to_string()));
        if let Some(size) = size.filter(|size| *size > 0) {
            found.count += 1;
            found.anon_bytes = found.anon_bytes.saturating_add(size);
            sizes.push((size, *pid));
        }
    }
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let asked = sizes.iter().take(top);
    found.top = asked.filter_map(|(size, pid)| process(proc, *pid, *size)).collect();
    (found, missed)
}

/// A process's anonymous memory; `None` once it is gone.
fn anon_bytes(process: &Path) -> Option<u64> {
    let statm = text(&process.join("statm"))?;
    let mut fields = statm.split_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some(resident.saturating_sub(shared).saturating_mul(PAGE_SIZE))
}

fn process(proc: &Path, pid: u32, anon_bytes: u64) -> Option<ProcessMemory> {
    let status = text(&proc.join(pid.to_string()).join("status"))?;
    let kilobytes = |key| keyed(&status, key).map(|number| number.saturating_mul(1024));
    Some(ProcessMemory {
        pid,
        comm: comm(proc, pid),
        anon_bytes,
        swap_bytes: kilobytes("VmSwap").unwrap_or(0),
    })
}

/// A process's name.
pub(super) fn comm(proc: &Path, pid: u32) -> String {
    let name = text(&proc.join(pid.to_string()).join("comm")).unwrap_or_default();
    name.trim_end_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use sysak_base::Cancel;

    fn made(name: &str, processes: &[(u32, &str, &str)]) -> std::path::PathBuf {
        let proc = std::env::temp_dir().join(format!("sysak-{name}-{}", std::process::id()));
        for (pid, statm, comm) in processes {
            let dir = proc.join(pid.to_string());
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("statm"), statm).unwrap();
            std::fs::write(dir.join("comm"), comm).unwrap();
            std::fs::write(dir.join("status"), "VmSwap:\t      8 kB\n").unwrap();
        }
        proc
    }

    #[test]
    fn the_biggest_come_first_and_the_rest_is_summed_up() {
        let proc = made(
            "biggest",
            &[(1, "900 30 10 1 0 9 0\n", "init\n"), (7, "9 500 100 1 0 9 0", "a b\n")],
        );
        std::fs::create_dir_all(proc.join("9")).unwrap();
        let cancel = Cancel::default();
        let all = pids(&proc, 2);
        let (found, missed) = find(&proc, &all, 1, &Budget::new(Duration::from_secs(9), &cancel));
        std::fs::remove_dir_all(&proc).unwrap();
        assert_eq!((found.count, missed, found.anon_bytes), (2, 0, 420 * 4096));
        let biggest =
            ProcessMemory { pid: 7, comm: "a b".into(), anon_bytes: 400 * 4096, swap_bytes: 8192 };
        assert_eq!(found.top, [biggest]);
    }

    #[test]
    fn what_there_was_no_time_for_is_counted() {
        let cancel = Cancel::default();
        let spent = Budget::new(Duration::ZERO, &cancel);
        assert_eq!(find(Path::new("/proc"), &[1, 2, 3], 5, &spent).1, 3);
    }
}
