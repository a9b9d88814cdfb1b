//! The table of wrappers that are modules' as a rule: what a core module allocates for the
//! drivers and file systems above it.

use super::name_table::NameTable;

pub(super) const TABLES: &[(&str, NameTable)] = &[
    // Transfers and their memory belong to the driver of the device.
    (
        "usbcore",
        NameTable {
            exact: &["hcd_buffer_alloc", "usb_alloc_coherent", "usb_alloc_urb"],
            prefixes: &[],
        },
    ),
    ("can_dev", NameTable { exact: &[], prefixes: &["alloc_can"] }),
    (
        "drm",
        NameTable {
            exact: &["drm_atomic_state_alloc", "drm_edid_alloc"],
            prefixes: &["__drmm_", "drmm_"],
        },
    ),
    ("cfg80211", NameTable { exact: &["wiphy_new_nm"], prefixes: &["__cfg80211_alloc_"] }),
    ("mac80211", NameTable { exact: &["ieee80211_alloc_hw_nm"], prefixes: &[] }),
    ("scsi_mod", NameTable { exact: &["scsi_alloc_request", "scsi_host_alloc"], prefixes: &[] }),
    // A connection is confirmed, or not, by who made it.
    (
        "nf_conntrack",
        NameTable { exact: &["__nf_conntrack_alloc", "nf_conntrack_alloc"], prefixes: &[] },
    ),
    // Objects of page tables, from a stock that is filled ahead.
    (
        "kvm",
        NameTable {
            exact: &[
                "__kvm_mmu_topup_memory_cache",
                "kvm_mmu_memory_cache_alloc",
                "kvm_mmu_topup_memory_cache",
                "mmu_memory_cache_alloc_obj",
            ],
            prefixes: &[],
        },
    ),
    (
        "sunrpc",
        NameTable { exact: &["rpc_malloc", "rpc_new_task", "xprt_alloc_slot"], prefixes: &[] },
    ),
    ("nfs", NameTable { exact: &["alloc_nfs_open_context"], prefixes: &["nfs_alloc_"] }),
    ("cifs", NameTable { exact: &["cifs_buf_get", "cifs_small_buf_get"], prefixes: &[] }),
    ("xfs", NameTable { exact: &["kmem_alloc", "kmem_zalloc"], prefixes: &[] }),
    (
        "btrfs",
        NameTable {
            exact: &["alloc_extent_map", "alloc_extent_state", "btrfs_alloc_path"],
            prefixes: &[],
        },
    ),
    ("ext4", NameTable { exact: &["ext4_init_io_end"], prefixes: &[] }),
    ("jbd2", NameTable { exact: &["jbd2_alloc"], prefixes: &[] }),
];
