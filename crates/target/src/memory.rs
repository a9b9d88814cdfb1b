//! A target's memory.

use sysak_base::Memory;

/// The memory of a target; any number of threads may read it.
pub type TargetMemory = Box<dyn Memory + Send + Sync>;

#[cfg(test)]
mod tests {
    #[test]
    fn any_target_may_be_read_by_several_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<crate::bpf::BpfReader>();
        shared::<crate::kcore::Kcore>();
        shared::<crate::vmcore::Vmcore>();
    }
}
