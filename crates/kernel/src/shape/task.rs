//! `struct task_struct`: its stack, and how much of it is in use.

use sysak_base::Va;
use sysak_symbols::Kallsyms;

use super::{FieldPlace, Names};

/// The cache whose objects the tasks are.
pub const TASK_CACHE: &str = "task_struct";

/// `TASK_COMM_LEN` (include/linux/sched.h).
const NAME_BYTES: u64 = 16;

/// Offsets inside `struct task_struct`.
#[derive(Clone, Debug)]
pub struct TaskShape {
    /// `stack`, its lowest address.
    pub stack: u64,
    /// `thread.sp`, the top of the stack while the task does not run.
    pub stack_pointer: u64,
    /// `on_cpu`, 32 bits wide: whether it runs.
    pub on_cpu: u64,
    /// `tgid`, 32 bits wide: the number of its process.
    pub process: u64,
    /// `comm`: its name.
    pub name: FieldPlace,
}

impl TaskShape {
    pub(super) fn find(names: Names<'_>) -> Option<TaskShape> {
        let task = |path| names.find("task_struct", path);
        Some(TaskShape {
            stack: task("stack")?,
            stack_pointer: task("thread.sp")?,
            on_cpu: task("on_cpu")?,
            process: task("tgid")?,
            name: FieldPlace { at: task("comm")?, bytes: NAME_BYTES },
        })
    }
}

/// Where each CPU keeps the `struct vm_struct` of stacks for threads to come, and how many (kernel/fork.c,
/// `NR_CACHED_STACKS`); listed where KALLSYMS_ALL is set.
pub fn find_cached_stacks(symbols: &Kallsyms) -> Option<(Va, u64)> {
    Some((symbols.find("cached_stacks")?, 2))
}
