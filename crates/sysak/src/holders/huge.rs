//! Pools of huge pages.

use std::path::Path;

use sysak_report::HugePool;

use super::number;

/// The pools that hold pages, the biggest first.
pub(super) fn pools(sys: &Path) -> Vec<HugePool> {
    let Ok(entries) = std::fs::read_dir(sys.join("kernel/mm/hugepages")) else {
        return Vec::new();
    };
    let pool = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let size = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?;
        let count = |file| number(&entry.path().join(file));
        Some(HugePool {
            page_bytes: size.parse::<u64>().ok()?.checked_mul(1024)?,
            pages: count("nr_hugepages")?,
            free_pages: count("free_hugepages")?,
            reserved_pages: count("resv_hugepages")?,
        })
    };
    let mut pools: Vec<_> =
        entries.flatten().filter_map(pool).filter(|pool| pool.pages > 0).collect();
    pools.sort_by_key(|pool| std::cmp::Reverse(pool.pages.saturating_mul(pool.page_bytes)));
    pools
}
