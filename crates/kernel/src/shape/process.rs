//! Processes: number, name, open files, and the counters of their address spaces.

use super::{FieldPlace, Names};

/// `struct task_struct` and the `struct mm_struct` that it leads to.
#[derive(Clone, Debug)]
pub struct ProcessShape {
    /// The part of a `task_struct` that is read here; the offsets below count from its start.
    pub read: FieldPlace,
    /// `task_struct.pid`, 32 bits wide.
    pub thread: u64,
    /// `task_struct.tgid`, 32 bits wide.
    pub process: u64,
    /// `task_struct.comm`
    pub name: FieldPlace,
    /// `task_struct.mm`
    pub address_space: u64,
    /// `task_struct.files`
    pub files: u64,
    /// Bytes of a `struct mm_struct`, as far as these walks read it.
    pub address_space_bytes: u64,
    /// `locked_vm`, in pages.
    pub locked: u64,
    /// `pinned_vm`, in pages.
    pub pinned: Option<u64>,
    /// `hugetlb_usage`, in pages of the smallest size.
    pub huge: Option<u64>,
    /// Anonymous pages.
    pub anon: CountPlace,
    /// Swapped out pages.
    pub swapped: CountPlace,
}

/// Where a process counts pages of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountPlace {
    /// One number.
    Word(u64),
    /// A number, and a per-CPU pointer to 32 bits more for each CPU, since Linux commit
    /// f1a7941243c1 ("mm: convert mm's rss stats into percpu_counter") (v6.2).
    PerCpu {
        /// The number.
        count: u64,
        /// The per-CPU pointer.
        counters: u64,
    },
}

impl ProcessShape {
    pub(super) fn find(names: Names<'_>) -> Option<ProcessShape> {
        let task = |path| names.find("task_struct", path);
        let space = |path| names.find("mm_struct", path);
        let (anon, swapped) =
            (CountPlace::find(names, "MM_ANONPAGES")?, CountPlace::find(names, "MM_SWAPENTS")?);
        let fields = [task("pid")?, task("tgid")?, task("comm")?, task("mm")?, task("files")?];
        let name_len = names.find_len("task_struct", "comm")?.min(64);
        let first = fields.iter().copied().fold(u64::MAX, u64::min);
        let [thread, process, name, memory, files] = fields.map(|at| at - first);
        let end = [thread, process, name + name_len, memory, files].into_iter().fold(0, u64::max);
        Some(ProcessShape {
            read: FieldPlace { at: first, bytes: end + 8 },
            thread,
            process,
            name: FieldPlace { at: name, bytes: name_len },
            address_space: memory,
            files,
            address_space_bytes: names.find_size("mm_struct")?.min(1 << 14),
            locked: space("locked_vm")?,
            pinned: space("pinned_vm"),
            huge: space("hugetlb_usage"),
            anon,
            swapped,
        })
    }
}

impl CountPlace {
    fn find(names: Names<'_>, which: &str) -> Option<CountPlace> {
        let index = names.find_value(which)?;
        // In the first element of an array of counters it would be found too.
        let is_array = names.find_len("mm_struct", "rss_stat").is_some();
        if let Some(count) = names.find("mm_struct", "rss_stat.count").filter(|_| !is_array) {
            return Some(CountPlace::Word(count + index * 8));
        }
        let step = names.find_size("percpu_counter")?;
        let first = names.find("mm_struct", "rss_stat")? + index * step;
        let count = first + names.find("percpu_counter", "count")?;
        // A kernel for one CPU has no more than the number.
        Some(match names.find("percpu_counter", "counters") {
            Some(counters) => CountPlace::PerCpu { count, counters: first + counters },
            None => CountPlace::Word(count),
        })
    }
}
