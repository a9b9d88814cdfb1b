//! Who asked for vmalloc areas, by the kernel's own notes of them.

use std::cmp::Reverse;
use std::collections::HashMap;

use sysak_base::Va;
use sysak_heap::Heap;
use sysak_kernel::vmalloc::Area;

/// A function that asked for vmalloc areas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Where it goes on: a return address.
    pub at: Va,
    /// Its areas.
    pub areas: u64,
    /// Those that nothing leads to.
    pub lost: u64,
    /// Bytes of these.
    pub lost_bytes: u64,
    /// By how many bytes its areas grew while allocations were watched; `None` where that is not known.
    pub grew_bytes: Option<u64>,
}

/// Everybody who asked for areas, the most lost bytes first. `before` has each caller's bytes in the first
/// snapshot; without it nobody is said to grow.
pub(crate) fn callers(
    heap: &Heap,
    areas: &[Area],
    before: Option<&HashMap<Va, u64>>,
) -> Vec<Caller> {
    let mut bytes: HashMap<Va, u64> = HashMap::new();
    let mut callers: HashMap<Va, Caller> = HashMap::new();
    for area in areas {
        let found = heap.find_object(area.address.0);
        let Some(object) = found.filter(|object| heap.object_va(*object) == area.address) else {
            continue;
        };
        let none = Caller { at: area.caller, ..Caller::default() };
        let caller = callers.entry(area.caller).or_insert(none);
        caller.areas += 1;
        *bytes.entry(area.caller).or_insert(0) += area.bytes;
        if heap.is_white(object) {
            caller.lost += 1;
            caller.lost_bytes += heap.object_bytes(object);
        }
    }
    for (at, caller) in &mut callers {
        let now = bytes.get(at).copied().unwrap_or(0);
        let grew =
            |before: &HashMap<Va, u64>| now.saturating_sub(before.get(at).copied().unwrap_or(0));
        caller.grew_bytes = before.map(grew);
    }
    let mut callers: Vec<_> = callers.into_values().collect();
    callers.sort_by_key(|caller| {
        let sizes = (caller.lost_bytes, caller.grew_bytes, caller.areas);
        (Reverse(sizes), caller.at)
    });
    callers
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::Pfn;
    use sysak_heap::testing::{MEMMAP, Ram};
    use sysak_heap::{AreaPages, NonSlab};
    use sysak_kernel::vmalloc::AreaKind;

    const FIRST: Va = Va(0xffff_c900_0000_0000);
    const SECOND: Va = Va(0xffff_c900_0001_0000);

    fn area(address: Va, caller: u64) -> Area {
        Area {
            address,
            note: Va(0),
            bytes: 4096,
            pages: 1,
            array: Va(0),
            caller: Va(caller),
            kind: AreaKind::Plain,
            by_address: true,
        }
    }

    #[test]
    fn growth_is_told_only_against_a_known_start() {
        let heap = Ram::new(16).builder(&[]).seal();
        let pages = |address, pfn| AreaPages { address, pages: vec![Pfn(pfn)] };
        let heap = heap.adopt(NonSlab {
            areas: vec![pages(FIRST, 3), pages(SECOND, 4)],
            memmap: MEMMAP,
            struct_page_bytes: 64,
            ..NonSlab::default()
        });
        let areas = [area(FIRST, 7), area(SECOND, 8)];
        let grew = |before: Option<&HashMap<Va, u64>>| -> Vec<_> {
            callers(&heap, &areas, before).iter().map(|one| (one.at.0, one.grew_bytes)).collect()
        };
        assert_eq!(
            grew(None),
            [(7, None), (8, None)],
            "a watch that was ended early knows nothing"
        );
        let before = HashMap::from([(Va(7), 4096)]);
        assert_eq!(grew(Some(&before)), [(8, Some(4096)), (7, Some(0))]);
    }
}
