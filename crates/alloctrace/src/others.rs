//! Memory that is no slab object: its kinds, and the programs on the events of each.

/// Memory that is no slab object, to be followed or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherMemory {
    /// Blocks of pages, but for those that the kernel can move: programs' and files'.
    pub pages: bool,
    /// Per-CPU memory.
    pub per_cpu: bool,
    /// What takes room in the vmalloc address space.
    pub areas: bool,
}

impl OtherMemory {
    /// None of them.
    pub const NONE: OtherMemory = OtherMemory { pages: false, per_cpu: false, areas: false };
    /// All of them.
    pub const ALL: OtherMemory = OtherMemory { pages: true, per_cpu: true, areas: true };

    /// What is in both.
    pub(crate) fn and(self, other: OtherMemory) -> OtherMemory {
        OtherMemory {
            pages: self.pages && other.pages,
            per_cpu: self.per_cpu && other.per_cpu,
            areas: self.areas && other.areas,
        }
    }

    /// What is not in it.
    pub(crate) fn not(self) -> OtherMemory {
        OtherMemory { pages: !self.pages, per_cpu: !self.per_cpu, areas: !self.areas }
    }
}

/// A kind of memory and its programs, each with its event.
#[derive(Clone, Copy)]
pub(crate) struct Other {
    of: fn(&mut OtherMemory) -> &mut bool,
    /// Frees first: an allocation that is recorded before its free is watched for would stay
    /// in the table.
    pub programs: [(&'static str, &'static str); 2],
}

/// All kinds.
pub(crate) const OTHERS: [Other; 3] = [
    Other {
        of: |others| &mut others.pages,
        programs: [("on_page_free", "mm_page_free"), ("on_page_alloc", "mm_page_alloc")],
    },
    Other {
        of: |others| &mut others.per_cpu,
        programs: [
            ("on_per_cpu_free", "percpu_free_percpu"),
            ("on_per_cpu_alloc", "percpu_alloc_percpu"),
        ],
    },
    // Since v6.2 ("mm: vmalloc: use trace_alloc_vmap_area event").
    Other {
        of: |others| &mut others.areas,
        programs: [
            ("on_area_free", "free_vmap_area_noflush"),
            ("on_area_alloc", "alloc_vmap_area"),
        ],
    },
];

impl Other {
    pub fn is_in(self, mut others: OtherMemory) -> bool {
        *(self.of)(&mut others)
    }

    pub fn put(self, others: &mut OtherMemory) {
        *(self.of)(others) = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_one_of_its_own() {
        let each = [
            OtherMemory { pages: true, ..OtherMemory::NONE },
            OtherMemory { per_cpu: true, ..OtherMemory::NONE },
            OtherMemory { areas: true, ..OtherMemory::NONE },
        ];
        for (kind, only) in OTHERS.iter().zip(each) {
            let mut none = OtherMemory::NONE;
            kind.put(&mut none);
            assert_eq!((none, kind.is_in(only.not())), (only, false));
            assert_eq!(OtherMemory::ALL.and(only), only);
        }
    }
}
