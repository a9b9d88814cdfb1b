//! The functions that only allocate for their callers, by subsystem.
//!
//! The rule: a function is a wrapper if its name in a report explains nothing, because it hands what
//! it allocated to its caller, which has to free it. A function that puts the object into a list or
//! a tree of its own, or that several callers use for one purpose, is no wrapper: the names
//! `inet_bind_bucket_create` and `sock_alloc_file` say what was allocated, and why.
//!
//! Names are those of 5.10 to 6.18, without suffixes. A name that a kernel does not have, or
//! has inlined, does no harm. A static function with a common name (`alloc_buf`) is left out: several
//! files may have one.

use super::name_table::NameTable;
use super::plain;

/// Whether a function of the kernel itself only allocates for its caller.
pub fn is_wrapper(name: &str) -> bool {
    let name = plain(name);
    // What is a module in one kernel is built into another.
    super::kernel_wrappers::TABLES.iter().any(|table| table.has(name))
        || super::module_wrappers::TABLES.iter().any(|(_, table)| table.has(name))
        || is_by_convention(name)
}

/// Whether a module's function only allocates for its caller.
///
/// A kernel's wrapper is not in a module; a function of that name there is the module's own.
/// So only what is listed for that very module counts, and what is named by convention.
pub fn is_wrapper_of(module: &str, name: &str) -> bool {
    let name = plain(name);
    let listed = |(owner, table): &(&str, NameTable)| *owner == module && table.has(name);
    super::module_wrappers::TABLES.iter().any(listed) || is_by_convention(name)
}

/// A function with such a name is a wrapper in any module: `devm_` functions manage memory for a
/// driver, and `alloc_inode` calls the callback of a file system (`ext4_alloc_inode`).
fn is_by_convention(name: &str) -> bool {
    name.trim_start_matches('_').starts_with("devm_") || name.ends_with("_alloc_inode")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_of_allocators_is_known() {
        let known = [
            "kmalloc_trace",
            "__kmalloc_node_track_caller_caller",
            "kmem_cache_alloc_lru_noprof",
            "kvmalloc_node",
            "kmemdup_nul",
            "strndup_user",
            "pskb_expand_head",
            "napi_build_skb",
            "sock_alloc_send_pskb",
            "sk_prot_alloc.isra.0",
            "mempool_alloc_slab",
            "bio_alloc_bioset",
            "devm_kasprintf",
            "__devres_alloc_node",
            "single_open",
            "simple_xattr_alloc",
            "d_alloc_parallel",
            "iget5_locked",
            "shmem_alloc_inode",
            "alloc_file_pseudo",
            "xas_nomem",
            "mas_alloc_nodes",
            "idr_alloc_cyclic",
            "pcpu_alloc_noprof",
            "__alloc_pages",
            "security_inode_alloc",
            "lsm_blob_alloc",
            "kobject_set_name_vargs",
            "__kernfs_new_node",
            "alloc_workqueue",
            "crypto_alloc_tfm_node",
            "prepare_creds",
        ];
        for name in known {
            assert!(is_wrapper(name), "{name}");
        }
    }

    #[test]
    fn every_way_to_pages_and_per_cpu_memory_is_known() {
        let known = [
            "__alloc_pages_nodemask",
            "__alloc_frozen_pages_noprof",
            "alloc_pages_mpol",
            "alloc_pages_exact_noprof",
            "alloc_pages_bulk_array_mempolicy",
            "alloc_page_interleave",
            "alloc_contig_pages_noprof",
            "get_free_pages_noprof",
            "__get_free_pages",
            "get_zeroed_page_noprof",
            "folio_alloc_noprof",
            "__folio_alloc_noprof",
            "page_frag_alloc_align",
            "__page_frag_alloc_align",
            "__page_frag_cache_refill",
            "skb_page_frag_refill",
            "page_pool_alloc_pages",
            "dma_common_alloc_pages",
            "iommu_dma_alloc",
            "allocate_slab",
            "kmem_cache_prefill_sheaf",
            "__alloc_percpu_gfp",
            "pcpu_alloc_noprof",
            "__percpu_counter_init_many",
        ];
        for name in known {
            assert!(is_wrapper(name), "{name}");
        }
        for name in ["pte_alloc_one", "pgd_alloc", "anon_pipe_write", "tlb_next_batch", "mm_init"] {
            assert!(!is_wrapper(name), "{name} tells what it allocates for");
        }
    }

    #[test]
    fn whoever_owns_what_it_allocates_is_no_wrapper() {
        let owners = [
            "inotify_handle_inode_event",
            "inet_bind_bucket_create",
            "sock_alloc_file",
            "posix_clock_open",
            "perf_event_parse_addr_filter",
            "kvm_io_bus_unregister_dev",
            "video_usercopy",
            "ipv6_renew_options",
            "crypto_report",
            "copy_process",
            "seq_read_iter",
            "alloc_buf",
            "kfree",
            "security_load_policy",
        ];
        for name in owners {
            assert!(!is_wrapper(name), "{name}");
        }
    }

    #[test]
    fn a_modules_wrappers_are_those_that_are_listed_for_it() {
        assert!(is_wrapper_of("usbcore", "usb_alloc_urb"));
        assert!(!is_wrapper_of("gs_usb", "usb_alloc_urb"));
        assert!(!is_wrapper_of("usbcore", "kmemdup"));
        assert!(is_wrapper("usb_alloc_urb"), "where it is part of the kernel");
        assert!(is_wrapper_of("ext4", "ext4_alloc_inode"));
        assert!(is_wrapper_of("industrialio", "devm_iio_device_alloc"));
    }

    #[test]
    fn no_name_is_listed_twice_or_covered_by_a_prefix_of_its_table() {
        let kernel = super::super::kernel_wrappers::TABLES.iter();
        let tables =
            kernel.chain(super::super::module_wrappers::TABLES.iter().map(|(_, table)| table));
        let mut names = std::collections::HashSet::new();
        for table in tables {
            for name in table.exact {
                assert!(names.insert(*name), "{name} twice");
                assert_eq!(plain(name), *name);
                let covered = table.prefixes.iter().any(|prefix| name.starts_with(prefix));
                assert!(!covered, "{name} has a prefix");
            }
        }
    }
}
