//! What of a kernel's layout is missing, and what that costs.
//!
//! A member that this kernel's types do not have costs what depends on it, never the whole start.
//!
//! **Invariant:** where what is missing leaves doubt whether memory of a class is in use, all of that
//! class counts as in use.

use super::{Counter, CounterShape, Shape};
use crate::{Coverage, Omitted, Reason};

/// Orders of the buddy allocator where the zones do not tell: `MAX_PAGE_ORDER` is 10.
const USUAL_ORDERS: u64 = 11;

impl Shape {
    /// Whether free slab objects can be told from allocated ones, wherever they are kept.
    pub fn tells_free_objects(&self) -> bool {
        self.cache.tells_free_objects
    }

    /// Whether the pages of every user of the page allocator can be told, so that a block that is left
    /// over was asked for by a caller.
    pub fn tells_blocks(&self) -> bool {
        let page = &self.page;
        let (user, reserved) = (page.user.is_some(), page.bits.reserved.is_some());
        let blocks = self.zone.is_some() && page.order.is_some() && user && reserved;
        blocks && self.vmalloc.is_some() && self.percpu.is_some() && self.top_table.is_some()
    }

    /// Orders of the buddy allocator's blocks.
    pub(crate) fn orders(&self) -> u64 {
        self.zone.as_ref().map_or(USUAL_ORDERS, |zone| zone.orders)
    }

    /// Notes what is left out because something is missing; walks note what they cannot begin.
    pub fn note_losses(&self, coverage: &mut Coverage) {
        for lost in self.losses() {
            coverage.skip(lost, Reason::NoTypeInfo);
        }
    }

    fn losses(&self) -> impl Iterator<Item = Omitted> {
        let user = &self.user_memory;
        let file = user.file.as_ref();
        let has_files = file.is_some_and(|file| file.mount.is_some() && file.mapping.is_some());
        let open = user.open.as_ref();
        let has_open = open.is_none_or(|open| open.pipe.is_some() && open.socket.is_some());
        let timer = self.timer.as_ref();
        let has_timers = timer.is_some_and(|one| one.delayed.is_some() && one.precise.is_some());
        let cache = &self.cache;
        let has_details = cache.nodes.is_some() && cache.flags.is_some() && cache.kernfs.is_some();
        let counts_slabs =
            |counters: &CounterShape| counters.items[Counter::SlabUnreclaimable as usize].is_some();
        let has_counters =
            self.zone.as_ref().is_none_or(|zone| zone.counters.as_ref().is_some_and(counts_slabs));
        [
            (self.tells_free_objects(), Omitted::SlabObjects),
            (self.tells_blocks(), Omitted::PageBlocks),
            (self.page.user.is_some() && self.page.file.is_some(), Omitted::UserPages),
            (self.top_table.is_some(), Omitted::SomePageTables),
            (self.task.is_some(), Omitted::IdleStacks),
            (has_timers, Omitted::Timers),
            (has_files, Omitted::FileNames),
            (has_open, Omitted::SomeOpenFiles),
            (user.process.is_some(), Omitted::Processes),
            (user.cgroup.is_some() && user.memory_cgroup.is_some(), Omitted::SomeCgroups),
            (user.pool.is_some(), Omitted::HugePages),
            (has_details && has_counters && cache.node_total.is_some(), Omitted::SlabDetails),
        ]
        .into_iter()
        .filter_map(|(there, lost)| (!there).then_some(lost))
    }
}

#[cfg(test)]
mod tests;
