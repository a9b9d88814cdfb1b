//! Pools of huge pages: `struct hstate`.

use sysak_base::Va;
use sysak_symbols::Kallsyms;

use super::Names;

/// `struct hstate`: a pool of huge pages.
#[derive(Clone, Debug)]
pub struct PoolShape {
    /// Bytes of one.
    pub bytes: u64,
    /// `order`, 32 bits wide.
    pub order: u64,
    /// `nr_huge_pages`
    pub pages: u64,
    /// `free_huge_pages`
    pub free: u64,
    /// `resv_huge_pages`
    pub reserved: u64,
}

impl PoolShape {
    pub(super) fn find(names: Names<'_>) -> Option<PoolShape> {
        let pool = |path| names.find("hstate", path);
        Some(PoolShape {
            bytes: names.find_size("hstate")?,
            order: pool("order")?,
            pages: pool("nr_huge_pages")?,
            free: pool("free_huge_pages")?,
            reserved: pool("resv_huge_pages")?,
        })
    }
}

/// The pools, and how many there are; listed where KALLSYMS_ALL is set.
pub fn find_pools(symbols: &Kallsyms) -> Option<[Va; 2]> {
    Some([symbols.find("hstates")?, symbols.find("hugetlb_max_hstate")?])
}
