//! Pools of huge pages.

use sysak_base::PAGE_SHIFT;
use sysak_base::numbers::{half, word};

use crate::Kernel;
use crate::shape::find_pools;

/// No architecture has more sizes of huge pages.
const MOST_POOLS: u32 = 16;
/// No page is larger: 1 TiB.
const LARGEST_ORDER: u32 = 28;

/// One pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Bytes of one page.
    pub page_bytes: u64,
    /// Pages in the pool, used or not.
    pub pages: u64,
    /// Free pages.
    pub free: u64,
    /// Free pages that are reserved for a mapping.
    pub reserved: u64,
}

/// The pools that hold pages, the biggest first; `None` where they cannot be found.
pub(super) fn find(kernel: &Kernel<'_>) -> Option<Vec<Pool>> {
    let shape = kernel.shape.user_memory.pool.as_ref()?;
    let [first, many] = find_pools(kernel.symbols)?;
    let many = kernel.memory.read_u32(many).ok()?.min(MOST_POOLS);
    let mut raw = vec![0; shape.bytes as usize];
    let mut pools = Vec::new();
    for index in 0..u64::from(many) {
        kernel.memory.read(first.at(index * shape.bytes), &mut raw).ok()?;
        let order = half(&raw, shape.order);
        let [pages, free, reserved] =
            [shape.pages, shape.free, shape.reserved].map(|at| word(&raw, at));
        if order <= LARGEST_ORDER && pages > 0 {
            let page_bytes = 1 << (u64::from(order) + u64::from(PAGE_SHIFT));
            pools.push(Pool { page_bytes, pages, free, reserved });
        }
    }
    pools.sort_by_key(|pool| std::cmp::Reverse(pool.pages.saturating_mul(pool.page_bytes)));
    Some(pools)
}
