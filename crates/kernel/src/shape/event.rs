//! The allocators' trace events: the meaning of their arguments.
//!
//! The type information of `btf_trace_*` has the types of the arguments and their order, but not their
//! names. On every kernel so far, type and order identify the wanted argument.

use sysak_symbols::TypeInfo;

/// Numbers of arguments, the call site being 0 and the object 1 everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventShape {
    /// Bytes allocated, of `kmalloc`.
    pub kmalloc_bytes: Option<u32>,
    /// Bytes allocated, of `kmem_cache_alloc`: where it does not have the cache.
    pub alloc_bytes: Option<u32>,
    /// The cache, of `kmem_cache_alloc`: since Linux commit 2c1d697fb8ba
    /// ("mm/slab_common: drop kmem_alloc & avoid dereferencing fields when not using") (v6.1).
    pub alloc_cache: Option<u32>,
    /// The cache, of `kmem_cache_free`.
    pub free_cache: Option<u32>,
    /// Whether `kmalloc_node` and `kmem_cache_alloc_node` are events of their own.
    pub node_events: bool,
    /// Of `percpu_alloc_percpu`; `None` where there is no such event, or it is another one.
    pub per_cpu: Option<PerCpuEvent>,
    /// Whether `alloc_vmap_area` and `free_vmap_area_noflush` are events: since v6.2
    /// ("mm: vmalloc: use trace_alloc_vmap_area event").
    pub areas: bool,
}

/// Numbers of the arguments of `percpu_alloc_percpu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerCpuEvent {
    /// The per-CPU pointer.
    pub pointer: u32,
    /// The bytes that were allocated on each CPU; where it lacks these, the bytes asked for.
    pub bytes: u32,
    /// Whether it begins with the call site: since Linux commit f67bed134a05 ("percpu: improve
    /// percpu_alloc_percpu event trace") (v5.19), which also adds the bytes allocated.
    pub has_site: bool,
}

impl PerCpuEvent {
    fn find(params: &[String]) -> Option<PerCpuEvent> {
        // Bytes asked for and alignment come before them.
        let allocated = find_nth(params, "size_t", 2);
        Some(PerCpuEvent {
            // The chunk's address comes before it.
            pointer: find_nth(params, "void *", 1)?,
            bytes: allocated.or_else(|| find_nth(params, "size_t", 0))?,
            has_site: params.get(1).is_some_and(|first| first == WORD),
        })
    }
}

impl EventShape {
    /// Reads the numbers off one kernel's types; `None` where it has no such events.
    pub fn find(types: &TypeInfo) -> Option<EventShape> {
        let params = |event: &str| types.find_typedef_params(&format!("btf_trace_{event}"));
        let (kmalloc, alloc) = (params("kmalloc")?, params("kmem_cache_alloc")?);
        let free = params("kmem_cache_free")?;
        let alloc_cache = find_nth(&alloc, "struct kmem_cache *", 0);
        Some(EventShape {
            kmalloc_bytes: find_nth(&kmalloc, "size_t", 1),
            alloc_bytes: find_nth(&alloc, "size_t", 1).filter(|_| alloc_cache.is_none()),
            alloc_cache,
            free_cache: find_nth(&free, "struct kmem_cache *", 0),
            node_events: params("kmalloc_node").is_some(),
            per_cpu: params("percpu_alloc_percpu").and_then(|all| PerCpuEvent::find(&all)),
            areas: has_area_events(&params),
        })
    }
}

/// Whether the events of areas are there, with the arguments that are read: address, size and,
/// as the sixth, whether it failed.
fn has_area_events(params: &dyn Fn(&str) -> Option<Vec<String>>) -> bool {
    let word = |params: &[String], at: usize| params.get(at).is_some_and(|one| one == WORD);
    let alloc = params("alloc_vmap_area").is_some_and(|all| {
        (1..=5).all(|at| word(&all, at)) && all.get(6).is_some_and(|failed| failed == "int")
    });
    alloc && params("free_vmap_area_noflush").is_some_and(|all| word(&all, 1))
}

const WORD: &str = "long unsigned int";

/// The argument that is the nth of this type; the first parameter is none of the event's.
fn find_nth(params: &[String], of: &str, nth: usize) -> Option<u32> {
    let is_it = |param: &str| param.strip_prefix("const ").unwrap_or(param) == of;
    let found = params.iter().enumerate().skip(1).filter(|(_, param)| is_it(param)).nth(nth)?;
    Some(found.0 as u32 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_by_type_and_order() {
        let new = ["void *", "long unsigned int", "const void *", "struct kmem_cache *", "gfp_t"];
        let new: Vec<String> = new.map(str::to_owned).into();
        assert_eq!(find_nth(&new, "struct kmem_cache *", 0), Some(2));
        let old = ["void *", "long unsigned int", "const void *", "size_t", "size_t", "gfp_t"];
        let old: Vec<String> = old.map(str::to_owned).into();
        assert_eq!(find_nth(&old, "size_t", 1), Some(3));
        assert_eq!(find_nth(&old, "struct kmem_cache *", 0), None);
    }

    #[test]
    fn the_newest_kernels_have_every_event() {
        for version in ["7.2", "7.3"] {
            let found = EventShape::find(&super::super::fixture(version)).unwrap();
            let expected = EventShape {
                kmalloc_bytes: Some(3),
                alloc_bytes: None,
                alloc_cache: Some(2),
                // A pointer to a constant cache, which the cut types do not have.
                free_cache: None,
                node_events: false,
                per_cpu: Some(PerCpuEvent { pointer: 7, bytes: 8, has_site: true }),
                areas: true,
            };
            assert_eq!(found, expected, "{version}");
        }
    }

    #[test]
    fn per_cpu_events_tell_the_call_site_and_the_bytes_allocated_since_6_1() {
        let common = ["bool", "bool", "size_t", "size_t", "void *", "int", "void *"];
        let params = |before: &[&str], after: &[&str]| -> Vec<String> {
            [before, &common, after].concat().iter().map(|&param| param.to_owned()).collect()
        };
        let old = PerCpuEvent::find(&params(&["void *"], &[]));
        assert_eq!(old, Some(PerCpuEvent { pointer: 6, bytes: 2, has_site: false }));
        let new = params(&["void *", "long unsigned int"], &["size_t", "gfp_t"]);
        let new = PerCpuEvent::find(&new);
        assert_eq!(new, Some(PerCpuEvent { pointer: 7, bytes: 8, has_site: true }));
        assert_eq!(PerCpuEvent::find(&params(&["void *"], &[])[..6]), None);
    }
}
