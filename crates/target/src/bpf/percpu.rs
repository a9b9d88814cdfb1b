//! The offsets of the CPUs' copies of per-CPU memory, where no symbol names the kernel's table.
//!
//! The scheduler's root task group points to the run queue of every possible CPU, and a run
//! queue is a per-CPU variable whose place BTF tells.
//!
//! **Invariant:** offsets are given only when all CPUs agree on where the per-CPU
//! section starts (0 on x86-64 until Linux 6.15, an address of the image since).

use sysak_arch::x86_64::MOST_CPUS;
use sysak_base::{Memory, Va};
use sysak_symbols::{Kallsyms, TypeInfo};

/// `__per_cpu_offset` of every possible CPU.
pub fn find_offsets(
    memory: &dyn Memory,
    types: &TypeInfo,
    symbols: &Kallsyms,
    current: Va,
    cpus: u64,
) -> Option<Vec<u64>> {
    let cpus = cpus.clamp(1, MOST_CPUS);
    from_symbols(memory, types, symbols, cpus)
        .or_else(|| from_run_queues(memory, types, current, cpus))
}

/// By the kernel's own table, where symbols name it and every CPU's own copy agrees.
fn from_symbols(
    memory: &dyn Memory,
    types: &TypeInfo,
    symbols: &Kallsyms,
    cpus: u64,
) -> Option<Vec<u64>> {
    let table = symbols.find("__per_cpu_offset")?;
    // Kernels of before pahole 1.18 have no per-CPU variables in their BTF.
    let this_cpu_off = symbols.find("this_cpu_off").or_else(|| {
        let start = symbols.find("__per_cpu_start").unwrap_or(Va(0));
        Some(start.at(types.find_per_cpu_variable("this_cpu_off")?))
    })?;
    let own_says = |offset: u64| memory.read_u64(this_cpu_off.at(offset)).ok();
    let offsets = (0..cpus).map(|cpu| memory.read_u64(table.at(8 * cpu)).ok());
    let offsets: Vec<u64> = offsets.collect::<Option<_>>()?;
    offsets.iter().all(|&offset| own_says(offset) == Some(offset)).then_some(offsets)
}

fn from_run_queues(
    memory: &dyn Memory,
    types: &TypeInfo,
    current: Va,
    cpus: u64,
) -> Option<Vec<u64>> {
    let follow = |at: Va, owner: &str, path: &str| {
        let field = types.find_field(owner, path)?;
        memory.read_u64(at.at(field.offset_bytes)).ok().map(Va)
    };
    let this_cpu_off = types.find_per_cpu_variable("this_cpu_off")?;
    let run_queues = types.find_per_cpu_variable("runqueues")?;
    let run_queue = follow(follow(current, "task_struct", "se.cfs_rq")?, "cfs_rq", "rq")?;
    let root = follow(run_queue, "rq", "cfs.tg")?;
    let queues = follow(root, "task_group", "cfs_rq")?;

    let mut offsets = Vec::new();
    let mut start = None;
    for cpu in 0..cpus {
        let queue = Va(memory.read_u64(queues.at(8 * cpu)).ok()?);
        let base = Va(follow(queue, "cfs_rq", "rq")?.0.wrapping_sub(run_queues));
        let offset = memory.read_u64(base.at(this_cpu_off)).ok()?;
        let here = base.0.wrapping_sub(offset);
        if *start.get_or_insert(here) != here {
            return None;
        }
        offsets.push(offset);
    }
    Some(offsets)
}
