//! Links of the kernel's lists, hash chains and red-black trees: what one word of them is.
//!
//! A word proves what it is by the word that it leads to: the next link of a list leads back, the
//! child of a tree's node leads to its parent. No type is needed for that.
//!
//! **Danger:** lists change while they are read. What does not fit together is no link.
//!
//! **Invariant:** every walk is bounded.

use sysak_base::numbers::word;
use sysak_base::{Memory, Va};

/// What a word is, among the links that it may be part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It leads back along a list or a chain: `prev`, `pprev`.
    Back,
    /// It leads on along a list or a chain: `next`, or the first of all.
    Next,
    /// It leads from a node of a tree to the node's parent.
    Up,
    /// It leads from a node of a tree to a child. From the root of a tree is no such link.
    Down,
}

/// Bits of a link that are no part of the address: colours, locks.
const TAGS: u64 = 3;
/// Nodes of one tree above each other.
const HIGHEST: usize = 128;

/// What the word at `at` is, by what lies where it leads; `None` for no link that can be proved.
pub fn link(memory: &dyn Memory, at: Va, word: u64) -> Option<Link> {
    let (target, is_tagged) = (word & !TAGS, word & TAGS != 0);
    let there = words(memory, target)?;
    if there[1] == at.0 || there[2] == at.0 {
        // A red node's parent is black: its first word has the lowest bit set, a list's has not.
        let is_up = there[2] == at.0 || is_tagged || is_black(memory, target, there);
        return Some(if is_up { Link::Up } else { Link::Next });
    }
    // The link before leads to the start of this one; so does the child of a tree's node.
    let starts = |bytes: u64| at.0.wrapping_sub(bytes) == there[0] & !TAGS;
    if starts(8) && is_list_link(memory, at.0.wrapping_sub(8)) && there[0] & TAGS == 0 {
        return Some(Link::Back);
    }
    let is_down = [8, 16]
        .into_iter()
        .any(|bytes: u64| starts(bytes) && is_tree_node(memory, at.0.wrapping_sub(bytes)));
    is_down.then_some(Link::Down)
}

fn words(memory: &dyn Memory, at: u64) -> Option<[u64; 3]> {
    let mut raw = [0; 24];
    memory.read(Va(at), &mut raw).ok()?;
    Some([0, 8, 16].map(|offset| word(&raw, offset)))
}

/// Whether three words are a black node of a tree: the root, or the child of its parent.
fn is_black(memory: &dyn Memory, at: u64, node: [u64; 3]) -> bool {
    node[0] & 1 == 1 && is_child_or_root(memory, at, node)
}

fn is_child_or_root(memory: &dyn Memory, at: u64, node: [u64; 3]) -> bool {
    match node[0] & !TAGS {
        0 => node[0] & 1 == 1,
        parent => words(memory, parent).is_some_and(|above| above[1..].contains(&at)),
    }
}

fn is_tree_node(memory: &dyn Memory, at: u64) -> bool {
    words(memory, at).is_some_and(|node| is_child_or_root(memory, at, node))
}

/// Whether the word at an address leads on to a link that leads back, or ends a chain.
fn is_list_link(memory: &dyn Memory, at: u64) -> bool {
    let Ok(next) = memory.read_u64(Va(at)) else { return false };
    // A black node's parent word is odd as the end of a chain is, but it leads to a parent.
    let ends = next == 0 || next & 1 == 1 && !is_tree_node(memory, at);
    ends || words(memory, next).is_some_and(|after| after[1] == at)
}

/// What the chain of links before `link` leads back to: the first one for which `is_member` does
/// not hold. Gives `pass` every member. `None` where the chain is broken, too long, or a ring of
/// members alone.
pub fn head_of(
    memory: &dyn Memory,
    link: Va,
    limit: usize,
    is_member: &dyn Fn(Va) -> bool,
    pass: &mut dyn FnMut(Va) -> Option<Va>,
) -> Option<Va> {
    let (mut at, mut before) = (link, back_link(memory, link));
    for _ in 0..limit {
        if let Some(known) = pass(at) {
            return Some(known);
        }
        let there = before.filter(|before| *before != link)?;
        let (next, further) = both_links(memory, there)?;
        if next & !TAGS != at.0 {
            return None;
        }
        if !is_member(there) {
            return Some(there);
        }
        (at, before) = (there, further);
    }
    None
}

fn back_link(memory: &dyn Memory, at: Va) -> Option<Va> {
    memory.read_u64(at.at(8)).ok().map(Va)
}

/// The link at an address that leads on, and the one behind it that leads back, with one read: the head of a chain has
/// no such one, and may lie at the end of memory.
fn both_links(memory: &dyn Memory, at: Va) -> Option<(u64, Option<Va>)> {
    let mut raw = [0; 16];
    match memory.read(at, &mut raw) {
        Ok(()) => Some((word(&raw, 0), Some(Va(word(&raw, 8))))),
        Err(_) => Some((memory.read_u64(at).ok()?, None)),
    }
}

/// Whether the chain of links before `link` comes back to it, and all on the way are members.
pub fn comes_back(
    memory: &dyn Memory,
    link: Va,
    limit: usize,
    is_member: &dyn Fn(Va) -> bool,
) -> bool {
    let (mut at, mut before) = (link, back_link(memory, link));
    for _ in 0..limit {
        let Some(there) = before else { return false };
        match both_links(memory, there) {
            Some((next, further)) if next == at.0 => before = further,
            _ => return false,
        }
        if there == link {
            return true;
        }
        if !is_member(there) {
            return false;
        }
        at = there;
    }
    false
}

