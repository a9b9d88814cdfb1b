//! Whether a leak's objects are counted, and who takes references to such objects.
//!
//! **Danger:** who allocates counted objects is rarely who loses them, and who takes references may give
//! them all back: neither is proof.

use std::collections::HashSet;

use sysak_base::Cancel;
use sysak_callsites::{ModuleCall, find_module_calls};
use sysak_heap::{Cache, Class};
use sysak_infer::{InferredType, Types, counted_kind, of_cache};
use sysak_kernel::Kernel;
use sysak_kernel::functions::counted::CountedKind;
use sysak_kernel::modules;

/// A type that is less likely does not say that its objects are counted.
const SURE: f64 = 0.9;

/// What is known of a leak's counted objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// What they are.
    pub kind: CountedKind,
    /// Functions of modules that were not built with the kernel that take references to such objects; `None`
    /// where such modules cannot be told.
    pub takers: Option<Vec<ModuleCall>>,
}

/// Tells it of any number of caches.
pub(crate) struct CountedObjects<'c> {
    kernel: &'c Kernel<'c>,
    types: &'c Types,
    out_of_tree: Option<HashSet<String>>,
}

impl<'c> CountedObjects<'c> {
    pub(crate) fn new(kernel: &'c Kernel<'_>, types: &'c Types) -> CountedObjects<'c> {
        let out_of_tree = modules::find_out_of_tree(kernel.memory, kernel.types, kernel.symbols);
        CountedObjects { kernel, types, out_of_tree }
    }

    /// What the objects of a cache are, if they are counted. `is_kernels`: a function of the kernel itself
    /// allocated them; a module's pages are its own.
    pub(crate) fn of(
        &self,
        cache: &Cache,
        inferred: Option<&InferredType>,
        is_kernels: bool,
        cancel: &Cancel,
    ) -> Option<Counted> {
        let kind = match cache.class {
            Class::Slab => self.kind_of_objects(cache, inferred)?,
            Class::Page if is_kernels => CountedKind::Page,
            Class::Page | Class::Vmalloc | Class::PerCpu => return None,
        };
        let Kernel { memory, symbols, .. } = *self.kernel;
        let takers = self.out_of_tree.as_ref().map(|modules| {
            let is_wanted = |module: &str| modules.contains(module);
            let calls = find_module_calls(memory, symbols, kind.takers(), &is_wanted, cancel);
            calls.into_iter().collect()
        });
        // Of a search that was ended early, what is missing says nothing.
        Some(Counted { kind, takers: takers.filter(|_| !cancel.is_set()) })
    }

    /// By the cache's name, where it is of one struct alone; else by the struct that they look like.
    fn kind_of_objects(
        &self,
        cache: &Cache,
        inferred: Option<&InferredType>,
    ) -> Option<CountedKind> {
        let alone = cache.aliases.is_empty();
        let named = of_cache(self.types, &cache.name, cache.object_size).filter(|_| alone);
        let inferred = inferred.filter(|one| one.confidence >= SURE).map(|one| one.id);
        counted_kind(self.types, named.or(inferred)?)
    }
}
