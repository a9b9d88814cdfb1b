//! What references of one kind have in common.
//!
//! **Invariant:** two references are of one kind only if all that a kind says of them is equal.

use std::cell::RefCell;
use std::collections::HashMap;

use sysak_heap::Object;
use sysak_kernel::timers::Timer;

use crate::{HolderKind, Step};

/// What references of one kind have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReferenceKind {
    /// They belong to timers with one function.
    Timer(Timer),
    /// They lie in registers.
    Register,
    /// They lie in roots of one name: a variable, a stack.
    Root(RootName),
    /// They stand at one offset in objects of one slab cache.
    Field {
        /// Index into the heap's caches.
        cache: u16,
        /// Whether the objects are parts of control groups.
        in_cgroup: bool,
        /// Bytes from the object's start.
        offset: u64,
    },
    /// They lie in one object that is no slab object.
    NonSlab(Object),
}

/// The number of a root's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RootName(u32);

/// Numbers the names of roots: thousands of references share a few names.
#[derive(Debug, Default)]
pub(crate) struct RootNames {
    known: RefCell<HashMap<(HolderKind, Step), RootName>>,
}

impl RootNames {
    /// The number of a name, a new one for each new name.
    pub(crate) fn number(&self, kind: HolderKind, name: Step) -> RootName {
        let mut known = self.known.borrow_mut();
        let next = RootName(known.len() as u32);
        *known.entry((kind, name)).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasherDefault, Hasher};
    use sysak_base::Va;

    /// Gives every value the same hash.
    #[derive(Default)]
    struct Colliding;

    impl Hasher for Colliding {
        fn finish(&self) -> u64 {
            0
        }

        fn write(&mut self, _: &[u8]) {}
    }

    #[test]
    fn kinds_whose_hashes_collide_stay_apart() {
        let names = RootNames::default();
        let stack = |pid| Step::Stack { name: "worker".to_owned(), pid };
        let object = |slab| Object { slab, index: 0 };
        let timer = |delayed| ReferenceKind::Timer(Timer { function: Va(1), delayed });
        let field = |cache, in_cgroup, offset| ReferenceKind::Field { cache, in_cgroup, offset };
        let kinds = [
            timer(false),
            timer(true),
            ReferenceKind::Register,
            ReferenceKind::Root(names.number(HolderKind::Process, stack(1))),
            ReferenceKind::Root(names.number(HolderKind::Process, stack(2))),
            field(1, false, 8),
            field(1, false, 16),
            field(1, true, 8),
            field(2, false, 8),
            ReferenceKind::NonSlab(object(1)),
            ReferenceKind::NonSlab(object(2)),
        ];
        let mut counts: HashMap<ReferenceKind, u32, BuildHasherDefault<Colliding>> =
            HashMap::default();
        for kind in kinds.iter().chain(&kinds) {
            *counts.entry(*kind).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), kinds.len());
        assert!(counts.values().all(|count| *count == 2));
    }

    #[test]
    fn one_name_has_one_number_and_another_kind_of_holder_another() {
        let names = RootNames::default();
        let first = names.number(HolderKind::Kernel, Step::KernelPage);
        assert_eq!(names.number(HolderKind::Kernel, Step::KernelPage), first);
        assert_ne!(names.number(HolderKind::Kernel, Step::StructPage), first);
        assert_ne!(names.number(HolderKind::Symbol, Step::KernelPage), first);
    }
}
