//! Types of real kernels, cut to what the walks read (`fixtures/ORIGIN.md`).
//!
//! The expected numbers were read off `bpftool btf dump`, not off this parser.

#![allow(clippy::unwrap_used)]

use sysak_symbols::{Field, TypeInfo};

fn kernel(version: &str) -> TypeInfo {
    let path = format!("{}/../../fixtures/btf-{version}", env!("CARGO_MANIFEST_DIR"));
    TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap()
}

fn offset(types: &TypeInfo, owner: &str, path: &str) -> Option<u64> {
    types.find_field(owner, path).map(|field| field.offset_bytes)
}

#[test]
fn a_slab_is_a_page_before_5_17_and_a_type_of_its_own_since() {
    let types = kernel("5.10");
    assert_eq!(types.find_size("slab"), None);
    assert_eq!(offset(&types, "page", "slab_cache"), Some(24));
    assert_eq!(offset(&kernel("6.1"), "slab", "slab_cache"), Some(24));
    for version in ["6.12", "6.18"] {
        assert_eq!(offset(&kernel(version), "slab", "slab_cache"), Some(8), "{version}");
    }
}

#[test]
fn a_slabs_counters_are_bitfields_of_one_word() {
    for version in ["6.1", "6.12", "6.18"] {
        let types = kernel(version);
        let word = offset(&types, "slab", "counters").unwrap();
        let field = |bit_offset, bit_size| {
            Some(Field { offset_bytes: word, size_bytes: 4, bit_offset, bit_size })
        };
        assert_eq!(types.find_field("slab", "inuse"), field(0, 16), "{version}");
        assert_eq!(types.find_field("slab", "objects"), field(16, 15), "{version}");
        assert_eq!(types.find_field("slab", "frozen"), field(31, 1), "{version}");
    }
}

#[test]
fn a_slabs_type_is_an_enumerator_since_6_12() {
    let value = |version| kernel(version).find_enumerator("PGTY_slab");
    assert_eq!(value("6.1"), None);
    assert_eq!(value("6.12"), Some(0xf5));
    assert_eq!(value("6.18"), Some(0xf5));
    assert_eq!(kernel("5.10").find_enumerator("PG_slab"), Some(9));
}

#[test]
fn a_modules_memory_is_two_layouts_before_6_4_and_an_array_since() {
    for version in ["5.10", "6.1"] {
        assert!(kernel(version).find_field("module", "core_layout.base").is_some(), "{version}");
    }
    for version in ["6.12", "6.18"] {
        let types = kernel(version);
        assert_eq!(types.find_array_len("module", "mem"), Some(7), "{version}");
        assert!(types.find_field("module", "mem.size").is_some(), "{version}");
    }
}

#[test]
fn the_arguments_of_a_tracepoint_follow_the_kernel() {
    let params =
        |version| kernel(version).find_typedef_params("btf_trace_kmem_cache_alloc").unwrap();
    let gfp = |version| params(version).iter().position(|param| param == "gfp_t");
    assert_eq!(gfp("5.10"), Some(5));
    assert_eq!(params("6.12")[3], "struct kmem_cache *");
    assert_eq!(gfp("6.12"), Some(4));
}

#[test]
fn per_cpu_variables_may_be_left_out_by_the_kernels_build() {
    // Debian's 5.10 was built with pahole's --skip_encoding_btf_vars.
    assert_eq!(kernel("5.10").find_per_cpu_variable("runqueues"), None);
    assert_eq!(kernel("6.1").find_per_cpu_variable("runqueues"), Some(203_840));
    assert_eq!(kernel("6.12").find_per_cpu_variable("runqueues"), Some(221_248));
}
