//! Who holds user memory on a live machine, out of `/proc`, `/sys` and the cgroup tree.
//!
//! Processes come and go while they are read: what vanishes is skipped. A machine may have
//! a hundred thousand of them, and a file system of another process may hang: the search
//! has its own thread and a deadline, and what it did not get to is told.
//!
//! **Invariant:** our own process is no holder.

mod cgroups;
mod deleted;
mod huge;
mod mounts;
mod processes;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sysak_base::Cancel;
use sysak_report::{Skipped, UserHolders};

/// Time for each of the lists that grow with the machine.
const EACH: Duration = Duration::from_secs(1);
/// Time for all of it, before it is taken to hang.
const ALL: Duration = Duration::from_secs(4);

/// What was found so far.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The holders.
    pub holders: UserHolders,
    /// What there was no time for.
    pub left_out: Vec<Skipped>,
}

impl Found {
    fn leave_out(&mut self, what: String) {
        let why = "there was no time to look at them".to_owned();
        self.left_out.push(Skipped { what, why });
    }
}

/// Where a kernel shows itself; elsewhere in tests.
#[derive(Clone, Debug)]
struct Places {
    proc: PathBuf,
    sys: PathBuf,
}

/// A search that goes on beside other work.
pub struct Search {
    found: Arc<Mutex<Found>>,
    ended: Receiver<()>,
    deadline: Instant,
}

impl Search {
    /// Begins to look for the biggest `top` holders of each kind.
    pub fn begin(top: usize, cancel: &Cancel) -> Search {
        let found = Arc::new(Mutex::new(Found::default()));
        let (end, ended) = mpsc::channel();
        let (shared, cancel) = (found.clone(), cancel.clone());
        std::thread::spawn(move || {
            let places = Places { proc: "/proc".into(), sys: "/sys".into() };
            all(&places, top, &cancel, &shared);
            // Nobody listens any more where this came too late.
            let _ = end.send(());
        });
        Search { found, ended, deadline: Instant::now() + ALL }
    }

    /// What was found; waits for the end of the search, but not for ever.
    pub fn finish(self) -> Found {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let ended = self.ended.recv_timeout(left).is_ok();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !ended {
            found.leave_out("some holders of user memory".to_owned());
        }
        found
    }
}

/// The lists, the cheapest first; each is there as soon as it is known.
fn all(places: &Places, top: usize, cancel: &Cancel, found: &Mutex<Found>) {
    let tell = |change: &mut dyn FnMut(&mut Found)| {
        change(&mut found.lock().unwrap_or_else(PoisonError::into_inner));
    };
    let pools = huge::pools(&places.sys);
    tell(&mut |found| found.holders.huge_pools.clone_from(&pools));
    let pids = processes::pids(&places.proc, std::process::id());
    let budget = Budget::new(EACH, cancel);
    let (processes, missed) = processes::find(&places.proc, &pids, top, &budget);
    tell(&mut |found| {
        found.holders.processes = processes.clone();
        if missed > 0 {
            found.leave_out(format!("{missed} processes"));
        }
    });
    let mounts = mounts::read(&places.proc);
    let tmpfs = mounts::tmpfs(&mounts, top);
    tell(&mut |found| found.holders.tmpfs.clone_from(&tmpfs));
    let groups = cgroups::find(&places.proc, &mounts, top, &Budget::new(EACH, cancel));
    tell(&mut |found| {
        found.holders.cgroups.clone_from(&groups.top);
        found.holders.dying_cgroups = groups.dying;
        if !groups.whole {
            found.leave_out("some memory cgroups".to_owned());
        }
    });
    // Last: it asks file systems that may not answer.
    let budget = Budget::new(EACH, cancel);
    let (files, missed) = deleted::find(&places.proc, &pids, top, &budget);
    tell(&mut |found| {
        found.holders.deleted_files.clone_from(&files);
        if missed > 0 {
            found.leave_out(format!("open files of {missed} processes"));
        }
    });
}

/// How long a list may take.
struct Budget<'a> {
    end: Instant,
    cancel: &'a Cancel,
}

impl Budget<'_> {
    fn new(time: Duration, cancel: &Cancel) -> Budget<'_> {
        Budget { end: Instant::now() + time, cancel }
    }

    fn is_spent(&self) -> bool {
        self.cancel.is_set() || Instant::now() >= self.end
    }
}

/// The text of a small file of the kernel; names in it may be no UTF-8.
fn text(path: &Path) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The number that a file holds.
fn number(path: &Path) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

/// The number behind `key` in lines of `key number`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix([' ', ':']))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_whole_word() {
        let text = "filemap 3\nfile 7\nRssAnon:\t  12 kB\n";
        assert_eq!(keyed(text, "file"), Some(7));
        assert_eq!(keyed(text, "RssAnon"), Some(12));
        assert_eq!(keyed(text, "Rss"), None);
    }

    #[test]
    fn a_search_that_is_cancelled_ends_at_once() {
        let cancel = Cancel::default();
        cancel.0.store(true, std::sync::atomic::Ordering::Relaxed);
        let found = Search::begin(5, &cancel).finish();
        assert!(found.holders.processes.top.is_empty());
    }
}
