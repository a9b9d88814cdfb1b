//! Processes: name, address space, open files, and the counters of their address spaces.
//!
//! They are found as the live objects of their cache, so that no list of tasks can run in a
//! circle. Threads of a process share its address space, and mostly its files.

use std::collections::{BTreeMap, HashSet};

use sysak_base::numbers::{half, word};
use sysak_base::{PAGE_SIZE, Va};
use sysak_heap::Heap;

use crate::Kernel;
use crate::read::{gather, text};
use crate::shape::{CountPlace, FieldPlace, TASK_CACHE};
use crate::slub::live_objects;

/// More threads than `pid_max` allows.
const MOST_THREADS: usize = 1 << 22;
/// No machine has more: 4 PiB.
const MOST_PAGES: i64 = 1 << 40;

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Its `mm_struct`; `None` for a kernel thread, and for a process that is about to end.
    pub address_space: Option<Va>,
    /// Its tables of open files: one, as long as its threads share theirs.
    pub tables: Vec<Va>,
}

/// The memory of an address space, as its counters say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressSpace {
    /// Anonymous memory in RAM.
    pub anon_bytes: u64,
    /// Memory that was swapped out.
    pub swap_bytes: u64,
    /// Memory that is locked in RAM (`mlock`).
    pub locked_bytes: u64,
    /// Memory that is pinned for devices or io_uring.
    pub pinned_bytes: u64,
    /// Huge pages (hugetlb).
    pub huge_bytes: u64,
}

/// Every process, by its number.
pub fn find(kernel: &Kernel<'_>, heap: &Heap) -> Vec<Process> {
    let Some(shape) = &kernel.shape.user_memory.process else { return Vec::new() };
    let mut found = BTreeMap::<u32, Process>::new();
    each_task(kernel, heap, shape.read, |task| {
        let pid = half(task, shape.process);
        if pid == 0 {
            return;
        }
        let process = found.entry(pid).or_insert_with(|| Process { pid, ..Process::default() });
        // The first thread's name is the process's.
        if process.name.is_empty() || half(task, shape.thread) == pid {
            let name = text(task, shape.name.at, shape.name.bytes);
            process.name = String::from_utf8_lossy(name).into_owned();
        }
        let sane = |at: u64| Some(Va(word(task, at))).filter(|at| kernel.direct_pfn(*at).is_some());
        process.address_space = process.address_space.or(sane(shape.address_space));
        if let Some(table) = sane(shape.files)
            && !process.tables.contains(&table)
            && process.tables.len() < 64
        {
            process.tables.push(table);
        }
    });
    // Processes may share a table too: the first of them has it.
    let mut seen = HashSet::new();
    found.values_mut().for_each(|process| process.tables.retain(|table| seen.insert(*table)));
    found.into_values().collect()
}

/// The counters of an address space; `None` where it cannot be read.
pub fn address_space(kernel: &Kernel<'_>, at: Va) -> Option<AddressSpace> {
    let shape = kernel.shape.user_memory.process.as_ref()?;
    let mut scratch = Vec::new();
    let raw = kernel.memory.view(at, shape.address_space_bytes as usize, &mut scratch).ok()?;
    // A count is below 0 for a moment at most, and no larger than memory and swap together.
    let bytes = |pages: i64| pages.clamp(0, MOST_PAGES) as u64 * PAGE_SIZE;
    let count = |place: CountPlace| match place {
        CountPlace::Word(at) => bytes(word(raw, at) as i64),
        CountPlace::PerCpu { count, counters } => {
            let parts = kernel.per_cpu(word(raw, counters));
            let parts = parts.filter_map(|at| kernel.memory.read_u32(at).ok());
            let sum: i64 = parts.map(|part| i64::from(part as i32)).sum();
            bytes((word(raw, count) as i64).saturating_add(sum))
        }
    };
    let plain = |at: u64| bytes(word(raw, at) as i64);
    Some(AddressSpace {
        anon_bytes: count(shape.anon),
        swap_bytes: count(shape.swapped),
        locked_bytes: plain(shape.locked),
        pinned_bytes: shape.pinned.map_or(0, plain),
        huge_bytes: shape.huge.map_or(0, plain),
    })
}

/// Gives `each` the fields of every live task that are read here.
fn each_task(kernel: &Kernel<'_>, heap: &Heap, read: FieldPlace, mut each: impl FnMut(&[u8])) {
    let mut at = live_objects(heap, TASK_CACHE);
    at.truncate(MOST_THREADS);
    let at: Vec<Va> = at.into_iter().map(|task| task.at(read.at)).collect();
    gather(kernel.memory, &at, read.bytes, |_, raw| each(raw));
}
