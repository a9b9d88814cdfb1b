//! Where stacks begin: functions that call others by pointer or by number, for no purpose of
//! their own.

use super::plain;

/// Whether every stack of its kind passes through this function.
pub fn is_entry(name: &str) -> bool {
    let name = plain(name);
    EXACT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const EXACT: &[&str] = &[
    "do_syscall_64",
    "kthread",
    "worker_thread",
    "process_one_work",
    "ret_from_fork",
    "ret_from_fork_asm",
    "__do_softirq",
    "handle_softirqs",
];

const PREFIXES: &[&str] = &["asm_", "entry_SYSCALL"];
