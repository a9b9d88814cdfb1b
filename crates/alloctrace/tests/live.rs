//! Watches the kernel that the tests run on. Without the right to load BPF programs there is
//! nothing to watch with, and each test says so and passes.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sysak_alloctrace::{Events, Follow, Followed, Kind, Mode, OtherMemory, Record, Tracer};
use sysak_kernel::shape::EventShape;
use sysak_symbols::TypeInfo;

/// Pages that a pipe holds until somebody reads.
const PIPE_PAGES: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);

fn events() -> Option<Events> {
    let types = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
    let shape = EventShape::find(&TypeInfo::parse(&types).ok()?)?;
    Some(Events {
        kmalloc_bytes: shape.kmalloc_bytes.unwrap_or(0),
        alloc_bytes: shape.alloc_bytes.unwrap_or(0),
        alloc_cache: shape.alloc_cache.unwrap_or(0),
        free_cache: shape.free_cache.unwrap_or(0),
        node_events: shape.node_events,
        per_cpu_pointer: shape.per_cpu.map_or(0, |event| event.pointer),
        per_cpu_bytes: shape.per_cpu.map_or(0, |event| event.bytes),
        per_cpu_site: shape.per_cpu.is_some_and(|event| event.has_site),
        areas: shape.areas,
    })
}

/// A tracer that records nothing but these, or none where the machine does not let us.
fn watch(others: OtherMemory) -> Option<Tracer> {
    let nothing = Follow::Caches(vec![Followed { cache: sysak_base::Va(1), bytes: None }]);
    let tracer = events().map(|events| Tracer::start(events, &nothing));
    let Some(Ok(mut tracer)) = tracer else {
        println!("left out: cannot watch this kernel");
        return None;
    };
    if tracer.follow_others(others) != others {
        println!("left out: this kernel has no such events");
        return None;
    }
    tracer.tick(200);
    tracer.set_mode(Mode::Record);
    Some(tracer)
}

fn records(tracer: &Tracer, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
    let mut found = Vec::new();
    tracer.for_each_record(|record| found.extend(wanted(&record).then_some(record)));
    found
}

fn pages_of(tracer: &Tracer, pid: u32) -> Vec<Record> {
    let is_page = |record: &Record| matches!(record.kind(), Kind::Pages { .. });
    records(tracer, |record| record.pid == pid && is_page(record))
}

