//! The kernel's own counters of its memory.
//!
//! A counter is what all allocations added and all frees took away. It drifts where one of them forgot to, and no one
//! notices: the memory itself is the truth.

use sysak_base::Va;

use crate::Kernel;
use crate::shape::{COUNTERS, Counter, CounterShape, find_counter};

/// Units of a page, where a counter counts KiB.
const KIB_OF_A_PAGE: u64 = 4;

/// What the counters say, in pages: the least and the most, where they were read more than once.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    nodes: Vec<Va>,
    said: [Option<(u64, u64)>; COUNTERS],
}

impl Counters {
    /// Reads the counters of these nodes.
    pub(crate) fn read(kernel: &Kernel<'_>, nodes: Vec<Va>) -> Counters {
        let said = read(kernel, &nodes).map(|pages| pages.map(|pages| (pages, pages)));
        Counters { nodes, said }
    }

    /// Reads them once more: on a running kernel they move while its memory is looked at.
    pub fn read_again(&mut self, kernel: &Kernel<'_>) {
        for (said, now) in self.said.iter_mut().zip(read(kernel, &self.nodes)) {
            let wider = |((least, most), now): ((u64, u64), u64)| (least.min(now), most.max(now));
            *said = said.zip(now).map(wider);
        }
    }

    /// What one says at least, and at most; `None` where this kernel's types do not describe it, or it cannot be read.
    pub fn pages(&self, counter: Counter) -> Option<(u64, u64)> {
        self.said[counter as usize]
    }
}

fn read(kernel: &Kernel<'_>, nodes: &[Va]) -> [Option<u64>; COUNTERS] {
    let shape = kernel.shape.zone.as_ref().and_then(|zone| zone.counters.as_ref());
    let of_nodes = |counter| {
        let shape = shape.filter(|_| !nodes.is_empty())?;
        sum(kernel, nodes, shape, shape.items[counter as usize]?)
    };
    let of_all = |counter| {
        let (at, is_word) = find_counter(kernel.symbols, counter)?;
        let memory = kernel.memory;
        if is_word { memory.read_u64(at).ok() } else { memory.read_u32(at).ok().map(u64::from) }
    };
    Counter::ALL.map(|counter| {
        let says = of_nodes(counter).or_else(|| of_all(counter))?;
        match counter {
            Counter::KernelStacks => Some(says / KIB_OF_A_PAGE),
            Counter::PerCpu => says.checked_mul(kernel.cpus()),
            _ => Some(says),
        }
    })
}

/// One counter of all nodes, with what the CPUs have not added yet.
fn sum(kernel: &Kernel<'_>, nodes: &[Va], shape: &CounterShape, item: u64) -> Option<u64> {
    let memory = kernel.memory;
    let mut sum = 0i64;
    for node in nodes {
        let counter = node.at(shape.words + item * 8);
        sum = sum.checked_add(memory.read_u64(counter).ok()? as i64)?;
        for own in kernel.per_cpu(memory.read_u64(node.at(shape.per_cpu)).ok()?) {
            let mut diff = [0];
            memory.read(own.at(shape.diffs + item), &mut diff).ok()?;
            sum = sum.checked_add(i64::from(diff[0] as i8))?;
        }
    }
    u64::try_from(sum).ok()
}
