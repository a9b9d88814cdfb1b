//! What a diagnosis costs, and how soon it ends when it is to, counted in bytes read: a clock would tell another time
//! on every machine.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../examples/dump/mod.rs"]
mod dump;

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sysak_base::{Cancel, Fault, Memory, PageStates, Quiet, Va};
use sysak_kernel::Kernel;
use sysak_memleak::diagnose::diagnose;
use sysak_memleak::plan::Plan;
use sysak_target::Target;

/// When it is to end, it reads so much more at most: a few of the pieces that are read at once.
const MOST_AFTER_THE_END: u64 = 4 << 20;
/// It reads so many times what marking read at most.
const MOST_TIMES: u64 = 16;
/// Moments at which it is ended.
const MOMENTS: u64 = 12;

fn open() -> Target {
    let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/vmcore-6.12.xz");
    dump::open(Path::new(packed)).expect("the fixture")
}

/// Memory that counts what is read of it, and ends the work once it is so much.
struct Meter<'t> {
    target: &'t Target,
    read: Cell<u64>,
    most: u64,
    cancel: Cancel,
}

impl Meter<'_> {
    fn until(target: &Target, most: u64) -> Meter<'_> {
        Meter { target, read: Cell::new(0), most, cancel: Cancel::default() }
    }

    fn add(&self, bytes: usize) {
        self.read.set(self.read.get() + bytes as u64);
        if self.read.get() >= self.most {
            self.cancel.0.store(true, Ordering::Relaxed);
        }
    }

    /// Diagnoses the dump, and tells how much was read of it, and how much marking read.
    fn run(self, only_cache: Option<&str>, explain_limit: Duration) -> (u64, u64) {
        let plan = Plan {
            only_cache: only_cache.map(str::to_owned),
            explain_limit: Some(explain_limit),
            biggest: 10,
            ..Plan::default()
        };
        let Target { anchors, types, symbols, .. } = self.target;
        let mut kernel = Kernel::new(&self, anchors, types, symbols).unwrap();
        let diagnosis = diagnose(&mut kernel, &plan, &Quiet, &self.cancel);
        let marked = diagnosis.unwrap().observed.snapshot.marked.bytes_scanned;
        (self.read.get(), marked)
    }
}

impl Memory for Meter<'_> {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        self.add(buf.len());
        self.target.memory.as_ref().read(at, buf)
    }

    fn view<'a>(&'a self, at: Va, len: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Fault> {
        self.add(len);
        self.target.memory.as_ref().view(at, len, scratch)
    }

    fn page_states(&self) -> Option<&dyn PageStates> {
        self.target.memory.as_ref().page_states()
    }
}

/// What explaining reads, of which caches.
fn explained(target: &Target, only_cache: Option<&str>) -> (u64, u64, u64) {
    let (look, marked) = Meter::until(target, u64::MAX).run(only_cache, Duration::ZERO);
    let (all, _) = Meter::until(target, u64::MAX).run(only_cache, Duration::MAX);
    (look, all, marked)
}

#[test]
fn explaining_reads_no_more_than_a_few_times_what_marking_does() {
    let target = open();
    for only_cache in [None, Some("dentry"), Some("kmalloc-64")] {
        let (look, all, marked) = explained(&target, only_cache);
        let times = (all - look) as f64 / marked as f64;
        assert!(all > look, "{only_cache:?}: nothing was explained");
        assert!(all - look <= MOST_TIMES * marked, "{only_cache:?}: {times:.1} times");
    }
}

#[test]
fn explaining_ends_soon_after_it_is_to_end() {
    let target = open();
    for only_cache in [None, Some("dentry")] {
        let (look, all, _) = explained(&target, only_cache);
        for moment in 0..MOMENTS {
            let end = look + (all - look) * moment / MOMENTS;
            let (read, _) = Meter::until(&target, end).run(only_cache, Duration::MAX);
            assert!(read - end <= MOST_AFTER_THE_END, "{only_cache:?}: {} more", read - end);
        }
    }
}

#[test]
fn the_look_ends_soon_after_it_is_to_end() {
    let target = open();
    let (look, _) = Meter::until(&target, u64::MAX).run(None, Duration::ZERO);
    for moment in 0..MOMENTS {
        let end = look * moment / MOMENTS;
        let (read, _) = Meter::until(&target, end).run(None, Duration::MAX);
        assert!(read - end <= MOST_AFTER_THE_END, "{} more", read - end);
    }
}