/// The topmost node of the tree that a node is part of; `None` where the way up is broken.
pub fn top_of(memory: &dyn Memory, node: Va) -> Option<Va> {
    let mut at = node;
    for _ in 0..HIGHEST {
        let parent = Va(memory.read_u64(at).ok()? & !TAGS);
        if parent == Va(0) {
            return Some(at);
        }
        let is_childs =
            [8, 16].into_iter().any(|side| memory.read_u64(parent.at(side)) == Ok(at.0));
        if !is_childs {
            return None;
        }
        at = parent;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use sysak_base::{Fault, Why};

    /// Words by address; what is not there is zero.
    #[derive(Default)]
    struct Words(BTreeMap<u64, u64>);

    impl Memory for Words {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            if at.0 >= 0x10_0000 {
                return Err(Fault { at, why: Why::Unmapped });
            }
            for (address, byte) in (at.0..).zip(buf) {
                let word = self.0.get(&(address & !7)).copied().unwrap_or(0);
                *byte = word.to_le_bytes()[(address % 8) as usize];
            }
            Ok(())
        }
    }

    impl Words {
        fn put(&mut self, at: u64, words: &[u64]) {
            (at..).step_by(8).zip(words).for_each(|(at, word)| _ = self.0.insert(at, *word));
        }

        fn ring(links: &[u64]) -> Words {
            let mut words = Words::default();
            let many = links.len();
            for (index, link) in links.iter().enumerate() {
                words.put(*link, &[links[(index + 1) % many], links[(index + many - 1) % many]]);
            }
            words
        }

        fn link(&self, at: u64) -> Option<Link> {
            link(self, Va(at), self.0.get(&at).copied().unwrap_or(0))
        }
    }

    #[test]
    fn both_links_of_a_list_are_told_apart_however_short_it_is() {
        for links in [&[0x1000, 0x2000][..], &[0x1000, 0x2000, 0x3000, 0x4010]] {
            let list = Words::ring(links);
            for link in links {
                assert_eq!(list.link(*link), Some(Link::Next));
                assert_eq!(list.link(link + 8), Some(Link::Back));
            }
        }
    }

    #[test]
    fn a_hash_chain_has_a_first_link_and_links_back() {
        let mut chain = Words::default();
        chain.put(0x100, &[0x1000]);
        chain.put(0x1000, &[0x2000, 0x100]);
        chain.put(0x2000, &[0, 0x1000]);
        assert_eq!([0x100, 0x1000].map(|at| chain.link(at)), [Some(Link::Next); 2]);
        assert_eq!([0x1008, 0x2008].map(|at| chain.link(at)), [Some(Link::Back); 2]);
        let mut passed = Vec::new();
        let mut pass = |at| {
            passed.push(at);
            None
        };
        let head = head_of(&chain, Va(0x2000), 9, &|at| at.0 >= 0x1000, &mut pass);
        assert_eq!((head, passed), (Some(Va(0x100)), vec![Va(0x2000), Va(0x1000)]));
    }

    #[test]
    fn a_trees_links_lead_up_and_down_and_its_root_is_no_node() {
        let mut tree = Words::default();
        // A root that holds 0x1000, black; below it 0x2000 and 0x3000, below that 0x4000.
        tree.put(0x100, &[0x1000]);
        tree.put(0x1000, &[1, 0x2000, 0x3000]);
        tree.put(0x2000, &[0x1000, 0, 0]);
        tree.put(0x3000, &[0x1001, 0x4000, 0]);
        tree.put(0x4000, &[0x3000, 0, 0]);
        assert_eq!([0x1008, 0x1010, 0x3008].map(|at| tree.link(at)), [Some(Link::Down); 3]);
        assert_eq!([0x2000, 0x3000, 0x4000].map(|at| tree.link(at)), [Some(Link::Up); 3]);
        assert_eq!(tree.link(0x100), None);
        assert_eq!(top_of(&tree, Va(0x4000)), Some(Va(0x1000)));
    }

    #[test]
    fn a_list_comes_back_to_where_it_began_unless_something_else_is_in_it_or_it_is_torn() {
        let mut ring = Words::ring(&[0x1000, 0x2000, 0x3000]);
        let comes_back =
            |ring: &Words, limit, other| comes_back(ring, Va(0x1000), limit, &|at| at.0 != other);
        assert!(comes_back(&ring, 99, 0) && comes_back(&ring, 3, 0x1000));
        assert!(!comes_back(&ring, 99, 0x2000) && !comes_back(&ring, 2, 0));
        ring.put(0x3000, &[0x5000]);
        assert!(!comes_back(&ring, 99, 0));
    }

    #[test]
    fn a_ring_without_a_head_and_a_broken_list_have_none() {
        let ring = Words::ring(&[0x1000, 0x2000, 0x3000]);
        assert_eq!(head_of(&ring, Va(0x2000), 99, &|_| true, &mut |_| None), None);
        let mut torn = Words::ring(&[0x1000, 0x2000, 0x3000]);
        torn.put(0x1000, &[0x5000]);
        assert_eq!(head_of(&torn, Va(0x2000), 99, &|at| at.0 != 0x1000, &mut |_| None), None);
    }
}
