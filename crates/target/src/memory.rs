//! A target's memory, and who may read it.

use sysak_base::Memory;

/// The memory of a target: its type says whether several threads may read it at once.
pub enum TargetMemory {
    /// Any number of threads may read it: dumps and `/proc/kcore`.
    Shared(Box<dyn Memory + Send + Sync>),
    /// Only the thread that opened it may: a BPF program has one buffer for its answers.
    SingleThreaded(Box<dyn Memory>),
}

impl TargetMemory {
    /// The memory, for one thread.
    pub fn as_memory(&self) -> &dyn Memory {
        match self {
            TargetMemory::Shared(memory) => memory.as_ref(),
            TargetMemory::SingleThreaded(memory) => memory.as_ref(),
        }
    }

    /// The memory, for several threads, where that can be.
    pub fn shared(&self) -> Option<&(dyn Memory + Send + Sync)> {
        match self {
            TargetMemory::Shared(memory) => Some(memory.as_ref()),
            TargetMemory::SingleThreaded(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::{Fault, Va};

    /// Memory that says how many threads may read it, and nothing else.
    struct Empty;

    impl Memory for Empty {
        fn read(&self, _: Va, buf: &mut [u8]) -> Result<(), Fault> {
            buf.fill(7);
            Ok(())
        }
    }

    #[test]
    fn single_threaded_memory_is_read_and_not_shared() {
        let (one, many) =
            (TargetMemory::SingleThreaded(Box::new(Empty)), TargetMemory::Shared(Box::new(Empty)));
        assert!(one.shared().is_none() && many.shared().is_some());
        assert_eq!(one.as_memory().read_u64(Va(0)), many.as_memory().read_u64(Va(0)));
    }

    #[test]
    fn dumps_and_kcore_may_be_read_by_several_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<crate::kcore::Kcore>();
        shared::<crate::vmcore::Vmcore>();
    }
}
