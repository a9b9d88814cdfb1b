//! Linked lists and red-black trees of the kernel, walked with bounds.
//!
//! Another CPU may be editing them, and a dump may be forged: a walk that
//! cannot go on says why and keeps what it saw.

use std::collections::HashSet;

use sysak_base::numbers::word;
use sysak_base::{Fault, Memory, Va};

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
    /// A link leads to something that does not lead back, and elements between the two ends are missing.
    #[error("the list is broken at {0}")]
    Broken(Va),
    /// A link is damaged there, and the walks from both ends meet: no element is missing.
    #[error("the list is damaged at {0}, and was walked from both ends")]
    Mended(Va),
}

/// The elements of a `list_head` ring, as addresses of their links, without `head`.
///
/// In a dump nobody changes the list, so each element must lead back to the one before it. Where one does not, the
/// list is walked from its other end too.
pub fn walk_list(memory: &dyn Memory, head: Va, limit: usize) -> Walk<Va> {
    if memory.is_live() {
        return follow(memory, head, NEXT, limit).0;
    }
    let (mut walk, last) = follow(memory, head, NEXT, limit);
    let Some(stop) = walk.stopped else { return walk };
    let (other, first) = follow(memory, head, PREVIOUS, limit);
    let known: HashSet<Va> = walk.seen.iter().copied().collect();
    walk.seen.extend(other.seen.into_iter().rev().filter(|at| !known.contains(at)));
    let link = |at: Va, way: u64| memory.read_u64(at.at(way)).ok().map(Va);
    let meets = link(last, NEXT) == Some(first) || link(first, PREVIOUS) == Some(last);
    walk.stopped = match stop {
        Stop::Limit(_) => Some(stop),
        _ if meets => Some(Stop::Mended(last)),
        stop => Some(stop),
    };
    walk
}

/// Where a `list_head` keeps its two links.
const NEXT: u64 = 0;
const PREVIOUS: u64 = 8;

/// Follows one of the links of each element, as far as the other one leads back. Also gives the last link that it
/// believed, `head` itself where that was the first.
fn follow(memory: &dyn Memory, head: Va, way: u64, limit: usize) -> (Walk<Va>, Va) {
    let mut walk = Walk { seen: Vec::new(), stopped: None };
    let (mut before, mut at) = (head, head);
    let read = |at: Va| {
        let mut raw = [0; 16];
        memory.read(at, &mut raw)?;
        Ok([word(&raw, way), word(&raw, way ^ PREVIOUS)].map(Va))
    };
    let leads_back = |back: Va, to: Va| memory.is_live() || back == to;
    loop {
        let next = match read(at) {
            Ok([next, back]) if at == head || leads_back(back, before) => next,
            Ok(_) => {
                walk.seen.pop();
                walk.stopped = Some(Stop::Broken(before));
                return (walk, before);
            }
            Err(fault) => {
                let fault: Fault = fault;
                walk.seen.pop();
                walk.stopped = Some(Stop::Unreadable(fault.at));
                return (walk, before);
            }
        };
        if next == head {
            let whole = memory.is_live() || read(head).is_ok_and(|[_, back]| back == at);
            walk.stopped = (!whole).then_some(Stop::Broken(at));
            return (walk, at);
        }
        if walk.seen.len() >= limit {
            // A ring that does not come back to its head would fill the limit.
            let distinct: HashSet<_> = walk.seen.iter().collect();
            let circle = distinct.len() < walk.seen.len();
            walk.stopped = Some(if circle { Stop::Cycle(next) } else { Stop::Limit(limit) });
            return (walk, at);
        }
        walk.seen.push(next);
        (before, at) = (at, next);
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
    use sysak_base::Why;

    struct Words {
        words: Vec<u64>,
        live: bool,
    }

    impl Memory for Words {
        fn is_live(&self) -> bool {
            self.live
        }

        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            let bytes: Vec<u8> = self.words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let fault = Fault { at, why: Why::Unmapped };
            let start = at.0.checked_sub(0x1000).ok_or(fault)? as usize;
            buf.copy_from_slice(bytes.get(start..start + buf.len()).ok_or(fault)?);
            Ok(())
        }
    }

    /// A ring of these links, `[next, previous]` each, from 0x1000 on.
    fn ring(links: [[u64; 2]; 4]) -> Words {
        Words { words: links.concat(), live: false }
    }

    const WHOLE: [[u64; 2]; 4] =
        [[0x1010, 0x1030], [0x1020, 0x1000], [0x1030, 0x1010], [0x1000, 0x1020]];
    const ALL: [Va; 3] = [Va(0x1010), Va(0x1020), Va(0x1030)];

    #[test]
    fn a_whole_list_is_walked_to_its_end() {
        let walk = walk_list(&ring(WHOLE), Va(0x1000), 100);
        assert_eq!((walk.seen.as_slice(), walk.stopped), (&ALL[..], None));
    }

    #[test]
    fn one_damaged_link_costs_no_element_wherever_it_is() {
        for element in 0..4 {
            for (link, damaged) in [(0, 0x9999), (1, 0x9999), (0, 0), (1, 0x1010), (0, 0x1000)] {
                let mut links = WHOLE;
                if links[element][link] == damaged {
                    continue;
                }
                links[element][link] = damaged;
                let mut walk = walk_list(&ring(links), Va(0x1000), 100);
                walk.seen.sort_unstable();
                assert_eq!(walk.seen, ALL, "{element} {link} {damaged:#x}");
                let mended = matches!(walk.stopped, Some(Stop::Mended(_)));
                assert!(mended, "{element} {link} {damaged:#x}: {walk:?}");
            }
        }
    }

    #[test]
    fn a_list_that_is_broken_in_two_places_keeps_both_ends_and_says_so() {
        let mut links = WHOLE;
        links[1][0] = 0x9999;
        links[3][1] = 0x9999;
        let walk = walk_list(&ring(links), Va(0x1000), 100);
        assert_eq!(walk.seen, [Va(0x1010), Va(0x1030)]);
        assert_eq!(walk.stopped, Some(Stop::Unreadable(Va(0x9999))));
    }

    #[test]
    fn a_list_of_a_running_kernel_that_never_returns_to_its_head_is_a_cycle() {
        let words = vec![0x1010, 0, 0x1020, 0, 0x1010, 0];
        let walk = walk_list(&Words { words, live: true }, Va(0x1000), 100);
        assert!(matches!(walk.stopped, Some(Stop::Cycle(_))), "{walk:?}");
    }

    #[test]
    fn a_tree_that_points_at_itself_ends() {
        let memory = Words { words: vec![0x1000, 0x1000], live: false };
        let walk = walk_tree(&memory, Va(0x1000), [0, 8], 100);
        assert_eq!(walk.seen, [Va(0x1000)]);
        assert_eq!(walk.stopped, Some(Stop::Cycle(Va(0x1000))));
    }
}