/// Whether it comes true before patience ends.
fn in_time(mut is_true: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !is_true() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// A process that fills a pipe, then waits for a reader; it has 16 MiB of its own.
fn pipe_filler() -> Child {
    let mut command = Command::new("dd");
    command.args(["if=/dev/zero", "bs=16M", "count=1"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn end(mut child: Child) {
    drop(child.stdout.take());
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn pages_of_a_pipe_are_recorded_until_they_are_freed_and_user_memory_is_not() {
    let Some(tracer) = watch(OtherMemory { pages: true, ..OtherMemory::NONE }) else { return };
    let filler = pipe_filler();
    let pid = filler.id();
    // The last page to come is a pipe's: its own memory is there before.
    let user_pages = || tracer.seen().pages.allocs;
    assert!(in_time(|| user_pages() > 100 && pages_of(&tracer, pid).len() >= PIPE_PAGES));
    std::thread::sleep(Duration::from_millis(200));
    let held = pages_of(&tracer, pid);
    assert!(held.len() < 1024, "{} are more than a process has of the kernel's", held.len());
    assert!(held.iter().all(|record| record.site.0 == 0));
    // It had another name before it became `dd`.
    assert!(held.iter().filter(|record| record.comm.starts_with(b"dd\0")).count() >= PIPE_PAGES);
    let stacks = held.iter().filter_map(|record| record.stack);
    assert!(stacks.map(|id| tracer.stack(id)).any(|stack| stack.len() > 3));
    end(filler);
    // Slabs that were made meanwhile stay.
    let is_freed = || pages_of(&tracer, pid).len() + PIPE_PAGES <= held.len();
    assert!(in_time(is_freed), "{} of {}", pages_of(&tracer, pid).len(), held.len());
}

#[test]
fn per_cpu_memory_is_recorded_with_its_bytes_until_it_is_freed() {
    let Some(tracer) = watch(OtherMemory { per_cpu: true, ..OtherMemory::NONE }) else { return };
    // Each tmpfs counts its blocks on each CPU.
    let script = "mount -t tmpfs none /mnt && echo done && exec sleep 60";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return };
    let mut said = [0; 4];
    if std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).is_err() {
        println!("left out: cannot mount");
        return end(child);
    }
    let by_mount = || {
        let is_it = |record: &Record| record.comm.starts_with(b"mount\0");
        records(&tracer, |record| is_it(record) && matches!(record.kind(), Kind::PerCpu { .. }))
    };
    let held = by_mount();
    let bytes = |record: &Record| match record.kind() {
        Kind::PerCpu { bytes } => bytes,
        _ => 0,
    };
    assert!(held.iter().any(|record| (4..=32 << 10).contains(&bytes(record))), "{held:?}");
    assert!(tracer.seen().per_cpu.allocs >= held.len() as u64);
    end(child);
    assert!(in_time(|| by_mount().len() < held.len()));
}

#[test]
fn areas_are_recorded_with_their_pages_until_they_are_freed() {
    let Some(tracer) = watch(OtherMemory { areas: true, ..OtherMemory::NONE }) else { return };
    // Each process has a kernel stack; a few of them are kept for the next.
    let script = "for n in $(seq 40); do sleep 60 & done; echo done; wait";
    let mut command = Command::new("sh");
    // A group of its own, so that all of it can be ended.
    let command = command.args(["-c", script]).process_group(0).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = child.id();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 4]).unwrap();
    let stacks = || {
        let is_area = |record: &Record| matches!(record.kind(), Kind::Area { pages: 2..=32 });
        records(&tracer, |record| record.pid == pid && is_area(record))
    };
    let held = stacks();
    assert!(held.len() >= 20, "{} of 40 stacks", held.len());
    assert!(held.iter().all(|record| record.object.0 % 4096 == 0 && record.site.0 == 0));
    let mut kill = Command::new("kill");
    assert!(kill.args(["-9", "--", &format!("-{pid}")]).status().unwrap().success());
    let _ = child.wait();
    assert!(in_time(|| stacks().len() < held.len() / 2), "{} of {}", stacks().len(), held.len());
}

#[test]
fn what_this_process_does_itself_is_not_recorded() {
    let Some(tracer) = watch(OtherMemory { pages: true, ..OtherMemory::NONE }) else { return };
    let before = tracer.seen().pages.allocs;
    let (_reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[1; PIPE_PAGES << 12]).unwrap();
    assert!(tracer.seen().pages.allocs > before);
    assert_eq!(pages_of(&tracer, std::process::id()), []);
}

#[test]
fn events_that_nobody_follows_cost_nothing_and_can_be_followed_later() {
    let Some(mut tracer) = watch(OtherMemory::NONE) else { return };
    let first = pipe_filler();
    std::thread::sleep(Duration::from_millis(300));
    let seen = tracer.seen();
    assert_eq!((seen.pages, seen.per_cpu), Default::default());
    end(first);
    assert_eq!(tracer.follow_others(OtherMemory::ALL), tracer.can_follow());
    let second = pipe_filler();
    let pid = second.id();
    assert!(in_time(|| pages_of(&tracer, pid).len() >= PIPE_PAGES));
    std::thread::sleep(Duration::from_millis(200));
    let held = pages_of(&tracer, pid).len();
    // Frees are noted after that, too: what stayed behind would be wrong when it goes on.
    assert_eq!(tracer.follow_others(OtherMemory::NONE), OtherMemory::NONE);
    end(second);
    assert!(in_time(|| pages_of(&tracer, pid).len() + PIPE_PAGES <= held));
    let third = pipe_filler();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(pages_of(&tracer, third.id()), []);
    end(third);
}

#[test]
fn a_kernel_without_an_event_is_watched_for_the_rest() {
    let Some(events) = events() else { return };
    let events = Events { per_cpu_pointer: 0, per_cpu_bytes: 0, per_cpu_site: false, ..events };
    let Ok(mut tracer) = Tracer::start(events, &Follow::All) else { return };
    let rest = OtherMemory { per_cpu: false, areas: events.areas, ..OtherMemory::ALL };
    assert_eq!(tracer.can_follow(), rest);
    assert_eq!(tracer.follow_others(OtherMemory::ALL), rest);
}
