//! Linked lists and red-black trees of the kernel, walked with bounds.
//!
//! Another CPU may be editing them, and a dump may be forged: a walk that
//! cannot go on says why and keeps what it saw.

use std::collections::HashSet;

use sysak_base::{Memory, Va};

/// What a walk saw, and why it ended early if it did.
#[derive(Clone, Debug)]
pub struct Walk<T> {
    /// What it saw.
    pub seen: Vec<T>,
    /// Why it ended before its end.
    pub stopped: Option<Stop>,
}

/// Why a walk ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Memory could not be read.
    #[error("memory at {0} is not readable")]
    Unreadable(Va),
    /// It came back to where it had been.
    #[error("the list runs in a circle at {0}")]
    Cycle(Va),
    /// It went on for longer than any healthy list.
    #[error("the list is longer than {0} elements")]
    Limit(usize),
}

/// The elements of a `list_head` ring, as addresses of their links, without `head`.
pub fn walk_list(memory: &dyn Memory, head: Va, limit: usize) -> Walk<Va> {
    let mut walk = Walk { seen: Vec::new(), stopped: None };
    let mut at = head;
    loop {
        at = match memory.read_u64(at) {
            Ok(next) => Va(next),
            Err(fault) => {
                walk.stopped = Some(Stop::Unreadable(fault.at));
                return walk;
            }
        };
        if at == head {
            return walk;
        }
        if walk.seen.len() >= limit {
            // A ring that does not come back to its head would fill the limit.
            let distinct: HashSet<_> = walk.seen.iter().collect();
            let circle = distinct.len() < walk.seen.len();
            walk.stopped = Some(if circle { Stop::Cycle(at) } else { Stop::Limit(limit) });
            return walk;
        }
        walk.seen.push(at);
    }
}

/// The nodes of a binary tree below `root`, by the offsets of a node's two links.
pub fn walk_tree(memory: &dyn Memory, root: Va, sides: [u64; 2], limit: usize) -> Walk<Va> {
    let mut walk = Walk { seen: Vec::new(), stopped: None };
    let mut seen = HashSet::new();
    let mut todo = vec![root];
    while let Some(node) = todo.pop() {
        if node == Va(0) {
            continue;
        }
        if !seen.insert(node) {
            walk.stopped = Some(Stop::Cycle(node));
            continue;
        }
        if walk.seen.len() >= limit {
            walk.stopped = Some(Stop::Limit(limit));
            return walk;
        }
        walk.seen.push(node);
        for side in sides {
            match memory.read_u64(node.at(side)) {
                Ok(child) => todo.push(Va(child)),
                Err(fault) => walk.stopped = Some(Stop::Unreadable(fault.at)),
            }
        }
    }
    walk
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::{Fault, Why};

    struct Words(Vec<u64>);

    impl Memory for Words {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            let bytes: Vec<u8> = self.0.iter().flat_map(|w| w.to_le_bytes()).collect();
            let fault = Fault { at, why: Why::Unmapped };
            let start = at.0.checked_sub(0x1000).ok_or(fault)? as usize;
            buf.copy_from_slice(bytes.get(start..start + buf.len()).ok_or(fault)?);
            Ok(())
        }
    }

    #[test]
    fn a_list_that_never_returns_to_its_head_is_a_cycle() {
        let memory = Words(vec![0x1008, 0x1010, 0x1008]);
        let walk = walk_list(&memory, Va(0x1000), 100);
        assert!(matches!(walk.stopped, Some(Stop::Cycle(_))), "{walk:?}");
    }

    #[test]
    fn a_broken_link_keeps_what_was_seen() {
        let memory = Words(vec![0x1008, 0x9999]);
        let walk = walk_list(&memory, Va(0x1000), 100);
        assert_eq!(walk.stopped, Some(Stop::Unreadable(Va(0x9999))));
        assert_eq!(walk.seen, [Va(0x1008), Va(0x9999)]);
    }

    #[test]
    fn a_tree_that_points_at_itself_ends() {
        let memory = Words(vec![0x1000, 0x1000]);
        let walk = walk_tree(&memory, Va(0x1000), [0, 8], 100);
        assert_eq!(walk.seen, [Va(0x1000)]);
        assert_eq!(walk.stopped, Some(Stop::Cycle(Va(0x1000))));
    }
}
