//! Where stacks begin: functions that call others by number or by pointer, for no purpose of
//! their own.
//!
//! `__x64_sys_mount` and its like are not among them: compilers put the body of a short system
//! call there, so a wrapper that it calls was called by that body. Between a longer body and a
//! wrapper lies the body's own function, which is found first.

use super::plain;

/// Whether every stack of its kind passes through this function.
pub fn is_entry(name: &str) -> bool {
    let name = plain(name);
    EXACT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const EXACT: &[&str] = &[
    // System calls, by number.
    "__do_fast_syscall_32",
    "do_SYSENTER_32",
    "do_el0_svc",
    "do_el0_svc_compat",
    "do_fast_syscall_32",
    "do_int80_emulation",
    "do_int80_syscall_32",
    "do_syscall_64",
    "ia32_sys_call",
    "int80_emulation",
    "invoke_syscall",
    "x32_sys_call",
    "x64_sys_call",
    // The way back to user space.
    "exit_to_user_mode_loop",
    "exit_to_user_mode_prepare",
    "irqentry_exit_to_user_mode",
    "syscall_exit_to_user_mode",
    "task_work_run",
    // Interrupts.
    "__common_interrupt",
    "__handle_irq_event_percpu",
    "__hrtimer_run_queues",
    "call_on_irq_stack",
    "common_interrupt",
    "generic_handle_domain_irq",
    "generic_handle_irq",
    "handle_edge_irq",
    "handle_fasteoi_irq",
    "handle_irq_event",
    "handle_irq_event_percpu",
    "handle_level_irq",
    "hrtimer_interrupt",
    "irq_forced_thread_fn",
    "irq_thread",
    "irq_thread_fn",
    // The loops of soft interrupts.
    "__do_softirq",
    "__irq_exit_rcu",
    "__local_bh_enable_ip",
    "__napi_poll",
    "__run_timers",
    "call_timer_fn",
    "do_softirq",
    "do_softirq_own_stack",
    "expire_timers",
    "handle_softirqs",
    "hrtimer_run_softirq",
    "irq_exit",
    "irq_exit_rcu",
    "napi_poll",
    "napi_threaded_poll",
    "napi_threaded_poll_loop",
    "net_rx_action",
    "net_tx_action",
    "process_backlog",
    "rcu_core",
    "rcu_core_si",
    "rcu_do_batch",
    "run_ksoftirqd",
    "run_timer_softirq",
    "tasklet_action",
    "tasklet_action_common",
    "tasklet_hi_action",
    // Threads.
    "io_worker_handle_work",
    "io_wq_worker",
    "io_wqe_worker",
    "kthread",
    "kthread_worker_fn",
    "process_one_work",
    "process_scheduled_works",
    "rcu_cpu_kthread",
    "rescuer_thread",
    "ret_from_fork",
    "ret_from_fork_asm",
    "smpboot_thread_fn",
    "vhost_task_fn",
    "worker_thread",
    // The start of the machine and of modules.
    "cpu_startup_entry",
    "do_idle",
    "do_one_initcall",
    "kernel_init",
    "kernel_init_freeable",
    "start_kernel",
    "start_secondary",
    // Opening a file: the file's own function often ends with a jump to a wrapper, and then has
    // no frame.
    "chrdev_open",
    "do_dentry_open",
    "full_proxy_open",
    "full_proxy_open_regular",
    "full_proxy_open_short",
    "misc_open",
    "proc_reg_open",
    "vfs_open",
    // Chains of callbacks.
    "atomic_notifier_call_chain",
    "blocking_notifier_call_chain",
    "notifier_call_chain",
    "raw_notifier_call_chain",
    "srcu_notifier_call_chain",
];

const PREFIXES: &[&str] = &[
    "asm_",
    "el0_",
    "el0t_",
    "el1_",
    "el1h_",
    "entry_INT80",
    "entry_SYSCALL",
    "entry_SYSENTER",
    "secondary_startup_64",
    "sysvec_",
];

#[cfg(test)]
mod tests {
    use super::super::is_wrapper;
    use super::*;

    #[test]
    fn system_calls_interrupts_and_threads_have_entries() {
        for name in ["do_syscall_64", "asm_sysvec_call_function", "el0t_64_sync", "kthread"] {
            assert!(is_entry(name), "{name}");
        }
        for name in ["__x64_sys_mount", "ip_rcv", "kthread_create_on_node", "wb_workfn"] {
            assert!(!is_entry(name), "{name}");
        }
    }

    #[test]
    fn no_entry_is_a_wrapper() {
        for name in EXACT {
            assert!(!is_wrapper(name), "{name}");
        }
    }
}
