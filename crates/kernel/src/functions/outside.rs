//! Functions that pass addresses of memory to a device or a hypervisor, which keep them outside of the kernel's memory.
//!
//! An object that only a device's or a hypervisor's tables refer to looks lost: neither live memory nor a dump shows
//! these tables.
//!
//! Names are those of 5.10 to 7.3, without suffixes.

/// Who keeps addresses in memory that cannot be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outside {
    /// A device.
    Device,
    /// A hypervisor.
    Hypervisor,
}

impl Outside {
    /// Both.
    pub const ALL: [Outside; 2] = [Outside::Device, Outside::Hypervisor];

    /// Functions that give it addresses.
    pub fn given_by(self) -> &'static [&'static str] {
        match self {
            Outside::Device => DEVICE,
            Outside::Hypervisor => HYPERVISOR,
        }
    }
}

/// include/linux/dma-mapping.h, dmapool.h, iommu.h.
const DEVICE: &[&str] = &[
    "dma_alloc_attrs",
    "dma_alloc_noncontiguous",
    "dma_alloc_pages",
    "dma_iova_link",
    "dma_map_page_attrs",
    "dma_map_phys",
    "dma_map_resource",
    "dma_map_sg_attrs",
    "dma_map_sgtable",
    "dma_pool_alloc",
    "dma_pool_create",
    "dma_pool_create_node",
    "dmam_alloc_attrs",
    "dmam_pool_create",
    "iommu_map",
    "iommu_map_sg",
];

/// Hyper-V, Xen, VMware, and pages that VFIO pins for mediated devices.
const HYPERVISOR: &[&str] = &[
    "gnttab_claim_grant_reference",
    "gnttab_grant_foreign_access",
    "gnttab_grant_foreign_access_ref",
    "vfio_pin_pages",
    "vmbus_establish_gpadl",
    "vmbus_sendpacket_mpb_desc",
    "vmbus_sendpacket_pagebuffer",
    "vmci_qpair_alloc",
    "xenbus_grant_ring",
    "xenbus_setup_ring",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::plain;

    #[test]
    fn names_are_sorted_plain_and_listed_once() {
        for names in Outside::ALL.map(Outside::given_by) {
            assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(names.iter().all(|name| plain(name) == *name));
        }
    }
}
